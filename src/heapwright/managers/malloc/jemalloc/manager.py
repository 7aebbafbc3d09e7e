"""jemalloc 5.3.0, whole: its addresses are the real one's.

    alloc ─► thread's stack of the class ─empty─► slab's free regions ─► dirty, retained pages ─►
              └ beyond 32 KiB: an extent ────────────────────────────────┘        a new mapping
    free  ─► class of the page ─► thread's stack ─full─► slab ─all free─► dirty pages ─decay─► back

Terms      class: blocks of one size; slab: pages cut into regions of a small class; extent: a run
           of pages; arena: slabs and free extents of some threads; decay: dirty pages go in time
Invariant  extents tile mappings (check: 1), free ones are in their sets (2), no two retained ones
           touch (3); a slab's free regions are as many as it says (4) and it is in its bin (5);
           stacks hold blocks of their class (6)
Source     jemalloc 5.3.0 src/jemalloc.c; Evans, "A Scalable Concurrent malloc(3) Implementation
           for FreeBSD" (BSDCan 2006); parts in the files beside
Omits      background threads, huge pages, profiling, percpu_arena; memory by sbrk; memalign at
           multiples of 16, which is malloc here; what a thread frees after its cache went
"""

import os
from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import counters
from heapwright.compiler import kernel, likely, unlikely, unsigned
from heapwright.compiler.record import words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, copy, load
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.malloc.jemalloc import state
from heapwright.managers.malloc.jemalloc.arenas import NEVER_OVERSIZE, arena_for
from heapwright.managers.malloc.jemalloc.blocks import put_back, serve
from heapwright.managers.malloc.jemalloc.caches import (
    bin_of,
    end_thread,
    happen,
    open_thread,
    pop,
    push,
)
from heapwright.managers.malloc.jemalloc.decay import TICKS_MEAN, tick
from heapwright.managers.malloc.jemalloc.draws import smooth_steps, ticker_draws
from heapwright.managers.malloc.jemalloc.invariants import cached, check, metadata, statistics
from heapwright.managers.malloc.jemalloc.resizing import resize
from heapwright.managers.malloc.jemalloc.size_classes import (
    LARGE_BYTES,
    MOST_CACHED_CLASSES,
    SMALL_CLASSES,
    array_bytes,
    class_of,
    classes,
)
from heapwright.managers.malloc.jemalloc.slabs import (
    CACHE_LINE_BYTES,
    alloc_large,
)
from heapwright.managers.malloc.jemalloc.state import (
    ALLOCATED,
    ARENA_SHIFT,
    BLOCK_SHIFT,
    BYTES,
    COUNT,
    FREED,
    MINIMAL,
    MOST,
    MOST_ARENAS,
    MOST_BLOCKS,
    MOST_THREADS,
    PAGE_SHIFT,
    PATHS,
    ROW_SHIFT,
    STAGE,
    START,
    WHOLE,
    Heap,
    extent_at,
    owner_of,
    row_of,
)
from heapwright.structures.sorted_keys import sorted_keys
from heapwright.versions import version_number

CLOCKED = True  # it asks the machine for the time
FOLLOWING = ("rows",)  # in flight
MAPPED_ORIGIN = True  # offsets count from where the system maps first: see agreement.py

__all__ = [
    "CLOCKED",
    "FOLLOWING",
    "MAPPED_ORIGIN",
    "PATHS",
    "Config",
    "Heap",
    "alloc",
    "boot",
    "cached",
    "calloc",
    "check",
    "extent",
    "fatal",
    "free",
    "metadata",
    "misaligned",
    "realloc",
    "relocate",
    "seed",
    "statistics",
    "thread_exit",
    "usable",
]

ALIGN_BYTES = 16  # what malloc itself promises
PAGES = SPACE_BYTES >> PAGE_SHIFT
ARENAS_PER_CORE = 4
LARGEST_BYTES = 7 << 60  # SC_LARGE_MAXCLASS
LEAST_LG_CACHED, MOST_LG_CACHED = 3, 23  # TCACHE_MAXCLASS_LIMIT
MOST_EXTENTS = 1 << 22
# Where the thread states of a process without randomised addresses were seen, here
MAIN_SEED, SEED, SEED_STEP = 0x7FFFF7F92738, 0x7FFFF6DFEC78, 1 << 16
DRAWN_PAGES = 1 << 28  # Linux x86-64: vm.mmap_rnd_bits


class Config(NamedTuple):
    """The options of MALLOC_CONF, with their defaults."""

    narenas: int = 0  # 0: four times the cores
    dirty_decay_ms: int = 10_000  # until unused dirty pages go back; 0 at once, -1 never
    muzzy_decay_ms: int = 0  # likewise of pages that the system may take
    tcache: int = 1  # 0: threads have no cache
    lg_tcache_max: int = 15  # largest cached request, log2 of bytes, 3 to 23
    oversize_threshold: int = 8 << 20  # requests with an arena of their own; 0: none
    cores: int = 0  # 0: this machine's
    version: int = version_number("5.3")


