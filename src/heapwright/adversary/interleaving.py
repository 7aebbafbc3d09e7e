"""Every schedule of a small program and the tri-colour collector, from the start of a cycle on.

    state ─move─► state ─► ...     depth first over `small_world.py`; where two paths meet in one
                                   state they are one from there on

Terms      a schedule ends with the cycle, or when an object is lost; near: moves from a state to
           the nearest loss, FAR if no schedule from there loses an object
Invariant  in every state each reachable object has the references that were written, and the heap
           its invariants if that is asked for; when a cycle is over, a second one that nothing
           interrupts leaves what is reachable and nothing else. `BROKEN` counts states that fail
Omits      steps before the cycle: they lead to other graphs to begin with

States are told apart by a hash of 63 bits over all that decides the future.
"""

from typing import NamedTuple

import numpy as np

from heapwright.adversary.small_world import (
    FIELDS,
    KNOWN,
    LEFT,
    MOST_MOVES,
    has_lost,
    held_by_locals,
    is_broken,
    is_complete,
    list_moves,
    look,
    make,
    prepare,
    restore,
    save,
    stage,
    words_of,
)
from heapwright.allocators.boundary_tags import HEAD_BYTES, fence, first_block, is_free, size_of
from heapwright.collectors import tricolour
from heapwright.collectors.mark import LINK_BYTES
from heapwright.collectors.mutator import GLOBALS
from heapwright.collectors.object_bins import OBJECT_OFFSET
from heapwright.collectors.objects import WORD_BYTES
from heapwright.collectors.tricolour import IDLE
from heapwright.compiler import bare, kernel, unsigned
from heapwright.machine import load

MOST_DEPTH = 96  # moves of a schedule
FAR = 1 << 30

# Search.tally
(
    STATES,
    TRANSITIONS,
    ROWS,  # setting: rows of the table, a power of two
    FULL,  # 1 when there was no room for a state
    BROKEN,  # states in which an invariant, or a reference's content, was wrong
    DEEPEST,  # most moves of a schedule
    ANSWER,  # of the state last left: schedules, those that lose an object, near
    ANSWER_LOST,
    ANSWER_NEAR,
    TALLIES,
) = range(10)


class Search(NamedTuple):
    """The states that are done, and the path to the one that is not."""

    print: np.ndarray  # int64[row]  fingerprint of a state that is done; 0 while empty
    schedules: np.ndarray  # int64[row]  from there on
    losing: np.ndarray  # int64[row]
    near: np.ndarray  # int64[row]
    saved: np.ndarray  # int64[depth * words]
    moves: np.ndarray  # int64[depth * MOST_MOVES]
    path: np.ndarray  # int64[depth * PATH]
    tally: np.ndarray  # int64[TALLIES]


PATH_NEXT, PATH_COUNT, PATH_PRINT, PATH_SCHEDULES, PATH_LOSING, PATH_NEAR, PATH = range(7)


@kernel(inline=True)
def _mixed(whole, word):
    word = int(word) ^ int(word) >> 20  # a mark is the sign, which the mask would cut off
    whole = ((int(whole) ^ word) * 0x2545F4914F6CDD1D) & ((1 << 63) - 1)
    return whole ^ (whole >> 32)


@kernel
def fingerprint(world):
    """Hash of what decides the future, odd. Locals are scanned at once, so they are a set."""
    heap, rules = world.heap, world.rules
    machine, marking = heap.machine, heap.marking
    program, whole = marking.mutator, _mixed(1, rules[LEFT])
    whole = _mixed(_mixed(whole, rules[KNOWN]), held_by_locals(world))
    for i in range(tricolour.WORDS):
        whole = _mixed(whole, marking.fields[unsigned(i)])
    for slot in range(rules[KNOWN]):
        whole = _mixed(whole, program.handles[unsigned(slot)])
    for i in range(program.counts[GLOBALS]):
        whole = _mixed(whole, program.globals[unsigned(i)])
    entry = marking.stack.chunk + LINK_BYTES
    while entry < marking.stack.top:
        whole = _mixed(whole, load(machine, entry))
        entry += WORD_BYTES
    whole = _mixed(whole, heap.cursor)
    block = first_block(heap.bins.tags)
    while block < fence(heap.bins.tags):
        past = OBJECT_OFFSET + rules[FIELDS] * WORD_BYTES
        if is_free(machine, block):
            past = 3 * HEAD_BYTES  # head and links
        for offset in range(0, past, WORD_BYTES):
            whole = _mixed(whole, load(machine, block + offset))
        block += size_of(machine, block)
    return whole | 1


@kernel
def _row(search, print_):
    """The table's row of a state, or the empty one where it belongs."""
    row = (print_ >> 1) & (search.tally[ROWS] - 1)
    while search.print[unsigned(row)] != 0 and search.print[unsigned(row)] != print_:
        row = (row + 1) & (search.tally[ROWS] - 1)
    return row


@kernel
def _answer(search, schedules, losing, near):
    """What is known of the state that is left now."""
    tally = search.tally
    tally[ANSWER], tally[ANSWER_LOST], tally[ANSWER_NEAR] = schedules, losing, near


