"""Weak references: who refers weakly to an object, and what happens when it goes.

    target   ─► the reference objects that refer to it, the latest first (wr_next)
    count 0  ─► each of them is cleared; callbacks are called of those that live
    cycles   ─► unreachable targets: their reference objects are cleared, and the callbacks are
                called of those that are not about to be collected themselves; before finalisers
                run. An unreachable reference object is cleared as well, unheard
    3.14 on  ─► before finalisers only those with callbacks; the others when what finalisers brought
                back is out of it

Terms      entry: a weak reference object, by order of declaration; each is in its target's list
           until it is cleared or dies
Invariant  a listed entry's holder and target are flagged                          (check: 7)
Source     CPython 3.11, Modules/gcmodule.c (handle_weakrefs), Objects/weakrefobject.c; later
           Python/gc.c (clear_weakrefs)
Omits      what a callback does: it is noted that it was called; proxies; that a collection which
           the tuple for several callbacks brings runs in the midst of a cascade: here after it

A reference object's first field stays null in memory, so nothing else follows it.
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors.log import EVENT
from heapwright.collectors.mutator import REFERENCES, Mutator, handle
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.machine import store
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.runtime.cpython.heads import (
    COLLECTING,
    GRANULE_SHIFT,
    REFERRED,
    SPACE,
    WEAKLING,
    clear_flag,
    count_of,
    following,
    has,
    increment,
    is_tracked,
    move,
    node,
    set_flag,
    slot_of,
)
from heapwright.trace.schema import CALLBACK, FINALISABLE, REFERENCE, WEAK

HEARD = ("event", "called", "slot")  # columns of the log; called: 0 cleared, 1 its callback called
LOG_ROWS = 1 << 18
CALLS_ONLY, EVERY = 1, 0
MOST_SPARE = 10  # references, of a tuple of 20 items at most that a free list keeps


@record(
    "entries",
    "rows",  # of the log, kept or not
    "most_rows",
    "cleared",
    "called",  # callbacks
    "waiting",  # entries in `queue`
    "late",  # setting: 1 from 3.14 on: those without callbacks are cleared after finalisers
    "least",  # setting: from so many references to one object on a tuple is made to call back
    "spare_tuples",  # bit n: the free list has one for n references
    "owed",  # 1: the birth of such a tuple brought a collection
    "as_fields",  # soft and phantom references that were declared: Python has none
    "finalisable",  # objects that were declared to have a finaliser
)
class Weak(NamedTuple):
    """Weak references that the program has made."""

    holder: np.ndarray  # int64[entry], address of the reference object; 0 once it is dead
    target: np.ndarray  # int64[entry], address; 0 once it is cleared
    slot: np.ndarray  # int64[entry], of the reference object
    kind: np.ndarray  # int64[entry], CALLBACK or 0
    next: np.ndarray  # int64[entry], entry + 1 of the next with the same target
    queue: np.ndarray  # int64[entry], cleared, and about to be collected
    first: np.ndarray  # int32[address >> 4], entry + 1 of the first that refers to it
    entry: np.ndarray  # int32[address >> 4], entry + 1 of the reference object
    log: np.ndarray  # int64[row * len(HEARD)], flat
    fields: np.ndarray  # int64[word]


def weak_references(mutator: Mutator, late: int, least: int) -> Weak:
    """None so far."""
    most = int(mutator.counts[REFERENCES])
    places = SPACE_BYTES >> GRANULE_SHIFT if most else 0
    most_rows = min(2 * most, LOG_ROWS)
    return Weak(
        *(reserve(most, np.int64) for _ in range(6)),
        first=reserve(places, np.int32),
        entry=reserve(places, np.int32),
        log=reserve(most_rows * len(HEARD), np.int64),
        fields=words(Weak, most_rows=most_rows, late=late, least=least),
    )


@kernel(cold=True)
def declare(heap, slot, target, kind):
    """What the program declares of the object in `slot`; there is always room for it."""
    holder, referred = handle(heap.mutator, slot), handle(heap.mutator, target)
    if kind & REFERENCE == FINALISABLE:
        heap.weak.finalisable += 1
    elif holder and referred:
        if kind & REFERENCE == WEAK:
            _enter(heap, holder, referred, kind)
        else:
            heap.weak.as_fields += 1
            increment(heap.heads, referred)
            store(heap.machine, holder, referred)
    return True


@kernel(cold=True)
def _enter(heap, holder, target, kind):
    """The object is a weak reference to `target`."""
    weak, heads = heap.weak, heap.heads
    entry = weak.entries
    weak.entries += 1
    e, place = unsigned(entry), unsigned(target >> GRANULE_SHIFT)
    weak.holder[e], weak.target[e], weak.kind[e] = holder, target, kind & CALLBACK
    weak.slot[e] = slot_of(heads, holder)
    weak.next[e] = weak.first[place]
    weak.first[place] = entry + 1
    weak.entry[unsigned(holder >> GRANULE_SHIFT)] = entry + 1
    set_flag(heads, holder, WEAKLING)
    set_flag(heads, target, REFERRED)


@kernel(cold=True)
def note(heap, entry, called):
    """It was cleared, or its callback called."""
    weak = heap.weak
    weak.cleared += 1 - called
    weak.called += called
    at = weak.rows * 3
    weak.rows += 1
    if weak.rows <= weak.most_rows:
        weak.log[unsigned(at)] = heap.log.totals[EVENT]
        weak.log[unsigned(at + 1)] = called
        weak.log[unsigned(at + 2)] = weak.slot[unsigned(entry)]


@kernel(cold=True)
def _unlist(heap, entry):
    """It refers to nothing from now on."""
    weak, e = heap.weak, unsigned(entry)
    target = weak.target[e]
    weak.target[e] = 0
    place = unsigned(target >> GRANULE_SHIFT)
    at = np.int64(weak.first[place]) - 1
    if at == entry:
        weak.first[place] = weak.next[e]
    else:
        while weak.next[unsigned(at)] - 1 != entry:
            at = weak.next[unsigned(at)] - 1
        weak.next[unsigned(at)] = weak.next[e]
    if not weak.first[place]:
        clear_flag(heap.heads, target, REFERRED)


@kernel(cold=True)
def forget(heap, address):
    """The count of an object that is, or has, a weak reference is 0: it is about to be freed."""
    weak, heads = heap.weak, heap.heads
    if has(heads, address, WEAKLING):
        entry = np.int64(weak.entry[unsigned(address >> GRANULE_SHIFT)]) - 1
        if weak.target[unsigned(entry)]:
            _unlist(heap, entry)
        weak.holder[unsigned(entry)] = 0
        clear_flag(heads, address, WEAKLING)
    if has(heads, address, REFERRED):
        _make_tuple(heap, address)
    while has(heads, address, REFERRED):
        entry = np.int64(weak.first[unsigned(address >> GRANULE_SHIFT)]) - 1
        _unlist(heap, entry)
        note(heap, entry, 0)
        if weak.kind[unsigned(entry)] and count_of(heads, weak.holder[unsigned(entry)]):
            note(heap, entry, 1)


@kernel(cold=True)
def _make_tuple(heap, address):
    """Before callbacks the interpreter makes a tuple of references and callbacks: a birth, unless
    the free list has one; the dead tuple stays there. Before 3.13 the first two that nobody hears
    of are cleared before."""
    weak, counts, found = heap.weak, heap.counts, 0
    after = np.int64(weak.first[unsigned(address >> GRANULE_SHIFT)])
    for _ in range(2):
        if after and weak.least > 1 and not weak.kind[unsigned(after - 1)]:
            after = weak.next[unsigned(after - 1)]
    while after:
        found += 1
        after = weak.next[unsigned(after - 1)]
    if found < weak.least or (found <= MOST_SPARE and weak.spare_tuples >> found & 1):
        return
    past = counts[0] + 1 > heap.thresholds[0] and heap.thresholds[0] and heap.enabled
    if past and not heap.collecting:
        weak.owed = 1
    if found <= MOST_SPARE:
        weak.spare_tuples |= 1 << found
        counts[0] += 1
        heap.heap_size += 1


@kernel(cold=True)
def clear(heap, ring, older, which):
    """Clear the weak references to what is in `ring`, and those that are in it: EVERY one, or of
    the former CALLS_ONLY. What is heard of such a call goes to the end of `older`."""
    weak, heads = heap.weak, heap.heads
    address = following(heads, node(ring))
    while address != node(ring):
        if has(heads, address, WEAKLING) and which == EVERY:
            entry = np.int64(weak.entry[unsigned(address >> GRANULE_SHIFT)]) - 1
            if weak.target[unsigned(entry)]:
                _unlist(heap, entry)
                _wait(heap, entry)
        if has(heads, address, REFERRED):
            after = np.int64(weak.first[unsigned(address >> GRANULE_SHIFT)])
            while after:
                entry = after - 1
                after = weak.next[unsigned(entry)]
                if weak.kind[unsigned(entry)] or which == EVERY:
                    _unlist(heap, entry)
                    _clear_of(heap, entry, older)
        address = following(heads, address)


@kernel(cold=True)
def _wait(heap, entry):
    """It may be collected now: whether its clearing is seen shows in the end."""
    heap.weak.queue[unsigned(heap.weak.waiting)] = entry
    heap.weak.waiting += 1


@kernel(cold=True)
def _clear_of(heap, entry, older):
    """An entry was cleared as its target is unreachable."""
    weak, heads = heap.weak, heap.heads
    holder = weak.holder[unsigned(entry)]
    if has(heads, holder, COLLECTING):
        _wait(heap, entry)
        return
    note(heap, entry, 0)
    if weak.kind[unsigned(entry)]:
        note(heap, entry, 1)
        if is_tracked(heads, holder):
            move(heads, holder, older)
            if heap.incremental and heap.visited:
                set_flag(heads, holder, SPACE)
            elif heap.incremental:
                clear_flag(heads, holder, SPACE)


@kernel(cold=True)
def settle(heap):
    """The collection is over: of what was cleared unheard, note what is still there."""
    weak = heap.weak
    for row in range(weak.waiting):
        entry = weak.queue[unsigned(row)]
        if weak.holder[unsigned(entry)]:
            note(heap, entry, 0)
    weak.waiting = 0


@kernel
def is_sound(heap):
    """Whether each entry that is not cleared has a holder and a target."""
    weak, heads = heap.weak, heap.heads
    for entry in range(weak.entries):
        e = unsigned(entry)
        if weak.target[e]:
            if not has(heads, weak.target[e], REFERRED) or not weak.holder[e]:
                return False
            if not has(heads, weak.holder[e], WEAKLING):
                return False
    return True


def heard(weak: Weak) -> np.ndarray:
    """int64[row, len(HEARD)]: what was cleared, and which callbacks were called, as far as it is
    kept; what one event cleared by slots, before its calls."""
    rows = min(int(weak.rows), int(weak.most_rows))
    return ordered(weak.log[: rows * len(HEARD)].reshape(rows, len(HEARD)))


def ordered(rows: np.ndarray) -> np.ndarray:
    """The same rows by event, what was cleared by slots before what was called, in its order."""
    calls = rows[:, 1] > 0
    within = np.where(calls, np.arange(len(rows)), rows[:, 2])
    return rows[np.lexsort((within, rows[:, 1], rows[:, 0]))].copy()


def sentences(weak: Weak) -> list[str]:
    """What is to be known of the references of a replay."""
    told = []
    if weak.entries:
        told.append(
            f"Of {int(weak.entries):,} weak references {int(weak.cleared):,} were cleared, and "
            f"{int(weak.called):,} callbacks called; a callback is taken to do nothing."
        )
    if weak.as_fields:
        told.append(
            f"Python has no soft and phantom references: {int(weak.as_fields):,} of the trace keep "
            "what they refer to."
        )
    if weak.finalisable:
        told.append(
            f"The finalisers of {int(weak.finalisable):,} objects bring nothing back here, and so "
            "change nothing."
        )
    return told
