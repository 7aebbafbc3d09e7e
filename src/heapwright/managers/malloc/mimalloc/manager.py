"""mimalloc 2.0.9, whole: its blocks lie where the real one's do, from the first segment on.

    malloc ─► first page of the size: free list ─empty─► what was freed since, along the queue,
                └ over 128 KiB a page of its own            a fresh page ─► span ─► segment ─► mmap
    free   ─► the page's list of freed blocks; another thread's page: its own list, or its heap's

Terms      page: slices of 64 KiB with blocks of one size; queue: pages of one size, of a thread
Invariant  slices tile segments and free ones are merged (check: 1); free spans of a thread are in
           its queues (2); a page's lists and its used blocks sum to its capacity (3); pages are in
           the queue of their size or the full one (4); blocks freed for a thread are of its
           pages (5)
Source     mimalloc 2.0.9 src/alloc.c, alloc-aligned.c; Leijen, Zorn and de Moura, "Mimalloc: Free
           List Sharding in Action" (APLAS 2019); parts in the files beside
           As in the real one, blocks of 256, 512 and 1,024 bytes that memalign was asked for at
           multiples of 256 or more lie 128 bytes past one
Omits      huge OS pages, arenas; where a block of more than
           1 GiB lies, which the kernel decides; where the first segment does, which is random;
           memalign at multiples of 16, which is malloc here
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
    usable,
    within,
)
from heapwright.allocators.mimalloc.classes import DIRECT_BYTES, bin_of, good_size, tables
from heapwright.allocators.mimalloc.words import (
    FREE,
    HEAP,
    HEAP_SHIFT,
    MOST_THREADS,
    OPEN,
    ROW_SHIFT,
    SLICES,
    get,
    heap_word,
    page_at,
    row_of,
)
from heapwright.compiler import kernel, likely, unsigned
from heapwright.compiler.record import words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine import clear, copy
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.malloc.mimalloc import state
from heapwright.managers.malloc.mimalloc.invariants import cached, check, metadata
from heapwright.managers.malloc.mimalloc.pages import find, find_large
from heapwright.managers.malloc.mimalloc.state import (
    CACHE_SLOTS,
    MEDIUM_BYTES,
    PATHS,
    SEGMENT_BYTES,
    SEGMENT_SHIFT,
    Heap,
)
from heapwright.managers.malloc.mimalloc.threads import (
    catch_up,
    end_heap,
    free_local,
    free_remote,
    open_heap,
)
from heapwright.versions import version_number

CLOCKED = True  # it asks the machine for the time
FOLLOWING = ("heaps",)  # in flight
ORIGIN_BYTES = SEGMENT_BYTES  # offsets count from the first block's segment: see agreement.py

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
    "misaligned",
    "offsets",
    "realloc",
    "thread_exit",
    "usable",
]

ALIGN_BYTES = 16  # what malloc itself promises
NATURAL_BYTES = 128  # MI_MAX_ALIGN_GUARANTEE: blocks up to here lie at multiples of their size
MOST_ALIGN_BYTES = SEGMENT_BYTES >> 1  # MI_ALIGNMENT_MAX
LEAST_TRIES, MOST_TRIES = 8, 1024


class Config(NamedTuple):
    """The library's environment, as MIMALLOC_DECOMMIT_DELAY, with its defaults."""

    decommit_delay: int = 25  # ms until free slices are given back; 0: at once
    max_segment_reclaim: int = 8  # abandoned segments that are looked at, 8 to 1024
    version: int = version_number("2.0.9")


def boot(machine, config):
    """No segment yet; HeapwrightError for knobs that do not fit."""
    if min(config) < 0:
        raise HeapwrightError("a knob of mimalloc is not negative.")
    bins, sizes = tables(MEDIUM_BYTES)
    return Heap(
        machine,
        reserve((SLICES + 1) << ROW_SHIFT, np.int64),
        reserve(SLICES + 1, np.int32),
        reserve((MOST_THREADS + 1) << HEAP_SHIFT, np.int64),
        bins,
        sizes,
        reserve(SLICES + 1, np.uint8),
        np.zeros(CACHE_SLOTS, np.int64),
        np.zeros(CACHE_SLOTS, np.int64),
        np.full(SPACE_BYTES >> SEGMENT_SHIFT, -1, np.int64),
        np.zeros(MOST_THREADS, np.int64),
        words(
            Heap,
            delay_ms=config.decommit_delay,
            threads=1,  # the main one's is static
            tries=min(max(config.max_segment_reclaim, LEAST_TRIES), MOST_TRIES),
        ),
        counters(PATHS),
    )


def offsets(heap, addresses):
    """int64[address]: where they would be in the real one, from its first segment on; -1 where the
    kernel decides. Of no address it is -1 too."""
    places = heap.places[addresses >> SEGMENT_SHIFT]
    return np.where(places >= 0, places + (addresses & (SEGMENT_BYTES - 1)), -1)


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
    heap.paths[state.GENERIC] += 1
    row = row_of(thread)
    if not heap_word(heap, row, OPEN):
        open_heap(heap, row)
    catch_up(heap, row)
    if size <= MEDIUM_BYTES:
        page = find(heap, row, bin_of(heap, max(size, 1)))
    else:
        page = find_large(heap, row, good_size(size))
    return pop(heap, page, get(heap, page, FREE)) if page else 0


@kernel(cold=True)
def _alloc_aligned(heap, thread, size, align):
    """memalign: a block of the size where that is a power of two; the first free one, if it lies so
    by chance; one that must; else within one that is larger by the alignment less one."""
    if unsigned(align) > unsigned(MOST_ALIGN_BYTES) or unsigned(size) > unsigned(SPACE_BYTES):
        return 0
    if align <= size <= DIRECT_BYTES:
        if not size & (size - 1):
            return _alloc(heap, thread, size)  # wherever it lies: see `misaligned`
        block = pop_aligned(heap, row_of(thread), size, align)
        if block:
            return block
    if align <= size <= NATURAL_BYTES and not size & (align - 1):
        return _alloc(heap, thread, size)
    block = _alloc(heap, thread, size + align - 1)
    return within(heap, block, align) if block else 0


def misaligned(size, align):
    """Whether the block may lie at no multiple of `align`, as the real 2.0.9's do: the first one is
    384 bytes into its slice."""
    return NATURAL_BYTES < align <= size <= DIRECT_BYTES and not size & (size - 1)


@kernel(inline=True)
def free(heap, thread, address):
    """free. The fast path: a block of the thread's own page, which stays."""
    page = page_at(heap, address)
    block = block_of(heap, page, address)
    if likely(get(heap, page, HEAP) == row_of(thread)):
        free_local(heap, page, block)
    else:
        free_remote(heap, row_of(thread), page, block)


@kernel
def calloc(heap, thread, size):
    """A cleared block."""
    address = _alloc(heap, thread, size)
    if address:
        clear(heap.machine, address, usable(heap, address, size))
    return address


@kernel
def realloc(heap, thread, address, size):
    """The block itself where it has room and half of it is wanted, else moved."""
    room = usable(heap, address, size)
    if room // 2 <= size <= room:  # of no bytes there is no half: a block has eight
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
