"""Is a run of events of a graph trace sound? One pass, as events stream by.

What holds an object is followed: locals frame by frame, and global roots. What fields refer to is
not, which would take the memory of the whole graph: only that a field exists and that what is
written to it is live.

Invariant  held[slot] is how many locals refer to it, rooted[slot] whether a global does; a slot
           with either is live
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.reserve import reserve
from heapwright.trace.schema import (
    FINALISABLE,
    FREE,
    GET,
    HOLD,
    KINDS,
    NEW,
    POP,
    PUSH,
    REFER,
    REFERENCE,
    ROOT,
    SIZE_LIMIT,
    SOFT,
    STEER,
    THREAD_EXIT,
    UNROOT,
    WRITE,
    Events,
)

# What can be wrong with an event, in words for a person.
WRONG = (
    "an unknown operation",
    "an operation of the malloc family, in a graph trace",
    "a slot out of range",
    "a size out of range",
    "a free of an object that is not live",
    "a free of an object that a local or a global root refers to",
    "a new object in a slot that is still live",
    "an object that is not live",
    "more reference fields than its size has room for",
    "a field that its object does not have",
    "a target that is not live",
    "a global root of an object that is one already",
    "an unroot of an object that is no global root",
    "a pop of the lowest frame",
    "more locals, frames or global roots than the trace's facts count",
    "a kind of object that is not known",
    "a reference that is not declared at its birth, or of a kind that is not known",
    "a get of what is no soft reference",
)
(
    UNKNOWN,
    MALLOC_FAMILY,
    SLOT,
    SIZE,
    FREE_OF_DEAD,
    FREE_OF_ROOT,
    FILLED,
    DEAD,
    TOO_MANY_FIELDS,
    NO_FIELD,
    DEAD_TARGET,
    ROOT_TWICE,
    NO_ROOT,
    LOWEST_FRAME,
    TOO_MANY_ROOTS,
    KIND,
    REFERENCE_KIND,
    NOT_SOFT,
) = range(len(WRONG))

# Books.counts
(
    LOCALS,
    FRAMES,
    GLOBALS,
    PEAK_ROOTS,  # most of each of them
    LIMIT,  # of each of them; `locals` and `frames` are as long
    SLOTS,
    BORN,  # slot of the object that the event before made + 1; else 0
    COUNTS,
) = range(8)


class Books(NamedTuple):
    """What is known of the events so far; with 0 slots nothing is, and only ranges are checked."""

    live: np.ndarray  # uint8[slot], 1; of a reference object 1 + its kind
    fields: np.ndarray  # int32[slot], reference fields of the object
    held: np.ndarray  # int32[slot], locals that refer to it
    rooted: np.ndarray  # uint8[slot], 1 when a global refers to it
    locals: np.ndarray  # int32[local], slot
    frames: np.ndarray  # int32[frame], locals below the frame
    counts: np.ndarray  # int64[COUNTS]


def books(slots: int, roots: int, *, followed: bool = True) -> Books:
    """Nothing has happened yet; at most `roots` locals, frames and global roots each are let by."""
    counts = np.zeros(COUNTS, np.int64)
    counts[SLOTS], counts[LIMIT] = slots, roots
    known = slots if followed else 0
    return Books(
        *(reserve(known, dtype) for dtype in (np.uint8, np.int32, np.int32, np.uint8)),
        *(reserve(roots if followed else 0, np.int32) for _ in range(2)),
        counts,
    )


def enlarged(old: Books, slots: int, further: int) -> Books:
    """The same books, for `slots` slots and `further` more roots."""
    roots = int(old.counts[LOCALS] + old.counts[FRAMES] + old.counts[GLOBALS]) + further
    if slots <= len(old.live) and roots <= len(old.locals):
        return old
    new = books(max(slots, 2 * len(old.live)), max(roots, 2 * len(old.locals)))
    for name in Books._fields[:-1]:
        column = getattr(old, name)
        getattr(new, name)[: len(column)] = column
    kept = [LOCALS, FRAMES, GLOBALS, PEAK_ROOTS, BORN]
    new.counts[kept] = old.counts[kept]
    return new


def first_unsound(events: Events, known: Books) -> tuple[int, str] | None:
    """Row of an unsound event and what it has, in words; None when all are sound.

    `op` and `slot` must be there. Without `size`, `field` and `target`, fields are not checked.
    """
    wrong = np.zeros(1, np.int64)
    row = int(audit_graph(events, known, wrong))
    return None if row < 0 else (row, WRONG[wrong[0]])


@kernel
def audit_graph(events, books, wrong):
    """Row of the first unsound event, its number of `WRONG` in wrong[0]; -1 if all are sound."""
    followed = len(books.live) > 0
    slots, sized = books.counts[SLOTS], len(events.size) > 0
    for row in range(len(events.op)):
        i = unsigned(row)
        op, slot = np.int64(events.op[i]), np.int64(events.slot[i])
        nobody = op in (PUSH, STEER) or (op == POP and slot < 0)
        fault = -1
        if (op > POP and op < STEER) or op > GET:
            fault = UNKNOWN
        elif op != FREE and op <= THREAD_EXIT:
            fault = MALLOC_FAMILY
        elif slot >= slots or (slot != -1 if nobody else slot < 0):
            fault = SLOT
        elif sized and (events.size[i] < 0 or events.size[i] >= SIZE_LIMIT):
            fault = SIZE
        elif followed:
            fault = _enter(events, books, row, op, slot)
        if fault >= 0:
            wrong[0] = fault
            return row
    return -1


@kernel(inline=True)
def _enter(events, books, row, op, slot):
    """Enter one event whose numbers are in range; its fault, or -1."""
    i, s, counts = unsigned(row), unsigned(slot), books.counts
    born, counts[BORN] = counts[BORN], slot + 1 if op == NEW else 0
    fielded = len(events.field) > 0 and len(events.target) > 0 and len(events.size) > 0
    if op == PUSH:
        return _push(books)
    if op == STEER:
        return -1
    if op == POP:
        if counts[FRAMES] == 0:
            return LOWEST_FRAME
        if slot >= 0 and not books.live[s]:
            return DEAD
        _pop(books)
        return -1 if slot < 0 else _hold(books, slot)
    if op == NEW:
        if books.live[s]:
            return FILLED
        books.live[s] = 1
        if fielded:
            field = np.int64(events.field[i])
            if field < 0 or 8 * field > events.size[i]:
                return TOO_MANY_FIELDS
            if events.target[i] < -1 or events.target[i] >= KINDS:
                return KIND
            books.fields[s] = field
        return _hold(books, slot)
    if not books.live[s]:
        return FREE_OF_DEAD if op == FREE else DEAD
    if op == FREE:
        if books.held[s] or books.rooted[s]:
            return FREE_OF_ROOT
        books.live[s] = 0
    elif op == WRITE:
        if fielded:
            field, target = np.int64(events.field[i]), np.int64(events.target[i])
            if field < 0 or field >= books.fields[s]:
                return NO_FIELD
            if (field == 0 and books.live[s] > 1) or target < -1 or target >= counts[SLOTS]:
                return NO_FIELD if field == 0 and books.live[s] > 1 else DEAD_TARGET
            if target >= 0 and not books.live[unsigned(target)]:
                return DEAD_TARGET
    elif op == REFER:
        return _declare(events, books, row, born) if fielded else -1
    elif op == GET:
        return -1 if books.live[s] == 1 + SOFT or not fielded else NOT_SOFT
    elif op == HOLD:
        return _hold(books, slot)
    elif op == ROOT:
        if books.rooted[s]:
            return ROOT_TWICE
        books.rooted[s] = 1
        counts[GLOBALS] += 1
        return _within(books, counts[GLOBALS])
    elif op == UNROOT:
        if not books.rooted[s]:
            return NO_ROOT
        books.rooted[s] = 0
        counts[GLOBALS] -= 1
    return -1


@kernel
def _declare(events, books, row, born):
    """Enter a REFER; `born` is one more than the slot of the object that the event before made."""
    i = unsigned(row)
    slot, target = np.int64(events.slot[i]), np.int64(events.target[i])
    kind = events.size[i] & REFERENCE
    if born != slot + 1 or events.size[i] > 15 or kind < SOFT or kind > FINALISABLE:
        return REFERENCE_KIND
    if kind == FINALISABLE:
        return -1 if target == -1 else DEAD_TARGET
    if not books.fields[unsigned(slot)]:
        return NO_FIELD
    if target < 0 or target >= books.counts[SLOTS] or not books.live[unsigned(target)]:
        return DEAD_TARGET
    books.live[unsigned(slot)] = 1 + kind
    return -1


@kernel(inline=True)
def _within(books, roots):
    """Note that there are so many locals, frames or globals."""
    books.counts[PEAK_ROOTS] = max(books.counts[PEAK_ROOTS], roots)
    return TOO_MANY_ROOTS if roots > books.counts[LIMIT] else -1


@kernel(inline=True)
def _hold(books, slot):
    local = books.counts[LOCALS]
    fault = _within(books, local + 1)
    if fault < 0:
        books.locals[unsigned(local)] = slot
        books.held[unsigned(slot)] += 1
        books.counts[LOCALS] = local + 1
    return fault


@kernel(inline=True)
def _push(books):
    frame = books.counts[FRAMES]
    fault = _within(books, frame + 1)
    if fault < 0:
        books.frames[unsigned(frame)] = books.counts[LOCALS]
        books.counts[FRAMES] = frame + 1
    return fault


@kernel(inline=True)
def _pop(books):
    counts = books.counts
    counts[FRAMES] -= 1
    below = books.frames[unsigned(counts[FRAMES])]
    for local in range(below, counts[LOCALS]):
        books.held[unsigned(books.locals[unsigned(local)])] -= 1
    counts[LOCALS] = below
