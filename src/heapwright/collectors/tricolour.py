"""Tri-colour marking, a step at a time; between two steps the program may change the graph.

    white ──shade──► grey ──scan_field: its last──► black        an object in the course of a cycle
                      ▲                               │
                      └────── Steele's barrier ───────┘

    IDLE ──begin──► MARKING ──finish──► SWEEPING ──(the manager)──► IDLE

    begin         all objects turn white, in one step: the mark changes its meaning
    scan_stack    shade what the locals refer to, all in one step: they have no barrier
    scan_global   shade what one global refers to, from the last to the first
    scan_field    shade what one reference of a grey object refers to
    finish        when nothing is grey; what is white now is garbage

Terms      white: not reached; grey: reached, and some reference of it not yet looked at; black:
           reached and done. Reached is a mark equal to REACHED; grey ones have the note GREY and
           lie on the stack, but for SCANNED, whose references below FIELD are done. An object
           without references turns black at once
           stack black: the locals are scanned, and what they come to refer to is not looked at
Invariant  strong: no black object refers to a white one (Dijkstra, Steele); weak: a white object to
           which a black one refers can be reached from a grey one through white ones (Yuasa, Go);
           see `barriers.py`
Source     Dijkstra, Lamport, Martin, Scholten and Steffens, "On-the-fly garbage collection",
           CACM 1978, for the colours; Pirinen, "Barrier techniques for incremental tracing", ISMM
           1998, for the invariants and the colour of the roots; Jones, Hosking and Moss, "The
           Garbage Collection Handbook", 2nd edition, chapter 15
Omits      several threads: the one stack is black or it is not

Each step is a kernel of its own and leaves the heap as a concurrent program may find it: see
`tunnel/interleavings.py`, which runs them in every order. A malloc trace has neither references nor
locals; its handles are scanned like globals, and need no barrier, since none is ever copied.
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors.log import MARKED_BYTES, MARKED_OBJECTS, SCANNED_ROOTS, Log
from heapwright.collectors.mark import MarkStack, chunks, mark_stack, pop, push
from heapwright.collectors.mutator import EVERY_HANDLE, LOCALS, Mutator, root_at, root_count
from heapwright.collectors.objects import (
    bytes_of,
    fields_of,
    is_marked,
    mark,
    note,
    reference,
    set_note,
    unmark,
)
from heapwright.compiler import kernel
from heapwright.compiler.record import record, words
from heapwright.machine import Machine

IDLE, MARKING, SWEEPING = range(3)
SNAPSHOT, ONCE, AGAIN = range(3)  # when the roots are scanned: see Marking.fields
BLACK, WHITE = range(2)  # of an object born while others are marked
GREY = 1  # the note of a grey object; others have 0


@record(
    "phase",
    "reached",  # 1 when a set mark means reached, 0 when a clear one does
    "greys",  # grey objects
    "scanned",  # the one whose references are looked at, 0 none
    "field",  # the next of them
    "globals_left",  # the globals below this index are not yet scanned
    "globals_seen",  # globals when a root was last added or dropped
    "stack_black",  # 1 when the locals are scanned
    "barrier",  # setting: one of `barriers.py`
    "roots",  # setting: SNAPSHOT all at the beginning; ONCE, in steps; AGAIN, in steps, and the
    # stack once more at the end
    "birth",  # setting: BLACK or WHITE
)
class Marking(NamedTuple):
    """The state of a cycle."""

    machine: Machine
    mutator: Mutator
    log: Log
    stack: MarkStack  # grey objects but for SCANNED, each once
    fields: np.ndarray  # int64[word]


WORDS = len(Marking.WORDS)


def marking(machine, mutator, log, barrier, roots, birth):
    """No cycle yet. An `EVERY_HANDLE` mutator's objects are born black: its stack is empty."""
    birth = BLACK if mutator.counts[EVERY_HANDLE] else birth
    fields = words(Marking, reached=1, barrier=barrier, roots=roots, birth=birth)
    return Marking(machine, mutator, log, mark_stack(), fields)


