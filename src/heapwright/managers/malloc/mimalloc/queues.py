"""A thread's queues of pages, and what a page collects of the blocks that were freed.

Source     mimalloc 2.0.9 src/page-queue.c, src/page.c (_mi_page_free_collect)
"""

from heapwright.compiler import kernel
from heapwright.machine import load, store
from heapwright.managers.malloc.mimalloc.state import (
    BIN,
    FLAGS,
    FREE,
    FULL_BIN,
    HEAP,
    IN_FULL,
    LAST,
    LOCAL,
    NEXT,
    PREVIOUS,
    REMOTE,
    USED,
    get,
    heap_word,
    put,
    set_heap_word,
)


@kernel(inline=True)
def queue_of(heap, page):
    """The bin of the queue that a page is in."""
    return FULL_BIN if get(heap, page, FLAGS) & IN_FULL else get(heap, page, BIN)


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
def pull(heap, page):
    """Take a page out of its owner's queue; it is not in the full one any more."""
    row, bin_ = get(heap, page, HEAP), queue_of(heap, page)
    after, before = get(heap, page, NEXT), get(heap, page, PREVIOUS)
    if before:
        put(heap, before, NEXT, after)
    else:
        set_heap_word(heap, row, bin_, after)
    if after:
        put(heap, after, PREVIOUS, before)
    else:
        set_heap_word(heap, row, LAST + bin_, before)
    put(heap, page, FLAGS, get(heap, page, FLAGS) & ~IN_FULL)


@kernel
def collect(heap, page):
    """What others freed goes in front of what the owner did; that becomes the free list, if there
    is no other."""
    machine, first = heap.machine, get(heap, page, REMOTE)
    if first:
        count, last = 1, first
        while load(machine, last):
            last = load(machine, last)
            count += 1
        store(machine, last, get(heap, page, LOCAL))
        put(heap, page, LOCAL, first)
        put(heap, page, REMOTE, 0)
        put(heap, page, USED, get(heap, page, USED) - count)
    local = get(heap, page, LOCAL)
    if local and not get(heap, page, FREE):
        put(heap, page, FREE, local)
        put(heap, page, LOCAL, 0)


@kernel
def collect_all(heap, page):
    """The same when a thread ends: what was freed goes in front of the free list, whatever it
    has."""
    collect(heap, page)
    local = get(heap, page, LOCAL)
    if local:
        last = local
        while load(heap.machine, last):
            last = load(heap.machine, last)
        store(heap.machine, last, get(heap, page, FREE))
        put(heap, page, FREE, local)
        put(heap, page, LOCAL, 0)
