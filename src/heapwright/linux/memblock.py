"""The boot allocator's two lists of ranges: what memory there is, and what of it is taken.

    memory    │────────── a ──────────│      │──── b ────│        sorted; neighbours alike are one
    reserved     │──│     │────│                  │──│
    find      the highest free range that has room, at its end rounded down     (bottom-up: first)

Invariant  both lists are sorted and apart, no two neighbours alike touch          (check: 1)
Source     Linux 6.1, mm/memblock.c: memblock_add_range, memblock_isolate_range,
           memblock_find_in_range_node, memblock_alloc_range_nid, memblock_free_pages_memory
Omits      nodes: all memory is of one; hot-plug; doubling of the lists (they are long from the
           start, so no list is ever allocated in what it manages)
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.linux.zones import pieces
from heapwright.machine.address_space import PAGE_BYTES, PAGE_SHIFT

RANGES = 1 << 20  # most of a list
ANYWHERE = 1 << 62  # no limit
MIRROR, NOMAP = 2, 4  # flags of memory
SMP_CACHE_BYTES = 64  # alignment where none is asked for


@record("length")
class Ranges(NamedTuple):
    """A sorted list of ranges."""

    base: np.ndarray  # int64[range]
    end: np.ndarray  # int64[range]
    flags: np.ndarray  # int64[range]
    fields: np.ndarray  # int64[word]


@record(
    "limit",  # address that no allocation goes beyond; ANYWHERE
    "bottom_up",  # whether the lowest range is chosen
    "mirrored",  # whether mirrored memory comes first
)
class Memblock(NamedTuple):
    """The boot allocator."""

    memory: Ranges
    reserved: Ranges
    fields: np.ndarray  # int64[word]


def memblock(*, bottom_up: bool = False, mirrored: bool = False) -> Memblock:
    """No memory yet."""
    lists = (
        Ranges(*(reserve(RANGES, np.int64) for _ in range(3)), words(Ranges)) for _ in range(2)
    )
    fields = words(Memblock, limit=ANYWHERE, bottom_up=int(bottom_up), mirrored=int(mirrored))
    return Memblock(*lists, fields)


@kernel
def first_beyond(ranges, address):
    """The first range that ends above `address`."""
    low, high = 0, ranges.length
    while low < high:
        middle = (low + high) >> 1
        if ranges.end[unsigned(middle)] > address:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def _insert(ranges, row, base, end, flags):
    """A range before another one."""
    for i in range(ranges.length, row, -1):
        ranges.base[unsigned(i)] = ranges.base[unsigned(i - 1)]
        ranges.end[unsigned(i)] = ranges.end[unsigned(i - 1)]
        ranges.flags[unsigned(i)] = ranges.flags[unsigned(i - 1)]
    ranges.base[unsigned(row)], ranges.end[unsigned(row)] = base, end
    ranges.flags[unsigned(row)] = flags
    ranges.length += 1


@kernel
def _delete(ranges, row):
    """A range less."""
    for i in range(row, ranges.length - 1):
        ranges.base[unsigned(i)] = ranges.base[unsigned(i + 1)]
        ranges.end[unsigned(i)] = ranges.end[unsigned(i + 1)]
        ranges.flags[unsigned(i)] = ranges.flags[unsigned(i + 1)]
    ranges.length -= 1


@kernel
def _merge(ranges, first, last):
    """Make one of neighbours alike that touch, from before `first` to after `last`."""
    row = max(first - 1, 0)
    last = min(last + 1, ranges.length - 1)
    while row < last:
        alike = ranges.flags[unsigned(row)] == ranges.flags[unsigned(row + 1)]
        if alike and ranges.end[unsigned(row)] == ranges.base[unsigned(row + 1)]:
            ranges.end[unsigned(row)] = ranges.end[unsigned(row + 1)]
            _delete(ranges, row + 1)
            last -= 1
        else:
            row += 1


@kernel
def add(ranges, base, size, flags):
    """Enter a range: what of it is there already stays as it is. Whether there was room."""
    end, row = base + size, first_beyond(ranges, base)
    first = row
    while base < end:
        if row < ranges.length and ranges.base[unsigned(row)] <= base:
            base = ranges.end[unsigned(row)]
            row += 1
            continue
        past = min(end, ranges.base[unsigned(row)]) if row < ranges.length else end
        if ranges.length >= RANGES - 2:
            return False
        _insert(ranges, row, base, past, flags)
        base = past
        row += 1
    _merge(ranges, first, row)
    return True


@kernel
def _isolate(ranges, base, end):
    """Cut ranges at both ends of [base, end): (first, past) of those within."""
    row = first_beyond(ranges, base)
    if row < ranges.length and ranges.base[unsigned(row)] < base:
        last, flags = ranges.end[unsigned(row)], ranges.flags[unsigned(row)]
        ranges.end[unsigned(row)] = base
        row += 1
        _insert(ranges, row, base, last, flags)
    first = row
    while row < ranges.length and ranges.base[unsigned(row)] < end:
        if ranges.end[unsigned(row)] > end:
            last, flags = ranges.end[unsigned(row)], ranges.flags[unsigned(row)]
            ranges.end[unsigned(row)] = end
            _insert(ranges, row + 1, end, last, flags)
        row += 1
    return first, row


@kernel
def remove(ranges, base, size):
    """Take a range out of the list."""
    if size <= 0:
        return
    first, past = _isolate(ranges, base, base + size)
    for _ in range(first, past):
        _delete(ranges, first)


@kernel
def mark(ranges, base, size, flag, on):
    """Set or clear a flag of a range."""
    first, past = _isolate(ranges, base, base + size)
    for row in range(first, past):
        flags = ranges.flags[unsigned(row)]
        ranges.flags[unsigned(row)] = flags | flag if on else flags & ~flag
    _merge(ranges, first, past)


@kernel
def _usable(flags, mirror):
    """Whether memory with these flags may be given out."""
    return not flags & NOMAP and (not mirror or flags & MIRROR != 0)


@kernel
def _top_down(block, size, align, within, mirror):
    """The highest place in `within`; 0."""
    memory, reserved = block.memory, block.reserved
    for row in range(memory.length - 1, -1, -1):
        if not _usable(memory.flags[unsigned(row)], mirror):
            continue
        low, high = memory.base[unsigned(row)], memory.end[unsigned(row)]
        taken = first_beyond(reserved, high - 1)
        if taken >= reserved.length or reserved.base[unsigned(taken)] >= high:
            taken -= 1
        while True:
            start = low
            if taken >= 0:
                start = max(low, reserved.end[unsigned(taken)])
            past = min(max(high, within[0]), within[1])
            if start < high and past >= size:
                place = (past - size) // align * align
                if place >= min(max(start, within[0]), within[1]):
                    return place
            if taken < 0 or reserved.base[unsigned(taken)] <= low:
                break
            high = min(high, reserved.base[unsigned(taken)])
            taken -= 1
    return 0


@kernel
def _bottom_up(block, size, align, within, mirror):
    """The lowest place in `within`; 0."""
    memory, reserved = block.memory, block.reserved
    for row in range(memory.length):
        if not _usable(memory.flags[unsigned(row)], mirror):
            continue
        low, high = memory.base[unsigned(row)], memory.end[unsigned(row)]
        taken = first_beyond(reserved, low)
        while low < high:
            past = high
            if taken < reserved.length:
                past = min(high, reserved.base[unsigned(taken)])
            if low < past:
                start = min(max(low, within[0]), within[1])
                end = min(max(past, within[0]), within[1])
                place = (start + align - 1) // align * align
                if place < end and end - place >= size:
                    return place
            if taken >= reserved.length:
                break
            low = max(low, reserved.end[unsigned(taken)])
            taken += 1
    return 0


@kernel
def find(block, size, align, within):
    """A free place for `size` bytes in (start, end), end 0 for the limit; never in page 0; 0 where
    there is none."""
    start, end = within
    if end == 0:
        end = block.limit
    start = max(start, PAGE_BYTES)
    end = max(start, end)
    for turn in range(2):
        mirror = turn == 0
        if mirror and not block.mirrored:
            continue
        if block.bottom_up:
            place = _bottom_up(block, size, align, (start, end), mirror)
        else:
            place = _top_down(block, size, align, (start, end), mirror)
        if place:
            return place
    return 0


@kernel
def alloc(block, size, align, within):
    """Find a place and take it; 0 where there is none: memblock_phys_alloc_range."""
    if align == 0:
        align = SMP_CACHE_BYTES
    place = find(block, size, align, within)
    if place and not add(block.reserved, place, size, 0):
        return 0
    return place


@kernel
def alloc_anyhow(block, size, align, within):
    """Likewise, and below the lower bound if there is no room above: memblock_alloc's."""
    start, end = within
    end = min(end, block.limit)
    place = alloc(block, size, align, (start, end))
    if not place and start:
        place = alloc(block, size, align, (np.int64(0), end))
    return place


