"""ART's concurrent copying, in one pause: mark, sweep large objects, evacuate regions.

    mark ─► dead runs of regions are holes ─► evacuate: fresh regions, those below 75 % live
         ─► target = live + free bytes x multiplier; free: live x (1 / utilization - 1), in bounds

Source     ART 11 runtime/gc/space/region_space.cc (ShouldBeEvacuated), heap.cc
           (GrowForUtilization, SetIdealFootprint), collector/concurrent_copying.cc
Omits      what goes on beside the program and its read barrier; young collections of generational
           ART; the order of copying: by region here, from the roots there
"""

import numpy as np

from heapwright.collectors.android.history import note
from heapwright.collectors.log import (
    FULL,
    PAUSES,
    SWEPT_OBJECTS,
    begin_cycle,
    begin_pause,
    end_cycle,
    end_pause,
)
from heapwright.collectors.mark import mark_from_roots
from heapwright.collectors.regions import USED, evacuate, find
from heapwright.compiler import kernel, unsigned
from heapwright.managers.runtime.art.large_objects import sweep_large
from heapwright.managers.runtime.art.state import (
    CLAMP,
    COLLECT,
    EVACUATED,
    LARGE_SHIFT,
    REGION_BYTES,
    region_bytes,
)

EVACUATE_BELOW_PERCENT = 75
MOST_LIVE_PERCENT = EVACUATE_BELOW_PERCENT - 1  # that a region which is emptied may have
LEAST_REMAINING = 128 << 10  # bytes before the target


@kernel
def collect_for(heap, cause):
    """A collection, and the target that follows from it."""
    heap.paths[COLLECT + cause] += 1
    machine, table, totals = heap.machine, heap.regions, heap.log.totals
    begin_pause(heap.log)
    heap.allocated -= heap.buffer
    heap.buffer = 0
    before = heap.allocated
    begin_cycle(heap.log, FULL, before, heap.target)
    objects = totals[SWEPT_OBJECTS]
    mark_from_roots(machine, heap.mutator, heap.stack, heap.log)
    large, large_freed = sweep_large(heap)
    find(machine, table, heap.mutator, heap.log)
    _open_fresh(heap)
    heap.paths[EVACUATED] += evacuate(machine, table, heap.mutator, heap.log, MOST_LIVE_PERCENT)
    for region in range(table.total):
        heap.fresh[unsigned(region)] = 0
    heap.allocated = region_bytes(heap) + heap.large_bytes
    objects = totals[SWEPT_OBJECTS] - objects - large
    _grow_for_utilization(heap)
    freed = before - heap.allocated - large_freed
    pause = totals[PAUSES]
    of_large = large_freed << LARGE_SHIFT | large
    note(heap, cause, (freed, objects, of_large, heap.allocated, heap.target, pause))
    end_pause(heap.log)
    end_cycle(heap.log, heap.allocated)


@kernel
def _open_fresh(heap):
    """Regions taken since the last collection are emptied however much of them lives."""
    table = heap.regions
    most = MOST_LIVE_PERCENT * REGION_BYTES // 100
    for region in range(table.total):
        if heap.fresh[unsigned(region)] and table.kind[unsigned(region)] == USED:
            table.live[unsigned(region)] = min(table.live[unsigned(region)], most)


@kernel
def _grow_for_utilization(heap):
    """The target, and where before it the next collection begins."""
    live = heap.allocated
    free = np.int64(live * (1.0 / (heap.utilization / 100.0) - 1.0))
    free = max(min(free, heap.max_free), heap.min_free)
    target = live + free * heap.multiplier // 100
    if target > heap.growth_limit:
        note(heap, CLAMP, (target, heap.growth_limit, 0, 0, 0, 0))
        target = heap.growth_limit
    heap.target = target
    remaining = min(LEAST_REMAINING, target)  # nothing is allocated while it is at work here
    heap.concurrent_start = max(target - remaining, live)
