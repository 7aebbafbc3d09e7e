"""A collection of Go's heap, from the trigger to the new goal.

    begin ─► roots ─► steps of marking, as the program allocates ─► finish ─► sweep, likewise
    stopped (gcstoptheworld): all of it at once

Terms      step: what is marked when a cache takes a span or a large object is made: the background
           workers' share, and the assist, which the allocating thread owes
Invariant  while MARKING what is born is black; when a cycle is finished, nothing that was
           reachable when it began, or is now, is unmarked
Source     Go 1.27 runtime/mgc.go (gcStart, gcMarkDone, gcMarkTermination, gcSweep), mgcmark.go
           (gcAssistAlloc)
Differs    time: the workers do WORKERS_WORK bytes of work while the program allocates a byte, where
           the real ones have a quarter of the processors
Omits      a cycle after two minutes without one; goroutines that wait for assist credit
"""

from heapwright.collectors.log import (
    ASSIST_BYTES,
    FULL,
    MARKED_BYTES,
    MARKED_OBJECTS,
    SCANNED_ROOTS,
    SWEPT_BYTES,
    begin_cycle,
    begin_pause,
    end_pause,
)
from heapwright.collectors.log import SWEPT_OBJECTS as SWEPT_OBJECTS_TOTAL
from heapwright.collectors.log import end_cycle as log_cycle
from heapwright.collectors.mutator import EVERY_HANDLE, SLOTS, root_at, root_count
from heapwright.compiler import kernel
from heapwright.managers.runtime.go.cache import blacken_caches, born_black_bytes, flush
from heapwright.managers.runtime.go.layout import (
    PROCESSOR_SHIFT,
    SCANNABLE,
    TINY,
)
from heapwright.managers.runtime.go.mark import (
    drain,
    mark_handles,
    shade,
)
from heapwright.managers.runtime.go.pacer import (
    UTILIZATION,
    WORK_PER_BYTE,
    commit,
    end_cycle,
    heap_goal,
    pace_scavenger,
    reset_live,
    revise,
    start_cycle,
    trigger,
)
from heapwright.managers.runtime.go.scavenge import scavenge_in_background
from heapwright.managers.runtime.go.sweep import begin_sweep, pace_sweep, sweep_all

WORD_BYTES = 8
UNBOUNDED = 1 << 60
SCAVENGE_EVERY_BYTES = 1 << 20

# Words of Heap.cycle: settings and the state of a cycle
CYCLE = (
    "stop_the_world",  # setting, GODEBUG: 0 concurrent, 1 marking stops the world, 2 sweeping too
    "workers_work",  # setting: hundredths of a byte
    "own_bytes",  # setting: live objects of the runtime itself
    "credit",  # work done by the workers and not yet spent by assists
    "workers",  # work done by the workers in this cycle
    "assists",
    "scavenge_due",  # bytes allocated since the background scavenger's last step
)


@kernel
def tell_sweep(heap):
    """Bring the log up to date with what was swept."""
    heap.log.totals[SWEPT_OBJECTS_TOTAL] = heap.go.swept_objects
    heap.log.totals[SWEPT_BYTES] = heap.go.freed_total


@kernel
def _mark_roots(heap, newborn):
    """Shade what the program holds, the blocks that caches cut small objects from, and `newborn`;
    of a malloc trace only the latter two: its handles are marked step by step."""
    go, marker = heap.go, heap.marker
    for processor in range(go.processor_count):
        tiny = go.processors[(processor << PROCESSOR_SHIFT) + TINY]
        shade(marker, tiny)
    shade(marker, newborn)
    if not heap.mutator.counts[EVERY_HANDLE]:
        roots = root_count(heap.mutator)
        for index in range(roots):
            shade(marker, root_at(heap.mutator, index))
        heap.log.totals[SCANNED_ROOTS] += roots


@kernel
def begin(heap, newborn):
    """Begin a cycle, in a pause. `newborn` is an object that the program is about to hold, or 0."""
    go, marker, pacer = heap.go, heap.marker, heap.pacer
    sweep_all(go)
    begin_pause(heap.log)
    goal, _ = heap_goal(heap.pacer, go)  # in force so far: a cycle may raise its own
    start_cycle(heap.pacer, go)
    begin_cycle(heap.log, FULL, go.live, goal)
    marker.top = marker.next_root = marker.objects = marker.bytes_ = marker.work = 0
    heap.credit = heap.workers = heap.assists = 0
    go.born_black = 0
    pacer.stack_work, pacer.globals_work = pacer.next_stacks, pacer.globals_
    if heap.stop_the_world == 0:
        go.marking = 1
        blacken_caches(go)
    _mark_roots(heap, newborn)
    if heap.stop_the_world:
        _mark(heap, UNBOUNDED)
        _terminate(heap)
    end_pause(heap.log)


