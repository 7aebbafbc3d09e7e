"""When the parallel heap collects, and what it tries before it gives up.

    eden is full ─► half of eden and more: old
                 ─► a scavenge, if old has room for what is expected or for all of young and the
                    spare space is empty; else, and where one fails, a full collection
                 ─► no room still: one of each; old; the same once more; then there is no memory

    While requests have gone to old since nothing else had room, 64 further ones try old first.

Source     OpenJDK 17 src/hotspot/share/gc/parallel/parallelScavengeHeap.cpp, psScavenge.cpp
Omits      adaptive sizes and the limit on the time that collections take
"""

from heapwright.collectors.hotspot.averages import expected
from heapwright.collectors.hotspot.generations import (
    FAILED_PATH,
    FULL_PATH,
    YOUNG_PATH,
    begin,
    end,
    reopen,
    retire,
    young_bytes,
)
from heapwright.collectors.hotspot.history import FAILED, YOUNG
from heapwright.collectors.hotspot.history import FULL as WHOLE
from heapwright.collectors.log import FULL, MINOR
from heapwright.compiler import kernel
from heapwright.managers.runtime.hotspot_parallel.compact import compact
from heapwright.managers.runtime.hotspot_parallel.scavenge import scavenge


@kernel
def scavenge_or_full(heap):
    """A scavenge, or a full collection where that is not safe or fails; whether it was full."""
    if young(heap):
        return False
    full(heap)
    return True


@kernel
def young_then_full(heap):
    """A scavenge, if it is safe, and a full collection."""
    young(heap)
    full(heap)


@kernel
def young(heap):
    """A scavenge, if it is safe; whether it was made and succeeded."""
    retire(heap)
    likely_bytes = min(expected(heap.promoted), young_bytes(heap))
    if heap.spare_top > heap.spare or likely_bytes >= heap.old_end - heap.old_top:
        return False
    begin(heap, MINOR)
    heap.paths[YOUNG_PATH] += 1
    done = scavenge(heap)
    if not done:
        heap.paths[FAILED_PATH] += 1
    end(heap, YOUNG if done else FAILED)
    reopen(heap)
    return done


@kernel
def full(heap):
    """A full collection."""
    retire(heap)
    begin(heap, FULL)
    heap.paths[FULL_PATH] += 1
    compact(heap)
    end(heap, WHOLE)
    reopen(heap)
