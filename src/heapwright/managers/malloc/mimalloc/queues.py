"""Which queue of its thread a page is in: pages without a free block are in one of their own.

Source     mimalloc 2.0.9 src/page-queue.c
"""

from heapwright.allocators.mimalloc.queues import unlink
from heapwright.allocators.mimalloc.words import BIN, FLAGS, HEAP, get, put
from heapwright.compiler import kernel
from heapwright.managers.malloc.mimalloc.state import FULL_BIN, IN_FULL


@kernel(inline=True)
def queue_of(heap, page):
    """The bin of the queue that a page is in."""
    return FULL_BIN if get(heap, page, FLAGS) & IN_FULL else get(heap, page, BIN)


@kernel
def pull(heap, page):
    """Take a page out of its owner's queue; it is not in the full one any more."""
    unlink(heap, get(heap, page, HEAP), queue_of(heap, page), page)
    put(heap, page, FLAGS, get(heap, page, FLAGS) & ~IN_FULL)
