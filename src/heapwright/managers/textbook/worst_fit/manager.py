"""Worst fit: the largest block, so that what remains of it stays useful.

    list    ─► block ─► block ─► block ─►      address order by default
    alloc   the whole list is walked for the largest, of equals the first; split, low end first

Invariant  the free list's                                                (check: 1-9)
Source     Wilson et al. 1995, section 3.4
Omits      threads: one heap, one lock

What all fits share is `allocators/sequential_fit.py`.
"""

from heapwright.allocators.sequential_fit import *  # noqa: F403 the frame
from heapwright.allocators.sequential_fit import EXAMINED, block_at, choosing
from heapwright.compiler import kernel
from heapwright.structures.ranked_tree import first_at_least, largest, total


@kernel
def find(heap, need):
    """The largest block if it has `need` bytes, else 0; a walk would examine all."""
    heap.paths[EXAMINED] += total(heap.tree)
    size = largest(heap.tree)
    return block_at(heap, first_at_least(heap.tree, 0, size)) if size >= need >> 4 else 0


alloc, realloc = choosing(find)
