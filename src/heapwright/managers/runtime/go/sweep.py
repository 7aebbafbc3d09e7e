"""What was not marked is free: spans are swept one by one, when allocation asks for it.

    sweep        allocated := allocated & marked; an empty span goes back to the page heap
    pay          before LIVE grows: sweep in proportion, so that all is swept before the next cycle
    reclaim      before the heap takes pages: sweep spans without a marked object first

Invariant  PAGES_SWEPT - SWEEP_BASIS >= PAGES_PER_BYTE x (LIVE - SWEEP_LIVE) after each payment
Source     Go 1.27 runtime/mgcsweep.go, mheap.go (reclaim)
Omits      the background sweeper, which takes what time is left over; finalisers and weak handles

Order: by span class, full spans before partial ones, first in, first out.
"""

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_count
from heapwright.managers.runtime.go.layout import (
    ALLOCATED,
    CLASS,
    DELTA_SHIFT,
    NEEDS_ZERO,
    OBJECTS,
    PAGES,
    PAGES_PER_BYTE,
    PAIRS_SHIFT,
    SIZE,
    SWEPT,
    field,
    set_field,
)
from heapwright.managers.runtime.go.page_heap import free_span
from heapwright.managers.runtime.go.size_classes import PAGE_BYTES, SPAN_CLASSES
from heapwright.managers.runtime.go.span_sets import (
    FULL,
    PARTIAL,
    pop,
    push,
    remove,
    swept_set,
    unswept_set,
)

HEADROOM_BYTES = 1 << 20  # all is swept so long before the trigger; runtime: sweepMinHeapDistance
RECLAIM_PAGES = 512  # looked through at a time; runtime: pagesPerReclaimerChunk


@kernel
def sweep_span(go, span, keep):
    """Sweep a span that needs it and is in no set; whether it went back to the page heap.

    With `keep` it goes nowhere, neither back nor into a set.
    """
    objects = field(go, span, OBJECTS)
    first = span << PAIRS_SHIFT
    left = 0
    for pair in range((objects + 63) >> 6):
        i = unsigned(first + 2 * pair)
        survivors = go.bits[i] & go.bits[i + unsigned(1)]
        go.bits[i] = survivors
        go.bits[i + unsigned(1)] = 0
        left += bit_count(survivors)
    freed = field(go, span, ALLOCATED) - left
    set_field(go, span, ALLOCATED, left)
    set_field(go, span, SWEPT, go.generation)
    go.pages_swept += field(go, span, PAGES)
    if freed:
        set_field(go, span, NEEDS_ZERO, 1)
        go.freed_total += freed * field(go, span, SIZE)
        go.swept_objects += freed
    if keep:
        return False
    if not left:
        free_span(go, span)
        return True
    push(go, swept_set(go, field(go, span, CLASS), FULL if left == objects else PARTIAL), span)
    return False


@kernel
def sweep_one(go):
    """Sweep the next span; pages that went back to the page heap, -1 when all spans are swept."""
    if go.is_swept:
        return -1
    for step in range(go.sweep_set, 2 * SPAN_CLASSES):
        span = pop(go, unswept_set(go, step >> 1, PARTIAL if step & 1 else FULL))
        if span:
            go.sweep_set = step
            count = field(go, span, PAGES)
            if not sweep_span(go, span, False):
                return 0
            go.reclaim_credit += count
            return count
    go.sweep_set = 2 * SPAN_CLASSES
    go.is_swept = 1
    return -1


@kernel
def sweep_all(go):
    """Sweep every span that needs it."""
    while sweep_one(go) >= 0:
        pass


@kernel
def begin_sweep(go):
    """A new generation: every span needs sweeping."""
    go.generation += 2
    go.is_swept = go.sweep_set = go.pages_swept = 0
    go.reclaim_page = go.reclaim_credit = 0
    go.ratios[PAGES_PER_BYTE] = 0.0


@kernel
def pace_sweep(go, trigger):
    """Choose how many pages to sweep for each byte, so that all are swept HEADROOM_BYTES before
    LIVE reaches `trigger`."""
    go.ratios[PAGES_PER_BYTE] = 0.0
    pages = go.pages_in_use - go.pages_swept
    if go.is_swept or pages <= 0:
        return
    distance = max(trigger - go.live - HEADROOM_BYTES, PAGE_BYTES)
    go.ratios[PAGES_PER_BYTE] = pages / distance
    go.sweep_live, go.sweep_basis = go.live, go.pages_swept


@kernel
def pay(go, bytes_, pages):
    """Sweep what is due for taking a span of `bytes_`; `pages` of it are owed by no one."""
    rate = go.ratios[PAGES_PER_BYTE]
    if rate == 0.0:
        return
    due = int(rate * (bytes_ + max(0, go.live - go.sweep_live))) - pages
    while due > go.pages_swept - go.sweep_basis:
        if sweep_one(go) < 0:
            go.ratios[PAGES_PER_BYTE] = 0.0
            return


@kernel
def _has_mark(go, span):
    """Whether an object of the span is marked."""
    for pair in range((field(go, span, OBJECTS) + 63) >> 6):
        if go.bits[unsigned((span << PAIRS_SHIFT) + 2 * pair + 1)]:
            return True
    return False


@kernel
def reclaim(go, wanted):
    """Sweep spans without a marked object until `wanted` pages went back, or there are no more."""
    while wanted > 0:
        if go.reclaim_credit > 0:
            spent = min(go.reclaim_credit, wanted)
            go.reclaim_credit -= spent
            wanted -= spent
            continue
        page = max(go.reclaim_page, go.lowest_page)
        if page >= go.past_page:
            return
        past = min(page + RECLAIM_PAGES, go.past_page)
        go.reclaim_page = past
        while page < past:
            word = go.page_words[unsigned(page)]
            if not word or word >> DELTA_SHIFT:
                page += 1
                continue
            count = field(go, page, PAGES)
            if field(go, page, SWEPT) == go.generation - 2 and not _has_mark(go, page):
                remove(go, page)
                sweep_span(go, page, False)
                go.reclaim_credit += count
            page += count
