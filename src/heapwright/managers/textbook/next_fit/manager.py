"""Next fit: first fit that goes on where the last search ended.

    list    ─► block ─► block ─► block ─►      address order by default
    alloc   from the rover round to the rover, the first with size >= need; split, low end first
            miss ─► sweep (deferred coalescing) ─miss─► brk, growth_bytes at a time
    free    merged with free neighbours, back to the list

Terms      rover: the place in the list where the last search ended; the search looks at the
           blocks at it and after it first. When its block is merged into a larger one of an
           address-ordered list, it moves to the start of that
Invariant  the free list's                                                (check: 1-9)
Source     Knuth 2.5, algorithm A with exercise 6 (the roving pointer)
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
from heapwright.allocators.list_order import ROVER, block_at, free_list
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
    """The next block of `need` bytes or more, 0 if none; counts those a walk would examine."""
    rover = heap.fields[ROVER]
    skipped = rank(heap.tree, rover)
    found = first_at_least(heap.tree, rover, need >> 4)
    if found >= 0:
        heap.paths[EXAMINED] += rank(heap.tree, found) - skipped + 1
    else:
        found = first_at_least(heap.tree, 0, need >> 4)
        if found < 0:
            heap.paths[EXAMINED] += total(heap.tree)
            return 0
        heap.paths[EXAMINED] += total(heap.tree) - skipped + rank(heap.tree, found) + 1
    heap.fields[ROVER] = found
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
