"""Incremental tri-colour mark-sweep: the program pays for the collection as it allocates.

    new     ─► pay ─► a good fit of the bins ─miss─► end the cycle, or a full collection
    pay        IDLE      heap at the trigger: begin a cycle
               else      a pause each increment_bytes: bytes allocated x STEPS / HEADROOM steps
    steps   ─► scan a root, scan a reference of a grey object, sweep an object
    write   ─► while objects are marked the barrier; then the reference

    0 ├──── left by the last cycle ────┼── IDLE ──┼── MARKING, SWEEPING ──┤ goal
                                              trigger        headroom

Terms      step: one reference looked at, or one object swept. A cycle that begins with R
           references, O objects and G roots has no more than R + O + G, and what is born meanwhile
           pays for its own: so the cycle ends before the goal
Invariant  that of `collectors/object_bins.py` (check: 1-13); the goal is the limit (14)
Source     the collector's parts name theirs; paying by allocation: Baker, "List processing in real
           time on a serial computer", CACM 1978; the ratio that ends a cycle at its goal: Go's
           gcAssistAlloc (runtime/mgcmark.go)
Omits      a marker on a thread of its own: the allocating thread does all work, in increments;
           a black object that Steele's barrier turns grey is not paid for a second time

With barrier 0 the program stands still from the first root to the last reference, and only the
sweep comes in increments. A heap of fixed size whose free blocks are too scattered collects early.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import boundary_tags
from heapwright.collectors import barriers, object_bins, tricolour
from heapwright.collectors import log as logs
from heapwright.collectors import pace as paces
from heapwright.collectors.barriers import BIRTH_OF, HYBRID, NONE, ROOTS_OF
from heapwright.collectors.log import Log
from heapwright.collectors.mutator import Mutator, root_count
from heapwright.collectors.object_bins import (
    OBJECT_OFFSET,
    OBJECTS,
    OCCUPIED,
    REFERENCES,
    ObjectBins,
    allocate,
    bytes_for,
)
from heapwright.collectors.objects import MOST_BYTES, bytes_of
from heapwright.collectors.pace import GOAL, Pace
from heapwright.collectors.tricolour import (
    BARRIER,
    IDLE,
    MARKING,
    PHASE,
    SWEEPING,
    Marking,
    advance,
    begin,
    is_done,
    marking,
)
from heapwright.compiler import kernel, unlikely
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, Machine

ALL_STEPS = 1 << 62
GROWTH_BYTES = 1 << 20  # least that brk moves in a heap that grows

PATHS = ("new", "write", "begin", "increment", "last_resort", "full")
NEW, WRITE, BEGIN, INCREMENT, LAST_RESORT, FULL = range(6)

# Heap.payment
(
    CREDIT,  # bytes that may be allocated before something is due
    STEPS,  # that the cycle had ahead of it when it began
    HEADROOM,  # bytes that were left to allocate then
    OWED,  # steps of what was born since the last increment
    START_PERCENT,  # settings from here on
    EVERY_BYTES,
    FIELDS,
) = range(7)


class Config(NamedTuple):
    """Knobs."""

    heap_bytes: int = 0  # of the heap; 0: grow
    minimum_bytes: int = 4 << 20  # while growing, no cycle is to be over before
    growth_percent: int = 100  # by which occupied bytes may grow over those that a cycle left
    barrier: int = HYBRID  # 0 none, 1 Dijkstra, 2 Steele, 3 Yuasa, 4 Go's hybrid
    start_percent: int = 50  # of the room up to the goal, used when a cycle begins
    increment_bytes: int = 8192  # allocated between two increments


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    pace: Pace
    marking: Marking
    objects: ObjectBins
    payment: np.ndarray  # int64[FIELDS]
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config, mutator):
    """An empty heap at the break; HeapwrightError for a knob out of range."""
    pacing = paces.pace("tri-colour", config, PAGE_BYTES)
    if config.barrier > HYBRID or not 0 < config.start_percent <= 100:
        raise HeapwrightError("barrier of tri-colour is 0 to 4, start_percent 1 to 100.")
    log, kind = logs.log(), config.barrier
    colours = marking(machine, mutator, log, kind, ROOTS_OF[kind], BIRTH_OF[kind])
    heap = Heap(
        machine,
        mutator,
        log,
        pacing,
        colours,
        object_bins.object_bins(colours, config.heap_bytes, GROWTH_BYTES),
        np.zeros(FIELDS, np.int64),
        np.zeros(len(PATHS), np.int64),
    )
    heap.payment[START_PERCENT] = config.start_percent
    heap.payment[EVERY_BYTES] = config.increment_bytes
    _set_goal(heap)
    return heap


@kernel
def _set_goal(heap):
    """Between two cycles: when the next one is to be over, and when it begins."""
    goal, occupied = heap.pace.fields, heap.objects.counts[OCCUPIED]
    goal[GOAL] = paces.goal_of(heap.pace, occupied)
    heap.payment[CREDIT] = (goal[GOAL] - occupied) * heap.payment[START_PERCENT] // 100


@kernel
def new(heap, thread, slot, size, fields):
    """Address of a new object of `size` bytes, its first `fields` words null references."""
    heap.paths[NEW] += 1
    if unlikely(size > MOST_BYTES - OBJECT_OFFSET):
        return 0
    payment, need = heap.payment, bytes_for(size)
    payment[CREDIT] -= need
    payment[OWED] += 1 + fields
    if unlikely(payment[CREDIT] < 0):
        _pay(heap, need)
    address = allocate(heap.objects, slot, need, fields)
    if unlikely(address == 0):
        address = _last_resort(heap, slot, need, fields)
    return address


@kernel(cold=True)
def _pay(heap, need):
    """Begin a cycle, or do the share of one that has begun; all in one pause."""
    payment, totals = heap.payment, heap.log.totals
    phase = heap.marking.fields
    logs.begin_pause(heap.log)
    if phase[PHASE] == IDLE:
        _begin(heap, need)
    else:
        heap.paths[INCREMENT] += 1
        marked = totals[logs.MARKED_BYTES]
        allocated = payment[EVERY_BYTES] - payment[CREDIT]
        _advance(heap, allocated * payment[STEPS] // payment[HEADROOM] + 1 + payment[OWED])
        totals[logs.ASSIST_BYTES] += totals[logs.MARKED_BYTES] - marked
    if phase[PHASE] != IDLE:
        payment[CREDIT] = payment[EVERY_BYTES]
    payment[OWED] = 0
    logs.end_pause(heap.log)


@kernel
def _begin(heap, need):
    """Begin a cycle before a block of `need` bytes is allocated."""
    payment, counts, goal = heap.payment, heap.objects.counts, heap.pace.fields[GOAL]
    heap.paths[BEGIN] += 1
    logs.begin_cycle(heap.log, logs.FULL, counts[OCCUPIED], goal)
    payment[STEPS] = counts[REFERENCES] + counts[OBJECTS] + root_count(heap.mutator)
    payment[HEADROOM] = max(goal - counts[OCCUPIED] - need, 1)
    begin(heap.marking)
    if heap.marking.fields[BARRIER] == NONE:
        _advance(heap, 0)


@kernel
def _advance(heap, steps):
    """Take up to `steps` steps of the cycle, which ends with its last one."""
    phase = heap.marking.fields
    if phase[PHASE] == MARKING:
        if phase[BARRIER] == NONE:
            advance(heap.marking, ALL_STEPS)
        else:
            steps = advance(heap.marking, steps)
        if is_done(heap.marking):
            object_bins.finish(heap.objects)
    while phase[PHASE] == SWEEPING and steps > 0:
        object_bins.sweep(heap.objects)
        steps -= 1
    if phase[PHASE] == IDLE:
        logs.end_cycle(heap.log, heap.objects.counts[OCCUPIED])
        _set_goal(heap)


@kernel
def collect(heap):
    """A full collection while the program stands still."""
    logs.begin_pause(heap.log)
    _collect(heap)
    logs.end_pause(heap.log)


@kernel
def _collect(heap):
    """End the cycle, if one has begun, and run another from its beginning to its end."""
    heap.paths[FULL] += 1
    if heap.marking.fields[PHASE] != IDLE:
        _advance(heap, ALL_STEPS)
    _begin(heap, 0)
    if heap.marking.fields[PHASE] != IDLE:
        _advance(heap, ALL_STEPS)


@kernel(cold=True)
def _last_resort(heap, slot, need, fields):
    """As `allocate`, where it found no block: end the cycle in one pause; or collect in full."""
    address = 0
    if not paces.may_hold(heap.pace, need):
        return address
    heap.paths[LAST_RESORT] += 1
    logs.begin_pause(heap.log)
    if heap.marking.fields[PHASE] != IDLE:
        _advance(heap, ALL_STEPS)
        address = allocate(heap.objects, slot, need, fields)
    if not address:
        before = heap.objects.counts[OCCUPIED]
        _collect(heap)
        paces.collected(heap.pace, before, heap.objects.counts[OCCUPIED], need)
        address = allocate(heap.objects, slot, need, fields)
    logs.end_pause(heap.log)
    return address


@kernel
def write(heap, slot, field, target):
    """Let reference `field` of the object in `slot` refer to the one in `target`, -1 none."""
    heap.paths[WRITE] += 1
    barriers.write(heap.marking, slot, field, target)


@kernel
def rooted(heap, slot):
    """A write to a global goes through the barrier; one to a local does not."""
    barriers.rooted(heap.marking, slot)


@kernel
def unrooted(heap, slot):
    """Likewise."""
    barriers.unrooted(heap.marking, slot)


@kernel
def usable(heap, address, size):
    """User bytes of the block: all but its head and the object's header."""
    return bytes_of(heap.machine, address) - OBJECT_OFFSET


@kernel
def extent(heap, address, size):
    """The block from its head to the next one's."""
    return address - OBJECT_OFFSET, bytes_of(heap.machine, address)


@kernel
def cached(heap, blocks):
    """No caches: a free block is in a bin."""
    return 0


@kernel
def metadata(heap, blocks):
    """The heap's padding and fence, and the stack of grey objects."""
    rows = boundary_tags.own_memory(heap.objects.bins.tags, blocks)
    return rows + tricolour.own_memory(heap.marking, blocks[rows:])


@kernel
def vacant(heap, blocks):
    """The free blocks."""
    return object_bins.vacant(heap.objects, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = object_bins.check(heap.objects)
    if broken:
        return broken
    return 0 if paces.check(heap.pace) else 14


def notes(heap):
    """What its figures mean, in sentences."""
    return paces.thrashing(heap.pace)
