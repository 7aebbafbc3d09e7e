"""A block that a thread frees of a page that is nobody's.

    all free? the page goes ─► its last owner, or who has none of the size, takes it ─► it is mapped
    once an eighth of it is free

Source     mimalloc 3.4.3 src/free.c (mi_free_try_collect_mt)
"""

from heapwright.allocators.mimalloc.classes import DIRECT_BYTES
from heapwright.allocators.mimalloc.words import BIN, FLAGS, OPEN, SIZE, USED, get, heap_word
from heapwright.compiler import kernel, unsigned
from heapwright.managers.malloc.mimalloc3 import state
from heapwright.managers.malloc.mimalloc3.pages import free_memory, leave, reclaim, take_away
from heapwright.managers.malloc.mimalloc3.queues import collect, collect_part
from heapwright.managers.malloc.mimalloc3.state import (
    LENGTH,
    MEDIUM_BYTES,
    ORIGIN,
    OUTSIDE,
    RECORD,
    mostly_used,
)

FOREIGN_PAGES = 32  # page_cross_thread_max_reclaim


@kernel(cold=True)
def free_abandoned(heap, row, page, block):
    """A block of a page without an owner was put on the page's list, by a thread that may have no
    heap: the page goes, is taken, or mapped (mi_free_try_collect_mt)."""
    if get(heap, page, SIZE) <= DIRECT_BYTES:
        collect_part(heap, page, block)
    else:
        collect(heap, page)
    if not get(heap, page, USED):
        take_away(heap, page)
        free_memory(heap, page)
    elif get(heap, page, SIZE) <= MEDIUM_BYTES and _may_reclaim(heap, row, page):
        heap.paths[state.RECLAIMED] += 1
        take_away(heap, page)
        reclaim(heap, row, page)
    elif heap_word(heap, row, OPEN) and not mostly_used(heap, page):
        if not heap.mapped[unsigned(page)] and not get(heap, page, FLAGS) & OUTSIDE:
            heap.paths[state.MAPPED_AGAIN] += 1
            leave(heap, page)


@kernel
def _may_reclaim(heap, row, page):
    """Whether a thread takes a page of which it freed a block."""
    if heap.on_free < 0 or not heap_word(heap, row, OPEN):
        return False
    if get(heap, page, ORIGIN) == heap_word(heap, row, RECORD):
        return True
    most = FOREIGN_PAGES if heap.on_free == 1 and not mostly_used(heap, page) else 0
    return heap_word(heap, row, LENGTH + get(heap, page, BIN)) <= most
