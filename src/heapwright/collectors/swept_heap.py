"""A heap of one swept space and a mark stack: what its managers answer in the same way.

`heap` has machine, mutator, pace, space and stack.
"""

from heapwright.collectors import mark, pace, swept_space
from heapwright.collectors.textbook import handles_are_true
from heapwright.compiler import kernel


@kernel
def metadata(heap, blocks):
    """The heads of pages of cells, and a chunk of the stack."""
    rows = swept_space.metadata(heap.machine, heap.space, blocks)
    return rows + mark.own_memory(heap.stack, blocks[min(rows, len(blocks)) :])


@kernel
def vacant(heap, blocks):
    """Free cells and holes."""
    return swept_space.vacant(heap.machine, heap.space, blocks)


@kernel
def check(heap):
    """0, or the space's broken invariant (1-22), or 31: the stack is not empty; 32: the goal is not
    the limit; 33: a handle is not that of an object born in its slot."""
    broken = swept_space.check(heap.machine, heap.space)
    if broken:
        return broken
    if not mark.check(heap.stack):
        return 31
    if not pace.check(heap.pace):
        return 32
    return 0 if handles_are_true(heap) else 33
