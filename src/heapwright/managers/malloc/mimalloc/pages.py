"""mimalloc's pages: found along a queue, extended a little at a time, freed late.

    find  ─► first page: collect ─► along the queue: collect, extend, else to the full queue
               └none─► look at retired pages ─► a fresh page, in front
    free  ─► the page's last block: retired, if it is its queue's only page, else freed

Terms      retired: unused and kept for a few looks; extend: put blocks that were never used on an
           empty free list, ascending
Invariant  see `invariants.py` (check: 3-5)
Source     mimalloc 2.0.9 src/page.c
"""

from heapwright.allocators.mimalloc import blocks
from heapwright.allocators.mimalloc.blocks import gather
from heapwright.allocators.mimalloc.classes import DIRECT_BYTES, good_size
from heapwright.allocators.mimalloc.queues import (
    alone,
    forget_retired,
    keep_retired,
    look_at_retired,
    push_first,
    push_last,
)
from heapwright.allocators.mimalloc.words import (
    BIN,
    CAPACITY,
    COUNT,
    EXPIRE,
    FLAGS,
    FREE,
    HEAP,
    HUGE_BIN,
    LOCAL,
    NEXT,
    PREVIOUS,
    REMOTE,
    RESERVED,
    SIZE,
    SLICE_BYTES,
    SLICE_SHIFT,
    START,
    USED,
    get,
    heap_word,
    put,
)
from heapwright.compiler import kernel, unsigned
from heapwright.machine import munmap
from heapwright.managers.malloc.mimalloc import state
from heapwright.managers.malloc.mimalloc.abandoned import reclaim
from heapwright.managers.malloc.mimalloc.queues import pull, queue_of
from heapwright.managers.malloc.mimalloc.segments import (
    MOST_OFFSETS,
    count_segment,
    end_if_unused,
    merge_span,
    name_slices,
    new_segment,
    open_segment,
    system_segment,
    take_span,
    write_records,
)
from heapwright.managers.malloc.mimalloc.state import (
    DELAYED,
    FULL_BIN,
    IN_FULL,
    LARGE_BYTES,
    MEDIUM_BYTES,
    MEDIUM_SLICES,
    ON_HEAP,
    PAGES,
    SMALL_BYTES,
    segment_of,
)

START_BYTES = 384  # MI_MAX_ALIGN_GUARANTEE * 3, before the first block of at most DIRECT_BYTES
LEAST_EXTEND = 4  # blocks: MI_MIN_EXTEND
MOST_BLOCKS = (1 << 16) - 1
SMALL_LOOKS, MEDIUM_LOOKS = 9, 3  # at a retired page before it is freed: MI_RETIRE_CYCLES


