"""Exact death times of objects, found a chunk of events at a time: the Merlin algorithm.

    rows ─► apply   follows the references; an object that loses one is stamped with the event
         ─► bury    marks from the roots; of the unmarked, the latest stamps first, each object
                    died with the last stamp among those from which it can be reached
         ─► emit    the events in terms of slots, each followed by the deaths that it caused
         ─► settle  closes up the living; the next chunk begins

An object is known by its index: first the survivors of earlier chunks, then those born in this
one, both in order of birth. A survivor's number is looked up in a hash table that is made anew
for each chunk; so memory is proportional to the live objects and a chunk.

Invariant  a dead object was stamped in this chunk, or is reached from a dead one that was:
           else it had been unreachable, and buried, at the end of an earlier chunk
Source     Hertz, Blackburn, Moss, McKinley, Stefanovic, "Error-free garbage collection traces:
           how to cheat and not get caught", SIGMETRICS 2002; stamps are event numbers here
           references[index] = locals, globals and fields that refer to it, so what is used has one
Omits      what finalisers bring back; a use of what only the dead refer to, which goes unnoticed
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.schema import (
    FREE,
    GET,
    HOLD,
    NEW,
    POP,
    PUSH,
    REFER,
    ROOT,
    STEER,
    TRACK,
    WRITE,
)

WORDS = 3  # of a row
OP_BITS = 8  # of a row's first word; above them the field, the number of fields, a TRACK's size
KIND_BITS = 32  # of a NEW's third word + 1, the site + 1; above them the kind + 1

# What can be wrong with a row, in words for a person.
WRONG = (
    "an object that nothing refers to any longer: hold what is still to be used",
    "a field out of range",
    "fields that do not fit the object's size",
    "a pop of the lowest frame",
    "a second global root for one object",
    "an unroot of an object that is no global root",
)
DEAD, FIELD, FIELDS_PAST_SIZE, LOWEST_FRAME, ROOTED, NOT_ROOTED = range(len(WRONG))

# State.counts
(
    OBJECTS,  # known by index: survivors and newborn
    SURVIVORS,  # of earlier chunks
    BORN,  # objects of all earlier chunks: the number of the first newborn
    FIELDS,  # of all objects
    LOCALS,
    FRAMES,
    SLOTS,  # used so far
    SPARE,  # of these, without an object
    DEATHS,  # found by `bury`
    COUNTS,
) = range(10)

NOBODY = -1


class State(NamedTuple):
    """The program's objects; all arrays are at least as long as their counts."""

    number: np.ndarray  # int64[index], ascending
    slot: np.ndarray  # int32[index], -1 before birth and after death
    first: np.ndarray  # int64[index + 1], where its fields begin; the last: where they all end
    stamp: np.ndarray  # int32[index], row that last took a reference to it; after `bury`: its death
    mark: np.ndarray  # uint8[index], 1 reachable, 2 buried
    next: np.ndarray  # int32[index], of lists of objects; the new index during `settle`
    stack: np.ndarray  # int32[index], reached and not yet scanned
    rooted: np.ndarray  # uint8[index], 1 when a global refers to it
    references: np.ndarray  # int32[index], to it, from locals, globals and fields
    fields: np.ndarray  # int32[field], index of the object referred to, or NOBODY
    locals: np.ndarray  # int32[local], index
    frames: np.ndarray  # int32[frame], locals below the frame
    table: np.ndarray  # int32[power of two], index of a survivor, by its number; or NOBODY
    spare: np.ndarray  # int32[slot], those on the stack of slots without an object
    counts: np.ndarray  # int64[COUNTS]


@kernel(inline=True)
def _place(table, number):
    """Where the search for `number` < 2^38 begins: the middle of a product, so that runs spread."""
    return (number * 0x9E3779 >> 12) & (len(table) - 1)


@kernel
def _index(state, number):
    """Index of object `number`; NOBODY when it is not known, or nothing refers to it."""
    counts = state.counts
    if number >= counts[BORN]:
        index = counts[SURVIVORS] + number - counts[BORN]
        if index >= counts[OBJECTS]:
            return NOBODY
    elif number < 0:
        return NOBODY
    else:
        place = _place(state.table, number)
        index = state.table[unsigned(place)]
        while index != NOBODY and state.number[unsigned(index)] != number:
            place = (place + 1) & (len(state.table) - 1)
            index = state.table[unsigned(place)]
    return index if index != NOBODY and state.references[unsigned(index)] else NOBODY


@kernel
def tabulate(state):
    """Fill the empty table with the survivors."""
    for index in range(state.counts[SURVIVORS]):
        place = _place(state.table, state.number[unsigned(index)])
        while state.table[unsigned(place)] != NOBODY:
            place = (place + 1) & (len(state.table) - 1)
        state.table[unsigned(place)] = index


