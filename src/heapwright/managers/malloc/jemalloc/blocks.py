"""Blocks of jemalloc past the fast path: from the thread's cache, from a slab, an extent.

Source     jemalloc 5.3.0 src/arena.c (arena_malloc_hard, arena_dalloc_no_tcache),
           include/jemalloc/internal/tcache_inlines.h
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.machine import clear
from heapwright.managers.malloc.jemalloc.arenas import arena_for, choose
from heapwright.managers.malloc.jemalloc.caches import (
    bin_of,
    fill_small,
    flush,
    peek,
    pop,
    push,
)
from heapwright.managers.malloc.jemalloc.decay import tick
from heapwright.managers.malloc.jemalloc.size_classes import MOST_CACHED_CLASSES, SMALL_CLASSES
from heapwright.managers.malloc.jemalloc.slabs import (
    CACHE_LINE_BYTES,
    alloc_large,
    fill,
    free_large,
    free_region,
    free_slab,
)
from heapwright.managers.malloc.jemalloc.state import (
    ARRAY,
    COUNT,
    MOST,
    PAGE_SHIFT,
    extent_at,
    owner_of,
)


@kernel
def serve(heap, row, request, cleared):
    """A block of a class, from the thread's cache if it has such; `request`: class, and bytes that
    decide whether it is huge. Cleared means that it holds zeros."""
    class_, size = request
    bytes_ = heap.classes.bytes_of[unsigned(class_)]
    kept = heap.rows[unsigned(row + ARRAY)] != 0 and class_ < heap.cached_classes
    block = pop(heap, row, class_) if kept else 0
    if kept and not block:
        peek(heap, row, class_)
    if not block and class_ >= SMALL_CLASSES:
        arena = choose(heap, row) if kept else arena_for(heap, row, size)
        if arena < 0:
            return 0
        request = (class_, np.int64(CACHE_LINE_BYTES))
        return alloc_large(heap, row, arena, request, cleared)
    if not block and kept:
        block = fill_small(heap, row, class_)
    elif not block:
        arena = choose(heap, row)
        if fill(heap, arena, class_, np.int64(1)):
            block = heap.flushed[0]
        tick(heap, row, arena, np.int64(1))
    if block and cleared:
        clear(heap.machine, block, bytes_)
    return block


@kernel
def put_back(heap, row, class_, address):
    """Free a block, without counting it."""
    if class_ < MOST_CACHED_CLASSES:
        stack = bin_of(row, class_)
        most = heap.rows[unsigned(stack + MOST)]
        if most:
            if heap.rows[unsigned(stack + COUNT)] == most:
                flush(heap, row, class_, most >> 1)
            push(heap, stack, address)
            return
    extent = extent_at(heap, address >> PAGE_SHIFT)
    arena = owner_of(heap, extent)
    if class_ >= SMALL_CLASSES:
        free_large(heap, address)
    elif free_region(heap, extent, address):
        free_slab(heap, extent)
    tick(heap, row, arena, np.int64(1))
