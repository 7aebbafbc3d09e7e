"""The words of mimalloc's pages and threads.

    slice    64 KiB; the row of a page's first one is the page's record
    page     slices of blocks of one size: a free list, and what its owner and what others freed
    heap     what a thread has: queues of pages by block size

A manager's `Heap` has `machine`, `slices` (int64[slice << 4 | word]), `owner` (int32[slice]: the
page that it belongs to), `heaps` (int64[row << 8 | word]), `bin_of` and `size_of` (see `classes`).

Terms      bin: a queue's number; row: of a heap, its thread's number and one
Source     mimalloc 2.0.9 include/mimalloc-types.h; 3.4.3 include/mimalloc/types.h
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.machine.address_space import SPACE_BYTES

SLICE_SHIFT = 16  # MI_SEGMENT_SLICE_SHIFT, MI_ARENA_SLICE_SHIFT
SLICE_BYTES = 1 << SLICE_SHIFT
SLICES = SPACE_BYTES >> SLICE_SHIFT

HUGE_BIN = 73  # MI_BIN_HUGE
NO_BIN = HUGE_BIN + 1  # past those of sizes

# Words of a page's row
(
    COUNT,  # slices
    SIZE,  # of a block, bytes; 0: no page
    FREE,  # first free block; each links to the next
    LOCAL,  # first of those that the owner freed since
    REMOTE,  # first of those that others did
    USED,  # blocks that were handed out and not collected
    CAPACITY,  # blocks that were ever on a free list
    RESERVED,  # blocks that there is room for
    START,  # address of the first block
    BIN,
    FLAGS,
    EXPIRE,  # looks until an unused page is freed; 0: it is not retired
    NEXT,
    PREVIOUS,  # in its queue
    HEAP,  # row of its owner; 0: abandoned
    EXTRA,  # the version's own
) = range(16)
ROW_SHIFT = 4
HAS_ALIGNED = 1  # of FLAGS: blocks handed out from their middle; the other bits are the version's

# Words of a heap: queues' first pages from 0 on, last ones from LAST on; from EXTRA_WORDS to LOW,
# and beyond OPEN, the version's own
LAST = 80
EXTRA_WORDS = 160
LOW, HIGH = 240, 241  # bins with retired pages
OPEN = 242  # whether there is a heap
HEAP_SHIFT = 8
MOST_THREADS = 1 << 16
MAIN = 1  # row of the main thread


@kernel(inline=True)
def row_of(thread):
    """The number of the thread's heap."""
    return (thread & (MOST_THREADS - 1)) + 1


@kernel(inline=True)
def get(heap, page, word):
    """A word of the row of a page, or of what else a slice begins."""
    return heap.slices[unsigned((page << ROW_SHIFT) + word)]


@kernel(inline=True)
def put(heap, page, word, value):
    """Write it."""
    heap.slices[unsigned((page << ROW_SHIFT) + word)] = value


@kernel(inline=True)
def heap_word(heap, row, word):
    """A word of a thread's heap."""
    return heap.heaps[unsigned((row << HEAP_SHIFT) + word)]


@kernel(inline=True)
def set_heap_word(heap, row, word, value):
    """Write it."""
    heap.heaps[unsigned((row << HEAP_SHIFT) + word)] = value


@kernel(inline=True)
def page_at(heap, address):
    """The page that an address lies in."""
    return np.int64(heap.owner[unsigned(address >> SLICE_SHIFT)])
