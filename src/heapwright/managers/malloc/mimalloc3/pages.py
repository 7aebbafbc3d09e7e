"""mimalloc 3's pages: found along a queue, extended a little at a time, abandoned when full.

    find  ─► first page ─► along the queue: the fullest of those that have room, of four at most;
             beyond two full ones the others are abandoned
               └none─► look at retired pages ─► an abandoned one that is mapped ─► fresh slices
    free  ─► the page's last block: retired, if it is its queue's only page, else freed

Terms      retired: unused and kept for a few looks; extend: put blocks that were never used on an
           empty free list, ascending
Invariant  see `invariants.py` (check: 2-4)
Source     mimalloc 3.4.3 src/page.c, src/free.c, src/arena.c (pages)
"""

from heapwright.allocators.mimalloc.classes import good_size
from heapwright.allocators.mimalloc.queues import (
    alone,
    forget_retired,
    keep_retired,
    look_at_retired,
)
from heapwright.allocators.mimalloc.words import (
    BIN,
    CAPACITY,
    COUNT,
    EXPIRE,
    FLAGS,
    FREE,
    HAS_ALIGNED,
    HEAP,
    HUGE_BIN,
    LOCAL,
    MAIN,
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
from heapwright.machine import mmap, munmap, touch
from heapwright.managers.malloc.mimalloc3 import state
from heapwright.managers.malloc.mimalloc3.arenas import (
    PAGE_RECORD_BYTES,
    give_back,
    hinted,
    name_slices,
    purge,
    take,
    touch_record,
)
from heapwright.managers.malloc.mimalloc3.blocks import extend, named_slices, own
from heapwright.managers.malloc.mimalloc3.queues import (
    collect,
    pull,
    push_first,
    push_last,
    take_local,
)
from heapwright.managers.malloc.mimalloc3.slices import (
    arena_at,
    find_mapped,
    forget_mapped,
    note_mapped,
)
from heapwright.managers.malloc.mimalloc3.state import (
    ARENA_BINS,
    FRESH,
    LARGE_SLICES,
    MEDIUM_BYTES,
    MEDIUM_SLICES,
    MOST_OBJECT_SLICES,
    OUTSIDE,
    SEQUENCE,
    SMALL_BYTES,
    arena_of,
    mostly_used,
)

PAGE_BYTES = 4096
NATURAL_START_BYTES = 512  # up to here a page of blocks of a power of two begins a block late
MAIN_RETAIN = 2  # the main thread's page_full_retain, which is static: its option does not reach it
SMALL_LOOKS, LARGE_LOOKS = 16, 4  # at a retired page before it is freed: MI_RETIRE_CYCLES
MOST_NAMED = LARGE_SLICES  # slices of a page that a block can be asked about from, at most


@kernel
def _init(heap, row, page, bin_, flags):
    """A page of slices that were taken: COUNT, SIZE, START and RESERVED are set."""
    heap.paths[state.PAGE] += 1
    for word in (FREE, LOCAL, REMOTE, USED, CAPACITY, EXPIRE, NEXT, PREVIOUS):
        put(heap, page, word, 0)
    put(heap, page, FLAGS, flags)
    put(heap, page, BIN, bin_)
    own(heap, row, page)
    start = get(heap, page, START) >> SLICE_SHIFT
    name_slices(heap, page, start, named_slices(heap, page) - (start - page))
    extend(heap, page)
    push_first(heap, row, bin_, page)


@kernel
def _fresh(heap, row, bin_, size, slices):
    """A page of fresh slices for a thread; 0 if refused."""
    page, fresh = 0, False
    if slices <= MOST_OBJECT_SLICES:
        page, fresh = take(heap, row, heap_word(heap, row, SEQUENCE), slices)
    if not page:
        return _outside(heap, row, size, slices)
    start = 0
    if 8 <= size <= NATURAL_START_BYTES and not size & (size - 1):
        start = size
    put(heap, page, COUNT, slices)
    put(heap, page, SIZE, size)
    put(heap, page, START, (page << SLICE_SHIFT) + start)
    put(heap, page, RESERVED, ((slices << SLICE_SHIFT) - start) // size)
    touch_record(heap, page)
    _init(heap, row, page, bin_, FRESH if fresh else 0)
    return page


@kernel(cold=True)
def _outside(heap, row, size, slices):
    """A page of one block that the system maps alone; 0 if refused."""
    address = hinted(heap, good_size(slices << SLICE_SHIFT))
    return _alone(heap, row, address, (size, slices), PAGE_BYTES)


@kernel
def _alone(heap, row, address, shape, start):
    """A page of one block, `start` bytes into a mapping of its own."""
    if not address:
        return 0
    heap.paths[state.SYSTEM] += 1
    size, slices = shape
    page = address >> SLICE_SHIFT
    put(heap, page, COUNT, slices)
    put(heap, page, SIZE, size)
    put(heap, page, START, address + start)
    put(heap, page, RESERVED, 1)
    touch(heap.machine, address, PAGE_RECORD_BYTES)
    _init(heap, row, page, HUGE_BIN, FRESH | OUTSIDE)
    return page


@kernel(cold=True)
def find_aligned(heap, row, size, align):
    """A page of one block at a multiple of `align`, which is more than a slice; 0 if refused."""
    slices = 1 + ((size + SLICE_BYTES - 1) >> SLICE_SHIFT)
    bytes_ = good_size(slices << SLICE_SHIFT)
    area = mmap(heap.machine, 0, bytes_ + align)
    if not area:
        return 0
    block = (area + SLICE_BYTES + align - 1) & -align
    start, past = block - SLICE_BYTES, area + bytes_ + align
    if start > area:
        munmap(heap.machine, area, start - area)
    if past > start + bytes_:
        munmap(heap.machine, start + bytes_, past - start - bytes_)
    return _alone(heap, row, start, (size, slices), SLICE_BYTES)


@kernel
def free_memory(heap, page):
    """The slices of a page without a block go back."""
    heap.paths[state.PAGE_FREED] += 1
    start = get(heap, page, START) >> SLICE_SHIFT
    name_slices(heap, 0, start, named_slices(heap, page) - (start - page))
    put(heap, page, SIZE, 0)
    put(heap, page, HEAP, 0)
    slices = get(heap, page, COUNT)
    if get(heap, page, FLAGS) & OUTSIDE:
        bytes_ = good_size(slices << SLICE_SHIFT)
        munmap(heap.machine, page << SLICE_SHIFT, bytes_)
    else:
        give_back(heap, page, slices)


@kernel
def free_page(heap, page):
    """A page of a thread without a block goes."""
    sequence = heap_word(heap, get(heap, page, HEAP), SEQUENCE)
    pull(heap, page)
    free_memory(heap, page)
    purge(heap, sequence, False)


@kernel
def leave(heap, page):
    """A page without an owner is mapped unless it is full; all free, it goes."""
    arena = arena_of(heap, page)
    full = get(heap, page, RESERVED) == get(heap, page, USED)
    if not full and not get(heap, page, FLAGS) & OUTSIDE:
        note_mapped(heap, arena, page, get(heap, page, BIN))
    while get(heap, page, REMOTE):
        collect(heap, page)
        if not get(heap, page, USED):
            take_away(heap, page)
            free_memory(heap, page)
            return


@kernel
def take_away(heap, page):
    """An abandoned page can be found no more."""
    if heap.mapped[unsigned(page)]:
        forget_mapped(heap, arena_of(heap, page), page)


@kernel
def abandon(heap, page):
    """A thread gives a page up."""
    collect(heap, page)
    if not get(heap, page, USED):
        free_page(heap, page)
        return
    heap.paths[state.ABANDON] += 1
    sequence = heap_word(heap, get(heap, page, HEAP), SEQUENCE)
    pull(heap, page)
    put(heap, page, HEAP, 0)
    leave(heap, page)
    purge(heap, sequence, False)


@kernel
def reclaim(heap, row, page):
    """An abandoned page is a thread's, last in its queue."""
    own(heap, row, page)
    collect(heap, page)
    push_last(heap, row, get(heap, page, BIN), page)


@kernel
def _claim(heap, row, bin_):
    """An abandoned page of a bin for a thread; 0: there is none."""
    if bin_ >= ARENA_BINS or not heap.mapped_count[unsigned(bin_)]:
        return 0
    sequence = heap_word(heap, row, SEQUENCE)
    for step in range(heap.arenas):
        arena = arena_at(heap, step, sequence)
        page = find_mapped(heap, arena, sequence, bin_)
        if page:
            heap.paths[state.CLAIMED] += 1
            forget_mapped(heap, arena, page)
            reclaim(heap, row, page)
            if not get(heap, page, FREE):
                extend(heap, page)
            return page
    return 0


@kernel
def collect_retired(heap, row, force):
    """Look at the retired pages: free what was looked at often enough, or all with `force`."""
    low, past = forget_retired(heap, row)
    for bin_ in range(low, past):
        page = look_at_retired(heap, row, bin_, force)
        if page:
            free_page(heap, page)


@kernel(cold=True)
def retire(heap, page):
    """A page has no block any more: kept for a while if it is its queue's only one, else freed."""
    if get(heap, page, EXPIRE):
        return
    put(heap, page, FLAGS, get(heap, page, FLAGS) & ~HAS_ALIGNED)
    row, bin_, size = get(heap, page, HEAP), get(heap, page, BIN), get(heap, page, SIZE)
    if bin_ == HUGE_BIN or not alone(heap, row, bin_, page):
        free_page(heap, page)
        return
    heap.paths[state.RETIRE] += 1
    looks = SMALL_LOOKS if size <= SMALL_BYTES else LARGE_LOOKS
    keep_retired(heap, row, bin_, page, looks)


@kernel
def _along(heap, row, bin_):
    """The best page of a queue that has or gets a free block; 0: there is none."""
    best = limit = 0
    keep = 0
    if heap.size_of[unsigned(bin_)] <= SMALL_BYTES:
        keep = MAIN_RETAIN if row == MAIN else heap.retain
    page = heap_word(heap, row, bin_)
    while page:
        after = get(heap, page, NEXT)
        limit -= 1
        if not get(heap, page, FREE):
            collect(heap, page)
        at_once = get(heap, page, FREE) != 0
        if not at_once and get(heap, page, CAPACITY) >= get(heap, page, RESERVED):
            keep -= 1
            if keep < 0:
                abandon(heap, page)
        else:
            if not best:
                best, limit = page, heap.candidates
            elif not get(heap, best, USED):
                free_page(heap, best)
                best = page
            elif get(heap, page, USED) >= get(heap, best, USED) and not mostly_used(heap, page):
                best = page
            if at_once or limit <= 0:
                break
        page = after
    return best


@kernel
def _new(heap, row, bin_):
    """An abandoned page of a bin, or a fresh one; 0 if the system refuses."""
    page = _claim(heap, row, bin_)
    if page:
        return page
    size = heap.size_of[unsigned(bin_)]
    slices = 1
    if size > SMALL_BYTES:
        slices = MEDIUM_SLICES if size <= MEDIUM_BYTES else LARGE_SLICES
    return _fresh(heap, row, bin_, size, slices)


@kernel
def find(heap, row, bin_):
    """A page of a bin with a free block; 0 if the system refuses (mi_find_free_page)."""
    page = heap_word(heap, row, bin_)
    if page:
        take_local(heap, page)
        if get(heap, page, FREE):
            put(heap, page, EXPIRE, 0)
            return page
    page = _along(heap, row, bin_)
    if not page:
        collect_retired(heap, row, False)
        return _new(heap, row, bin_)
    if not get(heap, page, FREE):
        extend(heap, page)
    if heap_word(heap, row, bin_) != page:
        pull(heap, page)
        push_first(heap, row, bin_, page)
    put(heap, page, EXPIRE, 0)
    return page


@kernel
def find_huge(heap, row, size):
    """A page of one block of more than LARGE_BYTES; 0 if refused."""
    bytes_ = good_size(size)
    slices = (PAGE_RECORD_BYTES + bytes_ + SLICE_BYTES - 1) >> SLICE_SHIFT
    return _fresh(heap, row, HUGE_BIN, bytes_, slices)
