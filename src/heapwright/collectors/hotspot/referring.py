"""Reference objects in a Java heap: how they are declared, and what a collection makes of them.

    a reference object   an instance whose first reference leads to its target; its others are
                         followed as any
    a finaliser          an instance of the JVM's own, java.lang.ref.Finalizer, that is allocated
                         after its object, to which its first reference leads; they are linked, the
                         latest first, until the finaliser has run

    head ─► Finalizer ◄═► Finalizer ◄═► ... ─► null          references 1: next, 2: before

A collection of young that comes upon a reference object in young, whose target it has not reached,
leaves it for later (`found`), unless it is a soft one that is not due: of all others the first
reference is followed after the rest. Then what was left is cleared, soft ones first, then weak
ones; what has a finaliser is kept, the latest found first; then phantom ones are cleared. The JVM
enqueues what was cleared in this order, each kind as it was found.

What a finaliser is run on was kept by this collection and dies with the next that looks there, as
does its Finalizer, but for one that follows before the program goes on. Finalisers run before it
does, as far as the twin is concerned.

Source     OpenJDK 17 src/hotspot/share/gc/shared/referenceProcessor.cpp, referencePolicy.cpp,
           oops/instanceRefKlass.inline.hpp;
           src/java.base/share/classes/java/lang/ref/Finalizer.java, SoftReference.java
Omits      that the clock moves between the phases of one collection; the pending list, which links
           what was cleared until it is enqueued, but for the cards that enqueueing makes dirty
"""

from heapwright.collectors.hotspot.generations import is_young
from heapwright.collectors.hotspot.layout import (
    HEADER_BYTES,
    INSTANCE,
    dirty,
    entry_of,
    first_place,
    initialise,
    is_marked,
    moved_if_reached,
    moved_to,
    refer,
    reference,
    tell_entry,
    write,
)
from heapwright.collectors.hotspot.tracing import find, trace
from heapwright.collectors.log import ALLOCATED_BYTES, ALLOCATED_OBJECTS, EVENT
from heapwright.collectors.mark import is_empty, pop
from heapwright.collectors.mutator import REFERENCES, handle
from heapwright.collectors.references import (
    CLEARED,
    DECIDED,
    FINALS,
    HOLDER,
    KEEP,
    PENDING,
    TARGET,
    begin,
    clear,
    decide,
    declare,
    discover,
    sentences,
    settle,
    used,
)
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store
from heapwright.trace.schema import FINALISABLE, PHANTOM, SOFT, WEAK
from heapwright.words import counted

FINALIZER_BYTES, WIDE_FINALIZER_BYTES = 40, 64  # with compressed references, and without
NEXT, BEFORE = 1, 2  # references of a Finalizer


@kernel
def finalizer_bytes(java):
    """Bytes of a java.lang.ref.Finalizer."""
    return FINALIZER_BYTES if java.shift == 2 else WIDE_FINALIZER_BYTES


@kernel
def enter(heap, slot, target, kind, block):
    """The program declared the object of `slot`; `block` is its Finalizer's, if it has one. The
    address of what refers to the target."""
    java, machine, refs = heap.java, heap.machine, heap.references
    address = holder = handle(heap.mutator, slot)
    referred = handle(heap.mutator, target)
    _be_instance(machine, address)
    if block:
        bytes_ = finalizer_bytes(java)
        heap.log.totals[ALLOCATED_OBJECTS] += 1
        heap.log.totals[ALLOCATED_BYTES] += bytes_
        holder = initialise(java, machine, block, bytes_, 3)
        _be_instance(machine, holder)
        tell_entry(java, address, 0)
        referred, kind = address, FINALISABLE
    declare(refs, slot, holder, referred, kind)
    tell_entry(java, holder, refs.entries)
    refer(java, machine, holder, 0, referred)
    return holder


@kernel
def _be_instance(machine, address):
    """The object is one of a class."""
    store(machine, address - 8, load(machine, address - 8) | INSTANCE)


@kernel
def link(heap, holder):
    """The Finalizer is the first of the list, if it is one; its card, and the list's, are dirty."""
    java, refs = heap.java, heap.references
    dirty(java, first_place(java, holder))
    if refs.kind[unsigned(refs.entries - 1)] != FINALISABLE:
        return
    if refs.head:
        write(java, heap.machine, holder, NEXT, refs.head)
        write(java, heap.machine, refs.head, BEFORE, holder)
    refs.head = holder


@kernel
def got(heap, slot):
    """The program asked the soft reference of `slot` for its target."""
    used(heap.references, slot)


