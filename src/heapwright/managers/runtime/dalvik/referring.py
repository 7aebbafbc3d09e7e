"""Dalvik's references: every other soft one is kept, until memory runs out.

    an unreached soft reference   the latest found first: the first, the third, ... keep their
                                  targets; GC_BEFORE_OOM clears all
    then                          soft and weak ones are cleared, what has a finaliser is kept once
                                  more, and references found only by that are cleared likewise

Source     Android 4.4 dalvik/vm/alloc/MarkSweep.cpp: preserveSomeSoftReferences,
           dvmHeapProcessReferences
Omits      the FinalizerReference that Java code makes beside an object with a finaliser; the order
           in which marking finds references, in whose place is the order of their declaration
"""

from heapwright.collectors import references as common
from heapwright.collectors.log import EVENT
from heapwright.collectors.mutator import handle
from heapwright.collectors.references import (
    DUE,
    HOLDER,
    TARGET,
    begin,
    settle,
    used,
)
from heapwright.compiler import kernel, unsigned
from heapwright.managers.runtime.dalvik.state import HEADER_BYTES, header, is_active
from heapwright.trace.schema import FINALISABLE, REFERENCE, SOFT


@kernel(cold=True)
def declare(heap, slot, target, kind):
    """What the program declares of the object in `slot`; there is always room for it."""
    address = handle(heap.mutator, slot)
    referred = address if kind & REFERENCE == FINALISABLE else handle(heap.mutator, target)
    common.declare(heap.references, slot, address, referred, kind)
    return True


@kernel
def got(heap, slot):
    """The program asked the soft reference of `slot` for its target."""
    used(heap.references, slot)


@kernel
def start_references(heap, clear_all):
    """Marking from the roots is over. Of soft references to what it did not reach every other one
    is kept, or with `clear_all` none."""
    refs = heap.references
    refs.clear_all = clear_all
    begin(refs)
    for entry in range(refs.entries):
        refs.bits[unsigned(entry)] = DUE if clear_all else 0


@kernel
def look(heap, partial):
    """Which holders and targets are marked; what stands for a finaliser always is."""
    refs, first = heap.references, heap.references.soft_seen < 0
    for entry in range(refs.entries):
        e = unsigned(entry)
        if refs.kind[e] == FINALISABLE or _is_marked(heap, refs.holder[e], partial):
            refs.bits[e] |= HOLDER
        if _is_marked(heap, refs.target[e], partial):
            refs.bits[e] |= TARGET
    if first:
        refs.soft_seen = 0
        for back in range(refs.entries):
            e = unsigned(refs.entries - 1 - back)
            if refs.kind[e] == SOFT and refs.bits[e] & (HOLDER | TARGET) == HOLDER:
                refs.soft_seen += 1
                if refs.soft_seen & 1 == 0:
                    refs.bits[e] |= DUE


@kernel
def _is_marked(heap, address, partial):
    """Whether an object lives, as far as this collection looks."""
    if partial and not is_active(heap, address):
        return True
    return header(heap, address - HEADER_BYTES) < 0


@kernel
def end_references(heap):
    """All is marked that will be, and nothing is freed yet."""
    settle(heap.references, heap.mutator, heap.log.totals[EVENT])
    heap.references.soft_seen = -1