def boot(machine, config):
    """Nothing yet: the library's constructor runs at the first request. HeapwrightError for knobs
    that do not fit."""
    _refuse(config)
    cores = config.cores or len(os.sched_getaffinity(0))
    arenas = config.narenas or (ARENAS_PER_CORE * cores if cores > 1 else 1)
    arenas = min(arenas, MOST_ARENAS - 2)
    count = int(class_of(classes(0), 1 << config.lg_tcache_max)) + 1 if config.tcache else 0
    sizes = classes(count)
    small = config.oversize_threshold >= LARGE_BYTES
    return Heap(
        machine,
        sizes,
        reserve(MOST_THREADS << ROW_SHIFT, np.int64),
        reserve(PAGES, np.uint8),
        reserve(MOST_ARENAS << ARENA_SHIFT, np.int64),
        sorted_keys(MOST_EXTENTS),
        np.zeros(PAGES >> state.LEAF_SHIFT, np.int64),
        np.zeros(MOST_BLOCKS << BLOCK_SHIFT, np.int64),
        np.zeros(512, np.int64),
        np.zeros(MOST_THREADS, np.int64),
        smooth_steps(),
        ticker_draws(TICKS_MEAN),
        words(
            Heap,
            arenas_wanted=arenas,
            huge=arenas,
            dirty_ms=config.dirty_decay_ms,
            muzzy_ms=config.muzzy_decay_ms,
            cached_classes=count,
            array_bytes=array_bytes(sizes, count),
            oversize=config.oversize_threshold if small else NEVER_OVERSIZE,
            main_seed=MAIN_SEED,
            seed=SEED,
            seed_step=SEED_STEP,
        ),
        counters(PATHS),
    )


def _refuse(config):
    """HeapwrightError for knobs that do not fit."""
    if min(config.dirty_decay_ms, config.muzzy_decay_ms) < -1:
        raise HeapwrightError("a decay of jemalloc is -1, for never, or more.")
    if min(config.narenas, config.oversize_threshold, config.cores) < 0:
        raise HeapwrightError("narenas, oversize_threshold and cores of jemalloc are not negative.")
    if config.narenas > MOST_ARENAS - 2:  # the real one says that it takes the most instead
        most = f"at most {MOST_ARENAS - 2:,}"
        raise HeapwrightError(f"jemalloc.narenas is {most}, not {config.narenas:,}.")
    if config.tcache not in (0, 1):
        raise HeapwrightError(f"jemalloc.tcache is 0 or 1, not {config.tcache}.")
    if not LEAST_LG_CACHED <= config.lg_tcache_max <= MOST_LG_CACHED:
        raise HeapwrightError(
            f"jemalloc.lg_tcache_max is {LEAST_LG_CACHED} to {MOST_LG_CACHED}, not "
            f"{config.lg_tcache_max}."
        )


def seed(heap, seeds):
    """Begin as a process in which these four are so: see `references/malloc/harness.py`."""
    heap.main_seed, heap.seed, heap.seed_step, heap.origin = (int(each) for each in seeds)


def relocate(heap, number):
    """Begin as the process of this number does, of those whose addresses the system draws: the
    threads' states and the arenas lie in the area of mappings, which moves as a whole."""
    down = int(np.random.default_rng(number).integers(1, DRAWN_PAGES)) << PAGE_SHIFT
    seed(heap, (heap.main_seed - down, heap.seed - down, heap.seed_step, heap.origin - down))


def fatal(heap):
    """Why the real program would be dead by now."""
    if heap.broken:
        return "the system refused memory for jemalloc's own records."
    return ""


@kernel(inline=True)
def alloc(heap, thread, size, align):
    """malloc, or memalign where `align` exceeds 16. The fast path: the thread's stack has one."""
    if align > ALIGN_BYTES:
        return _alloc_aligned(heap, thread, size, align)
    return _alloc(heap, thread, size)


@kernel(inline=True)
def _alloc(heap, thread, size):
    """malloc."""
    if likely(unsigned(size) <= unsigned(state.SMALL_BYTES)):
        class_ = class_of(heap.classes, size)
        row = row_of(thread)
        block = pop(heap, row, class_)
        if likely(block != 0):
            _count(heap, row, ALLOCATED, heap.classes.bytes_of[unsigned(class_)])
            return block
    return _alloc_slowly(heap, thread, size, np.int64(0))


@kernel(inline=True)
def _count(heap, row, side, bytes_):
    """So many more bytes were allocated, or freed."""
    total = heap.rows[unsigned(row + side)] + bytes_
    heap.rows[unsigned(row + side)] = total
    if unlikely(total >= heap.rows[unsigned(row + side + 1)]):
        happen(heap, row, side >> 1)


@kernel(cold=True)
def _alloc_slowly(heap, thread, size, cleared):
    """malloc, or calloc, past an empty stack; 0 if refused."""
    if unsigned(size) > unsigned(LARGEST_BYTES):
        return 0
    row = row_of(thread)
    open_thread(heap, row, np.int64(WHOLE))
    class_ = class_of(heap.classes, size)
    block = serve(heap, row, (class_, size), cleared)
    if block:
        _count(heap, row, ALLOCATED, heap.classes.bytes_of[unsigned(class_)])
    return block


