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

from heapwright.allocators import boundary_tags
from heapwright.collectors import barriers, object_bins, textbook, tricolour
from heapwright.collectors import log as logs
from heapwright.collectors import pace as paces
from heapwright.collectors.barriers import BIRTH_OF, HYBRID, NONE, ROOTS_OF
from heapwright.collectors.mutator import root_count
from heapwright.collectors.object_bins import OBJECT_OFFSET, ObjectBins, allocate, bytes_for
from heapwright.collectors.objects import MOST_BYTES, bytes_of
from heapwright.collectors.tricolour import (
    IDLE,
    MARKING,
    SWEEPING,
    Marking,
    advance,
    begin,
    is_done,
)
from heapwright.compiler import kernel, unlikely
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES

ALL_STEPS = 1 << 62
GROWTH_BYTES = 1 << 20  # least that brk moves in a heap that grows

PATHS = ("new", "write", "begin", "increment", "last_resort", "full")
NEW, WRITE, BEGIN, INCREMENT, LAST_RESORT, FULL = range(6)

Config = textbook.knobs(
    __name__,
    barrier=HYBRID,  # 0 none, 1 Dijkstra, 2 Steele, 3 Yuasa, 4 Go's hybrid
    start_percent=50,  # of the room up to the goal, used when a cycle begins
    increment_bytes=8192,  # allocated between two increments
)
Heap = textbook.heap(
    __name__,
    "credit",  # bytes that may be allocated before something is due
    "steps",  # that the cycle had ahead of it when it began
    "headroom",  # bytes that were left to allocate then
    "owed",  # steps of what was born since the last increment
    "start_percent",
    "increment_bytes",
    marking=Marking,
    objects=ObjectBins,
)

cached, notes = textbook.cached, textbook.notes


def boot(machine, config, mutator):
    """An empty heap at the break; HeapwrightError for a knob out of range."""
    pacing = paces.pace("tri-colour", config, PAGE_BYTES)
    if config.barrier > HYBRID or not 0 < config.start_percent <= 100:
        raise HeapwrightError("barrier of tri-colour is 0 to 4, start_percent 1 to 100.")
    log, kind = logs.log(), config.barrier
    marking = tricolour.marking(machine, mutator, log, kind, ROOTS_OF[kind], BIRTH_OF[kind])
    objects = object_bins.object_bins(marking, config.heap_bytes, GROWTH_BYTES)
    parts = {"log": log, "marking": marking, "objects": objects}
    heap = textbook.empty(Heap, PATHS, machine, mutator, pacing, **parts)
    heap.start_percent = config.start_percent
    heap.increment_bytes = config.increment_bytes
    _set_goal(heap)
    return heap


@kernel
def _set_goal(heap):
    """Between two cycles: when the next one is to be over, and when it begins."""
    pace, occupied = heap.pace, heap.objects.occupied
    pace.goal = paces.goal_of(pace, occupied)
    heap.credit = (pace.goal - occupied) * heap.start_percent // 100


@kernel
def new(heap, thread, slot, size, fields):
    """Address of a new object of `size` bytes, its first `fields` words null references."""
    heap.paths[NEW] += 1
    if unlikely(size > MOST_BYTES - OBJECT_OFFSET):
        return 0
    need = bytes_for(size)
    heap.credit -= need
    heap.owed += 1 + fields
    if unlikely(heap.credit < 0):
        _pay(heap, need)
    address = allocate(heap.objects, slot, need, fields)
    if unlikely(address == 0):
        address = _last_resort(heap, slot, need, fields)
    return address


@kernel(cold=True)
def _pay(heap, need):
    """Begin a cycle, or do the share of one that has begun; all in one pause."""
    totals, marking = heap.log.totals, heap.marking
    logs.begin_pause(heap.log)
    if marking.phase == IDLE:
        _begin(heap, need)
    else:
        heap.paths[INCREMENT] += 1
        marked = totals[logs.MARKED_BYTES]
        allocated = heap.increment_bytes - heap.credit
        _advance(heap, allocated * heap.steps // heap.headroom + 1 + heap.owed)
        totals[logs.ASSIST_BYTES] += totals[logs.MARKED_BYTES] - marked
    if marking.phase != IDLE:
        heap.credit = heap.increment_bytes
    heap.owed = 0
    logs.end_pause(heap.log)


@kernel
def _begin(heap, need):
    """Begin a cycle before a block of `need` bytes is allocated."""
    goal = heap.pace.goal
    heap.paths[BEGIN] += 1
    logs.begin_cycle(heap.log, logs.FULL, heap.objects.occupied, goal)
    heap.steps = heap.objects.references + heap.objects.objects + root_count(heap.mutator)
    heap.headroom = max(goal - heap.objects.occupied - need, 1)
    begin(heap.marking)
    if heap.marking.barrier == NONE:
        _advance(heap, 0)


@kernel
def _advance(heap, steps):
    """Take up to `steps` steps of the cycle, which ends with its last one."""
    marking = heap.marking
    if marking.phase == MARKING:
        if marking.barrier == NONE:
            advance(heap.marking, ALL_STEPS)
        else:
            steps = advance(heap.marking, steps)
        if is_done(heap.marking):
            object_bins.finish(heap.objects)
    while marking.phase == SWEEPING and steps > 0:
        object_bins.sweep(heap.objects)
        steps -= 1
    if marking.phase == IDLE:
        logs.end_cycle(heap.log, heap.objects.occupied)
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
    if heap.marking.phase != IDLE:
        _advance(heap, ALL_STEPS)
    _begin(heap, 0)
    if heap.marking.phase != IDLE:
        _advance(heap, ALL_STEPS)


@kernel(cold=True)
def _last_resort(heap, slot, need, fields):
    """As `allocate`, where it found no block: end the cycle in one pause; or collect in full."""
    address = 0
    if not paces.may_hold(heap.pace, need):
        return address
    heap.paths[LAST_RESORT] += 1
    logs.begin_pause(heap.log)
    if heap.marking.phase != IDLE:
        _advance(heap, ALL_STEPS)
        address = allocate(heap.objects, slot, need, fields)
    if not address:
        before = heap.objects.occupied
        _collect(heap)
        paces.collected(heap.pace, before, heap.objects.occupied, need)
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
