"""Reference counts: an object dies with the last reference to it, and takes others along.

    decremented to 0 ─► its finaliser, if it has one that brings it back: no death
                     ├► weak references to it are cleared, and callbacks called (weak.py)
                     └► out of its ring; its references are taken off; its block is given back

Invariant  between two events a count is the references from roots, fields, limbo and the list of
           what cannot be collected (tests)
Source     CPython 3.11, Objects/object.c, Modules/gcmodule.c (PyObject_GC_Del),
           Objects/dictobject.c for its free list
Omits      the order of a cascade: CPython goes into the depth, and the trashcan bounds that; free
           lists but for that of dictionaries: those of a recording are seen as they are, as what
           comes from one is not asked of an allocator
"""

from heapwright.collectors.log import (
    BARRIERS,
    SWEPT_BYTES,
    SWEPT_OBJECTS,
    begin_pause,
    end_pause,
)
from heapwright.collectors.mutator import reclaimed
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load
from heapwright.managers.runtime.cpython.blocks import give
from heapwright.managers.runtime.cpython.heads import (
    ATOMS,
    DICTS,
    FINALISED,
    FORM,
    GRANULE_SHIFT,
    REFERRED,
    REVIVING,
    WEAKLING,
    chain,
    decremented,
    fields_of,
    flags_of,
    following,
    granules_of,
    has,
    increment,
    is_tracked,
    remove,
    set_flag,
    slot_of,
)
from heapwright.managers.runtime.cpython.state import DEATH, LIMBO, REVIVED
from heapwright.managers.runtime.cpython.weak import forget

STORM_OBJECTS = 100  # deaths at once that count as a pause
MOST_SPARE_DICTS = 80  # PyDict_MAXFREELIST
HEAD_BYTES = 32  # of an object whose kind is not told: PyGC_Head and PyObject before its fields
TOLD = 1 << 9  # flag: its kind was told, so its block begins where it does


@kernel(inline=True)
def block_of(heads, address):
    """Where the object's block begins."""
    return address if has(heads, address, TOLD) else address - HEAD_BYTES


@kernel
def revived(heap, address):
    """Whether its finaliser, that runs now and never again, brings the object back."""
    heads = heap.heads
    if not has(heads, address, REVIVING) or has(heads, address, FINALISED):
        return False
    set_flag(heads, address, FINALISED)
    if heap.limbo_count == LIMBO:
        return False
    heap.paths[REVIVED] += 1
    heap.limbo[unsigned(heap.limbo_count)] = address
    heap.limbo_count += 1
    increment(heads, address)
    return True


@kernel
def drop(heap, address):
    """One reference less."""
    if decremented(heap.heads, address) and not revived(heap, address):
        heap.paths[DEATH] += 1
        release(heap, address)


@kernel
def release(heap, address):
    """The object's count is 0: free it and all that dies of it."""
    heads, log, machine = heap.heads, heap.log, heap.machine
    if not heap.collecting:
        begin_pause(log)
    if is_tracked(heads, address):
        remove(heads, address)
    if has(heads, address, REFERRED | WEAKLING):
        forget(heap, address)
    dead, granules, waiting = 0, 0, address
    while waiting:
        address = waiting
        waiting = following(heads, address)
        for field in range(fields_of(heads, address)):
            target = load(machine, address + 8 * field)
            if target and decremented(heads, target) and not revived(heap, target):
                if is_tracked(heads, target):
                    remove(heads, target)
                if has(heads, target, REFERRED | WEAKLING):
                    forget(heap, target)
                chain(heads, target, waiting)
                waiting = target
        dead += 1
        granules += granules_of(heads, address)
        _bury(heap, address)
    log.totals[BARRIERS] += 1
    log.totals[SWEPT_OBJECTS] += dead
    log.totals[SWEPT_BYTES] += granules << GRANULE_SHIFT
    heap.occupied -= granules << GRANULE_SHIFT
    if dead >= STORM_OBJECTS and not heap.collecting:
        end_pause(log)


@kernel
def _bury(heap, address):
    """Give back the block of a dead object, and its place in the count of the young."""
    heads, form = heap.heads, flags_of(heap.heads, address) & FORM
    if form == DICTS and heap.spare_dicts < MOST_SPARE_DICTS and not heap.moments:
        heap.spare_dicts += 1
    elif form != ATOMS:
        if heap.counts[0] > 0:
            heap.counts[0] -= 1
        heap.heap_size -= 1
    reclaimed(heap.mutator, slot_of(heads, address), address)
    give(heap.machine, heap.blocks, block_of(heads, address), granules_of(heads, address))


@kernel
def empty_limbo(heap):
    """What finalisers brought back has no other reference now than it had before."""
    while heap.limbo_count:
        heap.limbo_count -= 1
        drop(heap, heap.limbo[unsigned(heap.limbo_count)])
