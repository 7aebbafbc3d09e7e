"""References in G1's regions: the list of Finalizers, and what a collection makes of references.

See collectors/hotspot/referring.py; here references that lead out of a region are noted in cards,
what is collected is the chosen regions, and the head of the list is kept in memory too, so that it
waits its turn as any reference does.
"""

from heapwright.collectors.hotspot.layout import (
    HEADER_BYTES,
    entry_of,
    is_marked,
    moved_if_reached,
    refer,
    refer_at,
    reference,
    reference_at,
)
from heapwright.collectors.hotspot.referring import BEFORE, NEXT, come_upon, settle_gone
from heapwright.collectors.log import EVENT
from heapwright.collectors.references import FINALS, HOLDER, PENDING, clear, discover
from heapwright.compiler import kernel, unsigned
from heapwright.machine import touch
from heapwright.managers.runtime.hotspot_g1.state import OLD, is_young, note_card, region_of
from heapwright.trace.schema import FINALISABLE, PHANTOM, SOFT, WEAK


@kernel
def _write(heap, address, field, target):
    """A reference of a Finalizer, and its card."""
    java = heap.java
    refer(java, heap.machine, address, field, target)
    if target and heap.regions.kind[unsigned(region_of(heap, address))] >= OLD:
        note_card(heap, address + (field << java.shift), target)


@kernel
def link(heap, holder):
    """The Finalizer is the first of the list, if it is one; the new instance's card says where its
    first reference leads."""
    refs = heap.references
    _write(heap, holder, 0, reference(heap.java, heap.machine, holder, 0))
    if refs.kind[unsigned(refs.entries - 1)] != FINALISABLE:
        return
    if refs.head:
        _write(heap, holder, NEXT, refs.head)
        _write(heap, refs.head, BEFORE, holder)
    let_head(heap, holder)


@kernel
def let_head(heap, finalizer):
    """Let the list begin there; in memory, and its card."""
    java = heap.java
    heap.references.head = finalizer
    touch(heap.machine, java.finalizers, 8)
    refer_at(java, heap.machine, java.finalizers, finalizer)
    if finalizer:
        note_card(heap, java.finalizers, finalizer)


@kernel(cold=True)
def run_finalisers(heap):
    """The program goes on, and the finalisers that are due have run: their Finalizers leave the
    list."""
    refs, machine, java = heap.references, heap.machine, heap.java
    refs.waiting = 0
    finalizer = refs.head
    while finalizer:
        after = reference(java, machine, finalizer, NEXT)
        if not entry_of(java, finalizer):
            before = reference(java, machine, finalizer, BEFORE)
            if before:
                _write(heap, before, NEXT, after)
            else:
                let_head(heap, after)
            if after:
                _write(heap, after, BEFORE, before)
            _write(heap, finalizer, NEXT, finalizer)
            _write(heap, finalizer, BEFORE, 0)
            refer(java, machine, finalizer, 0, 0)
        finalizer = after


@kernel
def _is_left(heap, address):
    """Whether the object lies in a chosen region and was not reached."""
    chosen = address and heap.regions.chosen[unsigned(region_of(heap, address))]
    return chosen and not is_marked(heap.machine, address - HEADER_BYTES)


@kernel
def follows_first(heap, address):
    """Whether an evacuation, which has moved the instance to `address`, follows its first
    reference: that of a reference object in young, whose target was not reached, is left for
    later."""
    entry = entry_of(heap.java, address)
    if not entry:
        return False
    e = come_upon(heap, address, entry)
    target = reference(heap.java, heap.machine, address, 0)
    if not is_young(heap, address) or not _is_left(heap, target):
        return True
    return not discover(heap.references, e)


@kernel
def _clear(heap, kind):
    """Of what was left for later clear the references of a kind whose targets were not reached; the
    others lead to where those lie now."""
    refs, java, machine = heap.references, heap.java, heap.machine
    for row in range(refs.found_rows):
        e = unsigned(refs.found[unsigned(row)])
        if refs.kind[e] == kind:
            target = reference(java, machine, refs.holder[e], 0)
            if _is_left(heap, target):
                refer(java, machine, refs.holder[e], 0, 0)
                clear(refs, heap.mutator, e, heap.log.totals[EVENT])
            else:
                refer(java, machine, refs.holder[e], 0, _moved(heap, target))


@kernel
def _moved(heap, address):
    """Where an object lies now that was reached, or did not lie in a chosen region."""
    if not address or not heap.regions.chosen[unsigned(region_of(heap, address))]:
        return address
    return moved_if_reached(heap.machine, address)


@kernel
def clear_softs_and_weaks(heap):
    """Of what was left for later."""
    heap.references.phase = FINALS
    _clear(heap, SOFT)
    _clear(heap, WEAK)


@kernel
def to_finalise(heap, row):
    """The Finalizer that was left for later as the so many-th, from the end, if its object was not
    reached, and is to be kept for its finaliser; else 0."""
    refs = heap.references
    e = unsigned(refs.found[unsigned(refs.found_rows - 1 - row)])
    holder = refs.holder[e]
    if refs.kind[e] != FINALISABLE:
        return 0
    if not _is_left(heap, reference(heap.java, heap.machine, holder, 0)):
        return 0
    refs.bits[e] |= PENDING
    return holder


@kernel
def settle_found(heap):
    """An evacuation is over, but for phantom references."""
    refs = heap.references
    for row in range(refs.found_rows):
        e = unsigned(refs.found[unsigned(row)])
        if refs.kind[e] == FINALISABLE and not refs.bits[e] & PENDING:
            target = reference(heap.java, heap.machine, refs.holder[e], 0)
            refer(heap.java, heap.machine, refs.holder[e], 0, _moved(heap, target))
    _clear(heap, PHANTOM)
    for entry in range(refs.entries):
        e = unsigned(entry)
        if not heap.regions.chosen[unsigned(region_of(heap, refs.holder[e]))]:
            refs.bits[e] |= HOLDER
        if refs.bits[e] & HOLDER:
            refs.target[e] = reference(heap.java, heap.machine, refs.holder[e], 0)
    refs.head = reference_at(heap.java, heap.machine, heap.java.finalizers)
    settle_gone(heap)
