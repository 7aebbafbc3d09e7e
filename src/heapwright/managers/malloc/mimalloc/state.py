"""mimalloc's words: what its parts share.

    slice    64 KiB of a segment of 32 MiB; its row: a page's record, or a free span's
    page     slices of blocks of one size: a free list, and what its owner and what others freed
    heap     what a thread has: queues of pages by block size, of free spans by length

Terms      bin: a queue's number; full: the queue of pages without a free block; span: a run of
           free slices; delayed: the next block that another thread frees goes to the heap's list
Invariant  see `invariants.py`
Source     mimalloc 2.0.9 include/mimalloc-types.h, src/page-queue.c, src/segment.c (mi_slice_bin8)
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.mimalloc.words import (
    BIN,
    CAPACITY,
    EXPIRE,
    EXTRA,
    EXTRA_WORDS,
    NO_BIN,
    RESERVED,
    SLICE_SHIFT,
    START,
    USED,
)
from heapwright.compiler import kernel
from heapwright.compiler.bits import bit_length
from heapwright.compiler.record import record
from heapwright.machine import Machine

SEGMENT_SHIFT = 25  # MI_SEGMENT_SHIFT
SEGMENT_BYTES = 1 << SEGMENT_SHIFT
SEGMENT_SLICES = SEGMENT_BYTES >> SLICE_SHIFT

SMALL_BYTES = 16 << 10  # MI_SMALL_OBJ_SIZE_MAX: pages of one slice
MEDIUM_BYTES = 128 << 10  # MI_MEDIUM_OBJ_SIZE_MAX: of eight
LARGE_BYTES = 16 << 20  # MI_LARGE_OBJ_SIZE_MAX: of one block; beyond, a segment of one block
MEDIUM_SLICES = 8

FULL_BIN = NO_BIN  # MI_BIN_FULL

# Of a row; one of SIZE 0 is a free span's
DELAYED = EXTRA
IN_FULL = 2  # of FLAGS: in the full queue
# DELAYED: what a thread that is not the owner does with a block that it frees
ON_PAGE, ON_HEAP, NEVER = 0, 1, 2  # MI_NO_, MI_USE_, MI_NEVER_DELAYED_FREE
# Words of a segment, in the row of its first slice
PAGES, ABANDONED, VISITS, LENGTH = USED, CAPACITY, RESERVED, START
WAITING, DUE = BIN, EXPIRE  # slices that are to be given back, and when, ms; 0: none was freed

# Words of a heap
SPANS = EXTRA_WORDS  # first free span by bin
LATER, SEGMENTS = 200, 201  # blocks that others freed; segments, as the real one counts them
MOST_SPAN_BIN = 35  # MI_SEGMENT_BIN_MAX

CACHE_SLOTS = 1024  # MI_CACHE_MAX, of segments

PATHS = (
    "direct",  # from the first page, which had a free block
    "generic",
    "page",
    "page_freed",
    "extend",
    "to_full",
    "unfull",
    "retire",
    "segment",
    "segment_cached",
    "segment_reused",
    "huge",
    "huge_freed",
    "remote",  # freed by a thread that is not the owner
    "caught_up",  # of those, taken back by the owner one by one
    "abandoned",  # segments of a thread that ended
    "reclaimed",
    "in_place",
    "moved",
    "exit",
    "decommit",
)
(
    DIRECT,
    GENERIC,
    PAGE,
    PAGE_FREED,
    EXTEND,
    TO_FULL,
    UNFULL,
    RETIRE,
    SEGMENT,
    SEGMENT_CACHED,
    SEGMENT_REUSED,
    HUGE,
    HUGE_FREED,
    REMOTE_FREE,
    CAUGHT_UP,
    ABANDON,
    RECLAIMED,
    IN_PLACE,
    MOVED,
    EXIT,
    DECOMMIT,
) = range(len(PATHS))


@record(
    "delay_ms",  # until free slices are given back; 0: at once
    "tries",  # abandoned segments that are looked at (max_segment_reclaim)
    "hint",  # bytes from the first segment on, where the next one is asked for (aligned_base)
    "cached",  # segments in the cache
    "abandoned",  # first abandoned segment; 0: none
    "visited",  # first of those that were looked at in vain
    "abandoned_count",  # of both
    "spare_records",  # of threads that have ended
    "records",  # memory of threads' heaps
    "threads",  # that have a heap now
    "most_heaps",  # rows of heaps ever opened
)
class Heap(NamedTuple):
    """The whole state; links of blocks are in the machine's words."""

    machine: Machine
    slices: np.ndarray  # int64[slice << 4 | word]
    owner: np.ndarray  # int32[slice]  first slice of the page or span that it belongs to
    heaps: np.ndarray  # int64[row << 8 | word]
    bin_of: np.ndarray  # uint8[words of a request, to 129]
    size_of: np.ndarray  # int64[bin]  bytes of a block
    marks: np.ndarray  # uint8[slice]  whether it is committed, and waits to be given back
    cache: np.ndarray  # int64[slot]  address of a segment that waits; 0: none
    cache_due: np.ndarray  # int64[slot]  when it is given back, ms; 0: never, or it was
    places: np.ndarray  # int64[address >> 25]  bytes from the real one's first segment; -1
    own: np.ndarray  # int64[record]  address of a thread's heap
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel(inline=True)
def segment_of(slice_):
    """The first slice of the segment that a slice lies in."""
    return slice_ & -SEGMENT_SLICES


@kernel
def span_bin(slices):
    """The queue of a free span, four to a doubling (mi_slice_bin8)."""
    if slices <= 1:
        return slices
    less = slices - 1
    top = bit_length(less) - 1
    if top <= 2:
        return slices
    return ((top << 2) | ((less >> (top - 2)) & 3)) - 4