@kernel
def _init_page(heap, row, first, bin_, size):
    """A page of slices that were taken, its first blocks free, in front of its queue unless it is
    a huge one, which is nobody's."""
    heap.paths[state.PAGE] += 1
    slices = get(heap, first, COUNT)
    start = START_BYTES if size <= DIRECT_BYTES else 0
    for word in (FREE, LOCAL, REMOTE, USED, CAPACITY, FLAGS, EXPIRE, NEXT, PREVIOUS):
        put(heap, first, word, 0)
    put(heap, first, SIZE, size)
    put(heap, first, START, (first << SLICE_SHIFT) + start)
    put(heap, first, RESERVED, min(((slices << SLICE_SHIFT) - start) // size, MOST_BLOCKS))
    put(heap, first, BIN, bin_)
    put(heap, first, HEAP, row)
    put(heap, first, DELAYED, ON_HEAP)
    segment = segment_of(first)
    write_records(heap, segment, first - segment, min(slices, MOST_OFFSETS))
    write_records(heap, segment, first - segment + slices - 1, 1)
    extend(heap, first)
    if row:
        push_first(heap, row, bin_, first)


@kernel
def extend(heap, page):
    """Put the next blocks that were never used on the free list, which is empty."""
    if blocks.extend(heap, page, LEAST_EXTEND):
        heap.paths[state.EXTEND] += 1


@kernel
def new_page(heap, row, bin_, size, need):
    """A page of blocks of `size` with `need` bytes for a thread; 0 if refused, and where a page of
    another thread that ended will do."""
    slices = (need + SLICE_BYTES - 1) >> SLICE_SHIFT
    if slices > MEDIUM_SLICES:
        slices = (slices + MEDIUM_SLICES - 1) & -MEDIUM_SLICES
    while True:
        first = take_span(heap, row, slices)
        if first:
            break
        found = reclaim(heap, row, slices, size) if heap.abandoned_count else 0
        if found == 2:
            return 0
        if not found and not new_segment(heap, row):
            return 0
    name_slices(heap, first, slices)
    _init_page(heap, row, first, bin_, slices << SLICE_SHIFT if bin_ == HUGE_BIN else size)
    return first


@kernel
def new_huge_page(heap, row, size):
    """A segment of one block, which whoever frees it gives back; 0 if refused."""
    slices = (size + SLICE_BYTES - 1) >> SLICE_SHIFT
    address = system_segment(heap, (slices + 1) << SLICE_SHIFT)
    if not address:
        return 0
    heap.paths[state.HUGE] += 1
    segment = open_segment(heap, row, address, slices + 1, True)
    put(heap, segment, PAGES, 1)
    name_slices(heap, segment + 1, slices)
    _init_page(heap, 0, segment + 1, HUGE_BIN, slices << SLICE_SHIFT)
    return segment + 1


@kernel
def free_huge_page(heap, row, page):
    """The reverse, by any thread: it is counted as one segment less of its."""
    heap.paths[state.HUGE_FREED] += 1
    count_segment(heap, row, -1)
    segment = segment_of(page)
    bytes_ = good_size((get(heap, page, COUNT) + 1) << SLICE_SHIFT)
    put(heap, segment, COUNT, 0)
    munmap(heap.machine, segment << SLICE_SHIFT, bytes_)


@kernel
def free_page(heap, page):
    """A page without a block goes back to its segment, and that perhaps to the cache."""
    heap.paths[state.PAGE_FREED] += 1
    row, segment = get(heap, page, HEAP), segment_of(page)
    pull(heap, page)
    put(heap, segment, PAGES, get(heap, segment, PAGES) - 1)
    merge_span(heap, row, page, get(heap, page, COUNT))
    end_if_unused(heap, row, segment)


@kernel
def to_full(heap, page):
    """Move a page without a free block to the end of the full queue."""
    heap.paths[state.TO_FULL] += 1
    row = get(heap, page, HEAP)
    pull(heap, page)
    put(heap, page, FLAGS, get(heap, page, FLAGS) | IN_FULL)
    push_last(heap, row, FULL_BIN, page)


@kernel(cold=True)
def unfull(heap, page):
    """Move it back, to the end of its own queue."""
    heap.paths[state.UNFULL] += 1
    pull(heap, page)
    push_last(heap, get(heap, page, HEAP), get(heap, page, BIN), page)


@kernel(cold=True)
def retire(heap, page):
    """A page has no block any more: kept for a while if it is its queue's only one, else freed."""
    row, bin_, size = get(heap, page, HEAP), queue_of(heap, page), get(heap, page, SIZE)
    put(heap, page, FLAGS, get(heap, page, FLAGS) & IN_FULL)
    if size > MEDIUM_BYTES or bin_ == FULL_BIN or not alone(heap, row, bin_, page):
        free_page(heap, page)
        return
    heap.paths[state.RETIRE] += 1
    looks = SMALL_LOOKS if size <= SMALL_BYTES else MEDIUM_LOOKS
    keep_retired(heap, row, bin_, page, looks)


@kernel
def collect_retired(heap, row, force):
    """Look at the retired pages: free what was looked at often enough, or all with `force`."""
    low, past = forget_retired(heap, row)
    for bin_ in range(low, past):
        page = look_at_retired(heap, row, bin_, force)
        if page:
            free_page(heap, page)


@kernel
def _along(heap, row, bin_):
    """The first page of a queue that has or gets a free block, after those that have none went to
    the full queue; 0: there is none."""
    page = heap_word(heap, row, bin_)
    while page:
        after = get(heap, page, NEXT)
        gather(heap, page)
        if get(heap, page, FREE):
            return page
        if get(heap, page, CAPACITY) < get(heap, page, RESERVED):
            extend(heap, page)
            return page
        to_full(heap, page)
        page = after
    return 0


@kernel
def find(heap, row, bin_):
    """A page of a bin with a free block; 0 if the system refuses (mi_find_free_page)."""
    size = heap.size_of[unsigned(bin_)]
    page = _along(heap, row, bin_)
    if not page:
        collect_retired(heap, row, False)
        page = new_page(heap, row, bin_, size, size if size <= SMALL_BYTES else MEDIUM_SLICES << 16)
        if not page:  # one of a thread that ended may be in the queue now
            page = _along(heap, row, bin_)
            if not page:
                collect_retired(heap, row, False)
                need = size if size <= SMALL_BYTES else MEDIUM_SLICES << SLICE_SHIFT
                page = new_page(heap, row, bin_, size, need)
    if page:
        put(heap, page, EXPIRE, 0)
    return page


@kernel
def find_large(heap, row, size):
    """A page of one block of more than MEDIUM_BYTES; 0 if refused."""
    if size > LARGE_BYTES:
        return new_huge_page(heap, row, size)
    return new_page(heap, row, HUGE_BIN, size, size)
