"""When the serial heap collects, and what it tries before it gives up, by version.

    up to 23   a scavenge, unless one failed before; then, if the request still has no room in eden
               or old has less than 10,000 bytes left, a full collection
    from 24    a scavenge, unless it is not safe or the request exceeds eden; full where it fails
    all        then old; then a full collection that leaves no dead run and clears all soft
               references; then there is no memory

A scavenge is safe if the spare space is empty and old has room for what is expected to be promoted
or for all of young.

Source     OpenJDK 17 src/hotspot/share/gc/shared/genCollectedHeap.cpp, share/gc/serial/
           defNewGeneration.cpp, tenuredGeneration.cpp; 25 share/gc/serial/serialHeap.cpp
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
from heapwright.managers.runtime.hotspot_serial.compact import compact
from heapwright.managers.runtime.hotspot_serial.growth import fit_old
from heapwright.managers.runtime.hotspot_serial.scavenge import scavenge

LEAST_FREE_BYTES = 10_000  # of old, below which it is collected too

SKIPPED_PATH = len(PATHS)  # of the manager's own PATHS


@kernel
def collect_for(heap, need):
    """Make room for a block of `need` bytes, 0 for none, as far as one collection does."""
    retire(heap)
    heap.old_before, heap.end_before = heap.old_top, heap.old_end
    if heap.modern:
        _collect_modern(heap, need)
    else:
        _collect_classic(heap, need)
    reopen(heap)


@kernel
def collect_whole(heap):
    """A full collection that leaves no dead run."""
    retire(heap)
    heap.old_before, heap.end_before = heap.old_top, heap.old_end
    full(heap, True)
    reopen(heap)


@kernel
def _collect_classic(heap, need):
    is_full, is_small = heap.nearly_full != 0, need < heap.pretenure_bytes
    if not is_full and is_small:
        _young_classic(heap)
    if is_small and need <= heap.eden_end - heap.eden_top:
        need = 0
    is_tight = heap.old_end - heap.old_top < LEAST_FREE_BYTES
    if is_full or need > 0 or is_tight or heap.old_end > heap.end_before:
        full(heap, False)


@kernel
def _young_classic(heap):
    """A scavenge, or where it is not safe the note that none was made."""
    if not is_safe(heap):
        heap.nearly_full = 1
        begin(heap, MINOR)
        heap.paths[SKIPPED_PATH] += 1
        kind = SKIPPED
    elif young(heap):
        kind = YOUNG
    else:
        heap.nearly_full = 1
        kind = FAILED
    if heap.old_top >= heap.old_before:
        sample(heap.promoted, heap.old_top - heap.old_before)
    end(heap, kind)


@kernel
def _collect_modern(heap, need):
    if need <= heap.eden_end - heap.eden and is_safe(heap):
        done = young(heap)
        if done:
            sample(heap.promoted, max(0, heap.old_top - heap.old_before))
            _note_nearly_full(heap, False)
        end(heap, YOUNG if done else FAILED)
        if done:
            return
        heap.old_before = heap.old_top
    full(heap, False)


@kernel
def is_safe(heap):
    """Whether all that a scavenge may promote has room."""
    free = heap.old_limit - heap.old_top
    if heap.spare_top > heap.spare:
        return False
    return free >= expected(heap.promoted) or free >= young_bytes(heap)


@kernel
def young(heap):
    """A scavenge; whether it succeeded."""
    begin(heap, MINOR)
    heap.paths[YOUNG_PATH] += 1
    done = scavenge(heap)
    if not done:
        heap.paths[FAILED_PATH] += 1
    return done


@kernel
def full(heap, always):
    """A full collection; with `always` it leaves no dead run."""
    begin(heap, FULL)
    heap.paths[FULL_PATH] += 1
    compact(heap, always)
    if heap.modern:
        sample(heap.promoted, max(0, heap.old_top - heap.old_before))
        _note_nearly_full(heap, True)
    else:
        fit_old(heap)
        tight = not is_safe(heap) and heap.eden_top > heap.eden
        heap.nearly_full = heap.survivors_open = 1 if tight else 0
    end(heap, WHOLE)


@kernel
def _note_nearly_full(heap, was_full):
    """The emergency: eden is not empty after a full collection; over when it is empty again."""
    if heap.eden_top == heap.eden:
        heap.nearly_full = 0
    elif was_full:
        heap.nearly_full = 1
