"""mimalloc 3.4.3, whole: its blocks lie where the real one's do, from the first arena on.

    malloc ─► first page of the size: free list ─empty─► along the queue, the best of four
                └ over 512 KiB a page of its own         an abandoned page ─► fresh slices ─► arena
    free   ─► the page's list of freed blocks; another thread's page, or one that was full and is
              nobody's: a list of its own

Terms      page: slices of 64 KiB with blocks of one size; queue: pages of one size, of a thread;
           arena: memory that all threads take slices from
Invariant  a chunk counts its free and waiting slices, and no page lies on free ones (check: 1); a
           page's lists and its used blocks sum to its capacity (2); pages with an owner are in its
           queue of their size (3); abandoned pages that are mapped are counted, and not full (4)
Source     mimalloc 3.4.3 src/alloc.c, alloc-aligned.c; parts in the files beside
Omits      huge OS pages, which it asks for in its arenas where the system grants them; heaps that a
           program makes; where blocks lie that are aligned beyond 64 KiB, and how much is mapped
           around them; memalign at multiples of 16, which is malloc here
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import counters
from heapwright.allocators.mimalloc.blocks import (
    block_of,
    extent,
    pop,
    pop_aligned,
    pop_direct,
    push_local,
    usable,
    within,
)
from heapwright.allocators.mimalloc.classes import DIRECT_BYTES, bin_of, good_size, tables
from heapwright.allocators.mimalloc.words import (
    FLAGS,
    FREE,
    HEAP,
    HEAP_SHIFT,
    HUGE_BIN,
    MOST_THREADS,
    OPEN,
    REMOTE,
    RESERVED,
    ROW_SHIFT,
    SIZE,
    SLICE_SHIFT,
    SLICES,
    USED,
    get,
    heap_word,
    page_at,
    put,
    row_of,
)
from heapwright.compiler import kernel, likely, unsigned
from heapwright.compiler.record import words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine import copy, store, touch
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.malloc.mimalloc3 import state
from heapwright.managers.malloc.mimalloc3.arenas import MAP_SHIFT
from heapwright.managers.malloc.mimalloc3.foreign import free_abandoned
from heapwright.managers.malloc.mimalloc3.invariants import cached, check, metadata
from heapwright.managers.malloc.mimalloc3.pages import (
    abandon,
    find,
    find_aligned,
    find_huge,
    retire,
)
from heapwright.managers.malloc.mimalloc3.state import (
    ARENA_BINS,
    ARENA_BYTES,
    ARENA_ROW_SHIFT,
    FRESH,
    HINTED_PARTS,
    LARGE_BYTES,
    MOST_ARENA_CHUNKS,
    MOST_ARENAS,
    PATHS,
    SMALL_BYTES,
    Heap,
)
from heapwright.managers.malloc.mimalloc3.threads import (
    MOST_RECORD_PAGES,
    end_heap,
    now_and_then,
    open_heap,
)
from heapwright.versions import version_number

CLOCKED = True  # it asks the machine for the time
FOLLOWING = ("heaps",)  # in flight
ORIGIN_BYTES = ARENA_BYTES  # offsets count from the first block's GiB: see agreement.py

__all__ = [
    "CLOCKED",
    "FOLLOWING",
    "ORIGIN_BYTES",
    "PATHS",
    "Config",
    "Heap",
    "alloc",
    "boot",
    "cached",
    "calloc",
    "check",
    "extent",
    "free",
    "metadata",
    "offsets",
    "realloc",
    "thread_exit",
    "usable",
]

ALIGN_BYTES = 16  # what malloc itself promises
MOST_ALIGN_BYTES = 1 << 28  # here
NATURAL_BYTES = 4096  # MI_PAGE_MAX_START_BLOCK_ALIGN2: powers of two up to here lie so
MOST_OVER_BYTES = 1 << 16  # MI_PAGE_MAX_OVERALLOC_ALIGN: beyond, a mapping of its own
MOST_RETAIN, MOST_CANDIDATES = 32, 1 << 20


class Config(NamedTuple):
    """The library's environment, as MIMALLOC_PURGE_DELAY, with its defaults."""

    purge_delay: int = 1000  # ms until free slices are given back; 0: at once; -1: never
    page_full_retain: int = 2  # full pages that a queue of small blocks keeps; 0 to 32, main: 2
    page_max_candidates: int = 4  # pages of a queue that are looked at for the best
    page_reclaim_on_free: int = 0  # who frees a block takes its page: 1 any thread's, -1 none
    version: int = version_number("3.4.3")


