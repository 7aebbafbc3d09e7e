"""jemalloc's own memory: an arena's blocks of 2, 4, 6 .. MiB, never given back, and the map.

    piece  ─► the block whose rest is of the least class that surely holds it ─none─► a new block
    record ─► one that was given back ─none─► 128 bytes of the arena's blocks
    leaf   ─► 2 MiB of arena 0's blocks: the extent of each page of 1 GiB

Source     jemalloc 5.3.0 src/base.c, src/edata_cache.c, src/rtree.c, src/emap.c
Omits      the structures that the boot leaves in arena 0's first block are one gap here
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.machine import (
    HUGE_PAGE_BYTES,
    PAGE_BYTES,
    STATIC_BASE,
    load,
    mmap,
    read,
    store,
    touch,
)
from heapwright.managers.malloc.jemalloc import state
from heapwright.managers.malloc.jemalloc.size_classes import class_of, page_class
from heapwright.managers.malloc.jemalloc.state import (
    BLOCK,
    BLOCK_AT,
    BLOCK_BYTES,
    BLOCK_CLASS,
    BLOCK_NEXT,
    BLOCK_NUMBER,
    BLOCK_REST,
    BLOCK_SHIFT,
    BLOCK_START,
    LEAF_BYTES,
    LEAF_SHIFT,
    META_MAPPED,
    META_RESIDENT,
    MOST_BLOCKS,
    NEXT,
    RECORD_BYTES,
    SPARE,
    add,
    get,
    put,
)

HEADER_BYTES = 144  # base_block_t
QUANTUM = 16
LEAF_ALIGN = 64
# An arena's first block (Debian's 5.3.0-1): header, base_t and arena_t end there; and arena 0's,
# which has the caches' table too; what the library's start then takes of that
ARENA_END, ARENA_0_END, STARTED_BYTES = 91200, 91328, 832
# Pages of it that are written then: first, past
ARENA_PAGES = ((0, 2), (3, 19), (20, 23))


@kernel
def _block_word(heap, block, word):
    return heap.blocks_of[unsigned((block << BLOCK_SHIFT) + word)]


@kernel
def _new_block(heap, arena, bytes_):
    """A block of so many bytes, its header written; its number, -1 where refused."""
    start = mmap(heap.machine, 0, bytes_)
    if not start or heap.blocks == MOST_BLOCKS:
        return -1
    heap.paths[state.METADATA] += 1
    touch(heap.machine, start, HEADER_BYTES)
    block = heap.blocks
    heap.blocks += 1
    words, newest = block << BLOCK_SHIFT, get(heap, arena, BLOCK)
    heap.blocks_of[unsigned(words + BLOCK_AT)] = start + HEADER_BYTES
    heap.blocks_of[unsigned(words + BLOCK_REST)] = bytes_ - HEADER_BYTES
    heap.blocks_of[unsigned(words + BLOCK_START)] = start
    heap.blocks_of[unsigned(words + BLOCK_BYTES)] = bytes_
    heap.blocks_of[unsigned(words + BLOCK_NEXT)] = newest
    number = _block_word(heap, newest - 1, BLOCK_NUMBER) + 1 if newest else 0
    heap.blocks_of[unsigned(words + BLOCK_NUMBER)] = number
    put(heap, arena, BLOCK, block + 1)
    put(heap, arena, BLOCK_CLASS, page_class(bytes_))
    add(heap, arena, META_RESIDENT, PAGE_BYTES)
    add(heap, arena, META_MAPPED, bytes_)
    return block


@kernel
def first_block(heap, arena):
    """An arena's first block, which holds the arena; its address, 0 where refused."""
    block = _new_block(heap, arena, np.int64(HUGE_PAGE_BYTES))
    if block < 0:
        return 0
    words, start = block << BLOCK_SHIFT, _block_word(heap, block, BLOCK_START)
    for first, past in ARENA_PAGES:
        touch(heap.machine, start + first * PAGE_BYTES, (past - first) * PAGE_BYTES)
    end = ARENA_END if arena else ARENA_0_END
    heap.blocks_of[unsigned(words + BLOCK_AT)] = start + end
    heap.blocks_of[unsigned(words + BLOCK_REST)] = HUGE_PAGE_BYTES - end
    put(heap, arena, META_RESIDENT, (end + PAGE_BYTES - 1) & -PAGE_BYTES)
    return start


@kernel
def finish_start(heap):
    """What the library's start takes behind the first records of arena 0's first block."""
    heap.blocks_of[unsigned(BLOCK_AT)] += STARTED_BYTES
    heap.blocks_of[unsigned(BLOCK_REST)] -= STARTED_BYTES


@kernel
def _take(heap, arena, bytes_, align):
    """A piece of an arena's metadata (base_alloc); of static memory where there is none: see
    `broken`."""
    wanted = class_of(heap.classes, bytes_ + align - QUANTUM)
    chosen, best = -1, 0
    block = get(heap, arena, BLOCK) - 1
    while block >= 0:
        rest = _block_word(heap, block, BLOCK_REST)
        if rest > 0:
            class_ = class_of(heap.classes, rest + 1) - 1
            key = class_ << 32 | _block_word(heap, block, BLOCK_NUMBER)
            if class_ >= wanted and (chosen < 0 or key < best):
                chosen, best = block, key
        block = _block_word(heap, block, BLOCK_NEXT) - 1
    if chosen < 0:
        chosen = _new_block(heap, arena, _next_block_bytes(heap, arena, bytes_, align))
        if chosen < 0:
            heap.broken = 1
            return STATIC_BASE
    words, at = chosen << BLOCK_SHIFT, _block_word(heap, chosen, BLOCK_AT)
    gap = -at & (align - 1)
    heap.blocks_of[unsigned(words + BLOCK_AT)] = at + gap + bytes_
    heap.blocks_of[unsigned(words + BLOCK_REST)] -= gap + bytes_
    crossed = ((at + gap + bytes_ - 1) >> 12) - ((at - 1) >> 12)
    add(heap, arena, META_RESIDENT, crossed * PAGE_BYTES)
    return at + gap


@kernel
def _next_block_bytes(heap, arena, bytes_, align):
    """The next page class after the largest block's, or what the piece needs: whole huge pages."""
    pages = heap.classes.page_bytes
    need = HEADER_BYTES + (-HEADER_BYTES & (align - 1)) + bytes_
    least = pages[unsigned(page_class(need))]
    following = pages[unsigned(get(heap, arena, BLOCK_CLASS) + 1)]
    return (max(least, following) + HUGE_PAGE_BYTES - 1) & -HUGE_PAGE_BYTES


@kernel
def new_record(heap, arena):
    """Memory for an extent's record."""
    record = get(heap, arena, SPARE)
    if record:
        put(heap, arena, SPARE, load(heap.machine, record + NEXT))
        return record
    record = _take(heap, arena, np.int64(RECORD_BYTES), np.int64(RECORD_BYTES))
    read(heap.machine, record, RECORD_BYTES)  # a part of a word of it is set first
    touch(heap.machine, record, RECORD_BYTES)
    return record


@kernel
def drop_record(heap, arena, record):
    """Give it back."""
    store(heap.machine, record + NEXT, get(heap, arena, SPARE))
    put(heap, arena, SPARE, record)


@kernel
def map_page(heap, page):
    """The leaf of a page, made if there is none."""
    number = unsigned(page >> LEAF_SHIFT)
    if not heap.leaves[number]:
        leaf = _take(heap, np.int64(0), np.int64(LEAF_BYTES), np.int64(LEAF_ALIGN))
        heap.leaves[number] = leaf
