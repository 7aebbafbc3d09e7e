"""Reference objects and finalisers: which references a collection clears, and what it keeps.

    the collector has marked or moved what is reached strongly; of each declared object is noted
    whether it lives (HOLDER), and whether what it refers to does (TARGET). Then, in this order:

    SOFTS      soft references that were used lately keep their targets, and what these lead to
    WEAKS      soft and weak references to what is still unreached are cleared
    FINALS     what has a finaliser and is unreached is kept, once more, for the finaliser to run;
               a reference that is reached only now is as good as a strong one; or with
               LATE_CLEARED it is cleared as the others were
    PHANTOMS   phantom references to what is still unreached are cleared

Terms      entry: a declared object, in order of declaration; its holder is the reference object, or
           what stands for a finaliser; target: what it refers to
Invariant  after a collection every entry's holder and target live; one that was cleared, or whose
           finaliser runs, is no entry any more
Source     OpenJDK 17 src/hotspot/share/gc/shared/referenceProcessor.cpp; the Dalvik of Android 4.4
           and ART have the same order

How what is kept is found, and when soft references are due, is the collector's: it calls looks of
its own and `decide` by turns, keeps what has the bit KEEP, and ends with `settle`. One that comes
upon reference objects in an order that matters calls `discover` and `clear`. Where a program
declares nothing, `entries` stays 0 and nothing here runs.
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors.mutator import REFERENCES, SLOTS, Mutator
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.trace.schema import FINALISABLE, PHANTOM, REFERENCE, SOFT, WEAK

SOFTS, WEAKS, FINALS, PHANTOMS, DECIDED = range(5)  # phases
HOLDER, TARGET, KEEP, FOUND, CLEARED, PENDING, DUE, NOTED = (1 << bit for bit in range(8))

LOG_ROWS = 1 << 18
LOG_COLUMNS = ("event", "kind", "slot", "held")  # held: the program still knew the reference object
LOG_WIDTH = len(LOG_COLUMNS)


@record(
    "entries",
    "clock_ms",  # of the last collection
    "told_rows",  # of `told`, if a real system said when it collected
    "told_row",  # the next of them
    "used_bytes",  # of the heap after the last collection that counts for this
    "most_bytes",  # of the heap
    "clear_all",  # of the next collection: all soft references are due
    "events_per_ms",  # setting: what stands for time
    "ms_per_mb",  # setting: so long a soft reference stays unused for each free mebibyte
    "rows",  # of the log, kept or not
    "most_rows",
    "cleared_soft",  # so far
    "cleared_weak",
    "cleared_phantom",
    "finalised",
    "late_cleared",  # setting: see above
    "soft_seen",  # unreached soft references, where every other one is kept
    "phase",
    "waiting",  # for their finalisers: found by a collection, and the program has not gone on
    "found_rows",  # of `found`
    "head",  # of what stands for finalisers, where a collector links them: an address
)
class References(NamedTuple):
    """What the program declared and a collector still treats apart."""

    holder: np.ndarray  # int64[entry], address
    target: np.ndarray  # int64[entry], address
    kind: np.ndarray  # int64[entry], SOFT, WEAK, PHANTOM or FINALISABLE
    stamp: np.ndarray  # int64[entry], clock_ms when it was made or last used
    slot: np.ndarray  # int64[entry], slot of the reference object, or of the finalisable one
    bits: np.ndarray  # int64[entry], of the collection at work
    found: np.ndarray  # int64[row], entries in the order in which a collection came upon them
    entry: np.ndarray  # int64[slot], entry of the reference object + 1; may be stale
    log: np.ndarray  # int64[row * LOG_WIDTH], flat: what was cleared and finalised
    told: np.ndarray  # int64[row * 2], flat: an event that collected, and when that was, ms
    fields: np.ndarray  # int64[word]


def references(mutator: Mutator, ms_per_mb: int = 0, events_per_ms: int = 1) -> References:
    """Nothing is declared yet."""
    most, slots = int(mutator.counts[REFERENCES]), int(mutator.counts[SLOTS])
    return References(
        *(reserve(most, np.int64) for _ in range(7)),
        entry=reserve(slots if most else 0, np.int64),
        log=reserve(min(most, LOG_ROWS) * LOG_WIDTH, np.int64),
        told=reserve(2 * LOG_ROWS if most else 0, np.int64),
        fields=words(
            References,
            ms_per_mb=ms_per_mb,
            events_per_ms=max(1, events_per_ms),
            most_rows=min(most, LOG_ROWS),
        ),
    )


@kernel
def declare(refs, slot, holder, target, kind):
    """One more entry."""
    entry = refs.entries
    refs.entries += 1
    e = unsigned(entry)
    refs.holder[e], refs.target[e], refs.kind[e] = holder, target, kind & REFERENCE
    refs.stamp[e], refs.slot[e], refs.bits[e] = refs.clock_ms, slot, 0
    refs.entry[unsigned(slot)] = entry + 1


@kernel
def used(refs, slot):
    """The program asked the soft reference of `slot` for its target, if that is still there."""
    entry = refs.entry[unsigned(slot)] - 1
    if 0 <= entry < refs.entries and refs.slot[unsigned(entry)] == slot:
        refs.stamp[unsigned(entry)] = refs.clock_ms


@kernel
def begin(refs):
    """A collection begins to look at references; soft ones are due if they were not used for
    `ms_per_mb` times the free mebibytes, up to the last collection."""
    allowed = (max(0, refs.most_bytes - refs.used_bytes) >> 20) * refs.ms_per_mb
    for entry in range(refs.entries):
        e = unsigned(entry)
        is_due = refs.clear_all != 0 or refs.clock_ms - refs.stamp[e] > allowed
        refs.bits[e] = DUE if is_due else 0
    refs.phase, refs.found_rows = SOFTS, 0


@kernel
def discover(refs, e):
    """A collection comes upon a reference object whose target it has not reached: whether that is
    left for later, entered in `found`. Not of a soft one that is not due, nor when it is too
    late."""
    if refs.phase != SOFTS or (refs.kind[e] == SOFT and not refs.bits[e] & DUE):
        return False
    refs.found[unsigned(refs.found_rows)] = e
    refs.found_rows += 1
    return True


@kernel
def clear(refs, mutator, e, event):
    """The reference of this entry is cleared."""
    refs.bits[e] |= CLEARED | NOTED
    _enter(refs, mutator, e, event)


@kernel
def decide(refs):
    """What the phase makes of each entry; how many have KEEP now. With none, the next phase begins,
    after the last DECIDED."""
    kept, phase = 0, refs.phase
    for entry in range(refs.entries):
        e = unsigned(entry)
        bits, kind = refs.bits[e] & ~KEEP, refs.kind[e]
        if bits & (HOLDER | TARGET) == HOLDER:
            if phase == SOFTS:
                if kind == SOFT and not bits & DUE:
                    bits |= KEEP
            elif phase == WEAKS:
                if kind in (SOFT, WEAK):
                    bits |= CLEARED
            elif phase == FINALS:
                if kind == FINALISABLE:
                    bits |= KEEP | (PENDING if bits & FOUND else 0)
                elif not bits & FOUND and not refs.late_cleared:
                    bits |= KEEP
            elif kind == PHANTOM or not bits & FOUND:
                bits |= CLEARED
        if phase == WEAKS and bits & HOLDER:
            bits |= FOUND
        kept += bits & KEEP == KEEP
        refs.bits[e] = bits
    if not kept:
        refs.phase += 1
    return kept


@kernel
def settle(refs, mutator, event):
    """The collection is over, and addresses are the new ones: what was cleared, is about to be
    finalised or is dead with its holder is no entry any more; the clock moves on."""
    kept = 0
    for entry in range(refs.entries):
        e, k = unsigned(entry), unsigned(kept)
        bits, slot = refs.bits[e], refs.slot[e]
        gone = bits & (CLEARED | PENDING) != 0 and bits & HOLDER != 0
        if gone and not bits & NOTED:
            _enter(refs, mutator, entry, event)
        if gone or not bits & HOLDER:
            continue
        refs.holder[k], refs.target[k], refs.kind[k] = refs.holder[e], refs.target[e], refs.kind[e]
        refs.stamp[k], refs.slot[k] = refs.stamp[e], slot
        if refs.entry[unsigned(slot)] == entry + 1:
            refs.entry[unsigned(slot)] = kept + 1
        kept += 1
    refs.entries, refs.clear_all = kept, 0
    refs.clock_ms = _time_ms(refs, event)


@kernel
def _time_ms(refs, event):
    """When the event is, in ms: by its number, or as was told."""
    row = refs.told_row
    while row < refs.told_rows and refs.told[unsigned(2 * row)] < event:
        row += 1
    refs.told_row = row
    if refs.told_rows:
        return refs.told[unsigned(2 * min(row, refs.told_rows - 1) + 1)]
    return event // refs.events_per_ms


@kernel
def _enter(refs, mutator, entry, event):
    """Count, and log, that an entry was cleared or finalised."""
    kind, slot = refs.kind[unsigned(entry)], refs.slot[unsigned(entry)]
    if kind == SOFT:
        refs.cleared_soft += 1
    elif kind == WEAK:
        refs.cleared_weak += 1
    elif kind == PHANTOM:
        refs.cleared_phantom += 1
    else:
        refs.finalised += 1
        refs.waiting += 1
    at = refs.rows * LOG_WIDTH
    refs.rows += 1
    if refs.rows <= refs.most_rows:
        held = kind != FINALISABLE and (
            mutator.handles[unsigned(slot)] == refs.holder[unsigned(entry)]
        )
        refs.log[unsigned(at)], refs.log[unsigned(at + 1)] = event, kind
        refs.log[unsigned(at + 2)], refs.log[unsigned(at + 3)] = slot, held


def tell_times(refs: References, times: np.ndarray) -> None:
    """Let the clock show after each collection what a real one did: int64[row, 2], events and ms,
    the first before any event."""
    refs.clock_ms, refs.told_rows = int(times[0, 1]), len(times) - 1
    refs.told[: 2 * len(times) - 2] = times[1:].ravel()


def logged(refs: References) -> np.ndarray:
    """int64[row, LOG_WIDTH]: what was cleared and finalised, as far as it is kept."""
    kept = min(int(refs.rows), len(refs.log) // LOG_WIDTH)
    return refs.log[: kept * LOG_WIDTH].reshape(kept, LOG_WIDTH)


def sentences(refs: References) -> list[str]:
    """What is to be known of the references of a replay."""
    counts = (refs.cleared_soft, refs.cleared_weak, refs.cleared_phantom, refs.finalised)
    soft, weak, phantom, finalised = map(int, counts)
    return [
        f"Collections cleared {soft:,} soft, {weak:,} weak and {phantom:,} phantom references and "
        f"found {finalised:,} objects for their finalisers."
    ]
