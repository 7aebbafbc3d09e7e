"""A thread's queues of pages, whose lengths count; free lists that hold zeros no more.

Source     mimalloc 3.4.3 src/page-queue.c, src/page.c (_mi_page_free_collect)
"""

from heapwright.allocators.mimalloc import queues
from heapwright.allocators.mimalloc.blocks import gather, gather_all, local_to_free, to_local
from heapwright.allocators.mimalloc.words import (
    BIN,
    FLAGS,
    HEAP,
    USED,
    get,
    heap_word,
    put,
    set_heap_word,
)
from heapwright.compiler import kernel
from heapwright.machine import load, store
from heapwright.managers.malloc.mimalloc3.state import FRESH, LENGTH


@kernel
def _count(heap, row, bin_, more):
    """A queue is so much longer."""
    set_heap_word(heap, row, LENGTH + bin_, heap_word(heap, row, LENGTH + bin_) + more)


@kernel
def push_first(heap, row, bin_, page):
    """Put a page in front of a queue."""
    queues.push_first(heap, row, bin_, page)
    _count(heap, row, bin_, 1)


@kernel
def push_last(heap, row, bin_, page):
    """Put a page at the end of a queue."""
    queues.push_last(heap, row, bin_, page)
    _count(heap, row, bin_, 1)


@kernel
def pull(heap, page):
    """Take a page out of its owner's queue."""
    row, bin_ = get(heap, page, HEAP), get(heap, page, BIN)
    queues.unlink(heap, row, bin_, page)
    _count(heap, row, bin_, -1)


@kernel
def _not_fresh(heap, page):
    """The free list has blocks that were in use."""
    put(heap, page, FLAGS, get(heap, page, FLAGS) & ~FRESH)


@kernel
def take_local(heap, page):
    """What was freed becomes the free list, if there is no other."""
    if local_to_free(heap, page):
        _not_fresh(heap, page)


@kernel
def collect(heap, page):
    """What others freed goes in front of what the owner did; that becomes the free list, if there
    is no other."""
    if gather(heap, page):
        _not_fresh(heap, page)


@kernel
def collect_part(heap, page, block):
    """The same but for the newest block that another freed, unless it is the page's last one."""
    after = load(heap.machine, block)
    if after:
        store(heap.machine, block, 0)
        to_local(heap, page, after)
        take_local(heap, page)
    if get(heap, page, USED) == 1:
        collect(heap, page)


@kernel
def collect_all(heap, page):
    """The same when a thread ends: what was freed goes in front of the free list, whatever it
    has."""
    if gather_all(heap, page):
        _not_fresh(heap, page)
