"""A small heap on which a program and the tri-colour collector take turns, a move at a time.

    the collector   scan the stack, a global or a field, in any order; finish; sweep an object
    the program     read a reference or a global into a local, drop a local, write a reference, set
                    or clear a global, allocate: whatever it can do with what it holds
    the oracle      the same graph by slot numbers; it is told nothing of addresses or colours

Each move is atomic. The collector's are the kernels of `collectors/` that the manager runs, on the
same machine; the program's go through the same barriers.

Terms      lost: reachable, and reclaimed all the same
Omits      moves that change nothing: a write of what is there, a second local for an object

`interleaving.py` makes every move in every order.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.boundary_tags import fence, first_block
from heapwright.collectors import barriers, mutator, object_bins, tricolour
from heapwright.collectors.mark import LINK_BYTES, pop, push
from heapwright.collectors.mutator import GLOBALS, LOCALS
from heapwright.collectors.object_bins import ObjectBins, bytes_for
from heapwright.collectors.objects import WORD_BYTES, reference
from heapwright.collectors.tricolour import (
    SWEEPING,
)
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store

SCAN_STACK, SCAN_GLOBAL, SCAN_FIELD, FINISH, SWEEP = range(5)  # the collector's moves
READ, READ_GLOBAL, DROP, WRITE, ROOT, UNROOT, NEW = range(5, 12)  # the program's
SOURCE_SHIFT, FIELD_SHIFT, TARGET_SHIFT, KIND_MASK = 4, 8, 12, 15  # of a move's number

MOST_SLOTS = 8
MOST_MOVES = 128  # of a state
ALL_STEPS = 1 << 30

# World.rules
(
    LEFT,  # steps that the program may still take
    KNOWN,  # objects so far; slots are given in order
    SLOTS,  # setting: most objects
    FIELDS,  # setting: references of each object
    MOST_GLOBALS,  # setting
    CHECKED,  # setting: 1 when the heap's invariants are checked in every state
    HEAP_WORD,  # index of the heap's first word
    HEAP_WORDS,  # setting: how many words objects can take
    LAST_WORD,  # index of the heap's last word but one
    RULES,
) = range(10)


class World(NamedTuple):
    """The heap, the oracle and the rules."""

    heap: ObjectBins
    edges: np.ndarray  # int64[slot * FIELDS]  the oracle's graph: a slot, -1 null
    rules: np.ndarray  # int64[RULES]
    cells: np.ndarray  # int64[cell]  the memory behind every array above but the machine's
    boot: np.ndarray  # int64[word]  the empty heap, as `save` wrote it


@kernel
def words_of(world):
    """Words of a saved state; `cells` comes first."""
    return world.rules[HEAP_WORDS] + 2 + MOST_SLOTS


@kernel
def save(world, cells, into, at):
    """Write the state to `into`, from index `at` on."""
    heap, rules = world.heap, world.rules
    for i in range(cells):
        into[unsigned(at + i)] = world.cells[unsigned(i)]
    at += cells
    words, first = heap.machine.words, rules[HEAP_WORD]
    for i in range(rules[HEAP_WORDS]):
        into[unsigned(at + i)] = words[unsigned(first + i)]
    at += rules[HEAP_WORDS]
    for i in range(2):
        into[unsigned(at + i)] = words[unsigned(rules[LAST_WORD] + i)]
    floor = heap.marking.stack.chunk + LINK_BYTES
    for i in range(MOST_SLOTS):
        into[unsigned(at + 2 + i)] = load(heap.machine, floor + i * WORD_BYTES)


@kernel
def restore(world, cells, saved, at):
    """The reverse."""
    heap, rules = world.heap, world.rules
    for i in range(cells):
        world.cells[unsigned(i)] = saved[unsigned(at + i)]
    at += cells
    words, first = heap.machine.words, rules[HEAP_WORD]
    for i in range(rules[HEAP_WORDS]):
        words[unsigned(first + i)] = saved[unsigned(at + i)]
    at += rules[HEAP_WORDS]
    for i in range(2):
        words[unsigned(rules[LAST_WORD] + i)] = saved[unsigned(at + i)]
    floor = heap.marking.stack.chunk + LINK_BYTES
    for i in range(MOST_SLOTS):
        store(heap.machine, floor + i * WORD_BYTES, saved[unsigned(at + 2 + i)])


@kernel
def held_by_locals(world):
    """Bit mask of the slots that locals refer to."""
    program, mask = world.heap.marking.mutator, 0
    for i in range(program.counts[LOCALS]):
        mask |= 1 << program.locals[unsigned(i)]
    return mask


@kernel
def held_by_globals(world):
    """Bit mask of the slots that globals refer to."""
    program, mask = world.heap.marking.mutator, 0
    for i in range(program.counts[GLOBALS]):
        mask |= 1 << program.globals[unsigned(i)]
    return mask


@kernel
def reachable(world):
    """Bit mask of the slots that the oracle reaches from the roots."""
    fields = world.rules[FIELDS]
    mask, before = held_by_locals(world) | held_by_globals(world), -1
    while mask != before:
        before = mask
        for slot in range(world.rules[KNOWN]):
            if mask >> slot & 1:
                for field in range(fields):
                    target = world.edges[unsigned(slot * fields + field)]
                    if target >= 0:
                        mask |= 1 << target
    return mask


@kernel
def has_lost(world):
    """Whether an object that can be reached was reclaimed."""
    mask = reachable(world)
    for slot in range(world.rules[KNOWN]):
        if mask >> slot & 1 and world.heap.marking.mutator.handles[unsigned(slot)] == 0:
            return True
    return False


@kernel
def is_broken(world):
    """Whether a reference of a reachable object is not what was written, or an invariant fails."""
    heap, fields = world.heap, world.rules[FIELDS]
    handles, mask = heap.marking.mutator.handles, reachable(world)
    for slot in range(world.rules[KNOWN]):
        if mask >> slot & 1:
            for field in range(fields):
                target = world.edges[unsigned(slot * fields + field)]
                expected = handles[unsigned(target)] if target >= 0 else 0
                if reference(heap.machine, handles[unsigned(slot)], field) != expected:
                    return True
    return world.rules[CHECKED] and object_bins.check(heap) != 0


@kernel
def is_complete(world):
    """Whether a further collection leaves what is reachable and nothing else; it is run."""
    heap = world.heap
    tricolour.begin(heap.marking)
    tricolour.advance(heap.marking, ALL_STEPS)
    object_bins.finish(heap)
    while heap.marking.phase == SWEEPING:
        object_bins.sweep(heap)
    left, mask = 0, reachable(world)
    while mask:
        left += mask & 1
        mask >>= 1
    return not has_lost(world) and left == heap.objects


@kernel
def list_moves(world, into, at):
    """Write the legal moves to `into`, from index `at` on; their number."""
    count = _list_collector_moves(world, into, at)
    rules, program = world.rules, world.heap.marking.mutator
    if rules[LEFT] == 0:
        return count
    locals_, globals_ = held_by_locals(world), held_by_globals(world)
    held, fields = locals_ | globals_, rules[FIELDS]
    for slot in range(rules[KNOWN]):
        source = slot << SOURCE_SHIFT
        if globals_ >> slot & 1:
            into[unsigned(at + count)] = UNROOT | source
            count += 1
            if not locals_ >> slot & 1:
                into[unsigned(at + count)] = READ_GLOBAL | source
                count += 1
        elif locals_ >> slot & 1 and program.counts[GLOBALS] < rules[MOST_GLOBALS]:
            into[unsigned(at + count)] = ROOT | source
            count += 1
        if locals_ >> slot & 1:
            into[unsigned(at + count)] = DROP | source
            count += 1
        if not held >> slot & 1:
            continue
        for field in range(fields):
            place = source | field << FIELD_SHIFT
            old = world.edges[unsigned(slot * fields + field)]
            if old >= 0 and not locals_ >> old & 1:
                into[unsigned(at + count)] = READ | place
                count += 1
            for target in range(-1, rules[KNOWN]):
                if target != old and (target < 0 or held >> target & 1):
                    into[unsigned(at + count)] = WRITE | place | (target + 1) << TARGET_SHIFT
                    count += 1
    if rules[KNOWN] < rules[SLOTS]:
        into[unsigned(at + count)] = NEW
        count += 1
    return count


@kernel
def _list_collector_moves(world, into, at):
    """The collector's moves, none when its cycle is over."""
    marking, count = world.heap.marking, 0
    if marking.phase == SWEEPING:
        into[unsigned(at)] = SWEEP
        return 1
    if not marking.stack_black:
        into[unsigned(at + count)] = SCAN_STACK
        count += 1
    if marking.globals_left:
        into[unsigned(at + count)] = SCAN_GLOBAL
        count += 1
    if marking.greys:
        into[unsigned(at + count)] = SCAN_FIELD
        count += 1
    if count == 0:
        into[unsigned(at)] = FINISH
        count = 1
    return count


