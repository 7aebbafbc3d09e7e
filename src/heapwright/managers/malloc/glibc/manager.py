"""glibc 2.36's malloc (ptmalloc), whole: its addresses are the real one's.

    malloc ─► tcache ─miss─► arena: fastbin, small bin, unsorted, large bin, top ─► brk, heap, mmap
    free   ─► tcache ─full─► fastbin, or coalesce onto unsorted or top ─► trim, munmap

Terms      chunk: a block with its header; arena: bins and a top, one lock in the real system;
           main arena: the one that grows by brk; heap: 64 MiB of a further arena
Invariant  heaps are tiled by chunks, whose PREV_INUSE tells the truth (check: 1-3); no two free
           chunks touch (4); each free chunk is in one bin (5); tcache counts match (6);
           each arena's heaps are as long as its system bytes (7)
Source     glibc 2.36 malloc/malloc.c and malloc/arena.c; parts in the files beside
Omits      locks (so no arena is passed over because another thread holds it), hooks, safe-linking,
           memory tagging, glibc.malloc.hugetlb and perturb
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel
from heapwright.machine import Machine, clear, copy, load, store
from heapwright.managers.malloc.glibc.bins import (
    ARENA_BYTES,
    ATTACHED_THREADS,
    FASTBIN_COUNT,
    FASTBINS,
    NEXT_ARENA,
    TOP,
    init_arena,
)
from heapwright.managers.malloc.glibc.chunk import (
    FD,
    HEADER_BYTES,
    IS_MMAPPED,
    SIZE_WORD_BYTES,
    below_bytes,
    chunk_bytes,
    chunk_bytes_for,
    head,
)
from heapwright.managers.malloc.glibc.core import int_malloc, int_memalign, int_realloc
from heapwright.managers.malloc.glibc.invariants import check
from heapwright.managers.malloc.glibc.parameters import (
    TCACHE_MAX_BYTES,
    Config,
    configured,
    ignored,
)
from heapwright.managers.malloc.glibc.paths import PATHS, TCACHE_HIT
from heapwright.managers.malloc.glibc.release import int_free
from heapwright.managers.malloc.glibc.steering import mallopt, move_break, trim
from heapwright.managers.malloc.glibc.system import (
    ARENA_MAX,
    ARENA_TEST,
    ARENAS,
    BROKEN,
    CORES,
    HEAP_INFO_BYTES,
    HEAP_PREVIOUS,
    HEAP_PROTECTED,
    MAIN_ARENA,
    MAX_FAST,
    MMAP_MAX,
    MMAP_THRESHOLD,
    NO_DYNAMIC_THRESHOLD,
    TCACHE_BINS,
    TCACHE_COUNT,
    TCACHE_UNSORTED_LIMIT,
    THREADS,
    TOP_PAD,
    TRIM_THRESHOLD,
    adapt_thresholds,
    heap_of,
    remap_chunk,
    unmap_chunk,
)
from heapwright.managers.malloc.glibc.tcache import (
    BIN_COUNT as TCACHE_BIN_COUNT,
)
from heapwright.managers.malloc.glibc.tcache import (
    ENTRIES,
    tcache_get,
    tcache_index,
    tcache_length,
)
from heapwright.managers.malloc.glibc.threads import (
    arena_for,
    arena_for_retry,
    arena_of,
    detach_thread,
    init_tcache,
    is_alone,
    set_tcache,
    tcache_of,
    thread_rows,
)

FOLLOWING = ("threads",)  # in flight
AT_HEAP_START = True

__all__ = [
    "AT_HEAP_START",
    "FOLLOWING",
    "PATHS",
    "Config",
    "Heap",
    "alloc",
    "boot",
    "cached",
    "calloc",
    "check",
    "configured",
    "extent",
    "fatal",
    "free",
    "ignored",
    "mallopt",
    "metadata",
    "move_break",
    "realloc",
    "thread_exit",
    "trim",
    "usable",
]


class Heap(NamedTuple):
    """The state is in the machine's words, where glibc keeps it."""

    machine: Machine
    halves: np.ndarray  # uint16[word * 4]: the same words, for the thread caches' counts
    threads: np.ndarray  # int64[2 * thread]: see threads.thread_rows
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, parameters):
    """An empty main arena and the parameters; no memory is taken yet (ptmalloc_init)."""
    heap = Heap(
        machine, machine.words.view(np.uint16), thread_rows(), np.zeros(len(PATHS), np.int64)
    )
    init_arena(machine, MAIN_ARENA)
    values = {
        MAIN_ARENA + NEXT_ARENA: MAIN_ARENA,
        MAIN_ARENA + ATTACHED_THREADS: 1,
        TOP_PAD: parameters.top_pad,
        TRIM_THRESHOLD: parameters.trim_threshold,
        MMAP_THRESHOLD: parameters.mmap_threshold,
        MMAP_MAX: parameters.mmap_max,
        NO_DYNAMIC_THRESHOLD: parameters.no_dynamic_threshold,
        MAX_FAST: parameters.max_fast,
        TCACHE_BINS: parameters.tcache_bins,
        TCACHE_COUNT: parameters.tcache_count,
        TCACHE_UNSORTED_LIMIT: parameters.tcache_unsorted_limit,
        ARENA_MAX: parameters.arena_max,
        ARENA_TEST: parameters.arena_test,
        CORES: parameters.cores,
        ARENAS: 1,
    }
    for address, value in values.items():
        store(machine, address, value)
    return heap


