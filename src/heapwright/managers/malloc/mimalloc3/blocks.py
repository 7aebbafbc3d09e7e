"""Blocks of mimalloc 3's pages: put on a free list a little at a time, found from an address.

Source     mimalloc 3.4.3 src/page.c (mi_page_extend_free), src/page-map.c
"""

from heapwright.allocators.mimalloc import blocks
from heapwright.allocators.mimalloc.words import (
    HEAP,
    RESERVED,
    SIZE,
    SLICE_BYTES,
    SLICE_SHIFT,
    START,
    get,
    heap_word,
    put,
)
from heapwright.compiler import kernel
from heapwright.managers.malloc.mimalloc3 import state
from heapwright.managers.malloc.mimalloc3.state import LARGE_SLICES, ORIGIN, RECORD

LEAST_EXTEND = 1  # block: MI_MIN_EXTEND


@kernel
def extend(heap, page):
    """Put the next blocks that were never used on the free list, which is empty."""
    if blocks.extend(heap, page, LEAST_EXTEND):
        heap.paths[state.EXTEND] += 1


@kernel
def own(heap, row, page):
    """A page is a thread's."""
    put(heap, page, HEAP, row)
    put(heap, page, ORIGIN, heap_word(heap, row, RECORD))


@kernel
def named_slices(heap, page):
    """How many slices of a page the page map names."""
    bytes_ = get(heap, page, RESERVED) * get(heap, page, SIZE)
    if bytes_ > LARGE_SLICES << SLICE_SHIFT:
        bytes_ = (LARGE_SLICES - 1) << SLICE_SHIFT
    start = get(heap, page, START) >> SLICE_SHIFT
    return ((bytes_ + SLICE_BYTES - 1) >> SLICE_SHIFT) + start - page
