"""Where an evacuation puts what lives: buffers in survivor regions and in old ones.

    buffer (PLAB)   32 KiB of a survivor region, 8 KiB of an old one; an object of a tenth of that
                    and more has no place in a new one: it goes straight into the region

Source     OpenJDK 17 src/hotspot/share/gc/g1/g1Allocator.cpp, share/gc/shared/plab.cpp
"""

from heapwright.collectors.hotspot.cards import settle
from heapwright.collectors.hotspot.evacuating import (
    FILLER_BYTES,
    OLD_LAB_BYTES,
    YOUNG_LAB_BYTES,
    close_old_lab,
    close_young_lab,
)
from heapwright.collectors.hotspot.layout import fill
from heapwright.compiler import kernel, unsigned
from heapwright.managers.runtime.hotspot_g1.state import OLD, SURVIVOR, start_of, take_region

CLOSED = 2  # survivors_full: no buffer could be had, and nothing more survives in young
WASTE_PERCENT = 10  # ParallelGCBufferWastePct


@kernel
def in_survivors(heap, bytes_):
    """A block of a survivor region, 0 where there may be no further one."""
    if heap.young_lab + bytes_ <= heap.young_lab_end:
        heap.young_lab += bytes_
        return heap.young_lab - bytes_
    buffered = bytes_ * 100 < YOUNG_LAB_BYTES * WASTE_PERCENT
    least = bytes_ + FILLER_BYTES if buffered else bytes_
    if buffered:
        close_young_lab(heap)
    if heap.survivors_full:
        if buffered:
            heap.survivors_full = CLOSED
        return 0
    if heap.to_region < 0 or _room(heap, heap.to_region) < least:
        _fill_up(heap, heap.to_region)
        heap.to_region = -1
        if heap.regions.counts[SURVIVOR] < heap.most_survivors + heap.emptied:
            heap.to_region = take_region(heap, SURVIVOR)
        if heap.to_region < 0:
            heap.survivors_full = CLOSED if buffered else 1
            return 0
    taken = min(_room(heap, heap.to_region), YOUNG_LAB_BYTES) if buffered else bytes_
    block = heap.regions.top[unsigned(heap.to_region)]
    heap.regions.top[unsigned(heap.to_region)] = block + taken
    if buffered:
        heap.young_lab, heap.young_lab_end = block + bytes_, block + taken - FILLER_BYTES
    return block


@kernel
def in_old(heap, bytes_):
    """A block of an old region, 0 where no region is free."""
    if heap.old_lab + bytes_ <= heap.old_lab_end:
        heap.old_lab += bytes_
        return heap.old_lab - bytes_
    if heap.old_full:
        return 0
    buffered = bytes_ * 100 < OLD_LAB_BYTES * WASTE_PERCENT
    least = bytes_ + FILLER_BYTES if buffered else bytes_
    if buffered:
        close_old_lab(heap)
    if heap.to_old < 0 or _room(heap, heap.to_old) < least:
        _fill_up(heap, heap.to_old)
        heap.to_old = take_region(heap, OLD)
        if heap.to_old < 0:
            heap.old_full = 1
            return 0
    taken = min(_room(heap, heap.to_old), OLD_LAB_BYTES) if buffered else bytes_
    block = heap.regions.top[unsigned(heap.to_old)]
    heap.regions.top[unsigned(heap.to_old)] = block + taken
    if buffered:
        heap.old_lab, heap.old_lab_end = block + bytes_, block + taken - FILLER_BYTES
    return block


@kernel
def _room(heap, region):
    """Bytes above a region's top."""
    return start_of(heap, region) + heap.region_bytes - heap.regions.top[unsigned(region)]


@kernel
def _fill_up(heap, region):
    """Nothing more is put into the region."""
    if region >= 0:
        top, left = heap.regions.top[unsigned(region)], _room(heap, region)
        if left:
            fill(heap.machine, top, left)
            settle(heap.java, top, left)
            heap.regions.top[unsigned(region)] = top + left
