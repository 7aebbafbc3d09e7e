"""Threads in mimalloc: their heaps, the blocks that others freed for them, their end.

    block of another's page ─► its heap's list, if the page says so; the next ones to the page's
    slow malloc ─► all of the list back, each collecting its page, which says so again
    end ─► what is unused is freed, the rest abandoned

Source     mimalloc 2.0.9 src/init.c (_mi_heap_init, _mi_heap_done), src/heap.c
           (mi_heap_collect_ex), src/alloc.c (mi_free_block_mt), src/page.c
           (_mi_heap_delayed_free_partial)
"""

from heapwright.allocators.mimalloc.blocks import gather, gather_all, push_local
from heapwright.allocators.mimalloc.words import (
    FLAGS,
    HEAP,
    HIGH,
    LOW,
    MAIN,
    NEXT,
    OPEN,
    REMOTE,
    SIZE,
    USED,
    get,
    heap_word,
    page_at,
    put,
    row_of,
    set_heap_word,
)
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, mmap, store, touch
from heapwright.managers.malloc.mimalloc import state
from heapwright.managers.malloc.mimalloc.abandoned import abandon_page, collect_abandoned
from heapwright.managers.malloc.mimalloc.pages import (
    collect_retired,
    free_huge_page,
    free_page,
    retire,
    unfull,
)
from heapwright.managers.malloc.mimalloc.purging import purge_cache
from heapwright.managers.malloc.mimalloc.queues import pull
from heapwright.managers.malloc.mimalloc.state import (
    DELAYED,
    FULL_BIN,
    IN_FULL,
    LARGE_BYTES,
    LATER,
    NEVER,
    ON_HEAP,
    ON_PAGE,
    SEGMENTS,
)

RECORD_BYTES = 8192  # a thread's heap, mi_thread_data_t in whole pages
SPARE_RECORDS = 8  # TD_CACHE_SIZE: of threads that have ended


@kernel(cold=True)
def open_heap(heap, row):
    """A thread's first slow malloc: its heap, whose memory may be that of one that ended. The main
    thread's is static."""
    set_heap_word(heap, row, OPEN, 1)
    set_heap_word(heap, row, LOW, FULL_BIN)
    set_heap_word(heap, row, HIGH, 0)
    heap.most_heaps = max(heap.most_heaps, row + 1)
    if row == MAIN:
        return
    heap.threads += 1
    if heap.spare_records:
        heap.spare_records -= 1
        return
    record = mmap(heap.machine, 0, RECORD_BYTES)
    if record:
        touch(heap.machine, record, RECORD_BYTES)
        heap.own[unsigned(heap.records)] = record
        heap.records += 1


@kernel(inline=True)
def free_local(heap, page, block):
    """A block of the thread's own page."""
    touch(heap.machine, block, 8)
    used = push_local(heap, page, block)
    if not used:
        retire(heap, page)
    elif get(heap, page, FLAGS) & IN_FULL:
        unfull(heap, page)


@kernel(cold=True)
def free_remote(heap, row, page, block):
    """A block of a page that is another thread's, or nobody's."""
    if get(heap, page, SIZE) > LARGE_BYTES:
        if not heap_word(heap, row, OPEN):
            open_heap(heap, row)
        free_huge_page(heap, row, page)
        return
    heap.paths[state.REMOTE_FREE] += 1
    machine, owner = heap.machine, get(heap, page, HEAP)
    touch(machine, block, 8)
    if get(heap, page, DELAYED) == ON_HEAP:
        store(machine, block, heap_word(heap, owner, LATER))
        set_heap_word(heap, owner, LATER, block)
        put(heap, page, DELAYED, ON_PAGE)
    else:
        store(machine, block, get(heap, page, REMOTE))
        put(heap, page, REMOTE, block)


@kernel
def catch_up(heap, row):
    """Free the blocks that others freed for a thread, the newest first."""
    block = heap_word(heap, row, LATER)
    set_heap_word(heap, row, LATER, 0)
    while block:
        heap.paths[state.CAUGHT_UP] += 1
        after = load(heap.machine, block)
        page = page_at(heap, block)
        if get(heap, page, DELAYED) != NEVER:
            put(heap, page, DELAYED, ON_HEAP)
        gather(heap, page)
        free_local(heap, page, block)
        block = after


@kernel(cold=True)
def end_heap(heap, thread):
    """A thread ends: pages without a block are freed, the others abandoned."""
    row = row_of(thread)
    if not heap_word(heap, row, OPEN):
        return
    heap.paths[state.EXIT] += 1
    for bin_ in range(FULL_BIN + 1):
        page = heap_word(heap, row, bin_)
        while page:
            put(heap, page, DELAYED, NEVER)
            page = get(heap, page, NEXT)
    catch_up(heap, row)
    collect_retired(heap, row, True)
    for bin_ in range(FULL_BIN + 1):
        page = heap_word(heap, row, bin_)
        while page:
            after = get(heap, page, NEXT)
            gather_all(heap, page)
            if get(heap, page, USED):
                pull(heap, page)
                abandon_page(heap, row, page)
            else:
                free_page(heap, page)
            page = after
    collect_abandoned(heap, row)
    purge_cache(heap, True)
    set_heap_word(heap, row, OPEN, 0)
    set_heap_word(heap, row, SEGMENTS, 0)
    heap.threads -= 1
    heap.spare_records = min(heap.spare_records + 1, SPARE_RECORDS)