@kernel
def make(world, move):
    """Make a move: the collector's kernel, or the program's and the oracle's."""
    heap, kind = world.heap, move & KIND_MASK
    marking = heap.marking
    if kind == SCAN_STACK:
        tricolour.scan_stack(marking)
    elif kind == SCAN_GLOBAL:
        tricolour.scan_global(marking)
    elif kind == SCAN_FIELD:
        tricolour.scan_field(marking)
    elif kind == FINISH:
        object_bins.finish(heap)
    elif kind == SWEEP:
        object_bins.sweep(heap)
    else:
        world.rules[LEFT] -= 1
        _run(world, kind, move >> SOURCE_SHIFT & 15, move >> FIELD_SHIFT & 15, move >> TARGET_SHIFT)


@kernel
def _run(world, kind, slot, field, target):
    """One step of the program; `target` is one more than a slot."""
    heap, rules = world.heap, world.rules
    marking, program = heap.marking, heap.marking.mutator
    if kind == READ:
        _hold(marking, world.edges[unsigned(slot * rules[FIELDS] + field)])
    elif kind == READ_GLOBAL:
        _hold(marking, slot)
    elif kind == DROP:
        _drop(program, slot)
        barriers.unrooted(marking, slot)
    elif kind == WRITE:
        barriers.write(marking, slot, field, target - 1)
        world.edges[unsigned(slot * rules[FIELDS] + field)] = target - 1
    elif kind == ROOT:
        mutator.root(program, slot)
        barriers.rooted(marking, slot)
    elif kind == UNROOT:
        mutator.unroot(program, slot)
        barriers.unrooted(marking, slot)
    else:
        slot = rules[KNOWN]
        rules[KNOWN] = slot + 1
        object_bins.allocate(heap, slot, bytes_for(rules[FIELDS] * WORD_BYTES), rules[FIELDS])
        _hold(marking, slot)


