"""Blocks of mimalloc 3's pages: put on a free list a little at a time, found from an address.

Source     mimalloc 3.4.3 src/page.c (mi_page_extend_free), src/page-map.c
"""

from heapwright.compiler import kernel
from heapwright.machine import store, touch
from heapwright.managers.malloc.mimalloc3 import state
from heapwright.managers.malloc.mimalloc3.state import (
    CAPACITY,
    FREE,
    HEAP,
    LARGE_SLICES,
    ORIGIN,
    RECORD,
    RESERVED,
    SIZE,
    SLICE_BYTES,
    SLICE_SHIFT,
    START,
    get,
    heap_word,
    put,
)

EXTEND_BYTES = 4096  # MI_MAX_EXTEND_SIZE


@kernel
def extend(heap, page):
    """Put the next blocks that were never used on the free list, which is empty."""
    capacity, size = get(heap, page, CAPACITY), get(heap, page, SIZE)
    count = min(get(heap, page, RESERVED) - capacity, max(1, EXTEND_BYTES // size))
    if count <= 0 or get(heap, page, FREE):
        return
    heap.paths[state.EXTEND] += 1
    machine = heap.machine
    first = block = get(heap, page, START) + capacity * size
    for _ in range(count - 1):
        touch(machine, block, 8)
        store(machine, block, block + size)
        block += size
    touch(machine, block, 8)
    store(machine, block, 0)
    put(heap, page, FREE, first)
    put(heap, page, CAPACITY, capacity + count)


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
