"""Segments of threads that have ended: left to whoever needs memory next.

    end of a thread ─► pages without a block are freed, the others' segments abandoned
    new segment wanted ─► up to so many abandoned ones are looked at: has one a page of the size
             with a free block, or a long enough span? It is the thread's now

Source     mimalloc 2.0.9 src/segment.c (mi_segment_abandon, mi_segment_check_free,
           mi_segment_reclaim, mi_segment_try_reclaim, _mi_abandoned_collect)
"""

from heapwright.allocators.mimalloc.blocks import gather
from heapwright.allocators.mimalloc.queues import push_first
from heapwright.allocators.mimalloc.words import (
    BIN,
    COUNT,
    HEAP,
    NEXT,
    REMOTE,
    RESERVED,
    SIZE,
    USED,
    get,
    put,
)
from heapwright.compiler import kernel
from heapwright.managers.malloc.mimalloc import state
from heapwright.managers.malloc.mimalloc.purging import decommit_waiting
from heapwright.managers.malloc.mimalloc.segments import (
    count_segment,
    end_if_unused,
    merge_span,
    pull_span,
)
from heapwright.managers.malloc.mimalloc.state import (
    ABANDONED,
    DELAYED,
    LENGTH,
    ON_HEAP,
    PAGES,
    VISITS,
    segment_of,
)

MOST_VISITS = 3  # then it is reclaimed whatever it has
COLLECT_TRIES = 1024  # when a thread ends


@kernel
def abandon_page(heap, row, page):
    """A page, out of its queue, is nobody's; so is its segment, once all its pages are."""
    segment = segment_of(page)
    put(heap, page, HEAP, 0)
    put(heap, segment, ABANDONED, get(heap, segment, ABANDONED) + 1)
    if get(heap, segment, ABANDONED) < get(heap, segment, PAGES):
        return
    heap.paths[state.ABANDON] += 1
    slice_, past = segment + 1, segment + get(heap, segment, LENGTH)
    while slice_ < past:
        if not get(heap, slice_, SIZE):
            pull_span(heap, row, slice_)
        slice_ += get(heap, slice_, COUNT)
    decommit_waiting(heap, segment, False)
    put(heap, segment, HEAP, 0)
    count_segment(heap, row, -1)
    put(heap, segment, VISITS, 1)
    put(heap, segment, NEXT, heap.abandoned)
    heap.abandoned = segment
    heap.abandoned_count += 1


@kernel
def _pop(heap):
    """The next abandoned segment, those looked at in vain after the others; 0: none."""
    if not heap.abandoned:
        heap.abandoned, heap.visited = heap.visited, 0
    segment = heap.abandoned
    if segment:
        heap.abandoned = get(heap, segment, NEXT)
        heap.abandoned_count -= 1
    return segment


@kernel
def _push_visited(heap, segment):
    """It was looked at in vain."""
    put(heap, segment, NEXT, heap.visited)
    heap.visited = segment
    heap.abandoned_count += 1


@kernel
def _available(heap, page):
    """Whether a page has a block to hand out, or may have (mi_page_has_any_available)."""
    return get(heap, page, USED) < get(heap, page, RESERVED) or get(heap, page, REMOTE) != 0


@kernel
def _clear_page(heap, row, page):
    """A page without a block becomes free slices; the first slice of their span."""
    heap.paths[state.PAGE_FREED] += 1
    segment = segment_of(page)
    put(heap, segment, PAGES, get(heap, segment, PAGES) - 1)
    return merge_span(heap, row, page, get(heap, page, COUNT))


@kernel
def _look(heap, segment, slices, size):
    """Free its pages without a block; whether it has a span of so many slices, or a page of that
    size with a free block (mi_segment_check_free)."""
    found = False
    slice_, past = segment + 1, segment + get(heap, segment, LENGTH)
    while slice_ < past:
        if get(heap, slice_, SIZE):
            gather(heap, slice_)
            if not get(heap, slice_, USED):
                put(heap, segment, ABANDONED, get(heap, segment, ABANDONED) - 1)
                slice_ = _clear_page(heap, 0, slice_)
                found = found or get(heap, slice_, COUNT) >= slices
            elif get(heap, slice_, SIZE) == size and _available(heap, slice_):
                found = True
        elif get(heap, slice_, COUNT) >= slices:
            found = True
        slice_ += get(heap, slice_, COUNT)
    return found


@kernel
def _reclaim(heap, row, segment, size):
    """Make a segment a thread's; whether it has a page of that size with a free block, and whether
    it has any page: without one it is given up (mi_segment_reclaim)."""
    heap.paths[state.RECLAIMED] += 1
    right = False
    put(heap, segment, HEAP, row)
    count_segment(heap, row, 1)
    put(heap, segment, VISITS, 0)
    slice_, past = segment + 1, segment + get(heap, segment, LENGTH)
    while slice_ < past:
        if get(heap, slice_, SIZE):
            put(heap, segment, ABANDONED, get(heap, segment, ABANDONED) - 1)
            put(heap, slice_, HEAP, row)
            put(heap, slice_, DELAYED, ON_HEAP)
            gather(heap, slice_)
            if not get(heap, slice_, USED):
                slice_ = _clear_page(heap, row, slice_)
            else:
                push_first(heap, row, get(heap, slice_, BIN), slice_)
                if get(heap, slice_, SIZE) == size and _available(heap, slice_):
                    right = True
        else:
            slice_ = _adopt_span(heap, row, slice_)
        slice_ += get(heap, slice_, COUNT)
    return right, not end_if_unused(heap, row, segment)


@kernel
def _adopt_span(heap, row, first):
    """A free span of nobody's becomes a thread's, merged with one below that already is."""
    return merge_span(heap, row, first, get(heap, first, COUNT))


@kernel
def reclaim(heap, row, slices, size):
    """Look at abandoned segments: 0 none will do, 1 one is the thread's now and has so long a
    span, 2 a page of that size with a free block is in the thread's queue."""
    for _ in range(heap.tries):
        segment = _pop(heap)
        if not segment:
            return 0
        put(heap, segment, VISITS, get(heap, segment, VISITS) + 1)
        found = _look(heap, segment, slices, size)
        if not get(heap, segment, PAGES):
            _reclaim(heap, row, segment, 0)
        elif found:
            right, stays = _reclaim(heap, row, segment, size)
            if right:
                return 2
            return 1 if stays else 0
        elif get(heap, segment, VISITS) > MOST_VISITS:
            _reclaim(heap, row, segment, 0)
        else:
            decommit_waiting(heap, segment, True)
            _push_visited(heap, segment)
    return 0


@kernel
def collect_abandoned(heap, row):
    """Free what is free by now; when a thread ends. The order of the others turns."""
    once = heap.abandoned_count
    for turn in range(COLLECT_TRIES):
        segment = _pop(heap)
        if not segment:
            return
        if turn < once:
            _look(heap, segment, 0, 0)
        if get(heap, segment, PAGES):
            decommit_waiting(heap, segment, False)
            _push_visited(heap, segment)
        else:
            _reclaim(heap, row, segment, 0)