def fatal(heap):
    """Why the real program would be dead by now."""
    if load(heap.machine, BROKEN):
        return (
            "the program moved the break below the end of the heap, which glibc ends it for "
            "(break adjusted to free malloc space): record it again without its calls of sbrk."
        )
    return ""


@kernel(inline=True)
def alloc(heap, thread, size, align):
    """malloc, or memalign where `align` exceeds 16. The fast path: the thread cache has one."""
    if align > HEADER_BYTES:
        return _memalign(heap, thread, size, align)
    tcache = tcache_of(heap, thread)
    if size <= TCACHE_MAX_BYTES and tcache:
        index = tcache_index(chunk_bytes_for(size))
        if tcache_length(heap.halves, tcache, index):
            heap.paths[TCACHE_HIT] += 1
            return tcache_get(heap, tcache, index)
    return _malloc_slowly(heap, thread, chunk_bytes_for(size))


@kernel
def _malloc_slowly(heap, thread, chunk_size):
    """malloc past an empty thread cache."""
    if not chunk_size:
        return 0
    tcache = init_tcache(heap, thread)
    arena = arena_for(heap, thread, chunk_size - SIZE_WORD_BYTES)
    chunk = int_malloc(heap, arena, tcache, chunk_size)
    if not chunk:
        arena = arena_for_retry(heap, thread, arena, chunk_size - SIZE_WORD_BYTES)
        if arena:
            chunk = int_malloc(heap, arena, tcache, chunk_size)
    return chunk + HEADER_BYTES if chunk else 0


@kernel
def _memalign(heap, thread, size, align):
    """memalign, posix_memalign, aligned_alloc (_mid_memalign); it never looks in the cache."""
    chunk_size = chunk_bytes_for(size)
    if not chunk_size or align > 1 << 46:
        return 0
    tcache = tcache_of(heap, thread)
    arena = arena_for(heap, thread, size + align + 32)
    chunk = int_memalign(heap, arena, tcache, chunk_size, align)
    if not chunk:
        arena = arena_for_retry(heap, thread, arena, size)
        if arena:
            chunk = int_memalign(heap, arena, tcache, chunk_size, align)
    return chunk + HEADER_BYTES if chunk else 0


@kernel
def calloc(heap, thread, size):
    """calloc: never from the thread cache; fresh memory is known to be zero and not cleared."""
    machine = heap.machine
    chunk_size = chunk_bytes_for(size)
    if not chunk_size:
        return 0
    tcache = init_tcache(heap, thread)
    arena = arena_for(heap, thread, size)
    top = load(machine, arena + TOP)
    used = chunk_bytes(machine, top)  # memory above comes from the system now, zeroed
    if arena != MAIN_ARENA:  # a trimmed heap may still hold what was written
        used = max(used, heap_of(top) + load(machine, heap_of(top) + HEAP_PROTECTED) - top)
    chunk = int_malloc(heap, arena, tcache, chunk_size)
    if not chunk:
        arena = arena_for_retry(heap, thread, arena, size)
        if arena:
            chunk = int_malloc(heap, arena, tcache, chunk_size)
        if not chunk:
            return 0
    if not head(machine, chunk) & IS_MMAPPED:
        dirty = chunk_bytes(machine, chunk)
        if chunk == top and dirty > used:
            dirty = used
        clear(machine, chunk + HEADER_BYTES, dirty - SIZE_WORD_BYTES)
    return chunk + HEADER_BYTES


@kernel(inline=True)
def free(heap, thread, address):
    """free. The fast path: the thread cache has room."""
    chunk = address - HEADER_BYTES
    if head(heap.machine, chunk) & IS_MMAPPED:
        adapt_thresholds(heap.machine, chunk)
        unmap_chunk(heap.machine, chunk)
        return
    tcache = tcache_of(heap, thread)
    if not tcache:
        tcache = init_tcache(heap, thread)
    int_free(heap, arena_of(heap.machine, chunk), tcache, chunk)