@kernel
def _mark(heap, budget_bytes):
    """Do so much work of marking, less if there is no more; how much."""
    go, marker, mutator = heap.go, heap.marker, heap.mutator
    before = marker.work
    slots = mutator.counts[SLOTS] if mutator.counts[EVERY_HANDLE] else 0
    if marker.next_root < slots:
        past = min(slots, marker.next_root + budget_bytes // WORD_BYTES + 1)
        heap.log.totals[SCANNED_ROOTS] += past - marker.next_root
        marker.work += (past - marker.next_root) * WORD_BYTES
        mark_handles(go, marker, mutator.handles, past)
    drain(go, marker, budget_bytes - (marker.work - before))
    heap.pacer.heap_work += marker.work - before
    return marker.work - before


@kernel
def _is_marked(heap):
    """Whether there is nothing left to mark."""
    mutator, marker = heap.mutator.counts, heap.marker
    return not marker.top and (not mutator[EVERY_HANDLE] or marker.next_root == mutator[SLOTS])


@kernel
def _terminate(heap):
    """All is marked: set goals for the next cycle and begin to sweep, in a pause."""
    go, marker, pacer = heap.go, heap.marker, heap.pacer
    utilization = UTILIZATION
    if heap.workers:
        utilization = min(0.9, UTILIZATION * (heap.workers + heap.assists) / heap.workers)
    end_cycle(pacer, go, utilization)
    marked = heap.own_bytes + marker.bytes_
    if go.marking:
        marked += born_black_bytes(go)
    go.marking = go.born_black = 0
    reset_live(pacer, go, marked)
    begin_sweep(go)
    for processor in range(go.processor_count):
        go.processors[(processor << PROCESSOR_SHIFT) + SCANNABLE] = 0
        flush(go, processor)
    if heap.stop_the_world == 2:
        sweep_all(go)
    pacer.last_in_use = go.in_use
    commit(pacer, go, go.is_swept)
    next_trigger, _ = trigger(pacer, go)
    pace_sweep(go, next_trigger)
    pace_scavenger(pacer, go)
    totals = heap.log.totals
    totals[MARKED_OBJECTS] += marker.objects
    totals[MARKED_BYTES] += marker.bytes_
    totals[ASSIST_BYTES] += heap.assists
    tell_sweep(heap)
    log_cycle(heap.log, marked)


@kernel
def _finish(heap):
    """End the cycle whose marking is complete."""
    begin_pause(heap.log)
    _terminate(heap)
    end_pause(heap.log)


@kernel
def _step(heap, bytes_):
    """While marking, the program took `bytes_`: the workers go on, and it assists them."""
    revise(heap.pacer, heap.go)
    done = _mark(heap, bytes_ * heap.workers_work // 100)
    heap.workers += done
    owed = int(heap.pacer.ratios[WORK_PER_BYTE] * bytes_)
    paid = min(owed, heap.credit + done)
    heap.credit += done - paid
    if owed > paid:
        heap.assists += _mark(heap, owed - paid)
    if _is_marked(heap):
        _finish(heap)


@kernel
def grown(heap, newborn, bytes_):
    """A processor took a span or made a large object of `bytes_`: is it time to collect?

    `newborn` is the object for which it did so.
    """
    heap.scavenge_due += bytes_
    while heap.scavenge_due >= SCAVENGE_EVERY_BYTES:
        heap.scavenge_due -= SCAVENGE_EVERY_BYTES
        scavenge_in_background(heap.go)
    if heap.go.marking:
        _step(heap, bytes_)
        return
    start, _ = trigger(heap.pacer, heap.go)
    if heap.go.live >= start:
        begin(heap, newborn)


@kernel
def collect_all(heap):
    """A whole cycle, after the one that is under way; then everything is swept.

    Blocks that tiny objects share are given up first, so that the last one does not outlive its
    objects until a second collection, as in the real system.
    """
    if heap.go.marking:
        _mark(heap, UNBOUNDED)
        _finish(heap)
    for processor in range(heap.go.processor_count):
        heap.go.processors[(processor << PROCESSOR_SHIFT) + TINY] = 0
    begin(heap, 0)
    if heap.go.marking:
        _mark(heap, UNBOUNDED)
        _finish(heap)
    sweep_all(heap.go)
    tell_sweep(heap)