def boot(machine, config):
    """No arena yet; HeapwrightError for knobs that do not fit."""
    if not -1 <= config.page_reclaim_on_free <= 1:
        raise HeapwrightError("page_reclaim_on_free of mimalloc3 is -1, 0 or 1.")
    if not 0 <= config.page_full_retain <= MOST_RETAIN:
        raise HeapwrightError(f"page_full_retain of mimalloc3 is 0 to {MOST_RETAIN}.")
    if config.purge_delay < -1:
        raise HeapwrightError("purge_delay of mimalloc3 is -1, for never, or milliseconds.")
    if not 0 <= config.page_max_candidates <= MOST_CANDIDATES:
        raise HeapwrightError(f"page_max_candidates of mimalloc3 is 0 to {MOST_CANDIDATES:,}.")
    bins, sizes = tables(LARGE_BYTES)
    chunks = MOST_ARENAS * MOST_ARENA_CHUNKS
    return Heap(
        machine,
        reserve((SLICES + 1) << ROW_SHIFT, np.int64),
        reserve(SLICES + 1, np.int32),
        reserve(SLICES + 1, np.int8),
        reserve((MOST_THREADS + 1) << HEAP_SHIFT, np.int64),
        bins,
        sizes,
        reserve(SLICES + 1, np.uint8),
        reserve(SLICES + 1, np.uint8),
        np.zeros(MOST_ARENAS << ARENA_ROW_SHIFT, np.int64),
        reserve(chunks, np.int32),
        reserve(chunks, np.int32),
        reserve(chunks, np.uint8),
        reserve(chunks, np.uint8),
        reserve(chunks * ARENA_BINS, np.int32),
        reserve(chunks * ARENA_BINS, np.uint8),
        np.zeros(HUGE_BIN + 1, np.int64),
        np.zeros(HINTED_PARTS + (SPACE_BYTES >> MAP_SHIFT), np.int64),
        np.zeros(MOST_RECORD_PAGES, np.int64),
        reserve(MOST_RECORD_PAGES << 9, np.uint8),
        words(
            Heap,
            delay_ms=config.purge_delay,
            retain=config.page_full_retain,
            candidates=config.page_max_candidates,
            on_free=config.page_reclaim_on_free,
        ),
        counters(PATHS),
    )


def offsets(heap, addresses):
    """int64[address]: where they would be in the real one, from the GiB on that its first block
    lies in; -1 where the kernel decides. Of no address it is -1 too."""
    arenas = heap.arena.reshape(-1, 1 << ARENA_ROW_SHIFT)
    place, start = arenas[:, state.PLACE], arenas[:, state.FIRST] << SLICE_SHIFT
    hinted = place != state.NO_PLACE
    place = np.where(hinted, place, start - (start[0] & -ARENA_BYTES))
    arena = heap.arena_of[addresses >> SLICE_SHIFT].astype(np.int64) - 1
    known = (addresses != 0) & (arena >= 0) & (hinted[arena] == hinted[0])
    return np.where(known, place[arena] + addresses - start[arena], -1)


@kernel(inline=True)
def alloc(heap, thread, size, align):
    """malloc, or memalign where `align` exceeds 16. The fast path: the first page of the size has a
    free block."""
    if align > ALIGN_BYTES:
        return _alloc_aligned(heap, thread, size, align)
    return _alloc(heap, thread, size)


@kernel(inline=True)
def _alloc(heap, thread, size):
    """malloc."""
    if likely(unsigned(size) <= unsigned(DIRECT_BYTES)):
        block = pop_direct(heap, row_of(thread), size)
        if likely(block != 0):
            return block
    return _alloc_generic(heap, thread, size)


@kernel(cold=True)
def _alloc_generic(heap, thread, size):
    """malloc where the first page has no free block, and of larger requests; 0 if refused."""
    if unsigned(size) > unsigned(SPACE_BYTES):
        return 0
    heap.paths[state.GENERICS] += 1
    row = row_of(thread)
    if not heap_word(heap, row, OPEN) and not open_heap(heap, row):
        return 0
    now_and_then(heap, row)
    page = (
        find(heap, row, bin_of(heap, size)) if size <= LARGE_BYTES else find_huge(heap, row, size)
    )
    return _first_of(heap, page)