@kernel
def _enter(search, print_):
    """Keep the answer of a state that is done."""
    tally = search.tally
    if tally[STATES] * 4 >= tally[ROWS] * 3:
        tally[FULL] = 1
        return
    row = unsigned(_row(search, print_))
    search.print[row] = print_
    search.schedules[row], search.losing[row] = tally[ANSWER], tally[ANSWER_LOST]
    search.near[row] = tally[ANSWER_NEAR]
    tally[STATES] += 1


@kernel
def is_known(world, search, print_):
    """Whether the answer of the present state is known now: it was met before, or is an end."""
    tally, row = search.tally, unsigned(_row(search, print_))
    if search.print[row]:
        _answer(search, search.schedules[row], search.losing[row], search.near[row])
        return True
    if has_lost(world):
        _answer(search, 1, 1, 0)
        _enter(search, print_)
        return True
    tally[BROKEN] += is_broken(world)
    if world.heap.marking.phase == IDLE:
        _answer(search, 1, 0, FAR)
        _enter(search, print_)
        tally[BROKEN] += not is_complete(world)
        return True
    return False


@kernel
def _open(world, search, depth, print_, cells):
    """List the moves of a new state."""
    save(world, cells, search.saved, depth * (cells + words_of(world)))
    path, at = search.path, depth * PATH
    path[unsigned(at + PATH_COUNT)] = list_moves(world, search.moves, depth * MOST_MOVES)
    path[unsigned(at + PATH_PRINT)] = print_
    path[unsigned(at + PATH_NEXT)] = 0
    path[unsigned(at + PATH_SCHEDULES)] = path[unsigned(at + PATH_LOSING)] = 0
    path[unsigned(at + PATH_NEAR)] = FAR
    search.tally[DEEPEST] = max(search.tally[DEEPEST], depth + 1)


@kernel
def _add(search, depth):
    """Add the answer of a state to the one before it."""
    path, tally, at = search.path, search.tally, depth * PATH
    path[unsigned(at + PATH_SCHEDULES)] += tally[ANSWER]
    path[unsigned(at + PATH_LOSING)] += tally[ANSWER_LOST]
    near = min(path[unsigned(at + PATH_NEAR)], tally[ANSWER_NEAR] + 1)
    path[unsigned(at + PATH_NEAR)] = min(near, FAR)


@kernel
def explore(world, cells, search):
    """Run every schedule from the present state, in which a cycle has begun; the answer is in
    `search.tally`, and the world is used up."""
    path, depth = search.path, 0
    words = cells + words_of(world)
    print_ = fingerprint(world)
    if is_known(world, search, print_):
        return
    _open(world, search, 0, print_, cells)
    while depth >= 0 and not search.tally[FULL]:
        at = depth * PATH
        tried = path[unsigned(at + PATH_NEXT)]
        if tried < path[unsigned(at + PATH_COUNT)]:
            path[unsigned(at + PATH_NEXT)] = tried + 1
            restore(world, cells, search.saved, depth * words)
            make(world, search.moves[unsigned(depth * MOST_MOVES + tried)])
            search.tally[TRANSITIONS] += 1
            print_ = fingerprint(world)
            if is_known(world, search, print_):
                _add(search, depth)
            else:
                depth += 1
                _open(world, search, depth, print_, cells)
        else:
            _answer(
                search,
                path[unsigned(at + PATH_SCHEDULES)],
                path[unsigned(at + PATH_LOSING)],
                path[unsigned(at + PATH_NEAR)],
            )
            _enter(search, path[unsigned(at + PATH_PRINT)])
            depth -= 1
            if depth >= 0:
                _add(search, depth)


@kernel
def copy_table(old, new):
    """Enter all states of one table in another, which is empty and larger."""
    for i in range(old.tally[ROWS]):
        if old.print[i]:
            row = _row(new, old.print[i])
            new.print[row] = old.print[i]
            new.schedules[row], new.losing[row] = old.schedules[i], old.losing[i]
            new.near[row] = old.near[i]


@kernel
def nearest_move(world, cells, search):
    """The move that leads to the nearest loss, from a state that was explored and has one."""
    save(world, cells, search.saved, 0)
    best, near = -1, FAR
    for i in range(list_moves(world, search.moves, 0)):
        move = search.moves[unsigned(i)]
        make(world, move)
        row = unsigned(_row(search, fingerprint(world)))
        if search.near[row] < near:
            best, near = move, search.near[row]
        restore(world, cells, search.saved, 0)
    return best


PREPARE, STAGE, EXPLORE, NEAREST, MAKE, LOOK = range(6)


@kernel
def act(world, search, verb, numbers, roots):
    """One kernel for all that calls the collector, so that it is compiled once.

    PREPARE   once, first of all
    STAGE     begin a cycle on the graph of `numbers`, its edges, and `roots`
    EXPLORE   every schedule from there
    NEAREST   the move towards the nearest loss, from a state that was explored
    MAKE      the move numbers[0]; 1 when an object is lost now
    LOOK      write the objects' colours to `numbers`
    """
    cells = len(world.cells)
    world, search = bare(world), bare(search)
    if verb == PREPARE:
        prepare(world, cells)
    elif verb == STAGE:
        stage(world, cells, numbers, roots)
    elif verb == EXPLORE:
        explore(world, cells, search)
    elif verb == NEAREST:
        return nearest_move(world, cells, search)
    elif verb == LOOK:
        look(world, numbers)
    else:
        make(world, numbers[0])
        return int(has_lost(world))
    return 0
