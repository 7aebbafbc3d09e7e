"""The frame of first, next, best and worst fit: all of a manager but its choice of the block.

    from heapwright.allocators.sequential_fit import *     # Config, boot, free, usable, check, ...

    @kernel
    def find(heap, need): ...                              # the policy

    alloc, realloc = choosing(find)

alloc   find ─none─► sweep (deferred coalescing), find ─none─► brk, growth_bytes at a time, find
        then split, low end first
free    merged with free neighbours, back to the list
Source  Wilson et al. 1995, sections 3.3-3.4

The list is `free_list.py`, its order and its indexes are `list_order.py`.
"""

from typing import NamedTuple

from heapwright.allocators.boundary_tags import extent, usable
from heapwright.allocators.frame import cached, moving
from heapwright.allocators.free_list import (
    ALLOC,
    EXAMINED,
    PATHS,
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

__all__ = [
    "EXAMINED",
    "PATHS",
    "Config",
    "block_at",
    "boot",
    "cached",
    "check",
    "choosing",
    "extent",
    "free",
    "metadata",
    "usable",
]


class Config(NamedTuple):
    """Knobs."""

    order: int = 0  # of the list: 0 address, 1 LIFO, 2 FIFO
    coalescing: int = 0  # 0 immediate, at each free; 1 deferred, when a search fails
    growth_bytes: int = 1 << 17  # least that brk moves
    trim_bytes: int = 0  # give the heap's end back from this many free bytes on; 0 never


def boot(machine, config):
    """An empty heap."""
    return free_list(machine, config, len(PATHS))


def choosing(find):
    """(alloc, realloc) of the manager that chooses by `find(heap, need)`: a listed block of `need`
    bytes or more, 0 if there is none; it counts in EXAMINED the blocks that a walk looks at."""

    @kernel
    def alloc(heap, thread, size, align):
        """Address of a block of at least `size` bytes. About 60 ns, of best fit 120."""
        heap.paths[ALLOC] += 1
        need = request_bytes(size, align)
        block = find(heap, need)
        if not block and sweep(heap):
            block = find(heap, need)
        if not block and grow(heap, need):
            block = find(heap, need)
        return place(heap, block, size, align) if block else 0

    return alloc, moving(alloc, free, usable, resize_in_place)