@kernel
def _first_of(heap, page):
    """The first free block of a page that was found, if it was; a page of larger blocks that is
    full then is abandoned."""
    if not page:
        return 0
    block = pop(heap, page, get(heap, page, FREE))
    if get(heap, page, SIZE) > SMALL_BYTES and get(heap, page, USED) == get(heap, page, RESERVED):
        abandon(heap, page)
    return block


@kernel(cold=True)
def _alloc_aligned(heap, thread, size, align):
    """memalign: the first free block, if it lies so by chance; one that must; else within one that
    is larger by the alignment less one; beyond 64 KiB in a mapping of its own."""
    if unsigned(align) > unsigned(MOST_ALIGN_BYTES) or unsigned(size) > unsigned(SPACE_BYTES):
        return 0
    if align <= size <= DIRECT_BYTES:
        block = pop_aligned(heap, row_of(thread), size, align)
        if block:
            return block
    if align <= size and _lies_so(heap, size, align):
        return _alloc(heap, thread, size)
    if align > MOST_OVER_BYTES:
        return _alone(heap, thread, max(size, DIRECT_BYTES + 1), align)
    block = _alloc(heap, thread, max(size, ALIGN_BYTES) + align - 1)
    return within(heap, block, align) if block else 0


@kernel
def _lies_so(heap, size, align):
    """Whether any block for that size does (mi_malloc_is_naturally_aligned)."""
    if size > LARGE_BYTES:
        return align == NATURAL_BYTES
    bytes_ = heap.size_of[unsigned(bin_of(heap, size))]
    if bytes_ <= NATURAL_BYTES and not bytes_ & (bytes_ - 1):
        return True
    return align == NATURAL_BYTES and not bytes_ & (NATURAL_BYTES - 1)


@kernel
def _alone(heap, thread, size, align):
    """A block in a mapping of its own."""
    row = row_of(thread)
    if not heap_word(heap, row, OPEN) and not open_heap(heap, row):
        return 0
    now_and_then(heap, row)
    return _first_of(heap, find_aligned(heap, row, good_size(size), align))


@kernel(inline=True)
def free(heap, thread, address):
    """free. The fast path: a block of the thread's own page, which stays."""
    page = page_at(heap, address)
    block = block_of(heap, page, address)
    touch(heap.machine, block, 8)
    if likely(get(heap, page, HEAP) == row_of(thread)):
        _free_local(heap, page, block)
    else:
        _free_remote(heap, row_of(thread), page, block)


@kernel(inline=True)
def _free_local(heap, page, block):
    """A block of the thread's own page."""
    used = push_local(heap, page, block)
    if not used:
        retire(heap, page)


@kernel(cold=True)
def _free_remote(heap, row, page, block):
    """A block of a page that is another thread's, or nobody's."""
    heap.paths[state.REMOTE_FREE] += 1
    store(heap.machine, block, get(heap, page, REMOTE))
    put(heap, page, REMOTE, block)
    if not get(heap, page, HEAP):
        free_abandoned(heap, row, page, block)


@kernel
def calloc(heap, thread, size):
    """A cleared block: one of slices that were never in use holds zeros already."""
    address = _alloc(heap, thread, size)
    if address:
        page = page_at(heap, address)
        if not get(heap, page, FLAGS) & FRESH:
            touch(heap.machine, address, get(heap, page, SIZE))
    return address


@kernel
def realloc(heap, thread, address, size):
    """The block itself where it has room and half of it is wanted, else moved; by a thread that has
    no heap yet always."""
    room = usable(heap, address, size)
    fits = room // 2 <= size <= room and size > 0
    if fits and heap_word(heap, row_of(thread), OPEN):
        heap.paths[state.IN_PLACE] += 1
        return address
    moved = _alloc(heap, thread, size)
    if moved:
        heap.paths[state.MOVED] += 1
        copy(heap.machine, moved, address, min(room, size))
        free(heap, thread, address)
    return moved


@kernel
def thread_exit(heap, thread):
    """Leave what the thread still has to others; the main thread keeps its own."""
    if thread:
        end_heap(heap, thread)