@kernel
def realloc(heap, thread, address, size):
    """realloc of a live block to `size` bytes; 0 when refused, and the block stays."""
    machine = heap.machine
    chunk_size = chunk_bytes_for(size)
    if not chunk_size:
        return 0
    old = address - HEADER_BYTES
    if head(machine, old) & IS_MMAPPED:
        chunk = remap_chunk(machine, old, chunk_size)
        if chunk:
            return chunk + HEADER_BYTES
        if chunk_bytes(machine, old) - SIZE_WORD_BYTES >= chunk_size:
            return address
        moved = alloc(heap, thread, size, HEADER_BYTES)
        if moved:
            copy(machine, moved, address, chunk_bytes(machine, old) - HEADER_BYTES)
            unmap_chunk(machine, old)
        return moved
    tcache = init_tcache(heap, thread)
    arena = arena_of(machine, old)
    chunk = int_realloc(heap, arena, tcache, old, chunk_size)
    if chunk:
        return chunk + HEADER_BYTES
    if is_alone(heap):
        return 0
    moved = alloc(heap, thread, size, HEADER_BYTES)  # perhaps another arena has room
    if moved:
        copy(machine, moved, address, chunk_bytes(machine, old) - SIZE_WORD_BYTES)
        int_free(heap, arena, tcache, old)
    return moved


@kernel
def thread_exit(heap, thread):
    """Free what the thread cached, then the cache, and leave the arena to other threads.

    The main thread keeps both: pthread_exit ends it without __libc_thread_freeres.
    """
    if thread == 0:
        return
    machine = heap.machine
    tcache = tcache_of(heap, thread)
    set_tcache(heap, thread, 0)
    if tcache:
        for index in range(TCACHE_BIN_COUNT):
            while load(machine, tcache + ENTRIES + 8 * index):
                chunk = tcache_get(heap, tcache, index) - HEADER_BYTES
                int_free(heap, arena_of(machine, chunk), 0, chunk)
        chunk = tcache - HEADER_BYTES
        if head(machine, chunk) & IS_MMAPPED:
            adapt_thresholds(machine, chunk)
            unmap_chunk(machine, chunk)
        else:
            int_free(heap, arena_of(machine, chunk), 0, chunk)
    detach_thread(heap, thread)


@kernel
def usable(heap, address, size):
    """malloc_usable_size of a live block."""
    chunk = address - HEADER_BYTES
    size_and_flags = head(heap.machine, chunk)
    overhead = HEADER_BYTES if size_and_flags & IS_MMAPPED else SIZE_WORD_BYTES
    return chunk_bytes(heap.machine, chunk) - overhead


@kernel
def extent(heap, address, size):
    """The chunk from its size word to the next one's; a mapped chunk with its whole area."""
    chunk = address - HEADER_BYTES
    length = chunk_bytes(heap.machine, chunk)
    if head(heap.machine, chunk) & IS_MMAPPED:
        offset = below_bytes(heap.machine, chunk)
        return chunk - offset, length + offset
    return chunk + SIZE_WORD_BYTES, length


@kernel
def cached(heap, blocks):
    """Chunks in the thread caches and fastbins."""
    machine = heap.machine
    count = 0
    for thread in range(load(machine, THREADS)):
        tcache = tcache_of(heap, thread)
        for index in range(TCACHE_BIN_COUNT if tcache else 0):
            user = load(machine, tcache + ENTRIES + 8 * index)
            while user:
                count = _note(heap, blocks, count, user - HEADER_BYTES)
                user = load(machine, user)
    arena = MAIN_ARENA
    while True:
        for number in range(FASTBIN_COUNT):
            chunk = load(machine, arena + FASTBINS + 8 * number)
            while chunk:
                count = _note(heap, blocks, count, chunk)
                chunk = load(machine, chunk + FD)
        arena = load(machine, arena + NEXT_ARENA)
        if arena == MAIN_ARENA:
            return count


@kernel
def _note(heap, blocks, count, chunk):
    """Write row `count` if there is room; the next row's number."""
    if count < len(blocks):
        blocks[count, 0] = chunk + SIZE_WORD_BYTES
        blocks[count, 1] = chunk_bytes(heap.machine, chunk)
    return count + 1


@kernel
def metadata(heap, blocks):
    """The thread caches' own chunks, and the records at the start of further arenas' heaps."""
    machine = heap.machine
    count = 0
    for thread in range(load(machine, THREADS)):
        tcache = tcache_of(heap, thread)
        if tcache:
            if count < len(blocks):
                blocks[count, 0], blocks[count, 1] = extent(heap, tcache, 0)
            count += 1
    arena = load(machine, MAIN_ARENA + NEXT_ARENA)
    while arena != MAIN_ARENA:
        part = heap_of(load(machine, arena + TOP))
        while part:
            if count < len(blocks):
                blocks[count, 0] = part
                first = part + HEAP_INFO_BYTES == arena
                blocks[count, 1] = HEAP_INFO_BYTES + (ARENA_BYTES if first else 0)
            count += 1
            part = load(machine, part + HEAP_PREVIOUS)
        arena = load(machine, arena + NEXT_ARENA)
    return count
