"""Best fit: the smallest block that is large enough.

    list    ─► block ─► block ─► block ─►      address order by default
    alloc   the smallest with size >= need, of equals the first in the list; an exact one ends
            the walk; split, low end first

Invariant  the free list's                                                (check: 1-9)
Source     Knuth 2.5; Wilson et al. 1995, section 3.4
Omits      threads: one heap, one lock

What all fits share is `allocators/sequential_fit.py`.
"""

from heapwright.allocators.list_order import POSITION_BITS, free_list
from heapwright.allocators.sequential_fit import *  # noqa: F403 the frame
from heapwright.allocators.sequential_fit import EXAMINED, PATHS, block_at, choosing
from heapwright.compiler import kernel
from heapwright.compiler.lanes import MOST
from heapwright.structures.ranked_tree import rank, total
from heapwright.structures.sorted_keys import at_least


def boot(machine, config):
    """An empty heap with its free blocks in order of size too."""
    return free_list(machine, config, len(PATHS), sized=True)


@kernel
def find(heap, need):
    """The smallest block of `need` bytes or more, 0 if none; counts those a walk would examine."""
    units = min(need >> 4, MOST)
    key = at_least(heap.keys, units << POSITION_BITS)
    position = key & ((1 << POSITION_BITS) - 1)
    if key >= 0 and key >> POSITION_BITS == units:
        heap.paths[EXAMINED] += rank(heap.tree, position) + 1
    else:
        heap.paths[EXAMINED] += total(heap.tree)
    return block_at(heap, position) if key >= 0 else 0


alloc, realloc = choosing(find)
