"""mimalloc 3's words: what its parts share.

    slice    64 KiB of an arena; the row of a page's first one is the page's record
    page     slices of blocks of one size: a free list, and what its owner and what others freed
    heap     what a thread has: queues of pages by block size
    arena    1 GiB or more of slices, of all threads; chunk: 512 of its slices, 32 MiB

Terms      bin: a queue's number; abandoned: a page without an owner; mapped: abandoned, and found
           by who wants a page of its size; listed: a chunk, or one's abandoned pages of a bin, that
           may have something, as the real one's maps of its bitmaps' chunks say
Invariant  see `invariants.py`
Source     mimalloc 3.4.3 include/mimalloc/types.h, src/page-queue.c, src/bitmap.h
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.mimalloc.words import (
    EXTRA,
    EXTRA_WORDS,
    RESERVED,
    SLICE_SHIFT,
    USED,
    get,
)
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record
from heapwright.machine import Machine

CHUNK_SHIFT = 9  # MI_BCHUNK_BITS_SHIFT
CHUNK_SLICES = 1 << CHUNK_SHIFT
FIELD_SLICES = 64  # MI_BFIELD_BITS: of slices, and of chunks
ARENA_SHIFT = 30
ARENA_BYTES = 1 << ARENA_SHIFT  # arena_reserve
MOST_ARENA_CHUNKS = 512  # of 16 GiB: MI_ARENA_MAX_SIZE
HINTED_PARTS = 64  # of the page map, of addresses that were hinted; then come all others
MOST_ARENAS = 64  # here; MI_MAX_ARENAS is 160, and they would not fit

SMALL_BYTES = 10 << 10  # MI_SMALL_MAX_OBJ_SIZE: pages of one slice
MEDIUM_BYTES = 86_698  # MI_MEDIUM_MAX_OBJ_SIZE: of eight
LARGE_BYTES = 512 << 10  # MI_LARGE_MAX_OBJ_SIZE: of 64; beyond, a page of one block
MEDIUM_SLICES, LARGE_SLICES = 8, 64
MOST_OBJECT_SLICES = (2 << 30) >> SLICE_SHIFT  # arena_max_object_size; beyond, the system's

ARENA_BINS = 61  # MI_ARENA_BIN_COUNT: bins of pages of several blocks

# Of a page's row
ORIGIN = EXTRA  # which heap had it last: see RECORD
FRESH, OUTSIDE = 2, 4  # of FLAGS: free blocks hold zeros; of the system, in no arena

# Words of a heap
LENGTH = EXTRA_WORDS  # of queues
RECORD = 243  # where it lies: which heap it is; the main one's, which is static, is at MAIN
THREAD_RECORD = 244  # where the thread's other record lies
SEQUENCE = 245  # number of the thread, from where it looks for slices
GENERIC, COLLECT = 246, 247  # slow mallocs since the last looks at retired and at all pages

# Bits of a slice
IS_FREE, DIRTY, WAITING = 1, 2, 4  # DIRTY: it was in use; WAITING: to be given back
# What a chunk's slices are used for: MI_CBIN_*; a chunk that was wholly free takes the first's
SINGLE, OTHER, EIGHT, FIELD, WHOLE, NONE = range(6)

# Words of an arena
(
    FIRST,  # its first slice
    LENGTH_SLICES,
    INFO,  # slices of its own records
    HIGHEST,  # chunk that was used or freed
    DUE,  # when slices are given back, ms; 0: none wait
    PAST,  # past the last slice that was ever taken
    PLACE,  # bytes from the first arena on in the real one
) = range(7)
ARENA_ROW_SHIFT = 3
NO_PLACE = -1  # where the system put it

PATHS = (
    "direct",  # from the first page, which had a free block
    "generic",
    "page",
    "page_freed",
    "extend",
    "retire",
    "abandon",
    "claimed",  # abandoned pages that who wanted a page found
    "reclaimed",  # that who freed a block took
    "mapped",  # abandoned full, and found again since
    "remote",  # freed by a thread that is not the owner
    "arena",
    "system",
    "in_place",
    "moved",
    "exit",
    "purge",
)
(
    DIRECT,
    GENERICS,
    PAGE,
    PAGE_FREED,
    EXTEND,
    RETIRE,
    ABANDON,
    CLAIMED,
    RECLAIMED,
    MAPPED_AGAIN,
    REMOTE_FREE,
    ARENA,
    SYSTEM,
    IN_PLACE,
    MOVED,
    EXIT,
    PURGE,
) = range(len(PATHS))


@record(
    "delay_ms",  # until free slices are given back; 0: at once; below: never
    "retain",  # full pages that a queue keeps
    "candidates",  # pages that are looked at for the best
    "on_free",  # who frees a block takes its page: below 0 never, 0 its own, 1 any thread's
    "hint",  # bytes from the first arena on, where the next mapping is asked for
    "arenas",
    "due",  # when slices of any arena are given back, ms; 0: none wait
    "threads",  # that ever had a heap but for the main one
    "most_heaps",  # rows of heaps ever opened
    "map",  # address of the page map
    "record_pages",  # pages of threads' records, newest last
)
class Heap(NamedTuple):
    """The whole state; links of blocks are in the machine's words."""

    machine: Machine
    slices: np.ndarray  # int64[slice << 4 | word]
    owner: np.ndarray  # int32[slice]  first slice of the page that it belongs to
    arena_of: np.ndarray  # int8[slice]  its arena and one; 0: none
    heaps: np.ndarray  # int64[row << 8 | word]
    bin_of: np.ndarray  # uint8[words of a request, to 129]
    size_of: np.ndarray  # int64[bin]  bytes of a block
    marks: np.ndarray  # uint8[slice]  IS_FREE, DIRTY, WAITING
    mapped: np.ndarray  # uint8[slice]  the bin of an abandoned page that is mapped; 0: none
    arena: np.ndarray  # int64[arena << 3 | word]
    free_in: np.ndarray  # int32[arena, chunk]  free slices
    waiting_in: np.ndarray  # int32[arena, chunk]  slices to be given back
    use_of: np.ndarray  # uint8[arena, chunk]  SINGLE to NONE
    listed: np.ndarray  # uint8[arena, chunk]
    mapped_in: np.ndarray  # int32[(arena, chunk) * ARENA_BINS + bin]  mapped pages
    mapped_listed: np.ndarray  # uint8[(arena, chunk) * ARENA_BINS + bin]
    mapped_count: np.ndarray  # int64[bin]  mapped pages of all arenas
    maps_at: np.ndarray  # int64[part]  address of a part of the page map; 0: none
    record_page: np.ndarray  # int64[page]  address of a page of records
    record_free: np.ndarray  # uint8[page << 9 | block]  whether the block is free
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel(inline=True)
def arena_word(heap, arena, word):
    """A word of an arena."""
    return heap.arena[unsigned((arena << ARENA_ROW_SHIFT) + word)]


@kernel(inline=True)
def set_arena_word(heap, arena, word, value):
    """Write it."""
    heap.arena[unsigned((arena << ARENA_ROW_SHIFT) + word)] = value


@kernel(inline=True)
def arena_of(heap, slice_):
    """The arena that a slice lies in; -1: none."""
    return np.int64(heap.arena_of[unsigned(slice_)]) - 1


@kernel(inline=True)
def mostly_used(heap, page):
    """Whether not more than an eighth of a page is free."""
    reserved = get(heap, page, RESERVED)
    return reserved - get(heap, page, USED) <= reserved >> 3