@kernel
def apply(state, rows, count, wrong):
    """Follow `count` rows and stamp who loses a reference; object numbers become indices.

    Returns -1, or the first faulty row with its number of `WRONG` in wrong[0].
    """
    counts = state.counts
    for row in range(count):
        at = unsigned(WORDS * row)
        op, field = rows[at] & ((1 << OP_BITS) - 1), rows[at] >> OP_BITS
        fault = -1
        if op == NEW:
            fault = _bear(state, field, rows[at + unsigned(1)])
        elif op == PUSH:
            state.frames[unsigned(counts[FRAMES])] = counts[LOCALS]
            counts[FRAMES] += 1
        elif op == POP and rows[at + unsigned(1)] == NOBODY:
            fault = _leave(state, row)
        elif op != STEER:
            index = _index(state, rows[at + unsigned(1)])
            rows[at + unsigned(1)] = index
            if index == NOBODY:
                fault = DEAD
            elif op in (WRITE, REFER):
                target = rows[at + unsigned(2)]
                if target != NOBODY:
                    target = _index(state, target)
                    fault = DEAD if target == NOBODY else -1
                    rows[at + unsigned(2)] = target
                if fault < 0 and op == WRITE:
                    fault = _write(state, index, field, target, row)
            elif op == HOLD:
                _hold(state, index)
            elif op == POP:
                fault = _leave(state, row)
                _hold(state, index)
            elif op not in (TRACK, GET):
                if (op == ROOT) == (state.rooted[unsigned(index)] == 1):
                    fault = ROOTED if op == ROOT else NOT_ROOTED
                state.rooted[unsigned(index)] = 1 if op == ROOT else 0
                state.references[unsigned(index)] += 1 if op == ROOT else -1
                state.stamp[unsigned(index)] = row
        if fault >= 0:
            wrong[0] = fault
            return row
    return -1


@kernel(inline=True)
def _hold(state, index):
    state.references[unsigned(index)] += 1
    state.locals[unsigned(state.counts[LOCALS])] = index
    state.counts[LOCALS] += 1


@kernel
def _bear(state, fields, size):
    """One more object, all its fields null."""
    counts = state.counts
    if fields < 0 or 8 * fields > size:
        return FIELDS_PAST_SIZE
    index = counts[OBJECTS]
    i = unsigned(index)
    counts[OBJECTS] += 1
    state.number[i] = counts[BORN] + index - counts[SURVIVORS]
    state.slot[i], state.stamp[i] = -1, -1
    state.rooted[i], state.mark[i], state.references[i] = 0, 0, 0
    for field in range(counts[FIELDS], counts[FIELDS] + fields):
        state.fields[unsigned(field)] = NOBODY
    counts[FIELDS] += fields
    state.first[i + unsigned(1)] = counts[FIELDS]
    _hold(state, index)
    return -1


@kernel
def _write(state, index, field, target, row):
    i = unsigned(index)
    place = state.first[i] + field
    if field < 0 or place >= state.first[i + unsigned(1)]:
        return FIELD
    old = state.fields[unsigned(place)]
    if old != NOBODY:
        state.stamp[unsigned(old)] = row
        state.references[unsigned(old)] -= 1
    if target != NOBODY:
        state.references[unsigned(target)] += 1
    state.fields[unsigned(place)] = target
    return -1


@kernel
def _leave(state, row):
    """Drop the frame on top and stamp its locals."""
    counts = state.counts
    if counts[FRAMES] == 0:
        return LOWEST_FRAME
    counts[FRAMES] -= 1
    below = state.frames[unsigned(counts[FRAMES])]
    for local in range(below, counts[LOCALS]):
        index = unsigned(state.locals[unsigned(local)])
        state.stamp[index] = row
        state.references[index] -= 1
    counts[LOCALS] = below
    return -1


@kernel
def _reach(state, index, mark, row):
    """Mark what is not marked and is reached from `index`; with mark 2 it died at `row`."""
    i = unsigned(index)
    if state.mark[i]:
        return 0
    state.mark[i] = mark
    state.stack[unsigned(0)] = index
    height = reached = 1
    while height:
        height -= 1
        i = unsigned(state.stack[unsigned(height)])
        if mark == 2:
            state.stamp[i] = row
        for place in range(state.first[i], state.first[i + unsigned(1)]):
            target = state.fields[unsigned(place)]
            if target != NOBODY and not state.mark[unsigned(target)]:
                state.mark[unsigned(target)] = mark
                state.stack[unsigned(height)] = target
                height += 1
                reached += 1
    return reached


