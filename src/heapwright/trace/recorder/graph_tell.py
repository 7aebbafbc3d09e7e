"""From the rows of a graph recorder's log to the calls of a program.

    rows of the log ─► tell ─► rows of the mutator (`merlin.apply`), a buffer at a time

Invariant  every block that is LIVE is reachable, and no other; ROOTED are the global roots
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace import schema
from heapwright.trace.merlin import KIND_BITS, NOBODY, OP_BITS, WORDS
from heapwright.trace.recorder.graph_books import (
    BEARING,
    BEGUN,
    BRIEF,
    BRIEFLY,
    BY_LOOK,
    COUNTED,
    DEAD,
    DONE,
    DYING,
    FIELDS,
    FIELDS_ROOM,
    FORGOTTEN,
    FOUND,
    FOUND_LATER,
    FREE,
    HEADER,
    HELD,
    HOLDING,
    LEAVING,
    LIST_ROOM,
    LIVE,
    LIVE_FIELDS,
    LOOK,
    LOOKING,
    LOST,
    MOST_AGAIN,
    NEW,
    OBJECTS,
    PART,
    ROOT,
    ROOTED,
    ROWS,
    ROWS_ROOM,
    RUNS,
    SEEN,
    SINCE,
    SLOTS,
    SLOTS_ROOM,
    SPARE,
    TOLD_LOOKS,
    TRACKED,
    TYPE,
    UNROOT,
    UNSEEN,
    WIDER,
    WRITE,
    age,
    clear,
    forget,
    is_,
    is_due,
    link,
    set_,
    unlink,
)


@kernel
def _say(told, head, first, second):
    at = unsigned(WORDS * told.count[ROWS])
    told.out[at], told.out[at + unsigned(1)], told.out[at + unsigned(2)] = head, first, second
    told.count[ROWS] += 1


@kernel
def _root(told, number):
    if not is_(told, number, ROOTED):
        _say(told, schema.ROOT, number, NOBODY)
        set_(told, number, ROOTED)


@kernel
def _hold(told, number):
    """A root is not dropped before the next look."""
    if not is_(told, number, HELD):
        set_(told, number, HELD)
        told.held[unsigned(told.count[HOLDING])] = number
        told.count[HOLDING] += 1


@kernel
def _close(told):
    """Leave the frame in which blocks were born: a root holds each of them."""
    if told.count[BEARING]:
        _say(told, schema.POP, NOBODY, NOBODY)
        told.count[BEARING] = 0


@kernel
def _bear(told, size):
    births, live, fields, count = told.births, told.live, told.fields, told.count
    number = count[OBJECTS]
    length = np.int64(births.fields[unsigned(number)])
    if count[BRIEFLY] and count[SINCE] == count[BRIEFLY]:
        _close(told)
    if not count[BEARING]:
        _say(told, schema.PUSH, NOBODY, NOBODY)
        count[BEARING], count[SINCE] = 1, 0
    count[SINCE] += 1
    kind = np.int64(told.kinds[unsigned(births.type[unsigned(number)])])
    site = np.int64(births.place[unsigned(number)]) + ((kind + 1) << KIND_BITS)
    size += count[WIDER] * length - count[HEADER]
    _say(told, schema.NEW | length << OP_BITS, size, site)
    if count[SPARE]:
        count[SPARE] -= 1
        slot = live.spare[unsigned(count[SPARE])]
    else:
        slot = count[SLOTS]
        count[SLOTS] += 1
    first = count[FIELDS]
    live.number[unsigned(slot)], live.first[unsigned(slot)] = number, first
    live.first_in[unsigned(slot)] = NOBODY
    for field in range(first, first + length):
        fields.target[unsigned(field)], fields.owner[unsigned(field)] = NOBODY, slot
    births.slot[unsigned(number)] = slot
    set_(told, number, LIVE | BY_LOOK)
    if not is_(told, number, BRIEF):
        _root(told, number)
    count[OBJECTS] += 1
    count[FIELDS] += length
    count[LIVE_FIELDS] += length


@kernel
def _write(told, number, field, target):
    fields = told.fields
    if field >= told.births.fields[unsigned(number)]:
        return  # it was null all the time
    place = told.live.first[unsigned(told.births.slot[unsigned(number)])] + field
    old = fields.target[unsigned(place)]
    if target != NOBODY and not is_(told, target, LIVE):
        target = NOBODY
    if target == old:
        return
    if old != NOBODY and told.count[LOOKING]:
        _say(told, schema.HOLD, old, NOBODY)
    elif old != NOBODY and is_(told, old, LIVE):  # others are not looked at now
        _root(told, old)
        _hold(told, old)
    _say(told, schema.WRITE | field << OP_BITS, number, target)
    unlink(told, place)
    if target != NOBODY:
        fields.target[unsigned(place)] = target
        link(told, place, target)


@kernel
def bury(told, dooms):
    """The blocks freed since the last other row die together; there is room for what it tells. What
    Python's collector `dooms` keeps its references, so that only cycles keep it; what died by its
    count had none any more that lead to it."""
    births, live, fields, count = told.births, told.live, told.fields, told.count
    _close(told)
    for i in range(count[DEAD]):
        number = unsigned(told.dead[unsigned(i)])
        first = live.first[unsigned(births.slot[number])]
        for field in range(first, first + births.fields[number]):
            target = fields.target[unsigned(field)]
            if target != NOBODY and births.state[unsigned(target)] & (LIVE | DYING) == LIVE:
                _root(told, target)
                _hold(told, target)
            elif target != NOBODY and is_(told, target, DYING) and not dooms:
                _root(told, told.dead[unsigned(i)])
    for i in range(count[DEAD]):
        number = unsigned(told.dead[unsigned(i)])
        field = live.first_in[unsigned(births.slot[number])]
        while field != NOBODY:
            after = fields.after[unsigned(field)]
            slot = unsigned(fields.owner[unsigned(field)])
            source = live.number[slot]
            if not dooms or not is_(told, source, DYING):
                _say(told, schema.WRITE | (field - live.first[slot]) << OP_BITS, source, NOBODY)
                unlink(told, field)
            field = after
    for i in range(count[DEAD]):
        number = told.dead[unsigned(i)]
        if is_(told, number, ROOTED):
            _say(told, schema.UNROOT, number, NOBODY)
        forget(told, number)
    count[DEAD] = 0


@kernel
def _at_root(told, op, number):
    """A look found, or no longer found, the block at a root or from one."""
    if op == ROOT:
        set_(told, number, BY_LOOK)
        _root(told, number)
    elif op == UNROOT:
        clear(told, number, BY_LOOK)
        _hold(told, number)
    elif op == FOUND:
        clear(told, number, UNSEEN)
        _hold(told, number)
        if told.births.again[unsigned(number)] < MOST_AGAIN:
            told.births.again[unsigned(number)] -= 1
    elif op == LOST:
        if is_(told, number, FOUND_LATER) or told.births.again[unsigned(number)]:
            set_(told, number, UNSEEN)
            _root(told, number)
        else:
            told.leaving[unsigned(told.count[LEAVING])] = number
            told.count[LEAVING] += 1


@kernel
def _seen(told):
    """End of a look: drop the roots that it did not confirm."""
    count = told.count
    for i in range(count[HOLDING]):
        number = told.held[unsigned(i)]
        clear(told, number, HELD)
        if told.births.state[unsigned(number)] & (ROOTED | BY_LOOK | UNSEEN) == ROOTED:
            _say(told, schema.UNROOT, number, NOBODY)
            clear(told, number, ROOTED)
    count[HOLDING] = count[PART] = 0
    count[TOLD_LOOKS] += 1
    _close(told)  # of what the look itself found
    _say(told, schema.POP, NOBODY, NOBODY)
    count[LOOKING] = 0
    for i in range(count[LEAVING]):
        if is_(told, told.leaving[unsigned(i)], LIVE):
            forget(told, told.leaving[unsigned(i)])
            count[FORGOTTEN] += 1
    count[LEAVING] = 0


@kernel
def _run(told, began):
    """The operand of a STEER for the next collection."""
    found = told.runs[unsigned(told.count[RUNS])]
    told.count[RUNS] += 1
    flags = schema.RAN | (began & 3) << schema.RAN_GENERATION
    flags |= (began >> 4 & 1) << schema.RAN_ITSELF
    collected, left = found & ((1 << 28) - 1), (found >> 32) & ((1 << 12) - 1)
    return flags | left << schema.RAN_LEFT | collected << schema.RAN_COLLECTED


@kernel
def rows_to_bury(told):
    """How many rows `bury` may tell, and no more blocks does it hold."""
    births, live, fields = told.births, told.live, told.fields
    most = np.int64(2)
    for i in range(told.count[DEAD]):
        number = unsigned(told.dead[unsigned(i)])
        most += np.int64(births.fields[number]) + 2
        field = live.first_in[unsigned(births.slot[number])]
        while field != NOBODY:
            most += 1
            field = fields.after[unsigned(field)]
    return most


@kernel
def _wanting(told, op, more):
    """Which room is short of what a row may need after `more` rows for the dead; DONE for none."""
    count = told.count
    needed = 2 * more + count[HOLDING] + 8 if op == SEEN else more + 8
    if WORDS * (count[ROWS] + needed) > len(told.out):
        return ROWS_ROOM
    if count[HOLDING] + more + 2 > len(told.held):
        return LIST_ROOM
    if max(count[DEAD], count[LEAVING]) + 1 > min(len(told.dead), len(told.leaving)):
        return LIST_ROOM
    if op == NEW and count[SLOTS] + 1 > len(told.live.number):
        return SLOTS_ROOM
    if op == NEW:
        length = np.int64(told.births.fields[unsigned(count[OBJECTS])])
        if count[FIELDS] + length > len(told.fields.target):
            return FIELDS_ROOM
    return DONE


@kernel
def tell(told, rows, start):
    """Tell rows from `start` on. Returns (the row to go on with, DONE or which room is wanted)."""
    count = told.count
    for row in range(start, len(rows)):
        head, first, second = rows[row, 0], rows[row, 1], rows[row, 2]
        op = head & ((1 << OP_BITS) - 1)
        if op >= TYPE and op not in (TRACKED, COUNTED, BEGUN):
            continue
        more = np.int64(0)
        if op == NEW and not count[LOOKING] and is_due(told):
            if len(told.dead) < count[DEAD] + count[SLOTS]:
                return row, LIST_ROOM
            age(told)
        if count[DEAD] and op != FREE:
            more = rows_to_bury(told)
        wanted = _wanting(told, op, more)
        if wanted != DONE:
            return row, wanted
        if op == FREE:
            if is_(told, first, LIVE) and not is_(told, first, DYING):
                set_(told, first, DYING)
                told.dead[unsigned(count[DEAD])] = first
                count[DEAD] += 1
            continue
        if count[DEAD]:
            bury(told, op == BEGUN)
        if op == NEW:
            _bear(told, first)
        elif op == LOOK:
            _close(told)
            _say(told, schema.PUSH, NOBODY, NOBODY)
            count[LOOKING] = 1
        elif op == SEEN:
            _seen(told)
        elif op == COUNTED:
            what = schema.COUNT + first if first < 3 else schema.THRESHOLD + first - 3
            _say(told, schema.STEER, NOBODY, what | second << schema.STEER_BITS)
        elif op == BEGUN:
            _say(told, schema.STEER, NOBODY, _run(told, first))
        elif op == TRACKED:
            if is_(told, first, LIVE):
                _say(told, schema.TRACK | second << OP_BITS, first, NOBODY)
        elif is_(told, first, LIVE):
            if op == WRITE:
                _write(told, first, head >> OP_BITS, second)
            else:
                _at_root(told, op, first)
    return len(rows), DONE


@kernel
def finish(told):
    """No more rows; there is room for what it tells."""
    if told.count[DEAD]:
        bury(told, False)
    _close(told)
