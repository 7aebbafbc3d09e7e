"""What the conversion of a graph recorder's log knows of the program's blocks.

What is known by the number of a birth lies in `Births`, whose arrays may be mapped files; what is
known of a live block in `Live`, by a slot that is reused. A block's references are a run of
`Fields`, each in a list of those that refer to the same block; when there is no room, the runs of
the living are moved together.

Invariant  a field whose target is LIVE is in the list that begins at `first_in` of that target
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace import schema
from heapwright.trace.merlin import NOBODY, OP_BITS

# Rows of the log: see graph.h.
(NEW, FREE, WRITE, ROOT, UNROOT, LOST, FOUND, LOOK, SEEN, TYPE, NAME, END) = range(1, 13)
(KIND, TRACKED, COUNTED, BEGUN, OVER, VERSION, COLLECTED, PLACE) = range(13, 21)
TYPES = 1 << 13  # numbers of types are smaller
PLACES = 1 << 20  # of places, too
FIELDS_LIMIT = (1 << 31) - 1

# Bits of Births.state
LIVE, ROOTED, BY_LOOK, HELD, UNSEEN, FOUND_LATER, DYING, WAS_LOST = (1 << bit for bit in range(8))
BRIEF = WAS_LOST  # after `correct`: no look will reach it

# Told.count
(
    OBJECTS,  # births so far
    SLOTS,
    SPARE,  # slots without a block
    FIELDS,  # of the pool in use
    LIVE_FIELDS,
    ROWS,  # told in this call
    DEAD,  # freed since the last other row
    HOLDING,  # held until the next look
    LEAVING,  # lost at this look
    BEARING,  # 1 in the frame in which blocks were born
    LOOKING,  # 1 between LOOK and SEEN
    FORGOTTEN,  # blocks lost and not found again
    LOOKS,
    LOOK_NS,  # all of them together ...
    LONG_LOOKS,  # ... those longer than LONG_NS ...
    LONGEST_NS,
    PUT_OFF,
    FOUND_AGAIN,  # blocks once lost and found again
    RUNS,  # collections of Python's own collector
    HEADER,  # bytes of a size that are the header's
    WIDER,  # bytes by which a reference is wider in the trace than in the program
    BRIEFLY,  # births within which dies what no look ever reached; 0 where deaths are told
    BRIEF_OBJECTS,  # such objects
    LOOKED_AT,  # births before the last look
    SINCE,  # births since the frame in which blocks are born was entered
    TOLD_LOOKS,  # so far
    MET,  # objects that were there already, and their bytes
    MET_BYTES,
    PART,  # of the births between two looks, so many of PARTS are over
    COUNTS,
) = range(30)
PARTS = 8  # between two looks at which those die that the second one no longer reaches
LONG_NS = 50_000_000
DAMAGED = -2
FREED, NEVER_REACHED = 1, 2  # in Births.slot during the survey
MOST_AGAIN = 255  # what is found so often counts as found for ever
# What `tell` returns when it wants room, besides -1 when all rows are told
(DONE, ROWS_ROOM, SLOTS_ROOM, FIELDS_ROOM, LIST_ROOM) = range(-1, 4)


class Births(NamedTuple):
    """By the number of a block."""

    fields: np.ndarray  # int32[birth]  up to the last one that was ever written
    type: np.ndarray  # int16[birth]  its number; 0 for what is no object
    place: np.ndarray  # int32[birth]  number of the line that asked; 0 where it is not known; once
    # all is foretold the row of the site table
    state: np.ndarray  # uint8[birth]  bits
    slot: np.ndarray  # int32[birth]  while LIVE
    again: np.ndarray  # uint8[birth]  how often a look will still find it that another one lost
    lost: np.ndarray  # int32[birth]  the look that no longer reaches it, from 1; 0 none


class Live(NamedTuple):
    """By slot."""

    number: np.ndarray  # int64[slot]
    first: np.ndarray  # int32[slot]  where its fields begin
    first_in: np.ndarray  # int32[slot]  a field that refers to it; NOBODY
    spare: np.ndarray  # int32[slot]  a stack


class Fields(NamedTuple):
    """The references of all blocks. At the start of a dead run: no owner, its length in `after`."""

    target: np.ndarray  # int64[field]  number of a block; NOBODY
    owner: np.ndarray  # int32[field]  slot
    after: np.ndarray  # int32[field]  the next field that refers to the same block; NOBODY
    before: np.ndarray  # int32[field]


class Told(NamedTuple):
    """What `tell` works on."""

    births: Births
    live: Live
    fields: Fields
    dead: np.ndarray  # int64[block]  numbers, as are the next two
    held: np.ndarray
    leaving: np.ndarray
    kinds: np.ndarray  # int32[TYPES]  kind of its instances, as NEW of the schema has it
    windows: np.ndarray  # int64[look]  births before each look, from 1
    runs: np.ndarray  # int64[collection]  collected, or'd with what was not << 32
    out: np.ndarray  # int64[WORDS * row]
    count: np.ndarray  # int64[COUNTS]


@kernel
def survey(rows, births, count, windows):
    """Enter what rows of the log foretell. Returns DONE, or DAMAGED."""
    known = len(births.fields)
    for row in range(len(rows)):
        head, first, second = rows[row, 0], rows[row, 1], rows[row, 2]
        op, field = head & ((1 << OP_BITS) - 1), head >> OP_BITS
        if op == NEW:
            number = unsigned(count[OBJECTS])
            if not (0 <= first < schema.SIZE_LIMIT and 0 <= second < PLACES):
                return DAMAGED
            if not 0 <= field < FIELDS_LIMIT:
                return DAMAGED
            births.fields[number] = max(field, births.fields[number])
            births.place[number] = second
            count[OBJECTS] += 1
            continue
        if op == LOOK:
            windows[unsigned(count[LOOKS] + 1)] = count[OBJECTS]
        if op == COLLECTED and field == 1:
            count[MET], count[MET_BYTES] = first, second
        if op == SEEN:
            count[LOOKED_AT] = count[OBJECTS]
            count[LOOKS] += 1
            count[LOOK_NS] += first
            count[LONG_LOOKS] += 1 if first > LONG_NS else 0
            count[LONGEST_NS] = max(count[LONGEST_NS], first)
            count[PUT_OFF] += second
        if op == BEGUN:
            count[LOOK_NS] += second
            count[LONG_LOOKS] += 1 if second > LONG_NS else 0
            count[LONGEST_NS] = max(count[LONGEST_NS], second)
            count[RUNS] += 1
        if op == COUNTED and not (0 <= first < 6 and 0 <= second < 1 << 31):
            return DAMAGED
        if op == BEGUN and (first < 0 or first > 31 or first & 3 == 3 or second < 0):
            return DAMAGED
        if op == TRACKED and not 0 <= second <= 3:
            return DAMAGED
        if op in (SEEN, LOOK, NAME, END, KIND, COUNTED, BEGUN, OVER, VERSION, COLLECTED, PLACE):
            continue
        if op < NEW or op > COLLECTED or first < 0 or first >= known or field < 0:
            return DAMAGED
        number = unsigned(first)
        if op == WRITE:
            if second < NOBODY or second >= known or field >= FIELDS_LIMIT:
                return DAMAGED
            if second >= 0:
                births.fields[number] = max(births.fields[number], field + 1)
        elif op == FOUND:
            count[FOUND_AGAIN] += 0 if births.again[number] else 1
            births.lost[number] = 0
            births.again[number] = min(MOST_AGAIN, births.again[number] + 1)
        elif op == LOST:
            births.state[number] |= WAS_LOST
            births.lost[number] = count[LOOKS] + 1
            if count[BRIEFLY] and first >= count[LOOKED_AT]:
                births.slot[number] = NEVER_REACHED
        elif op in (TYPE, FREE) and 0 < second < TYPES:
            births.type[number] = second
        if op == FREE:
            births.slot[number] = FREED
    return DONE


@kernel
def correct(births, runs, count):
    """After the survey: what a look lost and Python freed later had been held by memory that is not
    followed. Where Python's collector tells what it takes (`runs` collections), only that dies of
    being out of reach."""
    for number in range(len(births.state)):
        n = unsigned(number)
        if births.state[n] & WAS_LOST and (runs or births.slot[n] == FREED):
            births.state[n] |= FOUND_LATER
        births.state[n] &= 255 - WAS_LOST
        if births.slot[n] == NEVER_REACHED and not births.again[n]:
            births.state[n] |= BRIEF
            count[BRIEF_OBJECTS] += 1
        births.slot[n] = 0


@kernel(inline=True)
def is_(told, number, bit):
    """Whether the block has a state."""
    return told.births.state[unsigned(number)] & bit != 0


@kernel(inline=True)
def set_(told, number, bit):
    """Give the block a state."""
    told.births.state[unsigned(number)] |= bit


@kernel(inline=True)
def clear(told, number, bit):
    """Take a state from the block."""
    told.births.state[unsigned(number)] &= 255 - bit


@kernel
def link(told, field, number):
    """The field refers to the live block `number`."""
    fields, slot = told.fields, unsigned(told.births.slot[unsigned(number)])
    next_in = told.live.first_in[slot]
    fields.after[unsigned(field)], fields.before[unsigned(field)] = next_in, NOBODY
    if next_in != NOBODY:
        fields.before[unsigned(next_in)] = field
    told.live.first_in[slot] = field


@kernel
def unlink(told, field):
    """The field refers no longer to what it referred to."""
    fields, f = told.fields, unsigned(field)
    target = fields.target[f]
    fields.target[f] = NOBODY
    if target == NOBODY or not is_(told, target, LIVE):
        return
    after, before = fields.after[f], fields.before[f]
    if after != NOBODY:
        fields.before[unsigned(after)] = before
    if before != NOBODY:
        fields.after[unsigned(before)] = after
    else:
        told.live.first_in[unsigned(told.births.slot[unsigned(target)])] = after


@kernel
def forget(told, number):
    """The block is dead, and so are its references; what still refers to it keeps its number."""
    live, count = told.live, told.count
    slot = told.births.slot[unsigned(number)]
    first = live.first[unsigned(slot)]
    length = np.int64(told.births.fields[unsigned(number)])
    for field in range(first, first + length):
        unlink(told, field)
    told.births.state[unsigned(number)] = 0
    if length:
        told.fields.owner[unsigned(first)] = NOBODY
        told.fields.after[unsigned(first)] = length
    live.spare[unsigned(count[SPARE])] = slot
    count[SPARE] += 1
    count[LIVE_FIELDS] -= length


@kernel
def part_of(told, number):
    """In which part of the births between two looks a block was born."""
    windows, look = told.windows, told.count[TOLD_LOOKS]
    while look > 0 and windows[unsigned(look)] > number:
        look -= 1
    first, past = windows[unsigned(look)], windows[unsigned(look + 1)]
    return min(PARTS - 1, (number - first) * PARTS // max(1, past - first))


@kernel
def age(told):
    """Enter among the dead a part of those that the next look no longer reaches: nobody knows when
    between two looks each died. It dies as far into this window as it was born into its own, so
    that it lived for as many windows as looks reached it: of objects that live for L births, looks
    W apart reach L / W of them on average, so on average that is L."""
    count, live, births = told.count, told.live, told.births
    count[PART] += 1
    for slot in range(count[SLOTS]):
        number = live.number[unsigned(slot)]
        n = unsigned(number)
        if births.slot[n] != slot or births.state[n] & (LIVE | DYING | BRIEF) != LIVE:
            continue
        if births.lost[n] != count[TOLD_LOOKS] + 1:
            continue
        if part_of(told, number) == count[PART] - 1:
            set_(told, number, DYING)
            told.dead[unsigned(count[DEAD])] = number
            count[DEAD] += 1


@kernel
def is_due(told):
    """Whether the next part of the births between two looks is over, and they can be told apart."""
    count = told.count
    look = count[TOLD_LOOKS]
    if not count[BRIEFLY] or not look or look + 1 >= len(told.windows) or count[PART] == PARTS - 1:
        return False
    first, past = told.windows[unsigned(look)], told.windows[unsigned(look + 1)]
    return count[OBJECTS] >= first + (past - first) * (count[PART] + 1) // PARTS


@kernel
def close_up(told, first):
    """Move the runs of the living together; `first` int32[slot] is scratch: where each begins."""
    live, fields, count = told.live, told.fields, told.count
    kept = at = np.int64(0)
    while at < count[FIELDS]:
        slot = fields.owner[unsigned(at)]
        if slot == NOBODY:
            at += fields.after[unsigned(at)]
        else:
            length = np.int64(told.births.fields[unsigned(live.number[unsigned(slot)])])
            first[unsigned(slot)] = kept
            kept += length
            at += length
    at = np.int64(0)
    while at < count[FIELDS]:
        f = unsigned(at)
        if fields.owner[f] == NOBODY:
            at += fields.after[f]
            continue
        target = fields.target[f]
        if target != NOBODY and is_(told, target, LIVE):
            if fields.before[f] == NOBODY:
                slot = unsigned(told.births.slot[unsigned(target)])
                live.first_in[slot] = _moved(told, first, at)
            fields.after[f] = _moved(told, first, fields.after[f])
            fields.before[f] = _moved(told, first, fields.before[f])
        at += 1
    at = np.int64(0)
    while at < count[FIELDS]:
        slot = fields.owner[unsigned(at)]
        if slot == NOBODY:
            at += fields.after[unsigned(at)]
            continue
        s = unsigned(slot)
        length = np.int64(told.births.fields[unsigned(live.number[s])])
        for field in range(length):
            old, new = unsigned(at + field), unsigned(first[s] + field)
            fields.target[new], fields.owner[new] = fields.target[old], slot
            fields.after[new], fields.before[new] = fields.after[old], fields.before[old]
        live.first[s] = first[s]
        at += length
    count[FIELDS] = kept


@kernel
def _moved(told, first, field):
    """Where a field of the living will be."""
    if field == NOBODY:
        return np.int64(NOBODY)
    slot = unsigned(told.fields.owner[unsigned(field)])
    return np.int64(first[slot]) + field - told.live.first[slot]
