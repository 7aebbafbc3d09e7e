"""The page allocator's doors: which zone a request may have, and how far down it may take it.

    alloc_pages ─► low watermark ─► min, with reserves for who cannot wait ─► none, for who frees
                   of each zone from the highest allowed down: the processor's list or the buddies
    free_pages  ─► the processor's list, or the buddies

Terms      gfp: the request's flags; marks: passes over the zones, each with a lower watermark
Source     Linux 6.1, mm/page_alloc.c: get_page_from_freelist, __zone_watermark_ok,
           reserve_highatomic_pageblock; include/linux/gfp_types.h
Omits      what reclaim and compaction do in between: a request that would wait for them is refused
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.linux.buddy import count_free, filled, give, move_free, smallest, take
from heapwright.linux.frames import (
    BOOST,
    FREE,
    HIGHATOMIC,
    HIGHATOMIC_FRAMES,
    INDEX,
    LOW,
    MANAGED,
    MIN,
    NONE,
    ORDERS,
    RECLAIMABLE,
    REFUSED,
    RESERVE,
    ZONE_WORDS,
    block_kind,
    hold,
    zone_row,
)
from heapwright.linux.per_cpu import cpu_alloc, cpu_free, kept

# Flags of a request, as Linux 6.1 numbers them
GFP_DMA, GFP_HIGHMEM, GFP_DMA32, GFP_MOVABLE, GFP_RECLAIMABLE = 1, 2, 4, 8, 16
GFP_HIGH, GFP_ATOMIC, GFP_DIRECT_RECLAIM, GFP_KSWAPD = 0x20, 0x200, 0x400, 0x800
GFP_MEMALLOC, GFP_NOMEMALLOC, GFP_ACCOUNT = 0x20000, 0x80000, 0x400000
GFP_KERNEL = 0xCC0  # I/O, file systems, and may wait
GFP_HIGHUSER_MOVABLE = 0x100CCA
KIND_SHIFT = 3  # of the two flags that say the kind

# Who asks
ANYONE, FREEING, RECLAIMED = range(3)  # FREEING: one whose work frees memory (PF_MEMALLOC);
# RECLAIMED: one that has just reclaimed, and goes on at the min watermark


@kernel(inline=True)
def kind_of(gfp):
    """The kind of frames that the flags ask for."""
    return (gfp >> KIND_SHIFT) & 3


@kernel(inline=True)
def highest_zone(pages, gfp):
    """The kernel's index of the highest zone that the flags allow."""
    if gfp & GFP_DMA:
        return 0
    if gfp & GFP_DMA32 and pages.normal == 2:
        return 1
    both = GFP_HIGHMEM | GFP_MOVABLE
    return pages.normal + (1 if gfp & both == both else 0)


@kernel(inline=True)
def _has_block(pages, z, order, atomic):
    """Whether a zone has a free block of the order or more that such a request may take."""
    orders = filled(pages, z, 0) | filled(pages, z, 1) | filled(pages, z, 2)
    if atomic:
        orders |= filled(pages, z, HIGHATOMIC)
    return orders >> order != 0


@kernel(inline=True)
def above_mark(pages, z, order, mark, who):
    """Whether the zone would stay above `mark`; `who`: (highest zone allowed, urgent, cannot
    wait)."""
    highest, urgent, at_once = who
    free = pages.zone[unsigned(z + FREE)] - ((1 << order) - 1)
    if not urgent and not at_once:
        free -= pages.zone[unsigned(z + HIGHATOMIC_FRAMES)]
    if urgent:
        mark -= mark // 2
        if at_once:
            mark -= mark // 4
    if free <= mark + pages.zone[unsigned(z + RESERVE + highest)]:
        return False
    return order == 0 or _has_block(pages, z, order, urgent and at_once)


@kernel
def _usable(pages, z, order, gfp, turn):
    """Whether a pass may take the block from this zone: turn 0 at the low mark, 1 at min."""
    highest = highest_zone(pages, gfp)
    boost = pages.zone[unsigned(z + BOOST)]
    if turn == 0:
        low = pages.zone[unsigned(z + LOW)]
        return above_mark(pages, z, order, low + boost, (highest, False, False))
    if turn == 2:
        return True
    at_once = not gfp & GFP_DIRECT_RECLAIM and not gfp & GFP_NOMEMALLOC
    least = pages.zone[unsigned(z + MIN)]
    if above_mark(pages, z, order, least + boost, (highest, gfp & GFP_HIGH != 0, at_once)):
        return True
    if order or not gfp & GFP_ATOMIC or not boost:
        return False
    return above_mark(pages, z, 0, least, (highest, False, False))