@kernel
def check(block):
    """Number of the broken invariant, 0 if none."""
    for which in range(2):
        ranges = block.memory if which == 0 else block.reserved
        for row in range(ranges.length):
            if ranges.base[unsigned(row)] >= ranges.end[unsigned(row)]:
                return 1
            if row and ranges.base[unsigned(row)] < ranges.end[unsigned(row - 1)]:
                return 1
            if row and ranges.base[unsigned(row)] == ranges.end[unsigned(row - 1)]:
                if ranges.flags[unsigned(row)] == ranges.flags[unsigned(row - 1)]:
                    return 1
    return 0


def rows(ranges: Ranges) -> list[tuple[int, int, int]]:
    """The ranges as (base, end, flags)."""
    length = int(ranges.fields[0])
    columns = (ranges.base, ranges.end, ranges.flags)
    return list(zip(*(column[:length].tolist() for column in columns), strict=True))


def free_ranges(block: Memblock) -> Iterator[tuple[int, int]]:
    """What memory is not taken, ascending; what may not be mapped is left out."""
    taken = rows(block.reserved)
    for base, end, flags in rows(block.memory):
        if flags & NOMAP:
            continue
        at = base
        for low, high, _ in taken:
            if high > at and low < end:
                if low > at:
                    yield at, low
                at = max(at, high)
        if at < end:
            yield at, end


def handed_over(block: Memblock) -> Iterator[tuple[int, int]]:
    """The blocks that the page allocator is given at the end, in their order: (frame, order)."""
    for base, end in free_ranges(block):
        yield from pieces((base + PAGE_BYTES - 1) >> PAGE_SHIFT, end >> PAGE_SHIFT)
