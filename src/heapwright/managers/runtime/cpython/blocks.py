"""Blocks without heads: small ones from pools of one size class, larger ones from a good fit heap.

    arena   │ pool │ pool │ pool │ ...    1 MiB, mapped; cut into pools from the left
    pool    │ head │ block │ block │ ... │ block │      16 KiB: freed blocks first, then untouched
    larger  a block of boundary tags at the break

Terms      number of a pool: its address >> 14
Invariant  the good fit heap's (check: 11-18); the blocks in use, freed and untouched are all that a
           pool has (21); a pool with a free block is in its class's list, no other is (22)
Source     CPython 3.11, Objects/obmalloc.c, for sizes
Omits      pymalloc's order of pools and arenas, and giving arenas back: the twin `pymalloc` has
           them; glibc below 512 bytes

The heads of pools are counted as they are there: 48 bytes, written when a pool is begun.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import good_fit
from heapwright.allocators.boundary_tags import fence, first_block, is_free, size_of
from heapwright.allocators.frame import write_row
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.machine import load, mmap, store, touch
from heapwright.machine.address_space import SPACE_BYTES

POOL_SHIFT, ARENA_BYTES = 14, 1 << 20
POOL_BYTES, HEAD_BYTES = 1 << POOL_SHIFT, 48
SMALL_GRANULES = 32  # 512 bytes
GRANULE_BYTES = 16
GROWTH_BYTES = 128 << 10  # of the break, as glibc's top_pad
NUMBERS = SPACE_BYTES >> POOL_SHIFT
MOST_BYTES = 1 << 34


@record(
    "arenas",  # made
    "next_pool",  # address of the newest arena's first untouched pool
    "end",  # of that arena
    "spare",  # number of a pool that was emptied; 0 none
)
class Blocks(NamedTuple):
    """Pools, by number, and the heap of larger blocks."""

    larger: good_fit.Heap
    first: np.ndarray  # int64[granules]  number of a pool of this size with a free block; 0 none
    granules: np.ndarray  # int32[number]  of its blocks; 0 while it is spare
    live: np.ndarray  # int32[number]  blocks in use
    freed: np.ndarray  # int64[number]  a freed block, whose first word is the next one; 0 none
    untouched: np.ndarray  # int64[number]  address of the first block that was never used
    next: np.ndarray  # int64[number]  in the list of its size, or of spare ones
    before: np.ndarray  # int64[number]
    known: np.ndarray  # int64[arena * 2]  address of its first pool, and where its pools end
    fields: np.ndarray  # int64[word]


def blocks(machine):
    """Nothing yet."""
    return Blocks(
        good_fit.good_fit(machine, GROWTH_BYTES, 0, 5),
        np.zeros(SMALL_GRANULES + 1, np.int64),
        reserve(NUMBERS, np.int32),
        reserve(NUMBERS, np.int32),
        *(reserve(NUMBERS, np.int64) for _ in range(4)),
        reserve(2 * SPACE_BYTES // ARENA_BYTES, np.int64),
        words(Blocks),
    )


@kernel(inline=True)
def _base(number):
    return number << POOL_SHIFT


@kernel(inline=True)
def _room(granules):
    """Blocks of so many granules that a pool holds."""
    return (POOL_BYTES - HEAD_BYTES) // (granules << 4)


@kernel
def take(machine, blocks, granules):
    """Address of a block of so many granules; 0 where there is no memory."""
    if granules > SMALL_GRANULES:
        if granules << 4 > MOST_BYTES:
            return 0
        return good_fit.alloc(blocks.larger, 0, granules << 4, GRANULE_BYTES)
    number = blocks.first[unsigned(granules)]
    if not number:
        number = _begin_pool(machine, blocks, granules)
        if not number:
            return 0
    row = unsigned(number)
    block = blocks.freed[row]
    if block:
        blocks.freed[row] = load(machine, block)
    else:
        block = blocks.untouched[row]
        blocks.untouched[row] = block + (granules << 4)
    blocks.live[row] += 1
    if np.int64(blocks.live[row]) == _room(granules):
        _leave(blocks, number, granules)
    return block


@kernel
def _begin_pool(machine, blocks, granules):
    """Number of a pool for blocks of so many granules, in its list; 0 where there is no memory."""
    number = blocks.spare
    if number:
        blocks.spare = blocks.next[unsigned(number)]
    else:
        if blocks.next_pool == blocks.end and not _map_arena(machine, blocks):
            return 0
        number = blocks.next_pool >> POOL_SHIFT
        blocks.next_pool += POOL_BYTES
    row = unsigned(number)
    touch(machine, _base(number), HEAD_BYTES)
    blocks.granules[row] = granules
    blocks.live[row] = 0
    blocks.freed[row] = 0
    blocks.untouched[row] = _base(number) + HEAD_BYTES
    _enter(blocks, number, granules)
    return number


@kernel
def _map_arena(machine, blocks):
    """A further arena; whether there is one. What of it is before its first pool stays unused."""
    area = mmap(machine, 0, ARENA_BYTES)
    if not area:
        return False
    first = (area + POOL_BYTES - 1) & -POOL_BYTES
    blocks.next_pool = first
    blocks.end = first + ((area + ARENA_BYTES - first) & -POOL_BYTES)
    blocks.known[unsigned(2 * blocks.arenas)] = first
    blocks.known[unsigned(2 * blocks.arenas + 1)] = blocks.end
    blocks.arenas += 1
    return True


@kernel
def _enter(blocks, number, granules):
    row, old = unsigned(number), blocks.first[unsigned(granules)]
    blocks.next[row], blocks.before[row] = old, 0
    if old:
        blocks.before[unsigned(old)] = number
    blocks.first[unsigned(granules)] = number


@kernel
def _leave(blocks, number, granules):
    row = unsigned(number)
    after, before = blocks.next[row], blocks.before[row]
    if after:
        blocks.before[unsigned(after)] = before
    if before:
        blocks.next[unsigned(before)] = after
    else:
        blocks.first[unsigned(granules)] = after


@kernel
def give(machine, blocks, block, granules):
    """Give a block of so many granules back."""
    if granules > SMALL_GRANULES:
        good_fit.free(blocks.larger, 0, block)
        return
    number = block >> POOL_SHIFT
    row = unsigned(number)
    touch(machine, block, 8)
    store(machine, block, blocks.freed[row])
    blocks.freed[row] = block
    blocks.live[row] -= 1
    live = np.int64(blocks.live[row])
    if live == _room(granules) - 1:
        _enter(blocks, number, granules)
    if live == 0:
        _leave(blocks, number, granules)
        blocks.granules[row] = 0
        blocks.next[row] = blocks.spare
        blocks.spare = number


@kernel
def room_of(blocks, block, granules):
    """(start, bytes) of the whole block, and where its bytes for use end."""
    if granules > SMALL_GRANULES:
        start, length = good_fit.extent(blocks.larger, block, 0)
        return start, length, block + good_fit.usable(blocks.larger, block, 0)
    return block, granules << 4, block + (granules << 4)


@kernel
def list_heads(blocks, rows):
    """Heads of pools in use and of the good fit heap as rows (start, bytes); how many."""
    written = good_fit.metadata(blocks.larger, rows)
    for arena in range(blocks.arenas):
        number, past = _pools(blocks, arena)
        while number < past:
            if blocks.granules[unsigned(number)]:
                written = write_row(rows, written, _base(number), HEAD_BYTES)
            number += 1
    return written


@kernel
def _pools(blocks, arena):
    """(first, past the last) number of the pools of an arena that were ever begun."""
    first, end = blocks.known[unsigned(2 * arena)], blocks.known[unsigned(2 * arena + 1)]
    past = blocks.next_pool if arena == blocks.arenas - 1 else end
    return first >> POOL_SHIFT, past >> POOL_SHIFT


@kernel
def list_free(machine, blocks, rows):
    """Free blocks, tails of pools, spare pools, likewise."""
    written, bins = 0, blocks.larger.bins
    if bins.tags.start != bins.tags.end:
        block = first_block(bins.tags)
        while block < fence(bins.tags):
            length = size_of(machine, block)
            if is_free(machine, block):
                written = write_row(rows, written, block, length)
            block += length
    for arena in range(blocks.arenas):
        number, past = _pools(blocks, arena)
        while number < past:
            written = _list_pool(machine, blocks, number, (rows, written))
            number += 1
    return written


@kernel
def _list_pool(machine, blocks, number, out):
    rows, written = out
    row, base = unsigned(number), _base(number)
    granules = np.int64(blocks.granules[row])
    if not granules:
        return write_row(rows, written, base, POOL_BYTES)
    block = blocks.freed[row]
    while block:
        written = write_row(rows, written, block, granules << 4)
        block = load(machine, block)
    untouched = blocks.untouched[row]
    if untouched < base + POOL_BYTES:
        written = write_row(rows, written, untouched, base + POOL_BYTES - untouched)
    return written


@kernel
def check(machine, blocks):
    """Number of the broken invariant, 0 if none."""
    broken = good_fit.check(blocks.larger)
    if broken:
        return 10 + broken
    for arena in range(blocks.arenas):
        number, past = _pools(blocks, arena)
        while number < past:
            row = unsigned(number)
            granules = np.int64(blocks.granules[row])
            if granules and not _is_whole(machine, blocks, number, granules):
                return 21
            if granules and not _is_listed(blocks, number, granules):
                return 22
            number += 1
    return 0


@kernel
def _is_whole(machine, blocks, number, granules):
    """Whether the blocks in use, freed and untouched are all that the pool has."""
    row = unsigned(number)
    begun = blocks.untouched[row] - _base(number) - HEAD_BYTES
    begun //= granules << 4
    freed, block = 0, blocks.freed[row]
    while block and freed <= begun:
        freed += 1
        block = load(machine, block)
    return np.int64(blocks.live[row]) + freed == begun and begun <= _room(granules)


@kernel
def _is_listed(blocks, number, granules):
    """Whether the pool is in the list of its size if it has a free block, and else not."""
    at = blocks.first[unsigned(granules)]
    while at and at != number:
        at = blocks.next[unsigned(at)]
    full = np.int64(blocks.live[unsigned(number)]) == _room(granules)
    return (at == number) != full
