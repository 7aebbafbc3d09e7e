"""Next fit: first fit that goes on where the last search ended.

    list    ─► block ─► block ─► block ─►      address order by default
    alloc   from the rover round to the rover, the first with size >= need; split, low end first

Terms      rover: the place in the list where the last search ended; the search looks at the
           blocks at it and after it first. When its block is merged into a larger one of an
           address-ordered list, it moves to the start of that
Invariant  the free list's                                                (check: 1-9)
Source     Knuth 2.5, algorithm A with exercise 6 (the roving pointer)
Omits      threads: one heap, one lock

What all fits share is `allocators/sequential_fit.py`.
"""

from heapwright.allocators.sequential_fit import *  # noqa: F403 the frame
from heapwright.allocators.sequential_fit import EXAMINED, block_at, choosing
from heapwright.compiler import kernel
from heapwright.structures.ranked_tree import first_at_least, rank, total


@kernel
def find(heap, need):
    """The next block of `need` bytes or more, 0 if none; counts those a walk would examine."""
    rover = heap.rover
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
    heap.rover = found
    return block_at(heap, found)


alloc, realloc = choosing(find)