@kernel
def _hold(marking, slot):
    """A local more refers to the object."""
    mutator.hold(marking.mutator, slot)
    barriers.rooted(marking, slot)


@kernel
def _drop(program, slot):
    """The local that refers to the object does no longer; the last one takes its place."""
    last = program.counts[LOCALS] - 1
    for i in range(last):
        if program.locals[unsigned(i)] == slot:
            program.locals[unsigned(i)] = program.locals[unsigned(last)]
    program.counts[LOCALS] = last


@kernel
def prepare(world, cells):
    """Let the empty heap have its page, and the stack its chunk; keep that in `boot`."""
    heap, rules = world.heap, world.rules
    marking = heap.marking
    address = object_bins.allocate(heap, 0, bytes_for(0), 0)
    push(heap.machine, marking.stack, address)
    pop(heap.machine, marking.stack)
    tricolour.begin(marking)
    object_bins.finish(heap)
    object_bins.sweep(heap)
    rules[HEAP_WORD] = first_block(heap.bins.tags) // WORD_BYTES
    rules[LAST_WORD] = fence(heap.bins.tags) // WORD_BYTES - 1
    save(world, cells, world.boot, 0)


@kernel
def stage(world, cells, edges, roots):
    """Begin a cycle on a graph: int64[slot * FIELDS] `edges`, and `roots`, int64[root]: a slot that
    a local holds, or -1 - a slot that a global does."""
    restore(world, cells, world.boot, 0)
    heap, fields, program = world.heap, world.rules[FIELDS], world.heap.marking.mutator
    world.rules[KNOWN] = len(edges) // fields
    for slot in range(world.rules[KNOWN]):
        object_bins.allocate(heap, slot, bytes_for(fields * WORD_BYTES), fields)
    for i in range(len(edges)):
        world.edges[unsigned(i)] = edges[i]
        barriers.write(heap.marking, i // fields, i % fields, edges[i])
    for root in roots:
        if root >= 0:
            mutator.hold(program, root)
        else:
            mutator.root(program, -1 - root)
            barriers.rooted(heap.marking, -1 - root)
    tricolour.begin(heap.marking)


ABSENT, WHITE, GREY, BLACK = range(4)


@kernel
def look(world, colours):
    """Write the colour of each slot's object to `colours`, int64[slot]."""
    marking = world.heap.marking
    for slot in range(len(colours)):
        address = marking.mutator.handles[unsigned(slot)]
        colours[slot] = BLACK
        if address == 0:
            colours[slot] = ABSENT
        elif tricolour.is_white(marking, address):
            colours[slot] = WHITE
        elif tricolour.is_grey(marking, address):
            colours[slot] = GREY
