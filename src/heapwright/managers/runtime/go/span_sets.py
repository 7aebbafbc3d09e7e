"""The spans of each class, in four queues: with a free object or full, swept or not.

    set 4 x class + 2 x full + parity    parity of the sweep generation / 2: the queue of that
                                         parity is the swept one; a new generation swaps them

Invariant  each span in use and in no cache is in one queue, which its row names; NEXT and BEFORE
           are each other's reverse                                                      (check)
Source     Go 1.27 runtime/mspanset.go, mcentral.go: first in, first out
Differs    the real queue is an array of blocks and keeps a span that was swept out of turn until
           its turn comes, to skip it then; here it is taken out at once
"""

from heapwright.compiler import kernel, unsigned
from heapwright.managers.runtime.go.layout import BEFORE, NEXT, SET, field, set_field

PARTIAL, FULL = range(2)


@kernel(inline=True)
def swept_set(go, span_class, full):
    """The queue of swept spans."""
    return 4 * span_class + 2 * full + (go.generation >> 1 & 1)


@kernel(inline=True)
def unswept_set(go, span_class, full):
    """The queue of spans that need sweeping."""
    return 4 * span_class + 2 * full + (1 - (go.generation >> 1 & 1))


@kernel
def push(go, queue, span):
    """Append a span that is in no queue."""
    last = go.tails[unsigned(queue)]
    if last:
        set_field(go, last, NEXT, span)
    else:
        go.heads[unsigned(queue)] = span
    go.tails[unsigned(queue)] = span
    set_field(go, span, NEXT, 0)
    set_field(go, span, BEFORE, last)
    set_field(go, span, SET, queue)


@kernel
def remove(go, span):
    """Take a span out of its queue."""
    queue = field(go, span, SET)
    above, below = field(go, span, NEXT), field(go, span, BEFORE)
    if above:
        set_field(go, above, BEFORE, below)
    else:
        go.tails[unsigned(queue)] = below
    if below:
        set_field(go, below, NEXT, above)
    else:
        go.heads[unsigned(queue)] = above
    set_field(go, span, SET, -1)


@kernel
def pop(go, queue):
    """The first span, taken out; 0 of an empty queue."""
    span = go.heads[unsigned(queue)]
    if span:
        remove(go, span)
    return span
