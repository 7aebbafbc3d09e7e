"""jemalloc's bins: the slabs of an arena's small classes; and its large blocks.

    fill ─► current slab, lowest free regions ─full─► mostly the oldest, lowest slab with a free one
            ─none─► a new slab
    free ─► the region's bit. A slab that is all free goes back; one that was full is current if the
            current one is younger or higher

Invariant  see `invariants.py` (check: 4, 5)
Source     jemalloc 5.3.0 src/arena.c, src/large.c
Omits      several bins of a class in an arena (bin_shards)
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import trailing_zeros
from heapwright.machine import PAGE_BYTES, load, store
from heapwright.managers.malloc.jemalloc import state
from heapwright.managers.malloc.jemalloc.decay import free_extent, tick
from heapwright.managers.malloc.jemalloc.draws import draw
from heapwright.managers.malloc.jemalloc.extents import alloc_pages
from heapwright.managers.malloc.jemalloc.metadata import map_page
from heapwright.managers.malloc.jemalloc.nonfull import enter, take_first, take_out
from heapwright.managers.malloc.jemalloc.size_classes import DIVISOR_SHIFT, PAD_BYTES
from heapwright.managers.malloc.jemalloc.state import (
    ADDRESS,
    BLOCKS_BYTES,
    BYTES,
    CLASS_SHIFT,
    CURRENT,
    FREE,
    KIND,
    MAP,
    PAGE_SHIFT,
    START,
    add,
    class_at,
    extent_at,
    get,
    key_of,
    owner_of,
    put,
    set_extent,
)

LOWEST_WORD = -(1 << 63)
CACHE_LINE_SHIFT = 6
CACHE_LINE_BYTES = 1 << CACHE_LINE_SHIFT


@kernel(inline=True)
def one_bit(index):
    """Bit `index` of a word."""
    return 1 << index if index < 63 else LOWEST_WORD


@kernel
def _new_slab(heap, arena, class_):
    """A slab of free regions; 0 where refused (arena_slab_alloc)."""
    machine, bytes_ = heap.machine, heap.classes.slab_bytes[unsigned(class_)]
    slab = alloc_pages(heap, arena, bytes_, np.int64(PAGE_BYTES), np.int64(0))
    if not slab:
        return 0
    heap.paths[state.SLAB] += 1
    store(machine, slab + KIND, load(machine, slab + KIND) | class_ << CLASS_SHIFT)
    left = heap.classes.regions[unsigned(class_)]
    store(machine, slab + FREE, left)
    word = slab + MAP
    while left > 0:
        store(machine, word, -1 if left >= 64 else (1 << left) - 1)
        left -= 64
        word += 8
    first = load(machine, slab + START) >> PAGE_SHIFT
    for page in range(first, first + (bytes_ >> PAGE_SHIFT)):
        heap.page_class[unsigned(page)] = class_
        map_page(heap, page)
        set_extent(heap, page, slab)
    return slab


@kernel
def _next_slab(heap, arena, class_):
    """Make another slab current, which has a free region; 0 where refused."""
    slab = take_first(heap, arena, class_)
    if not slab:
        put(heap, arena, CURRENT + class_, 0)
        slab = _new_slab(heap, arena, class_)
    put(heap, arena, CURRENT + class_, slab)
    return slab


@kernel
def fill(heap, arena, class_, want):
    """The addresses of free regions, into `flushed`; how many, fewer where memory is refused
    (arena_cache_bin_fill_small)."""
    machine, got = heap.machine, 0
    bytes_ = heap.classes.bytes_of[unsigned(class_)]
    slab = get(heap, arena, CURRENT + class_)
    while got < want:
        if not slab or not load(machine, slab + FREE):
            slab = _next_slab(heap, arena, class_)
            if not slab:
                break
        take = min(want - got, load(machine, slab + FREE))
        store(machine, slab + FREE, load(machine, slab + FREE) - take)
        word, address = slab + MAP, load(machine, slab + START)
        while take:
            bits = load(machine, word)
            while bits and take:
                index = trailing_zeros(bits)
                bits ^= one_bit(index)
                heap.flushed[unsigned(got)] = address + index * bytes_
                got += 1
                take -= 1
            store(machine, word, bits)
            word += 8
            address += 64 * bytes_
    add(heap, arena, BLOCKS_BYTES, got * bytes_)
    return got


@kernel
def free_region(heap, slab, address):
    """Free a region; whether its slab is all free and out of its bin
    (arena_dalloc_bin_locked_step)."""
    machine, arena, class_ = heap.machine, owner_of(heap, slab), class_at(heap, slab)
    offset = address - load(machine, slab + START)
    region = (offset * heap.classes.inverse[unsigned(class_)]) >> DIVISOR_SHIFT
    word = slab + MAP + (region >> 6 << 3)
    store(machine, word, load(machine, word) | one_bit(region & 63))
    free = load(machine, slab + FREE) + 1
    store(machine, slab + FREE, free)
    add(heap, arena, BLOCKS_BYTES, -heap.classes.bytes_of[unsigned(class_)])
    current, regions = get(heap, arena, CURRENT + class_), heap.classes.regions[unsigned(class_)]
    if free == regions:
        if slab == current:
            put(heap, arena, CURRENT + class_, 0)
        elif regions > 1:
            take_out(heap, slab)
        return True
    if free == 1 and slab != current:
        if current and key_of(heap, current) > key_of(heap, slab):
            if load(machine, current + FREE):
                enter(heap, current)
            put(heap, arena, CURRENT + class_, slab)
        else:
            enter(heap, slab)
    return False


@kernel
def free_slab(heap, slab):
    """Give a slab without a region in use back."""
    heap.paths[state.SLAB_FREED] += 1
    free_extent(heap, slab)


@kernel
def alloc_large(heap, row, arena, request, clear):
    """A block of an extent of its own, for a class and an alignment, at a random line of its first
    page where that is free; 0 where refused (large_palloc)."""
    class_, align = request
    bytes_ = heap.classes.bytes_of[unsigned(class_)]
    extent = alloc_pages(heap, arena, bytes_ + PAD_BYTES, max(align, PAGE_BYTES), clear)
    if not extent:
        return 0
    heap.paths[state.LARGE] += 1
    machine = heap.machine
    address = load(machine, extent + START)
    if align < PAGE_BYTES:
        lines = PAGE_SHIFT - max(trailing_zeros(align), CACHE_LINE_SHIFT)
        address += draw(heap, row, lines) << (PAGE_SHIFT - lines)
    store(machine, extent + ADDRESS, address)
    store(machine, extent + KIND, load(machine, extent + KIND) | class_ << CLASS_SHIFT)
    heap.page_class[unsigned(address >> PAGE_SHIFT)] = class_
    add(heap, arena, BLOCKS_BYTES, bytes_)
    tick(heap, row, arena, np.int64(1))
    return address


@kernel
def free_large(heap, address):
    """Free such a block (large_dalloc_prep, large_dalloc_finish)."""
    heap.paths[state.LARGE_FREED] += 1
    extent = extent_at(heap, address >> PAGE_SHIFT)
    bytes_ = load(heap.machine, extent + BYTES) - PAD_BYTES
    add(heap, owner_of(heap, extent), BLOCKS_BYTES, -bytes_)
    free_extent(heap, extent)
