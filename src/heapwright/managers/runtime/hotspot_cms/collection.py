"""When CMS's heap collects, and what it tries before it gives up.

    a scavenge, unless one failed before; if the request still has no room in eden, a full
    collection; then old; then another full collection; then there is no memory

A scavenge is safe if the spare space is empty and old has as much free, in however many pieces, as
is expected to be promoted, or as young has.

Source     OpenJDK 11 src/hotspot/share/gc/shared/genCollectedHeap.cpp, share/gc/cms/
           concurrentMarkSweepGeneration.cpp: should_collect, promotion_attempt_is_safe
Omits      heaps that grow and shrink
"""

from heapwright.collectors.hotspot.averages import expected, sample
from heapwright.collectors.hotspot.generations import (
    FAILED_PATH,
    FULL_PATH,
    PATHS,
    YOUNG_PATH,
    begin,
    end,
    reopen,
    retire,
    young_bytes,
)
from heapwright.collectors.hotspot.history import FAILED, SKIPPED, YOUNG
from heapwright.collectors.hotspot.history import FULL as WHOLE
from heapwright.collectors.log import FULL, MINOR
from heapwright.compiler import kernel
from heapwright.managers.runtime.hotspot_cms.compact import compact
from heapwright.managers.runtime.hotspot_cms.cycle import begin_cycle_if_full, end_cycle_in_time
from heapwright.managers.runtime.hotspot_cms.scavenge import scavenge
from heapwright.managers.runtime.hotspot_cms.state import IDLE

AVERAGE_WEIGHT = 50  # CMSExpAvgFactor
SKIPPED_PATH = len(PATHS)  # of the manager's own PATHS
MODE_FAILURE_PATH = SKIPPED_PATH + 3


@kernel
def collect_for(heap, need):
    """Make room for a block of `need` bytes, as far as one collection does."""
    retire(heap)
    end_cycle_in_time(heap)
    was_full = heap.nearly_full != 0
    if not was_full:
        _young(heap)
    if was_full or need > heap.eden_end - heap.eden_top:
        full(heap)
    begin_cycle_if_full(heap)
    reopen(heap)


@kernel
def collect_whole(heap):
    """A full collection."""
    retire(heap)
    full(heap)
    reopen(heap)


@kernel
def _young(heap):
    """A scavenge, or where it is not safe the note that none was made."""
    heap.old_before = heap.old_top
    begin(heap, MINOR)
    if not is_safe(heap):
        heap.nearly_full = 1
        heap.paths[SKIPPED_PATH] += 1
        kind = SKIPPED
    else:
        heap.paths[YOUNG_PATH] += 1
        kind = YOUNG
        if not scavenge(heap):
            heap.paths[FAILED_PATH] += 1
            heap.nearly_full = 1
            kind = FAILED
    sample(heap.promoted, max(0, heap.old_top - heap.old_before), AVERAGE_WEIGHT)
    end(heap, kind)


@kernel
def is_safe(heap):
    """Whether all that a scavenge may promote has room."""
    free = heap.old_end - heap.old_top
    if heap.spare_top > heap.spare:
        return False
    return free >= expected(heap.promoted) or free >= young_bytes(heap)


@kernel
def full(heap):
    """A full collection."""
    begin(heap, FULL)
    heap.paths[FULL_PATH] += 1
    if heap.phase != IDLE:
        heap.paths[MODE_FAILURE_PATH] += 1
    compact(heap)
    tight = not is_safe(heap) and heap.eden_top > heap.eden
    heap.nearly_full = heap.survivors_open = 1 if tight else 0
    end(heap, WHOLE)