@kernel
def _reserve_atomic(pages, z, frame):
    """Set a pageblock aside for requests that cannot wait, up to a hundredth of the zone."""
    block = 1 << pages.block_order
    most = pages.zone[unsigned(z + MANAGED)] // 100 + block
    if pages.zone[unsigned(z + HIGHATOMIC_FRAMES)] < most:
        if block_kind(pages, frame) <= RECLAIMABLE:
            pages.zone[unsigned(z + HIGHATOMIC_FRAMES)] += block
            pages.block[unsigned(frame >> pages.block_order)] = HIGHATOMIC
            move_free(pages, z, frame, HIGHATOMIC)


@kernel
def _from_buddies(pages, z, order, gfp, turn):
    """A block from the zone's own lists; NONE."""
    at_once = turn > 0 and not gfp & GFP_DIRECT_RECLAIM and not gfp & GFP_NOMEMALLOC
    atomic = at_once and gfp & GFP_HIGH != 0 and order > 0
    frame = NONE
    if atomic:
        frame = smallest(pages, z, order, HIGHATOMIC)
    if frame == NONE:
        frame = take(pages, z, order, kind_of(gfp))
    if frame == NONE and at_once:
        frame = smallest(pages, z, order, HIGHATOMIC)
    if frame != NONE:
        hold(pages, frame, order)
        count_free(pages, z, -(1 << order))
    return frame


@kernel(inline=True)
def from_zone(pages, z, order, gfp, turn):
    """A block from this zone, whatever its watermarks; NONE."""
    frame = NONE
    if kept(pages, order):
        frame = cpu_alloc(pages, z, order, kind_of(gfp))
    if frame == NONE:
        frame = _from_buddies(pages, z, order, gfp, turn)
    if turn and frame != NONE and order and gfp & GFP_HIGH:
        if not gfp & GFP_DIRECT_RECLAIM and not gfp & GFP_NOMEMALLOC:
            _reserve_atomic(pages, z, frame)
    return frame


@kernel(inline=True)
def may_ignore_marks(gfp, asker):
    """Whether the last pass, without watermarks, is this request's."""
    return gfp & GFP_MEMALLOC != 0 or (asker == FREEING and not gfp & GFP_NOMEMALLOC)


@kernel
def _alloc_slowly(pages, order, gfp, asker):
    """The passes after the first, or all of them; NONE."""
    highest = highest_zone(pages, gfp)
    for turn in range(1 if asker == RECLAIMED else 0, 3):
        if turn == 2 and not may_ignore_marks(gfp, asker):
            break
        for number in range(pages.zones - 1, -1, -1):
            z = number * ZONE_WORDS
            if pages.zone[unsigned(z + INDEX)] > highest:
                continue
            if _usable(pages, z, order, gfp, turn):
                frame = from_zone(pages, z, order, gfp, turn)
                if frame != NONE:
                    return frame
    pages.counts[REFUSED] += 1
    return NONE


@kernel(inline=True)
def alloc_pages(pages, order, gfp, asker):
    """The first frame of a block of 2^order; NONE where it is refused."""
    if order >= ORDERS:
        return NONE
    z = (pages.zones - 1) * ZONE_WORDS
    highest = highest_zone(pages, gfp)
    if asker != RECLAIMED and pages.zone[unsigned(z + INDEX)] <= highest and kept(pages, order):
        low = pages.zone[unsigned(z + LOW)] + pages.zone[unsigned(z + BOOST)]
        if above_mark(pages, z, order, low, (highest, False, False)):
            frame = cpu_alloc(pages, z, order, kind_of(gfp))
            if frame != NONE:
                return frame
    return _alloc_slowly(pages, order, gfp, asker)


@kernel
def chosen_zone(pages, order, gfp, asker):
    """The row of the zone that a request would be served from first; NONE."""
    highest = highest_zone(pages, gfp)
    for turn in range(1 if asker == RECLAIMED else 0, 3):
        if turn == 2 and not may_ignore_marks(gfp, asker):
            break
        for number in range(pages.zones - 1, -1, -1):
            z = number * ZONE_WORDS
            if pages.zone[unsigned(z + INDEX)] > highest:
                continue
            if _usable(pages, z, order, gfp, turn):
                return z
    return NONE


@kernel(inline=True)
def free_pages(pages, frame, order):
    """Give a block back."""
    z = zone_row(pages, frame)
    if kept(pages, order):
        cpu_free(pages, z, frame, order)
    else:
        give(pages, z, frame, order, block_kind(pages, frame))


@kernel
def serve(pages, requests, answers):
    """Serve requests int64[n, 3]: (order, gfp, NONE) asks, (order, 0, frame) frees; the frame that
    each got into `answers`. For recorded sequences."""
    for row in range(len(requests)):
        order, gfp, frame = requests[row, 0], requests[row, 1], requests[row, 2]
        if frame == NONE:
            answers[row] = alloc_pages(pages, order, gfp, np.int64(ANYONE))
        else:
            free_pages(pages, frame, order)
            answers[row] = frame
