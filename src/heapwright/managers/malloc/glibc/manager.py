"""glibc's malloc (ptmalloc) from 2.31 to 2.43, whole: its addresses are the real one's.

    malloc ─► tcache ─miss─► arena: fastbin, small bin, unsorted, large bin, top ─► brk, heap, mmap
    free   ─► tcache ─full─► fastbin, or coalesce onto unsorted or top ─► trim, munmap

Terms      chunk: a block with its header; arena: bins and a top, one lock in the real system;
           main arena: the one that grows by brk; heap: 64 MiB of a further arena
Invariant  heaps are tiled by chunks, whose PREV_INUSE tells the truth (check: 1-3); no two free
           chunks touch (4); each free chunk is in one bin (5); tcache counts match (6);
           each arena's heaps are as long as its system bytes (7)
Versions   calloc takes from the thread cache from 2.41 on, memalign from 2.38 on; realloc returns
           the block as it is where that is long enough by less than 16 bytes from 2.38 on, and up
           to 2.41 a mapped one by a page; the files beside say the rest
Source     glibc 2.31 to 2.43 malloc/malloc.c and malloc/arena.c; parts in the files beside
Omits      locks (so no arena is passed over because another thread holds it), hooks but for the
           first calloc's in 2.31, safe-linking, memory tagging, glibc.malloc.hugetlb and perturb
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel
from heapwright.machine import PAGE_BYTES, Machine, clear, copy, load, store
from heapwright.managers.malloc.glibc.account import cached, extent, metadata, usable
from heapwright.managers.malloc.glibc.bins import ATTACHED_THREADS, NEXT_ARENA, TOP, init_arena
from heapwright.managers.malloc.glibc.chunk import (
    HEADER_BYTES,
    IS_MMAPPED,
    SIZE_WORD_BYTES,
    chunk_bytes,
    chunk_bytes_for,
    head,
)
from heapwright.managers.malloc.glibc.invariants import check
from heapwright.managers.malloc.glibc.parameters import (
    TCACHE_MAX_BYTES,
    Config,
    configured,
    ignored,
)
from heapwright.managers.malloc.glibc.paths import PATHS, TCACHE_HIT
from heapwright.managers.malloc.glibc.release import free_within, int_free, stashed_large
from heapwright.managers.malloc.glibc.resize import int_memalign, int_realloc
from heapwright.managers.malloc.glibc.steering import mallopt, move_break, trim
from heapwright.managers.malloc.glibc.system import (
    ARENAS,
    BROKEN,
    HEAP_PROTECTED,
    HOOKED,
    MAIN_ARENA,
    NO_TCACHE,
    SET_AT_BOOT,
    TCACHE_LARGEST,
    V2_38,
    V2_41,
    V2_43,
    adapt_thresholds,
    heap_of,
    remap_chunk,
    since,
    unmap_chunk,
)
from heapwright.managers.malloc.glibc.tcache import (
    SMALL_CHUNK_BYTES,
    entry_of,
    fill,
    tcache_get,
    tcache_index,
    tcache_take,
)
from heapwright.managers.malloc.glibc.threads import (
    arena_for,
    arena_for_retry,
    arena_of,
    cache_lists,
    detach_thread,
    init_tcache,
    is_alone,
    malloc_in,
    set_tcache,
    tcache_for_free,
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
    init_arena(machine, MAIN_ARENA, parameters.record_bytes)
    values = {
        MAIN_ARENA + NEXT_ARENA: MAIN_ARENA,
        MAIN_ARENA + ATTACHED_THREADS: 1,
        ARENAS: 1,
        **{word: getattr(parameters, name) for name, word in SET_AT_BOOT.items()},
    }
    for address, value in values.items():
        store(machine, address, value)
    fill(heap.halves, NO_TCACHE)
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
        user = tcache_get(heap, tcache, tcache_index(chunk_bytes_for(size)))
        if user:
            heap.paths[TCACHE_HIT] += 1
            return user
    return _malloc_slowly(heap, thread, chunk_bytes_for(size))


@kernel
def _malloc_slowly(heap, thread, chunk_size):
    """malloc past an empty list of the thread cache."""
    machine = heap.machine
    if not chunk_size:
        return 0
    store(machine, HOOKED, 0)
    tcache = init_tcache(heap, thread)
    if SMALL_CHUNK_BYTES < chunk_size <= load(machine, TCACHE_LARGEST):
        user = _from_cache(heap, tcache, chunk_size, HEADER_BYTES)
        if user:
            return user
    arena = arena_for(heap, thread, chunk_size - SIZE_WORD_BYTES)
    chunk = malloc_in(heap, thread, arena, tcache, chunk_size)
    if not chunk:
        arena = arena_for_retry(heap, thread, arena, chunk_size - SIZE_WORD_BYTES)
        if arena:
            chunk = malloc_in(heap, thread, arena, tcache_of(heap, thread), chunk_size)
    return chunk + HEADER_BYTES if chunk else 0


@kernel
def _from_cache(heap, tcache, chunk_size, align):
    """A cached block of a chunk of this very size at a multiple of `align`, 0 if there is none."""
    if not tcache:
        return 0
    if chunk_size > SMALL_CHUNK_BYTES and chunk_size > load(heap.machine, TCACHE_LARGEST):
        return 0
    user = tcache_take(heap, tcache, chunk_size, align)
    if user:
        heap.paths[TCACHE_HIT] += 1
    return user


@kernel
def _memalign(heap, thread, size, align):
    """memalign, posix_memalign, aligned_alloc (_mid_memalign)."""
    chunk_size = chunk_bytes_for(size)
    if not chunk_size or align > 1 << 46:
        return 0
    tcache = tcache_of(heap, thread)
    if since(heap.machine, V2_38):
        user = _from_cache(heap, tcache, chunk_size, align)
        if user:
            return user
    arena = arena_for(heap, thread, size + align + 32)
    chunk = int_memalign(heap, thread, arena, tcache, chunk_size, align)
    if not chunk:
        arena = arena_for_retry(heap, thread, arena, size)
        if arena:
            tcache = tcache_of(heap, thread)
            chunk = int_memalign(heap, thread, arena, tcache, chunk_size, align)
    return chunk + HEADER_BYTES if chunk else 0


@kernel
def calloc(heap, thread, size):
    """calloc: up to 2.39 never from the thread cache; fresh memory is known to be zero and not
    cleared."""
    machine = heap.machine
    chunk_size = chunk_bytes_for(size)
    if not chunk_size:
        return 0
    if load(machine, HOOKED):  # the hook that starts glibc answers with malloc, and clears all
        user = _malloc_slowly(heap, thread, chunk_size)
        if user:
            clear(machine, user, size)
        return user
    tcache = init_tcache(heap, thread)
    if since(machine, V2_41):
        user = _from_cache(heap, tcache, chunk_size, HEADER_BYTES)
        if user:
            clear(machine, user, chunk_size - SIZE_WORD_BYTES)
            return user
    arena = arena_for(heap, thread, size)
    top = load(machine, arena + TOP)
    used = chunk_bytes(machine, top)  # memory above comes from the system now, zeroed
    if arena != MAIN_ARENA:  # a trimmed heap may still hold what was written
        used = max(used, heap_of(top) + load(machine, heap_of(top) + HEAP_PROTECTED) - top)
    chunk = malloc_in(heap, thread, arena, tcache, chunk_size)
    if not chunk:
        arena = arena_for_retry(heap, thread, arena, size)
        if arena:
            chunk = malloc_in(heap, thread, arena, tcache_of(heap, thread), chunk_size)
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
        _free_mapped(heap, thread, chunk)
        return
    tcache = tcache_of(heap, thread)
    if not tcache:
        tcache = tcache_for_free(heap, thread, chunk_bytes(heap.machine, chunk))
    int_free(heap, arena_of(heap.machine, chunk), tcache, chunk)


@kernel
def _free_mapped(heap, thread, chunk):
    """Unmap a chunk; from 2.43 on the thread cache may take it instead."""
    size = chunk_bytes(heap.machine, chunk)
    if size <= load(heap.machine, TCACHE_LARGEST):
        tcache = tcache_of(heap, thread)
        if not tcache:
            tcache = tcache_for_free(heap, thread, size)
        if stashed_large(heap, tcache, chunk, size):
            return
    adapt_thresholds(heap.machine, chunk)
    unmap_chunk(heap.machine, chunk)


@kernel
def _stays(heap, address, size):
    """Whether realloc has nothing to do: from 2.38 on."""
    machine = heap.machine
    if not since(machine, V2_38):
        return False
    spare = usable(heap, address, size) - size
    if spare < 0:
        return False
    mapped = head(machine, address - HEADER_BYTES) & IS_MMAPPED
    return spare < HEADER_BYTES or (mapped and spare <= PAGE_BYTES and not since(machine, V2_43))


@kernel
def realloc(heap, thread, address, size):
    """realloc of a live block to `size` bytes; 0 when refused, and the block stays."""
    machine = heap.machine
    chunk_size = chunk_bytes_for(size)
    if not chunk_size:
        return 0
    if _stays(heap, address, size):
        return address
    old = address - HEADER_BYTES
    if head(machine, old) & IS_MMAPPED:
        chunk = remap_chunk(machine, old, chunk_size)
        if chunk:
            return chunk + HEADER_BYTES
        if since(machine, V2_43):
            if size <= usable(heap, address, size):
                return address
        elif chunk_bytes(machine, old) - SIZE_WORD_BYTES >= chunk_size:
            return address
        moved = alloc(heap, thread, size, HEADER_BYTES)
        if moved:
            copy(machine, moved, address, chunk_bytes(machine, old) - HEADER_BYTES)
            unmap_chunk(machine, old)
        return moved
    tcache = init_tcache(heap, thread)
    arena = arena_of(machine, old)
    chunk = int_realloc(heap, thread, arena, tcache, old, chunk_size)
    if chunk:
        return chunk + HEADER_BYTES
    if is_alone(heap):
        return 0
    moved = alloc(heap, thread, size, HEADER_BYTES)  # perhaps another arena has room
    if moved:
        copy(machine, moved, address, chunk_bytes(machine, old) - SIZE_WORD_BYTES)
        free_within(heap, arena, tcache_of(heap, thread), old)
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
    lists = cache_lists(machine, tcache)
    for index in range(lists):
        user = load(machine, entry_of(tcache, index))
        while user:
            following = load(machine, user)
            _release(heap, user - HEADER_BYTES)
            user = following
    if lists:
        _release(heap, tcache - HEADER_BYTES)
    detach_thread(heap, thread)


@kernel
def _release(heap, chunk):
    """Free a chunk past any cache."""
    if head(heap.machine, chunk) & IS_MMAPPED:
        adapt_thresholds(heap.machine, chunk)
        unmap_chunk(heap.machine, chunk)
    else:
        int_free(heap, arena_of(heap.machine, chunk), 0, chunk)
