"""Pools: blocks of one size class, the newest freed one first, then untouched ones in order.

    │ header 48 │ block │ block │ ... untouched ... │ tail, shorter than a block │

    take       ─► newest freed block of the class's first pool; a pool used up leaves the list
    start_pool ─► no pool of the class has a free block: one from the arenas
    give       ─► the pool's newest; a full pool is first in the list; an empty one the arena's

Invariant  see `invariants.py` (check: 6-9)
Source     CPython Objects/obmalloc.c: pymalloc_alloc, pymalloc_pool_extend, allocate_from_new_pool,
           pymalloc_free, insert_to_usedpool
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store, touch
from heapwright.managers.runtime.pymalloc import state
from heapwright.managers.runtime.pymalloc.arenas import give_pool, take_pool
from heapwright.managers.runtime.pymalloc.state import (
    COUNT,
    HEADER_BYTES,
    NEWEST,
    NEXT,
    OFFSET,
    OWNER,
    PREVIOUS,
    ROW_MASK,
    class_bytes,
    pool_of,
)

LINK_BYTES = 8


@kernel
def take(heap, pool, index):
    """A block of a pool that has one, the first of its class. About 3 ns."""
    machine = heap.machine
    store(machine, pool + COUNT, load(machine, pool + COUNT) + 1)
    block = load(machine, pool + NEWEST)
    following = load(machine, block)
    store(machine, pool + NEWEST, following)
    if not following:
        _extend(heap, pool, index)
    return block


@kernel
def _extend(heap, pool, index):
    """Make the next untouched block the free one; without one the pool leaves its list."""
    machine, bytes_ = heap.machine, class_bytes(index)
    offset = load(machine, pool + OFFSET)
    if offset <= heap.pool_bytes - bytes_:
        heap.paths[state.UNTOUCHED] += 1
        _first_free(heap, pool, pool + offset)
        store(machine, pool + OFFSET, offset + bytes_)
    else:
        heap.paths[state.POOL_USED_UP] += 1
        _unlink(heap, pool, index)


@kernel(inline=True)
def _first_free(heap, pool, block):
    """`block` is the only free one that was touched."""
    touch(heap.machine, block, LINK_BYTES)
    store(heap.machine, block, 0)
    store(heap.machine, pool + NEWEST, block)


@kernel
def start_pool(heap, thread, index):
    """A block of a pool that comes into use; 0 where the system refuses."""
    machine = heap.machine
    pool = take_pool(heap, thread)
    if not pool:
        return 0
    heap.paths[state.POOL] += 1
    _link_first(heap, pool, index)
    store(machine, pool + COUNT, 1)
    owner = load(machine, pool + OWNER)
    if owner >> 32 == index:
        heap.paths[state.POOL_KEPT_ITS_CLASS] += 1
        block = load(machine, pool + NEWEST)
        store(machine, pool + NEWEST, load(machine, block))
        return block
    bytes_ = class_bytes(index)
    block = pool + HEADER_BYTES
    store(machine, pool + OWNER, (owner & ROW_MASK) | (index << 32))
    store(machine, pool + OFFSET, HEADER_BYTES + 2 * bytes_)
    _first_free(heap, pool, block + bytes_)
    return block


@kernel
def give(heap, address):
    """Take a block back. About 3 ns."""
    machine, pool = heap.machine, pool_of(heap, address)
    newest, count = load(machine, pool + NEWEST), load(machine, pool + COUNT) - 1
    touch(machine, address, LINK_BYTES)
    store(machine, address, newest)
    store(machine, pool + NEWEST, address)
    store(machine, pool + COUNT, count)
    index = load(machine, pool + OWNER) >> 32
    if not newest:
        heap.paths[state.POOL_AVAILABLE] += 1
        _link_first(heap, pool, index)
    elif not count:
        heap.paths[state.POOL_EMPTIED] += 1
        _unlink(heap, pool, index)
        give_pool(heap, pool)


@kernel
def _link_first(heap, pool, index):
    """Put a pool in front of those of its class."""
    machine, first = heap.machine, heap.used[unsigned(index)]
    store(machine, pool + NEXT, first)
    store(machine, pool + PREVIOUS, 0)
    if first:
        store(machine, first + PREVIOUS, pool)
    heap.used[unsigned(index)] = pool


@kernel
def _unlink(heap, pool, index):
    """Take a pool out of those of its class."""
    machine = heap.machine
    before, after = load(machine, pool + PREVIOUS), load(machine, pool + NEXT)
    if before:
        store(machine, before + NEXT, after)
    else:
        heap.used[unsigned(index)] = after
    if after:
        store(machine, after + PREVIOUS, before)
