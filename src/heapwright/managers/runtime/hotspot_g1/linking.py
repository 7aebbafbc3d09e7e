"""References in G1's regions: the list of Finalizers, and which objects a collection reached.

See collectors/hotspot/referring.py; here references that lead out of a region are noted in cards,
and what is collected is the chosen regions.
"""

from heapwright.collectors.hotspot.layout import HEADER_BYTES, moved_if_reached, refer, reference
from heapwright.collectors.hotspot.referring import BEFORE, NEXT
from heapwright.collectors.log import EVENT
from heapwright.collectors.references import PENDING, reached, settle
from heapwright.compiler import kernel, unsigned
from heapwright.managers.runtime.hotspot_g1.state import OLD, is_young, note_card, region_of


@kernel
def _write(heap, address, field, target):
    """A reference of a Finalizer, and its card."""
    java = heap.java
    refer(java, heap.machine, address, field, target)
    if target and heap.regions.kind[unsigned(region_of(heap, address))] >= OLD:
        note_card(heap, address + (field << java.shift), target)


@kernel
def link(heap, block):
    """The Finalizer in this block is the first of the list."""
    refs, finalizer = heap.references, block + HEADER_BYTES
    if refs.head:
        _write(heap, finalizer, NEXT, refs.head)
        _write(heap, refs.head, BEFORE, finalizer)
    refs.head = finalizer


@kernel
def unlink(heap):
    """A collection is over, and objects lie where they will: the Finalizers whose finalisers run
    leave the list, and what was cleared is no entry any more."""
    refs, machine, java = heap.references, heap.machine, heap.java
    for entry in range(refs.entries):
        if refs.bits[unsigned(entry)] & PENDING:
            finalizer = refs.holder[unsigned(entry)]
            after = reference(java, machine, finalizer, NEXT)
            before = reference(java, machine, finalizer, BEFORE)
            if before:
                _write(heap, before, NEXT, after)
            else:
                refs.head = after
            if after:
                _write(heap, after, BEFORE, before)
            _write(heap, finalizer, NEXT, 0)
            _write(heap, finalizer, BEFORE, 0)
    settle(refs, heap.mutator, heap.log.totals[EVENT])


@kernel
def moved(heap, address):
    """Where the object lies now; 0 if it lay in a chosen region and was not reached."""
    if not heap.regions.chosen[unsigned(region_of(heap, address))]:
        return address
    return moved_if_reached(heap.machine, address)


@kernel
def look(heap):
    """Which holders and targets an evacuation reached; their addresses are the new ones. A
    reference object outside young is not discovered."""
    refs = heap.references
    for entry in range(refs.entries):
        holder = moved(heap, refs.holder[unsigned(entry)])
        target = moved(heap, refs.target[unsigned(entry)])
        reached(refs, entry, holder, target, holder != 0 and not is_young(heap, holder))
