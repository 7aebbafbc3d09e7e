"""Free blocks over boundary tags in bins by size: a block large enough is found by two bitmaps.

    level 0      32 │ 48 │ 64 │ ...            one size a bin, below 16 << steps_shift
    level 1     128 │ 144 │ 160 │ ... │ 240    then a doubling a level, in 2^steps_shift steps:
    level 2     256 │ 288 │ 320 │ ... │ 480    here steps_shift is 3, eight bins a level
    list        of each bin LIFO, doubly linked through the blocks' own words
    bitmaps     a bit for each bin of a level, and one for each level: set while not empty

Terms      link words: next and previous block of the bin, after the head; 0 ends a list
Invariant  the boundary tags' (check: 1-4); no two free blocks adjacent (5); each free block is in
           the bin of its size, which links it both ways (6); a bit is set iff its bin, or a bin of
           its level, is not empty (7); the bins hold all free blocks (8)
Source     Masmano, Ripoll, Crespo and Real, "TLSF", ECRTS 2004, for the two levels; Wilson et al.
           1995, section 3.6 (segregated fits); Doug Lea's bins
Omits      ordering within a bin
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import boundary_tags
from heapwright.allocators.boundary_tags import (
    ALIGN_BYTES,
    FLAGS,
    HEAD_BYTES,
    IN_USE,
    MIN_BLOCK_BYTES,
    PAD_BYTES,
    PREVIOUS_IN_USE,
    Tags,
    area_before,
    area_fence,
    cut,
    fence,
    is_free,
    newest_area,
    previous,
    previous_is_free,
    set_free,
    size_of,
)
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length, trailing_zeros
from heapwright.compiler.record import record, words
from heapwright.machine import load, store, touch
from heapwright.machine.ground import CONTINUES

GRANULE_SHIFT = 4  # log2 of the difference between bins of level 0
MOST_LEVELS = 34  # more than the machine's largest block needs
PROBES = 16  # blocks of the request's own bin that are tried before larger bins


@record(
    "steps_shift",  # setting: 0 to 5
    "levels",  # bitmap of those with a block
)
class Bins(NamedTuple):
    """A heap and its free blocks."""

    tags: Tags
    first: np.ndarray  # int64[level << steps_shift | step]  newest block, 0: none
    steps: np.ndarray  # int64[level]  bitmap of its bins
    fields: np.ndarray  # int64[word]


def bins(machine, growth_bytes, steps_shift=3):
    """An empty heap with 2^steps_shift bins a doubling."""
    return Bins(
        boundary_tags.boundary_tags(machine, growth_bytes),
        np.zeros(MOST_LEVELS << steps_shift, np.int64),
        np.zeros(MOST_LEVELS, np.int64),
        words(Bins, steps_shift=steps_shift),
    )


@kernel
def bin_of(bins, size):
    """Number of the bin of a block of `size` bytes; that of an absurd size does not exist."""
    shift = bins.steps_shift
    if size >> GRANULE_SHIFT < 1 << shift:
        return size >> GRANULE_SHIFT
    top = bit_length(size) - 1
    step = (size >> (top - shift)) - (1 << shift)
    return ((top - shift - GRANULE_SHIFT + 1) << shift) + step


@kernel
def insert(bins, block, size):
    """Put a block that is marked free in its bin."""
    machine, number = bins.tags.machine, bin_of(bins, size)
    old = bins.first[unsigned(number)]
    store(machine, block + HEAD_BYTES, old)
    store(machine, block + 2 * HEAD_BYTES, 0)
    if old:
        store(machine, old + 2 * HEAD_BYTES, block)
    else:
        shift = bins.steps_shift
        level = number >> shift
        bins.steps[unsigned(level)] |= 1 << (number & ((1 << shift) - 1))
        bins.levels |= 1 << level
    bins.first[unsigned(number)] = block


@kernel
def unlink(bins, block, size):
    """Take a block out of its bin."""
    machine = bins.tags.machine
    after, before = load(machine, block + HEAD_BYTES), load(machine, block + 2 * HEAD_BYTES)
    if after:
        store(machine, after + 2 * HEAD_BYTES, before)
    if before:
        store(machine, before + HEAD_BYTES, after)
        return
    number = bin_of(bins, size)
    bins.first[unsigned(number)] = after
    if not after:
        shift = bins.steps_shift
        level = number >> shift
        bins.steps[unsigned(level)] &= ~(1 << (number & ((1 << shift) - 1)))
        if bins.steps[unsigned(level)] == 0:
            bins.levels &= ~(1 << level)


@kernel
def _newest_from(bins, number):
    """The newest block of the first bin from `number` on that has any; 0 if none."""
    shift = bins.steps_shift
    level = number >> shift
    if level >= MOST_LEVELS:
        return 0
    mask = bins.steps[unsigned(level)] & (-1 << (number & ((1 << shift) - 1)))
    if mask == 0:
        above = bins.levels & (-2 << level)
        if above == 0:
            return 0
        level = trailing_zeros(above)
        mask = bins.steps[unsigned(level)]
    return bins.first[unsigned((level << shift) + trailing_zeros(mask))]


@kernel
def find(bins, need):
    """A block of `need` bytes or more, still in its bin: one of the first PROBES of need's own bin,
    else the newest of the next bin that has any; 0 if none."""
    number = bin_of(bins, need)
    if number >> bins.steps_shift >= MOST_LEVELS:
        return 0
    block, probes = bins.first[unsigned(number)], 0
    while block and probes < PROBES:
        if size_of(bins.tags.machine, block) >= need:
            return block
        block = load(bins.tags.machine, block + HEAD_BYTES)
        probes += 1
    return _newest_from(bins, number + 1)


@kernel
def find_at_once(bins, need):
    """The newest block of the first bin all of whose blocks have `need` bytes or more, still in
    its bin; 0 if none. Never looks at a second block."""
    shift = bins.steps_shift
    if need >> GRANULE_SHIFT >= 1 << shift:
        need += (1 << (bit_length(need) - 1 - shift)) - 1
    return _newest_from(bins, bin_of(bins, need))


@kernel
def release(bins, block, size, trim_bytes):
    """Make a used block free, merged with its free neighbours; (merges, trims) that were made.

    With `trim_bytes` > 0 the heap's end falls when the last free block has as many, or an area goes
    back to its ground that is one such block.
    """
    machine, tags = bins.tags.machine, bins.tags
    merges = 0
    above = block + size
    if is_free(machine, above):
        more = size_of(machine, above)
        unlink(bins, above, more)
        size += more
        merges += 1
    if previous_is_free(machine, block):
        block = previous(machine, block)
        more = size_of(machine, block)
        unlink(bins, block, more)
        size += more
        merges += 1
    set_free(machine, block, size, load(machine, block) & PREVIOUS_IN_USE)
    trims = 0
    if CONTINUES:
        if trim_bytes and block + size == fence(tags):
            last, kept = boundary_tags.trim(tags, trim_bytes)
            if last:
                size, trims = kept, 1
    elif 0 < trim_bytes <= size and boundary_tags.fills_an_area(tags, block, size):
        boundary_tags.drop_area(tags, block)
        return merges, 1
    insert(bins, block, size)
    return merges, trims


@kernel
def use(bins, block, need, have):
    """Mark the low `need` bytes of an unlinked block of `have` used and the rest free; the number
    of splits: 0 where the rest is too small for a block and stays with this one."""
    tail = have - need
    if tail < MIN_BLOCK_BYTES:
        cut(bins.tags.machine, block, have, 0)
        return 0
    cut(bins.tags.machine, block, need, tail)
    insert(bins, block + need, tail)
    return 1


@kernel
def place(bins, block, need, align):
    """Use `need` bytes, head included, of an unlinked block so that the user bytes begin at a
    multiple of `align`: `aligned_bytes` suffice. Returns their address and the number of splits."""
    machine = bins.tags.machine
    have = size_of(machine, block)
    user = (block + HEAD_BYTES + align - 1) & ~(align - 1)
    if 0 < user - HEAD_BYTES - block < MIN_BLOCK_BYTES:
        user += align
    lead = user - HEAD_BYTES - block
    if lead == 0:
        return user, use(bins, block, need, have)
    touch(machine, block + lead, HEAD_BYTES)
    store(machine, block + lead, have - lead)
    splits = use(bins, block + lead, need, have - lead)
    set_free(machine, block, lead, load(machine, block) & PREVIOUS_IN_USE)
    insert(bins, block, lead)
    return user, splits + 1


@kernel
def aligned_bytes(need, align):
    """Bytes of a block that can hold `need`, head included, at any multiple of `align`."""
    return need if align <= ALIGN_BYTES else need + align + ALIGN_BYTES


@kernel
def resize_in_place(bins, block, need, trim_bytes):
    """Cut a used block to `need` bytes, or let it take the free one above it; whether it has as
    many now, and the splits, merges and trims that were made."""
    machine = bins.tags.machine
    have = size_of(machine, block)
    above = block + have
    if need > have:
        if not is_free(machine, above) or have + size_of(machine, above) < need:
            return False, 0, 0, 0
        more = size_of(machine, above)
        unlink(bins, above, more)
        return True, use(bins, block, need, have + more), 0, 0
    if have - need < MIN_BLOCK_BYTES:
        return True, 0, 0, 0
    touch(machine, block + need, HEAD_BYTES)
    store(machine, block, need | (load(machine, block) & FLAGS))
    store(machine, block + need, (have - need) | PREVIOUS_IN_USE | IN_USE)
    merges, trims = release(bins, block + need, have - need, trim_bytes)
    return True, 1, merges, trims


@kernel
def last_free(bins, need):
    """The block at the heap's end, in its bin, if it is free and of `need` bytes or more, else 0.

    A search that passes bins over may miss it; asking the system for memory would be a waste."""
    machine = bins.tags.machine
    if not newest_area(bins.tags):
        return 0
    end = fence(bins.tags)
    if not previous_is_free(machine, end) or end - previous(machine, end) < need:
        return 0
    return previous(machine, end)


@kernel
def grow(bins, need):
    """More memory, so that the heap's last block is free and of `need` bytes or more.

    Returns that block, in its bin, and the merges; (0, 0) where the ground refuses. There is no
    such block yet: see `last_free`.
    """
    block, size = boundary_tags.grow(bins.tags, need)
    if not block:
        return 0, 0
    merges, _ = release(bins, block, size, 0)
    return previous(bins.tags.machine, fence(bins.tags)), merges


@kernel
def check(bins):
    """Number of the broken invariant, 0 if none."""
    tags, machine = bins.tags, bins.tags.machine
    broken = boundary_tags.check(tags)
    if broken:
        return broken
    area, free = newest_area(tags), 0
    while area:
        block, past, below_free = area + PAD_BYTES, area_fence(tags, area), False
        while block < past:
            if is_free(machine, block):
                if below_free:
                    return 5
                free += 1
            below_free = is_free(machine, block)
            block += size_of(machine, block)
        area = area_before(tags, area)
    shift = bins.steps_shift
    for level in range(MOST_LEVELS):
        if (bins.levels >> level) & 1 != (bins.steps[level] != 0):
            return 7
        for step in range(1 << shift):
            number = (level << shift) + step
            before, block = 0, bins.first[number]
            if (bins.steps[level] >> step) & 1 != (block != 0):
                return 7
            while block:
                if not is_free(machine, block) or bin_of(bins, size_of(machine, block)) != number:
                    return 6
                if load(machine, block + 2 * HEAD_BYTES) != before:
                    return 6
                free -= 1
                before, block = block, load(machine, block + HEAD_BYTES)
    return 8 if free else 0
