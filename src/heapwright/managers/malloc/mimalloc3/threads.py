"""Threads in mimalloc 3: their records, what is done now and then, their end.

    first slow malloc ─► two records, of 128 and 8,192 bytes, in a page of records that all share
    1,000 slow ones   ─► look at retired pages; 10,000: at all pages, and what waits in arenas
    end ─► what is unused is freed, the rest abandoned; the records are free again

Source     mimalloc 3.4.3 src/init.c (mi_thread_init, _mi_thread_done), src/theap.c
           (mi_theap_collect_ex), src/arena-meta.c, src/page.c (_mi_malloc_generic)
"""

from heapwright.allocators.mimalloc.words import (
    EXPIRE,
    HIGH,
    HUGE_BIN,
    LOW,
    MAIN,
    NEXT,
    OPEN,
    SLICE_BYTES,
    SLICE_SHIFT,
    USED,
    get,
    heap_word,
    row_of,
    set_heap_word,
)
from heapwright.compiler import kernel, unsigned
from heapwright.machine import touch
from heapwright.managers.malloc.mimalloc3 import state
from heapwright.managers.malloc.mimalloc3.arenas import open_map, purge, take
from heapwright.managers.malloc.mimalloc3.pages import abandon, collect_retired, free_page
from heapwright.managers.malloc.mimalloc3.queues import collect, collect_all
from heapwright.managers.malloc.mimalloc3.state import (
    COLLECT,
    GENERIC,
    RECORD,
    SEQUENCE,
    THREAD_RECORD,
)

BLOCK_SHIFT = 7  # of a page of records, 128 bytes: MI_META_BLOCK_SIZE
BLOCKS = SLICE_BYTES >> BLOCK_SHIFT
OWN_BLOCKS = 5  # of the page itself
HEAP_RECORD_BYTES, THREAD_RECORD_BYTES = 8104, 112  # mi_theap_t, mi_tld_t
HEAP_BLOCKS, THREAD_BLOCKS = 64, 1
MOST_RECORD_PAGES = 1 << 12
FEW_GENERIC, MANY_GENERIC = 1000, 10_000  # generic_collect


@kernel
def _blocks_in(heap, page, count):
    """Address of a run of free blocks of a page of records; 0: there is none."""
    length = 0
    for block in range(BLOCKS):
        length = length + 1 if heap.record_free[unsigned((page << 9) + block)] else 0
        if length == count:
            for taken in range(block - count + 1, block + 1):
                heap.record_free[unsigned((page << 9) + taken)] = 0
            return heap.record_page[unsigned(page)] + ((block - count + 1) << BLOCK_SHIFT)
    return 0


@kernel
def _record(heap, row, count):
    """Address of a record of so many blocks, of the newest page that has room; 0 if refused."""
    for page in range(heap.record_pages - 1, -1, -1):
        found = _blocks_in(heap, page, count)
        if found:
            return found
    slice_, fresh = take(heap, row, 0, 1)
    if not slice_ or heap.record_pages == MOST_RECORD_PAGES:
        return 0
    page, address = heap.record_pages, slice_ << SLICE_SHIFT
    touch(heap.machine, address, OWN_BLOCKS << BLOCK_SHIFT if fresh else SLICE_BYTES)
    heap.record_page[unsigned(page)] = address
    for block in range(BLOCKS):
        heap.record_free[unsigned((page << 9) + block)] = block >= OWN_BLOCKS
    heap.record_pages += 1
    return _blocks_in(heap, page, count)


@kernel
def _end_record(heap, address, count):
    """A record is free again, and cleared."""
    for page in range(heap.record_pages):
        first = (address - heap.record_page[unsigned(page)]) >> BLOCK_SHIFT
        if 0 <= first < BLOCKS:
            for block in range(first, first + count):
                heap.record_free[unsigned((page << 9) + block)] = 1
    touch(heap.machine, address, count << BLOCK_SHIFT)


@kernel(cold=True)
def open_heap(heap, row):
    """A thread's first slow malloc: its heap; whether there was memory. The main thread's is
    static."""
    record = MAIN
    if not heap.map:
        open_map(heap)
    if row != MAIN:
        thread_record = _record(heap, row, THREAD_BLOCKS)
        if not thread_record:
            return False
        touch(heap.machine, thread_record, THREAD_RECORD_BYTES)
        set_heap_word(heap, row, THREAD_RECORD, thread_record)
        set_heap_word(heap, row, SEQUENCE, heap.threads)
        heap.threads += 1
        record = _record(heap, row, HEAP_BLOCKS)
        if not record:
            return False
        touch(heap.machine, record, HEAP_RECORD_BYTES)
    set_heap_word(heap, row, OPEN, 1)
    set_heap_word(heap, row, RECORD, record)
    set_heap_word(heap, row, LOW, HUGE_BIN + 1)
    set_heap_word(heap, row, HIGH, 0)
    set_heap_word(heap, row, GENERIC, 0)
    set_heap_word(heap, row, COLLECT, 0)
    heap.most_heaps = max(heap.most_heaps, row + 1)
    return True


@kernel
def now_and_then(heap, row):
    """What a slow malloc does first, once in a while."""
    count = heap_word(heap, row, GENERIC) + 1
    set_heap_word(heap, row, GENERIC, count)
    if count >= FEW_GENERIC:
        set_heap_word(heap, row, GENERIC, 0)
        _look(heap, row, count)


@kernel(cold=True)
def _look(heap, row, count):
    """Look at retired pages, and now and then at all."""
    collect_retired(heap, row, False)
    count += heap_word(heap, row, COLLECT)
    set_heap_word(heap, row, COLLECT, count)
    if count < MANY_GENERIC:
        return
    set_heap_word(heap, row, COLLECT, 0)
    collect_retired(heap, row, False)
    for bin_ in range(HUGE_BIN + 1):
        page = heap_word(heap, row, bin_)
        while page:
            after = get(heap, page, NEXT)
            collect(heap, page)
            if not get(heap, page, USED) and not get(heap, page, EXPIRE):
                free_page(heap, page)
            page = after
    purge(heap, heap_word(heap, row, SEQUENCE), False)


@kernel(cold=True)
def end_heap(heap, thread):
    """A thread ends: pages without a block are freed, the others abandoned."""
    row = row_of(thread)
    if not heap_word(heap, row, OPEN):
        return
    heap.paths[state.EXIT] += 1
    collect_retired(heap, row, True)
    for bin_ in range(HUGE_BIN + 1):
        page = heap_word(heap, row, bin_)
        while page:
            after = get(heap, page, NEXT)
            collect_all(heap, page)
            if get(heap, page, USED):
                abandon(heap, page)
            else:
                free_page(heap, page)
            page = after
    purge(heap, heap_word(heap, row, SEQUENCE), True)
    set_heap_word(heap, row, OPEN, 0)
    _end_record(heap, heap_word(heap, row, RECORD), HEAP_BLOCKS)
    _end_record(heap, heap_word(heap, row, THREAD_RECORD), THREAD_BLOCKS)
