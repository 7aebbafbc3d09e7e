"""The dense prefix: how much of old's bottom a full collection leaves as it is, its dead included.

    old │ regions without dead │ some dead: worth moving? │ ◄── slides
                                                          └ prefix

    Regions are of 512 KiB. Of those from the first with dead bytes on, up to the one below which as
    much is dead as the limiter allows, the prefix ends at that with the best ratio

        dead above / (live below + 1.25 live above)

    limiter  a share of old that may stay dead: a normal distribution of old's density around 50 %,
             moved so that a full old may keep 1 %
    whole    nothing dead stays: where not all that lives fits old, at System.gc(), before there is
             no memory; so it is, but for dead bytes below, at the third full collection and once
             HeapMaximumCompactionInterval of them have been since the last such one

Source     OpenJDK 17 src/hotspot/share/gc/parallel/psParallelCompact.cpp: compute_dense_prefix,
           fill_dense_prefix_end
"""

from math import exp, pi, sqrt

from heapwright.collectors.hotspot.layout import (
    AGE_SHIFT,
    BYTES_SHIFT,
    HEADER_BYTES,
    MOST_AGE,
    fill,
    forward,
    is_marked,
)
from heapwright.collectors.hotspot.sliding import OLD
from heapwright.collectors.hotspot.tracing import dead_run
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load

REGION_SHIFT = 19
REGION_BYTES = 1 << REGION_SHIFT
FIRST_WHOLE = 3  # HeapFirstMaximumCompactionCount
MEAN, DEVIATION = 0.5, 0.8  # ParallelOldDeadWoodLimiterMean, ParallelOldDeadWoodLimiterStdDev
LEAST = 0.01  # MarkSweepDeadRatio
SCALE = 1 / (sqrt(2 * pi) * DEVIATION)
AT_FULL = SCALE * exp(-0.5 * ((1 - MEAN) / DEVIATION) ** 2)


@kernel
def prefix_end(heap, whole):
    """Address from which on old slides; with `whole`, its bottom. `live_below` is written."""
    regions = _count(heap)
    live = heap.live_below[unsigned(regions)]
    first, past = 0, (live + REGION_BYTES - 1) >> REGION_SHIFT
    while first < past - 1 and _live_in(heap, first) == REGION_BYTES:
        first += 1
    ended = heap.fulls - heap.last_whole > heap.whole_interval or heap.fulls == FIRST_WHOLE
    if whole or first == regions or ended:
        heap.last_whole = heap.fulls
        return heap.old if whole else heap.old + (first << REGION_SHIFT)
    best, best_ratio = first, 0.0
    for region in range(first, _limit(heap, first, regions, live)):
        below = heap.live_below[unsigned(region)]
        dead = heap.old_top - heap.old - (region << REGION_SHIFT) - (live - below)
        ratio = dead / (below + 1.25 * (live - below))
        if ratio > best_ratio:
            best, best_ratio = region, ratio
    return heap.old + (best << REGION_SHIFT)


@kernel
def _count(heap):
    """Write how much lives below each region of old; how many there are. What the JVM keeps below
    the program's objects lives; dead runs become one block."""
    machine, below, old = heap.machine, heap.live_below, heap.old
    regions = (heap.old_top - old + REGION_BYTES - 1) >> REGION_SHIFT
    for region in range(regions + 1):
        below[unsigned(region)] = max(
            0, min(REGION_BYTES, heap.objects - old - (region << REGION_SHIFT))
        )
    block = heap.objects
    while block < heap.old_top:
        if not is_marked(machine, block):
            block = dead_run(machine, block, heap.old_top)
            continue
        end = block + (load(machine, block + 8) >> BYTES_SHIFT << 3)
        while block < end:
            region = (block - old) >> REGION_SHIFT
            part = min(end, old + ((region + 1) << REGION_SHIFT))
            below[unsigned(region)] += part - block
            block = part
    total = 0
    for region in range(regions + 1):
        total, below[unsigned(region)] = total + below[unsigned(region)], total
    return regions


@kernel(inline=True)
def _live_in(heap, region):
    """Bytes that live in a region."""
    return heap.live_below[unsigned(region + 1)] - heap.live_below[unsigned(region)]


@kernel
def _limit(heap, first, regions, live):
    """The region below which about as much is dead as may stay: by halves, as the real one looks,
    which matters where several have as much."""
    capacity = heap.old_end - heap.old
    share = (live / capacity - MEAN) / DEVIATION
    limiter = max(0.0, SCALE * exp(-0.5 * share * share) - AT_FULL + LEAST)
    most = min(int((capacity >> 3) * limiter) << 3, heap.old_top - heap.old - live)
    left, right = first, max(first, regions - 1)
    while left < right:
        middle = left + (right - left) // 2
        dead = (middle << REGION_SHIFT) - heap.live_below[unsigned(middle)]
        if middle > left and dead > most:
            right = middle - 1
        elif middle < right and dead < most:
            left = middle + 1
        else:
            return middle
    return left


@kernel
def leave(heap, prefix):
    """Say of each marked block below the prefix's end that it stays; the first block that does not.
    A dead run over that end is `cut` there, after the objects above have moved."""
    machine, block = heap.machine, heap.objects
    heap.cut, top = 0, block
    while block < prefix:
        if is_marked(machine, block):
            age = (load(machine, block) >> AGE_SHIFT) & MOST_AGE
            forward(machine, block, block + HEADER_BYTES, age)
            block += load(machine, block + 8) >> BYTES_SHIFT << 3
            top = block
            continue
        end = dead_run(machine, block, heap.old_top)
        top = end
        if end > prefix:
            heap.cut, top = block, max(prefix, block + HEADER_BYTES)
        block = end
    heap.tops[unsigned(OLD)] = heap.cut_top = top
    return block


@kernel
def close(heap):
    """Let the dead run that was cut end where objects begin now."""
    if heap.cut:
        fill(heap.machine, heap.cut, heap.cut_top - heap.cut)
