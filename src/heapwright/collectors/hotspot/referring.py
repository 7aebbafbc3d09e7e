"""Reference objects in a Java heap: how they are declared, and what a collection makes of them.

    a reference object   a block whose reference to its target no collector follows: the entry has
                         it; its other references are followed
    a finaliser          a block of the JVM's own, java.lang.ref.Finalizer, that is allocated after
                         its object; they are linked, the latest first, until the finaliser has run

    head ─► Finalizer ◄═► Finalizer ◄═► ... ─► null          references 0: next, 1: before

What a finaliser is run on was kept by this collection and dies with the next that looks there, as
does its Finalizer. Finalisers run at once, as far as the twin is concerned.

Source     OpenJDK 17 src/hotspot/share/gc/shared/referenceProcessor.cpp, referencePolicy.cpp;
           src/java.base/share/classes/java/lang/ref/Finalizer.java, SoftReference.java
Omits      that the clock moves between the phases of one collection; the pending list, which links
           what was cleared until it is enqueued
"""

from heapwright.collectors.hotspot.generations import is_young
from heapwright.collectors.hotspot.layout import (
    HEADER_BYTES,
    dirty,
    initialise,
    is_marked,
    moved_if_reached,
    moved_to,
    reference,
    write,
)
from heapwright.collectors.hotspot.tracing import find, trace
from heapwright.collectors.log import ALLOCATED_BYTES, ALLOCATED_OBJECTS, EVENT
from heapwright.collectors.mark import is_empty, pop
from heapwright.collectors.mutator import REFERENCES, handle
from heapwright.collectors.references import (
    CLEARED,
    DECIDED,
    HOLDER,
    KEEP,
    PENDING,
    TARGET,
    begin,
    decide,
    declare,
    reached,
    sentences,
    settle,
    used,
)
from heapwright.compiler import kernel, unsigned
from heapwright.trace.schema import FINALISABLE
from heapwright.words import counted

FINALIZER_BYTES, WIDE_FINALIZER_BYTES = 40, 64  # with compressed references, and without
NEXT, BEFORE = 0, 1  # references of a Finalizer
REFERENT_OFFSET = 4  # bytes before our first field: a header of 12 bytes is followed by it


@kernel
def finalizer_bytes(java):
    """Bytes of a java.lang.ref.Finalizer."""
    return FINALIZER_BYTES if java.shift == 2 else WIDE_FINALIZER_BYTES


@kernel
def enter(heap, slot, target, kind, block):
    """The program declared the object of `slot`; `block` is its Finalizer's, if it has one."""
    address, refs = handle(heap.mutator, slot), heap.references
    if block:
        bytes_ = finalizer_bytes(heap.java)
        heap.log.totals[ALLOCATED_OBJECTS] += 1
        heap.log.totals[ALLOCATED_BYTES] += bytes_
        holder = initialise(heap.java, heap.machine, block, bytes_, 2)
        declare(refs, slot, holder, address, FINALISABLE)
    else:
        declare(heap.references, slot, address, handle(heap.mutator, target), kind)


@kernel
def link(heap, block):
    """The Finalizer in this block is the first of the list."""
    refs, finalizer = heap.references, block + HEADER_BYTES
    if refs.head:
        write(heap.java, heap.machine, finalizer, NEXT, refs.head)
        write(heap.java, heap.machine, refs.head, BEFORE, finalizer)
    refs.head = finalizer


@kernel
def got(heap, slot):
    """The program asked the soft reference of `slot` for its target."""
    used(heap.references, slot)


@kernel
def moved_young(heap, address):
    """Where the object lies now, in a collection of young; 0 if it was not reached."""
    return moved_if_reached(heap.machine, address) if is_young(heap, address) else address


@kernel
def look_at_young(heap):
    """Which holders and targets a collection of young reached; their addresses are the new ones.
    A reference object that lies in old, or was promoted just now, is not discovered."""
    refs = heap.references
    for entry in range(refs.entries):
        holder = moved_young(heap, refs.holder[unsigned(entry)])
        target = moved_young(heap, refs.target[unsigned(entry)])
        reached(refs, entry, holder, target, not is_young(heap, holder))


@kernel
def settle_young(heap):
    """A collection of young is over."""
    heap.references.head = moved_young(heap, heap.references.head)
    unlink(heap)
    note_cards(heap)


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
                write(java, machine, before, NEXT, after)
            else:
                refs.head = after
            if after:
                write(java, machine, after, BEFORE, before)
            write(java, machine, finalizer, NEXT, finalizer)
            write(java, machine, finalizer, BEFORE, 0)
    settle(refs, heap.mutator, heap.log.totals[EVENT])


@kernel
def note_cards(heap):
    """The card of an old reference object that refers to young is dirty."""
    refs = heap.references
    for entry in range(refs.entries):
        e = unsigned(entry)
        if not is_young(heap, refs.holder[e]) and is_young(heap, refs.target[e]):
            dirty(heap.java, refs.holder[e] - REFERENT_OFFSET)


@kernel
def mark_references(heap):
    """After `mark`, in a collection of the whole heap: mark what references keep."""
    refs = heap.references
    begin(refs)
    if refs.head:
        _mark_from(heap, refs.head)
    while refs.phase < DECIDED:
        _look_at_marks(heap)
        if decide(refs):
            for entry in range(refs.entries):
                if refs.bits[unsigned(entry)] & KEEP:
                    _mark_from(heap, refs.target[unsigned(entry)])


@kernel
def _mark_from(heap, address):
    """Mark an object, and what it leads to."""
    find(heap, address)
    while not is_empty(heap.machine, heap.stack):
        trace(heap, pop(heap.machine, heap.stack))


@kernel
def _look_at_marks(heap):
    """Which holders and targets are marked."""
    refs, machine = heap.references, heap.machine
    for entry in range(refs.entries):
        e = unsigned(entry)
        if is_marked(machine, refs.holder[e] - HEADER_BYTES):
            refs.bits[e] |= HOLDER
        if is_marked(machine, refs.target[e] - HEADER_BYTES):
            refs.bits[e] |= TARGET


@kernel
def relocate(heap):
    """After `redirect_table`: entries lead to where objects will lie."""
    refs, machine = heap.references, heap.machine
    for entry in range(refs.entries):
        e = unsigned(entry)
        if refs.bits[e] & HOLDER:
            refs.holder[e] = moved_to(machine, refs.holder[e])
            if not refs.bits[e] & CLEARED:
                refs.target[e] = moved_to(machine, refs.target[e])
    if refs.head:
        refs.head = moved_to(machine, refs.head)


def notes(heap):
    """What is to be known of the references of a replay."""
    if not heap.mutator.counts[REFERENCES]:
        return []
    refs = heap.references
    return [
        *sentences(refs),
        f"Time, by which soft references are cleared, is told by events: "
        f"{counted(int(refs.events_per_ms), 'event')} a millisecond (events_per_ms).",
    ]