@kernel(cold=True)
def _alloc_aligned(heap, thread, size, align):
    """memalign: small ones are of a class that is a multiple of the alignment; others never come
    from the cache."""
    if unsigned(size) > unsigned(LARGEST_BYTES) or unsigned(align) > unsigned(SPACE_BYTES):
        return 0
    row = row_of(thread)
    open_thread(heap, row, np.int64(WHOLE))
    block = 0
    class_ = class_of(heap.classes, (size + align - 1) & -align)
    if size < LARGE_BYTES and align <= PAGE_BYTES and class_ < SMALL_CLASSES:
        block = serve(heap, row, (class_, size), np.int64(0))
    else:
        class_ = class_of(heap.classes, max(size, LARGE_BYTES))
        arena = arena_for(heap, row, heap.classes.bytes_of[unsigned(class_)])
        if arena >= 0:
            request = (class_, max(align, CACHE_LINE_BYTES))
            block = alloc_large(heap, row, arena, request, np.int64(0))
    if block:
        _count(heap, row, ALLOCATED, heap.classes.bytes_of[unsigned(class_)])
    return block


def misaligned(size, align):
    """Whether the block may lie at no multiple of `align`, as the real one's of no bytes do."""
    return size == 0 and align <= PAGE_BYTES


@kernel(inline=True)
def free(heap, thread, address):
    """free. The fast path: the thread's stack has room."""
    class_ = np.int64(heap.page_class[unsigned(address >> PAGE_SHIFT)])
    row = row_of(thread)
    if likely(class_ < MOST_CACHED_CLASSES):
        stack = bin_of(row, class_)
        if likely(heap.rows[unsigned(stack + COUNT)] < heap.rows[unsigned(stack + MOST)]):
            push(heap, stack, address)
            _count(heap, row, FREED, heap.classes.bytes_of[unsigned(class_)])
            return
    _free_slowly(heap, row, class_, address)


@kernel(cold=True)
def _free_slowly(heap, row, class_, address):
    """free onto a full stack, past it, or by a thread without a cache."""
    if heap.rows[unsigned(row + STAGE)] < MINIMAL:
        open_thread(heap, row, np.int64(MINIMAL))
    put_back(heap, row, class_, address)
    _count(heap, row, FREED, heap.classes.bytes_of[unsigned(class_)])


@kernel
def calloc(heap, thread, size):
    """Such a block, cleared to its end; a fresh large one holds zeros."""
    return _alloc_slowly(heap, thread, size, np.int64(1))


@kernel
def realloc(heap, thread, address, size):
    """The block itself where its class stays or its extent can be resized; else moved."""
    if unsigned(size) > unsigned(LARGEST_BYTES):
        return 0
    row = row_of(thread)
    open_thread(heap, row, np.int64(WHOLE))
    old = np.int64(heap.page_class[unsigned(address >> PAGE_SHIFT)])
    class_ = class_of(heap.classes, size)
    bytes_, room = heap.classes.bytes_of[unsigned(class_)], heap.classes.bytes_of[unsigned(old)]
    moved = address
    if old == class_ or (min(old, class_) >= SMALL_CLASSES and resize(heap, address, class_)):
        heap.paths[state.IN_PLACE] += 1
        arena = owner_of(heap, extent_at(heap, address >> PAGE_SHIFT))
        tick(heap, row, arena, np.int64(1))
    else:
        moved = _moved(heap, row, (old, class_), bytes_)
        if not moved:
            return 0
        heap.paths[state.MOVED] += 1
        copy(heap.machine, moved, address, min(room, bytes_))
        put_back(heap, row, old, address)
    _count(heap, row, ALLOCATED, bytes_)
    _count(heap, row, FREED, room)
    return moved


@kernel
def _moved(heap, row, classes_, bytes_):
    """A block for one that moves, past the cache if both are large."""
    old, class_ = classes_
    if min(old, class_) < SMALL_CLASSES:
        return serve(heap, row, (class_, bytes_), np.int64(0))
    arena = arena_for(heap, row, bytes_)
    request = (class_, np.int64(CACHE_LINE_BYTES))
    return alloc_large(heap, row, arena, request, np.int64(0)) if arena >= 0 else 0


@kernel
def thread_exit(heap, thread):
    """Give what the thread caches back; the main thread keeps its own."""
    if thread:
        end_thread(heap, row_of(thread))


@kernel
def usable(heap, address, size):
    """The whole of its class."""
    return heap.classes.bytes_of[unsigned(heap.page_class[unsigned(address >> PAGE_SHIFT)])]


@kernel
def extent(heap, address, size):
    """The region, or the extent: a page more than the block."""
    page = address >> PAGE_SHIFT
    class_ = np.int64(heap.page_class[unsigned(page)])
    if class_ < SMALL_CLASSES:
        return address, heap.classes.bytes_of[unsigned(class_)]
    found = extent_at(heap, page)
    return load(heap.machine, found + START), load(heap.machine, found + BYTES)
