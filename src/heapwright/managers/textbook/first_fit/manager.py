"""First fit: the first block of the list that is large enough.

    list    ─► block ─► block ─► block ─►      address order by default
    alloc   from the front, the first with size >= need; split, low end first
            miss ─► sweep (deferred coalescing) ─miss─► brk, growth_bytes at a time
    free    merged with free neighbours, back to the list

Invariant  the free list's                                                (check: 1-9)
Source     Knuth 2.5, algorithm A; Wilson et al. 1995, section 3.4
Omits      threads: one heap, one lock

The list is `allocators/free_list.py`, its order and indexes `allocators/list_order.py`.
"""

from typing import NamedTuple

from heapwright.allocators.boundary_tags import extent, usable
from heapwright.allocators.free_list import (
    ALLOC,
    EXAMINED,
    PATHS,
    cached,
    check,
    free,
    grow,
    metadata,
    place,
    request_bytes,
    resize_in_place,
    sweep,
)
from heapwright.allocators.list_order import block_at, free_list
from heapwright.compiler import kernel
from heapwright.machine import copy
from heapwright.structures.ranked_tree import first_at_least, rank, total

__all__ = [
    "PATHS",
    "Config",
    "alloc",
    "boot",
    "cached",
    "check",
    "extent",
    "free",
    "metadata",
    "realloc",
    "usable",
]

ALIGN_BYTES = 16


class Config(NamedTuple):
    """Knobs."""

    order: int = 0  # of the list: 0 address, 1 LIFO, 2 FIFO
    coalescing: int = 0  # 0 immediate, at each free; 1 deferred, when a search fails
    growth_bytes: int = 1 << 17  # least that brk moves
    trim_bytes: int = 0  # give the heap's end back from this many free bytes on; 0 never


def boot(machine, config):
    """An empty heap at the break."""
    return free_list(machine, config, len(PATHS))


@kernel
def _find(heap, need):
    """The first block of `need` bytes or more, 0 if none; counts those a walk would examine."""
    found = first_at_least(heap.tree, 0, need >> 4)
    if found < 0:
        heap.paths[EXAMINED] += total(heap.tree)
        return 0
    heap.paths[EXAMINED] += rank(heap.tree, found) + 1
    return block_at(heap, found)


@kernel
def alloc(heap, thread, size, align):
    """Address of a block of at least `size` bytes. About 60 ns."""
    heap.paths[ALLOC] += 1
    need = request_bytes(size, align)
    block = _find(heap, need)
    if not block and sweep(heap):
        block = _find(heap, need)
    if not block and grow(heap, need):
        block = _find(heap, need)
    return place(heap, block, size, align) if block else 0


@kernel
def realloc(heap, thread, address, size):
    """The block resized where it lies, by cutting it or taking the free one above; else moved."""
    if resize_in_place(heap, address, size):
        return address
    room = usable(heap, address, 0)
    moved = alloc(heap, thread, size, ALIGN_BYTES)
    if moved:
        copy(heap.machine, moved, address, min(room, size))
        free(heap, thread, address)
    return moved