@kernel
def bury(state, latest):
    """Find the dead and the row at which each died, in `stamp`.

    latest   int32[row] of NOBODY; afterwards the oldest object that died at each row, from which
             `next` leads to the others in order of birth
    """
    counts, objects = state.counts, state.counts[OBJECTS]
    for local in range(counts[LOCALS]):
        _reach(state, state.locals[unsigned(local)], 1, 0)
    for index in range(objects):
        if state.rooted[unsigned(index)]:
            _reach(state, index, 1, 0)
    for index in range(objects):
        i = unsigned(index)
        if not state.mark[i] and state.stamp[i] >= 0:
            state.next[i] = latest[unsigned(state.stamp[i])]
            latest[unsigned(state.stamp[i])] = index
    counts[DEATHS] = 0
    for row in range(len(latest) - 1, -1, -1):
        index = latest[unsigned(row)]
        while index != NOBODY:
            counts[DEATHS] += _reach(state, index, 2, row)
            index = state.next[unsigned(index)]
        latest[unsigned(row)] = NOBODY
    for index in range(objects - 1, -1, -1):
        i = unsigned(index)
        if state.mark[i] == 2:
            state.next[i] = latest[unsigned(state.stamp[i])]
            latest[unsigned(state.stamp[i])] = index


@kernel
def emit(state, rows, latest, made):
    """Write the rows and the deaths into the events `made`; -1, or the row that uses a dead object.

    `spare` has room for all slots in use, and `made` for each row and each death.
    """
    counts = state.counts
    newborn, event = counts[SURVIVORS], 0
    for row in range(len(latest)):
        at = unsigned(WORDS * row)
        op, field = rows[at] & ((1 << OP_BITS) - 1), rows[at] >> OP_BITS
        e = unsigned(event)
        slot, size, site, target = -1, 0, -1, -1
        if op == NEW:
            size, site = rows[at + unsigned(1)], rows[at + unsigned(2)] + 1
            target = (site >> KIND_BITS) - 1
            site = (site & ((1 << KIND_BITS) - 1)) - 1
            slot = _next_slot(state)
            state.slot[unsigned(newborn)] = slot
            newborn += 1
        elif op != PUSH and rows[at + unsigned(1)] != NOBODY:
            slot = state.slot[unsigned(rows[at + unsigned(1)])]
            if slot < 0:
                return row
        if op == STEER:
            size = rows[at + unsigned(2)]
        elif op in (TRACK, REFER):
            size, field = field, 0
        if (op in (WRITE, REFER)) and rows[at + unsigned(2)] != NOBODY:
            target = state.slot[unsigned(rows[at + unsigned(2)])]
            if target < 0:
                return row
        made.op[e], made.slot[e], made.size[e] = op, slot, size
        made.site[e], made.field[e], made.target[e] = site, field, target
        event += 1
        index = latest[unsigned(row)]
        while index != NOBODY:
            i, e = unsigned(index), unsigned(event)
            made.op[e], made.slot[e], made.size[e] = FREE, state.slot[i], 0
            made.site[e], made.field[e], made.target[e] = -1, 0, -1
            state.spare[unsigned(counts[SPARE])] = state.slot[i]
            counts[SPARE] += 1
            state.slot[i] = -1
            event += 1
            index = state.next[i]
    return -1


@kernel(inline=True)
def _next_slot(state):
    """The slot freed last, or else a new one."""
    counts = state.counts
    if counts[SPARE]:
        counts[SPARE] -= 1
        return state.spare[unsigned(counts[SPARE])]
    counts[SLOTS] += 1
    return counts[SLOTS] - 1


@kernel
def settle(state):
    """Close up the living, who are the survivors of the next chunk."""
    counts, objects = state.counts, state.counts[OBJECTS]
    kept = 0
    for index in range(objects):
        i = unsigned(index)
        state.next[i] = kept
        kept += state.mark[i] == 1
        if state.mark[i] != 1:
            for place in range(state.first[i], state.first[i + unsigned(1)]):
                if state.fields[unsigned(place)] != NOBODY:
                    state.references[unsigned(state.fields[unsigned(place)])] -= 1
    counts[BORN] += objects - counts[SURVIVORS]
    end = 0
    for index in range(objects):
        i = unsigned(index)
        if state.mark[i] != 1:
            continue
        k = unsigned(state.next[i])
        first, past = state.first[i], state.first[i + unsigned(1)]
        state.number[k], state.slot[k] = state.number[i], state.slot[i]
        state.rooted[k], state.references[k] = state.rooted[i], state.references[i]
        state.first[k], state.mark[k], state.stamp[k] = end, 0, -1
        for place in range(first, past):
            target = state.fields[unsigned(place)]
            if target != NOBODY:
                target = state.next[unsigned(target)]
            state.fields[unsigned(end)] = target
            end += 1
    state.first[unsigned(kept)] = end
    for local in range(counts[LOCALS]):
        state.locals[unsigned(local)] = state.next[unsigned(state.locals[unsigned(local)])]
    counts[OBJECTS] = counts[SURVIVORS] = kept
    counts[FIELDS] = end