@kernel(inline=True)
def is_white(marking, address):
    """Whether the object at `address` is not reached."""
    return is_marked(marking.machine, address) != (marking.reached == 1)


@kernel(inline=True)
def is_grey(marking, address):
    """Whether it is reached, and a reference of it not yet looked at."""
    return note(marking.machine, address) == GREY


@kernel(inline=True)
def _reach(marking, address):
    """Turn a white object black."""
    if marking.reached:
        mark(marking.machine, address)
    else:
        unmark(marking.machine, address)


@kernel(inline=True)
def turn_grey(marking, address):
    """Turn a black object grey: all its references are to be looked at, once more perhaps."""
    set_note(marking.machine, address, GREY)
    push(marking.machine, marking.stack, address)
    marking.greys += 1


@kernel(inline=True)
def shade(marking, address):
    """Reach the object at `address` if it is white; `address` may be 0."""
    if address and is_white(marking, address):
        _reach(marking, address)
        marking.log.totals[MARKED_OBJECTS] += 1
        marking.log.totals[MARKED_BYTES] += bytes_of(marking.machine, address)
        if fields_of(marking.machine, address):
            turn_grey(marking, address)


@kernel(inline=True)
def give_birth(marking, address):
    """Colour an object that was initialised just now."""
    if marking.phase == MARKING and marking.birth == WHITE:
        if not marking.reached:
            mark(marking.machine, address)
    else:
        _reach(marking, address)


@kernel
def begin(marking):
    """All objects turn white. The first step of a cycle."""
    mutator = marking.mutator
    marking.phase, marking.reached = MARKING, 1 - marking.reached
    marking.globals_left = root_count(mutator) - mutator.counts[LOCALS]
    marking.stack_black = 0
    if marking.roots == SNAPSHOT:
        scan_stack(marking)
        while marking.globals_left and not mutator.counts[EVERY_HANDLE]:
            scan_global(marking)


@kernel
def scan_stack(marking):
    """Shade what the locals refer to."""
    locals_ = marking.mutator.counts[LOCALS]
    for index in range(locals_):
        shade(marking, root_at(marking.mutator, index))
    marking.log.totals[SCANNED_ROOTS] += locals_
    marking.stack_black = 1


@kernel(inline=True)
def scan_global(marking):
    """Shade what the last of the globals that are left refers to."""
    mutator = marking.mutator
    marking.globals_left -= 1
    shade(marking, root_at(mutator, mutator.counts[LOCALS] + marking.globals_left))
    marking.log.totals[SCANNED_ROOTS] += 1


@kernel(inline=True)
def scan_field(marking):
    """Shade what the next reference of a grey object refers to; its last one turns it black."""
    machine = marking.machine
    if not marking.scanned:
        marking.scanned, marking.field = pop(machine, marking.stack), 0
    address = marking.scanned
    shade(marking, reference(machine, address, marking.field))
    marking.field += 1
    if marking.field == fields_of(machine, address):
        set_note(machine, address, 0)
        marking.greys -= 1
        marking.scanned = 0


@kernel(inline=True)
def is_done(marking):
    """Whether `finish` may come next."""
    return marking.greys == 0 and marking.globals_left == 0 and marking.stack_black == 1


@kernel
def advance(marking, steps):
    """Take up to `steps` steps, the roots first; how many were not needed."""
    while steps > 0 and not is_done(marking):
        if not marking.stack_black:
            scan_stack(marking)
            steps -= marking.mutator.counts[LOCALS]
        elif marking.globals_left:
            scan_global(marking)
        else:
            scan_field(marking)
        steps -= 1
    return steps


@kernel
def finish(marking):
    """End the marking. A stack that is to be scanned again, and all that this finds, in one step:
    the program's locals would change between two."""
    if marking.roots == AGAIN:
        scan_stack(marking)
        while not is_done(marking):
            scan_field(marking)
    marking.phase = SWEEPING


@kernel
def own_memory(marking, blocks):
    """The chunks of the stack, as rows of `blocks` (start, bytes), as many as fit; their number."""
    return chunks(marking.machine, marking.stack, blocks)
