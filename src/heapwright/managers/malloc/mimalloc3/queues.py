"""A thread's queues of pages, and what a page collects of the blocks that were freed.

Source     mimalloc 3.4.3 src/page-queue.c, src/page.c (_mi_page_free_collect)
"""

from heapwright.compiler import kernel
from heapwright.machine import load, store
from heapwright.managers.malloc.mimalloc3.state import (
    BIN,
    FLAGS,
    FREE,
    FRESH,
    HEAP,
    LAST,
    LENGTH,
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


@kernel
def _count(heap, row, bin_, more):
    """A queue is so much longer."""
    set_heap_word(heap, row, LENGTH + bin_, heap_word(heap, row, LENGTH + bin_) + more)


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
    _count(heap, row, bin_, 1)


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
    _count(heap, row, bin_, 1)


@kernel
def pull(heap, page):
    """Take a page out of its owner's queue."""
    row, bin_ = get(heap, page, HEAP), get(heap, page, BIN)
    after, before = get(heap, page, NEXT), get(heap, page, PREVIOUS)
    if before:
        put(heap, before, NEXT, after)
    else:
        set_heap_word(heap, row, bin_, after)
    if after:
        put(heap, after, PREVIOUS, before)
    else:
        set_heap_word(heap, row, LAST + bin_, before)
    _count(heap, row, bin_, -1)


@kernel
def _to_local(heap, page, first):
    """Blocks that others freed go in front of those that the owner did."""
    machine, count, last = heap.machine, 1, first
    while load(machine, last):
        last = load(machine, last)
        count += 1
    store(machine, last, get(heap, page, LOCAL))
    put(heap, page, LOCAL, first)
    put(heap, page, USED, get(heap, page, USED) - count)


@kernel
def _local_to_free(heap, page):
    """What was freed becomes the free list, if there is no other."""
    local = get(heap, page, LOCAL)
    if local and not get(heap, page, FREE):
        put(heap, page, FREE, local)
        put(heap, page, LOCAL, 0)
        put(heap, page, FLAGS, get(heap, page, FLAGS) & ~FRESH)


@kernel
def collect(heap, page):
    """What others freed goes in front of what the owner did; that becomes the free list, if there
    is no other."""
    first = get(heap, page, REMOTE)
    if first:
        put(heap, page, REMOTE, 0)
        _to_local(heap, page, first)
    _local_to_free(heap, page)


@kernel
def collect_part(heap, page, block):
    """The same but for the newest block that another freed, unless it is the page's last one."""
    after = load(heap.machine, block)
    if after:
        store(heap.machine, block, 0)
        _to_local(heap, page, after)
        _local_to_free(heap, page)
    if get(heap, page, USED) == 1:
        collect(heap, page)


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
        put(heap, page, FLAGS, get(heap, page, FLAGS) & ~FRESH)
