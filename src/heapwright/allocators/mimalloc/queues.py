"""A thread's queues of pages; retired ones, which have no block and are kept for a few looks.

Source     mimalloc 2.0.9 and 3.4.3 src/page-queue.c, src/page.c (_mi_page_retire,
           _mi_heap_collect_retired)
"""

from heapwright.allocators.mimalloc.words import (
    EXPIRE,
    HIGH,
    LAST,
    LOW,
    NEXT,
    NO_BIN,
    PREVIOUS,
    USED,
    get,
    heap_word,
    put,
    set_heap_word,
)
from heapwright.compiler import kernel


@kernel
def push_first(heap, row, bin_, page):
    """Put a page in front of a queue."""
    first = heap_word(heap, row, bin_)
    put(heap, page, NEXT, first)
    put(heap, page, PREVIOUS, 0)
    if first:
        put(heap, first, PREVIOUS, page)
    else:
        set_heap_word(heap, row, LAST + bin_, page)
    set_heap_word(heap, row, bin_, page)


@kernel
def push_last(heap, row, bin_, page):
    """Put a page at the end of a queue."""
    last = heap_word(heap, row, LAST + bin_)
    put(heap, page, NEXT, 0)
    put(heap, page, PREVIOUS, last)
    if last:
        put(heap, last, NEXT, page)
    else:
        set_heap_word(heap, row, bin_, page)
    set_heap_word(heap, row, LAST + bin_, page)


@kernel
def unlink(heap, row, bin_, page):
    """Take a page out of a queue."""
    after, before = get(heap, page, NEXT), get(heap, page, PREVIOUS)
    if before:
        put(heap, before, NEXT, after)
    else:
        set_heap_word(heap, row, bin_, after)
    if after:
        put(heap, after, PREVIOUS, before)
    else:
        set_heap_word(heap, row, LAST + bin_, before)


@kernel
def alone(heap, row, bin_, page):
    """Whether a page is its queue's only one."""
    return heap_word(heap, row, bin_) == page == heap_word(heap, row, LAST + bin_)


@kernel
def _note_retired(heap, row, bin_):
    """A queue's first page is retired."""
    set_heap_word(heap, row, LOW, min(heap_word(heap, row, LOW), bin_))
    set_heap_word(heap, row, HIGH, max(heap_word(heap, row, HIGH), bin_))


@kernel
def forget_retired(heap, row):
    """No page is known as retired; the bins from which on and before which some may have been."""
    low, past = heap_word(heap, row, LOW), heap_word(heap, row, HIGH) + 1
    set_heap_word(heap, row, LOW, NO_BIN)
    set_heap_word(heap, row, HIGH, 0)
    return low, past


@kernel
def keep_retired(heap, row, bin_, page, looks):
    """A queue's only page has no block any more: kept for so many looks."""
    put(heap, page, EXPIRE, looks)
    _note_retired(heap, row, bin_)


@kernel
def look_at_retired(heap, row, bin_, force):
    """A queue's first page, if it is retired, and was looked at often enough or with `force`; 0: it
    stays."""
    page = heap_word(heap, row, bin_)
    if not page or not get(heap, page, EXPIRE):
        return 0
    if get(heap, page, USED):
        put(heap, page, EXPIRE, 0)
        return 0
    looks = get(heap, page, EXPIRE) - 1
    put(heap, page, EXPIRE, looks)
    if force or not looks:
        return page
    _note_retired(heap, row, bin_)
    return 0