@kernel
def first_followed(heap, address):
    """The first of an instance's references that a collection follows as any; the one before it, if
    there is one, comes after them: `follows_first`."""
    is_instance = load(heap.machine, address - 8) & INSTANCE
    return 1 if is_instance and entry_of(heap.java, address) else 0


@kernel
def follows_first(heap, address):
    """Whether a collection of young, which has come upon the reference object, follows its first
    reference; an object that is none has no such first one."""
    entry = entry_of(heap.java, address)
    if not entry:
        return False
    e = come_upon(heap, address, entry)
    target = reference(heap.java, heap.machine, address, 0)
    if not is_young(heap, address) or not is_young(heap, target):
        return True
    return is_marked(heap.machine, target - HEADER_BYTES) or not discover(heap.references, e)


@kernel
def come_upon(heap, address, entry):
    """A collection finds the holder of an entry, counted from 1, at this address; its number."""
    e = unsigned(entry - 1)
    heap.references.holder[e] = address
    heap.references.bits[e] |= HOLDER
    return e


@kernel
def moved_young(heap, address):
    """Where the object lies now, in a collection of young; 0 if it was not reached."""
    return moved_if_reached(heap.machine, address) if is_young(heap, address) else address


@kernel
def clear_softs_and_weaks(heap):
    """Of what a collection of young left for later."""
    heap.references.phase = FINALS
    _clear_young(heap, SOFT)
    _clear_young(heap, WEAK)


@kernel
def _clear_young(heap, kind):
    """Clear the references of a kind whose targets were not reached; the others lead to where those
    lie now."""
    refs, java, machine = heap.references, heap.java, heap.machine
    for row in range(refs.found_rows):
        e = unsigned(refs.found[unsigned(row)])
        if refs.kind[e] == kind:
            holder = refs.holder[e]
            target = moved_young(heap, reference(java, machine, holder, 0))
            refer(java, machine, holder, 0, target)
            if not target:
                clear(refs, heap.mutator, e, heap.log.totals[EVENT])


@kernel
def to_finalise(heap, row):
    """The target of what was left for later as the so many-th, from the end, if it was not reached
    and has a finaliser, which is to run; else 0."""
    refs = heap.references
    e = unsigned(refs.found[unsigned(refs.found_rows - 1 - row)])
    target = reference(heap.java, heap.machine, refs.holder[e], 0)
    if refs.kind[e] != FINALISABLE or moved_young(heap, target):
        return 0
    refs.bits[e] |= PENDING
    return target


@kernel
def settle_young(heap):
    """A collection of young is over, but for phantom references."""
    refs = heap.references
    _clear_young(heap, FINALISABLE)
    _clear_young(heap, PHANTOM)
    for entry in range(refs.entries):
        e = unsigned(entry)
        if not is_young(heap, refs.holder[e]):
            refs.bits[e] |= HOLDER
        if refs.bits[e] & HOLDER:
            refs.target[e] = reference(heap.java, heap.machine, refs.holder[e], 0)
    refs.head = moved_young(heap, refs.head)
    settle_gone(heap)


@kernel
def settle_gone(heap):
    """A collection is over, and objects lie where they will: what was cleared is no entry any more
    and refers to nothing; the JVM's threads, which enqueue it, write to it. What finalisers will
    run on is none either: its Finalizer refers to it as any object would, until they have run."""
    refs, java = heap.references, heap.java
    for entry in range(refs.entries):
        e = unsigned(entry)
        if refs.bits[e] & HOLDER:
            if refs.bits[e] & CLEARED:
                refer(java, heap.machine, refs.holder[e], 0, 0)
                dirty(java, refs.holder[e] - HEADER_BYTES)
            if refs.bits[e] & (CLEARED | PENDING):
                tell_entry(java, refs.holder[e], 0)
    settle_entries(heap)


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
                write(java, machine, before, NEXT, after)
            else:
                refs.head = after
            if after:
                write(java, machine, after, BEFORE, before)
            write(java, machine, finalizer, NEXT, finalizer)
            write(java, machine, finalizer, BEFORE, 0)
            refer(java, machine, finalizer, 0, 0)
        finalizer = after


@kernel
def settle_entries(heap):
    """The entries that are left, and their objects, know each other."""
    refs = heap.references
    settle(refs, heap.mutator, heap.log.totals[EVENT])
    for entry in range(refs.entries):
        tell_entry(heap.java, refs.holder[unsigned(entry)], entry + 1)


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
            if refs.bits[e] & CLEARED:
                refer(heap.java, machine, refs.holder[e], 0, 0)
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
