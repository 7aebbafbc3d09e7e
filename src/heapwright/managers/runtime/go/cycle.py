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
    BORN_BLACK,
    FREED_TOTAL,
    IN_USE,
    IS_SWEPT,
    LIVE,
    MARKING,
    PROCESSOR_SHIFT,
    PROCESSORS,
    SCANNABLE,
    SWEPT_OBJECTS,
    TINY,
)
from heapwright.managers.runtime.go.mark import (
    BYTES,
    MARKER_COUNTS,
    NEXT_ROOT,
    OBJECTS,
    TOP,
    WORK,
    drain,
    mark_handles,
    shade,
)
from heapwright.managers.runtime.go.pacer import (
    GLOBALS,
    GLOBALS_WORK,
    HEAP_WORK,
    LAST_IN_USE,
    NEXT_STACKS,
    STACK_WORK,
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

# Heap.cycle: settings and the state of a cycle
(
    STOP_THE_WORLD,  # setting, GODEBUG: 0 concurrent, 1 marking stops the world, 2 sweeping too
    WORKERS_WORK,  # setting: hundredths of a byte
    OWN_BYTES,  # setting: live objects of the runtime itself
    CREDIT,  # work done by the workers and not yet spent by assists
    WORKERS,  # work done by the workers in this cycle
    ASSISTS,
    SCAVENGE_DUE,  # bytes allocated since the background scavenger's last step
    CYCLE_WORDS,
) = range(8)


@kernel
def tell_sweep(heap):
    """Bring the log up to date with what was swept."""
    heap.log.totals[SWEPT_OBJECTS_TOTAL] = heap.go.meters[SWEPT_OBJECTS]
    heap.log.totals[SWEPT_BYTES] = heap.go.meters[FREED_TOTAL]


@kernel
def _mark_roots(heap, newborn):
    """Shade what the program holds, the blocks that caches cut small objects from, and `newborn`;
    of a malloc trace only the latter two: its handles are marked step by step."""
    go, marker = heap.go, heap.marker
    for processor in range(go.meters[PROCESSORS]):
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
    go, counts = heap.go, heap.pacer.counts
    sweep_all(go)
    begin_pause(heap.log)
    goal, _ = heap_goal(heap.pacer, go.meters)  # in force so far: a cycle may raise its own
    start_cycle(heap.pacer, go.meters)
    begin_cycle(heap.log, FULL, go.meters[LIVE], goal)
    for count in range(MARKER_COUNTS):
        heap.marker.counts[count] = 0
    heap.cycle[CREDIT] = heap.cycle[WORKERS] = heap.cycle[ASSISTS] = 0
    go.meters[BORN_BLACK] = 0
    counts[STACK_WORK], counts[GLOBALS_WORK] = counts[NEXT_STACKS], counts[GLOBALS]
    if heap.cycle[STOP_THE_WORLD] == 0:
        go.meters[MARKING] = 1
        blacken_caches(go)
    _mark_roots(heap, newborn)
    if heap.cycle[STOP_THE_WORLD]:
        _mark(heap, UNBOUNDED)
        _terminate(heap)
    end_pause(heap.log)


@kernel
def _mark(heap, budget_bytes):
    """Do so much work of marking, less if there is no more; how much."""
    go, marker, mutator = heap.go, heap.marker, heap.mutator
    counts = marker.counts
    before = counts[WORK]
    slots = mutator.counts[SLOTS] if mutator.counts[EVERY_HANDLE] else 0
    if counts[NEXT_ROOT] < slots:
        past = min(slots, counts[NEXT_ROOT] + budget_bytes // WORD_BYTES + 1)
        heap.log.totals[SCANNED_ROOTS] += past - counts[NEXT_ROOT]
        counts[WORK] += (past - counts[NEXT_ROOT]) * WORD_BYTES
        mark_handles(go, marker, mutator.handles, past)
    drain(go, marker, budget_bytes - (counts[WORK] - before))
    heap.pacer.counts[HEAP_WORK] += counts[WORK] - before
    return counts[WORK] - before


@kernel
def _is_marked(heap):
    """Whether there is nothing left to mark."""
    mutator, counts = heap.mutator.counts, heap.marker.counts
    return not counts[TOP] and (not mutator[EVERY_HANDLE] or counts[NEXT_ROOT] == mutator[SLOTS])


@kernel
def _terminate(heap):
    """All is marked: set goals for the next cycle and begin to sweep, in a pause."""
    go, marker, pacer, cycle = heap.go, heap.marker, heap.pacer, heap.cycle
    utilization = UTILIZATION
    if cycle[WORKERS]:
        utilization = min(0.9, UTILIZATION * (cycle[WORKERS] + cycle[ASSISTS]) / cycle[WORKERS])
    end_cycle(pacer, go.meters, utilization)
    marked = cycle[OWN_BYTES] + marker.counts[BYTES]
    if go.meters[MARKING]:
        marked += born_black_bytes(go)
    go.meters[MARKING] = go.meters[BORN_BLACK] = 0
    reset_live(pacer, go.meters, marked)
    begin_sweep(go)
    for processor in range(go.meters[PROCESSORS]):
        go.processors[(processor << PROCESSOR_SHIFT) + SCANNABLE] = 0
        flush(go, processor)
    if cycle[STOP_THE_WORLD] == 2:
        sweep_all(go)
    pacer.counts[LAST_IN_USE] = go.meters[IN_USE]
    commit(pacer, go.meters, go.meters[IS_SWEPT])
    next_trigger, _ = trigger(pacer, go.meters)
    pace_sweep(go, next_trigger)
    pace_scavenger(pacer, go.meters)
    totals = heap.log.totals
    totals[MARKED_OBJECTS] += marker.counts[OBJECTS]
    totals[MARKED_BYTES] += marker.counts[BYTES]
    totals[ASSIST_BYTES] += cycle[ASSISTS]
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
    cycle = heap.cycle
    revise(heap.pacer, heap.go.meters)
    done = _mark(heap, bytes_ * cycle[WORKERS_WORK] // 100)
    cycle[WORKERS] += done
    owed = int(heap.pacer.ratios[WORK_PER_BYTE] * bytes_)
    paid = min(owed, cycle[CREDIT] + done)
    cycle[CREDIT] += done - paid
    if owed > paid:
        cycle[ASSISTS] += _mark(heap, owed - paid)
    if _is_marked(heap):
        _finish(heap)


@kernel
def grown(heap, newborn, bytes_):
    """A processor took a span or made a large object of `bytes_`: is it time to collect?

    `newborn` is the object for which it did so.
    """
    cycle = heap.cycle
    cycle[SCAVENGE_DUE] += bytes_
    while cycle[SCAVENGE_DUE] >= SCAVENGE_EVERY_BYTES:
        cycle[SCAVENGE_DUE] -= SCAVENGE_EVERY_BYTES
        scavenge_in_background(heap.go)
    if heap.go.meters[MARKING]:
        _step(heap, bytes_)
        return
    start, _ = trigger(heap.pacer, heap.go.meters)
    if heap.go.meters[LIVE] >= start:
        begin(heap, newborn)


@kernel
def collect_all(heap):
    """A whole cycle, after the one that is under way; then everything is swept.

    Blocks that tiny objects share are given up first, so that the last one does not outlive its
    objects until a second collection, as in the real system.
    """
    if heap.go.meters[MARKING]:
        _mark(heap, UNBOUNDED)
        _finish(heap)
    for processor in range(heap.go.meters[PROCESSORS]):
        heap.go.processors[(processor << PROCESSOR_SHIFT) + TINY] = 0
    begin(heap, 0)
    if heap.go.meters[MARKING]:
        _mark(heap, UNBOUNDED)
        _finish(heap)
    sweep_all(heap.go)
    tell_sweep(heap)
