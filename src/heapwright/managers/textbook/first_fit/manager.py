"""First fit: the first block of the list that is large enough.

    list    ─► block ─► block ─► block ─►      address order by default
    alloc   from the front, the first with size >= need; split, low end first

Invariant  the free list's                                                (check: 1-9)
Source     Knuth 2.5, algorithm A; Wilson et al. 1995, section 3.4
Omits      threads: one heap, one lock

What all fits share is `allocators/sequential_fit.py`.
"""

from heapwright.allocators.sequential_fit import *  # noqa: F403 the frame
from heapwright.allocators.sequential_fit import EXAMINED, block_at, choosing
from heapwright.compiler import kernel
from heapwright.structures.ranked_tree import first_at_least, rank, total


@kernel
def find(heap, need):
    """The first block of `need` bytes or more, 0 if none; counts those a walk would examine."""
    found = first_at_least(heap.tree, 0, need >> 4)
    if found < 0:
        heap.paths[EXAMINED] += total(heap.tree)
        return 0
    heap.paths[EXAMINED] += rank(heap.tree, found) + 1
    return block_at(heap, found)


alloc, realloc = choosing(find)
