"""How old grows and shrinks between -Xms and -Xmx; young does not, as -Xmn fixes it.

    an object that finds no room ─► 192 KiB more, or as much as it takes, or all there is
    a scavenge that made it grow ─► a full collection
    after a full collection      ─► 40 % free at least, 70 % at most; what is too much goes in steps
                                    of 0, 10, 40 and 100 %, what was grown by for promotion at once

Source     OpenJDK 17 src/hotspot/share/gc/shared/cardGeneration.cpp, tenuredGeneration.cpp
"""

from heapwright.compiler import kernel

PAGE_BYTES = 4096
LEAST_BYTES = 192 << 10  # MinHeapDeltaBytes, whole spaces' units
LEAST_FREE, MOST_FREE = 40, 70  # percent: MinHeapFreeRatio, MaxHeapFreeRatio


@kernel
def _whole_pages(bytes_):
    return (bytes_ + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES


@kernel(cold=True)
def grow(heap, need, least):
    """Let old have `need` bytes more, `least` if there are as many; or what there is."""
    left = heap.old_limit - heap.old_end
    bytes_ = _whole_pages(need)
    if _whole_pages(least) > bytes_ and _whole_pages(least) <= left:
        bytes_ = _whole_pages(least)
    heap.old_end += min(bytes_, left)


@kernel
def fit_old(heap):
    """After a full collection: let old be as large as what it holds wants."""
    used, capacity = heap.old_top - heap.old, heap.old_end - heap.old
    percent, heap.shrink_percent = heap.shrink_percent, 0
    least = max(int(used / (1.0 - LEAST_FREE / 100.0)), heap.first_old_bytes)
    if capacity < least:
        if least - capacity >= LEAST_BYTES:
            grow(heap, least - capacity, 0)
        return
    less = 0
    most = max(int(used / (1.0 - MOST_FREE / 100.0)), heap.first_old_bytes)
    if capacity > most:
        less = (capacity - most) // 100 * percent
        heap.shrink_percent = min(percent * 4, 100) if percent else 10
    if heap.old_end > heap.end_before:
        less = max(less, min(heap.old_end - heap.end_before, capacity - least))
    if less >= LEAST_BYTES:
        heap.old_end -= less // PAGE_BYTES * PAGE_BYTES
