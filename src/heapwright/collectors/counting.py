"""Reference counting: an object dies with the last reference to it, and takes others along.

    decrement ─► 0 ─► worklist ─► each of its references decremented ─► 0 ─► worklist ...
                                  then its block is freed

Terms      count: references from fields and roots, in the header's note; cascade: the deaths that
           one decrement brings; storm: a cascade of `storm_objects` or more, which is a pause
Invariant  between two events the count of each object is the number of references to it (tests);
           the worklist is empty
Source     Collins, "A method for overlapping and erasure of lists", CACM 1960; Weizenbaum,
           "Symmetric list processor", CACM 1963 (a worklist instead of recursion)
Omits      deferring the counts of roots (Deutsch and Bobrow 1976), coalescing (Levanoni and Petrank
           2001), weak or lazy decrements

Objects that refer to each other in a cycle keep each other's count above 0 for ever.
"""

from heapwright.collectors.log import (
    BARRIERS,
    SWEPT_BYTES,
    SWEPT_OBJECTS,
    begin_pause,
    end_pause,
)
from heapwright.collectors.mark import pop, push
from heapwright.collectors.mutator import reclaimed
from heapwright.collectors.objects import (
    GRANULES_MASK,
    HEADER_BYTES,
    NOTE_SHIFT,
    bytes_of,
    fields_of,
    reference,
    slot_of,
)
from heapwright.collectors.swept_space import free
from heapwright.compiler import kernel
from heapwright.machine import load, store

ONE = 1 << NOTE_SHIFT  # added to word 1


@kernel(inline=True)
def increment(machine, address):
    """One more reference to the object."""
    store(machine, address - 8, load(machine, address - 8) + ONE)


@kernel(inline=True)
def decremented(machine, address):
    """One less; whether it was the last."""
    state = load(machine, address - 8) - ONE
    store(machine, address - 8, state)
    return state <= GRANULES_MASK


@kernel
def release(heap, address, storm_objects):
    """The object's count is 0: free it and all that dies of it. `heap` has machine, mutator, log,
    space and stack, the worklist."""
    machine, log = heap.machine, heap.log
    begin_pause(log)
    push(machine, heap.stack, address)
    pending, dead, bytes_ = 1, 0, 0
    while pending:
        address = pop(machine, heap.stack)
        pending -= 1
        for field in range(fields_of(machine, address)):
            target = reference(machine, address, field)
            if target and decremented(machine, target):
                push(machine, heap.stack, target)
                pending += 1
        dead += 1
        size = bytes_of(machine, address)
        bytes_ += size
        reclaimed(heap.mutator, slot_of(machine, address), address)
        free(machine, heap.space, address - HEADER_BYTES, size)
    log.totals[BARRIERS] += 1
    log.totals[SWEPT_OBJECTS] += dead
    log.totals[SWEPT_BYTES] += bytes_
    if dead >= storm_objects:
        end_pause(log)


@kernel
def forget_dead(machine, address):
    """Take the references of an object that a trace found dead off the counts of marked ones."""
    for field in range(fields_of(machine, address)):
        target = reference(machine, address, field)
        if target and load(machine, target - 8) < 0:
            store(machine, target - 8, load(machine, target - 8) - ONE)
