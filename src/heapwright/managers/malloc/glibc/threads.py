"""Which arena and which cache a thread uses.

    first request of a thread ─► a free arena, else a new one while there are fewer than the
                                 limit, else the next in turn
    thread exit               ─► its arena, if no thread is left on it, becomes free

    first malloc      ─► its cache                                                  up to 2.41
    first small free, or the first malloc that could put a chunk into it             from 2.43 on

Source     glibc 2.31 to 2.43 malloc/arena.c: arena_get2, reused_arena, arena_thread_freeres;
           malloc/malloc.c: tcache_init, tcache_free_init
Omits      contention: an arena in use by another thread is never skipped; the count for
           tcache_unsorted_limit begins anew where a malloc makes the cache
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.reserve import reserve
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.glibc.bins import (
    ATTACHED_THREADS,
    MIN_LARGE_BYTES,
    NEXT_ARENA,
    NEXT_FREE_ARENA,
    SYSTEM_BYTES,
    TOP,
    bin_at,
    init_arena,
)
from heapwright.managers.malloc.glibc.chunk import (
    ALIGN_BYTES,
    BK,
    HEADER_BYTES,
    NON_MAIN_ARENA,
    PREV_INUSE,
    head,
    set_head,
)
from heapwright.managers.malloc.glibc.core import (
    chunk_request,
    from_unsorted,
    int_malloc,
    stash_small,
)
from heapwright.managers.malloc.glibc.paths import UNSORTED_FIT
from heapwright.managers.malloc.glibc.release import stash_room
from heapwright.managers.malloc.glibc.system import (
    ARENA_MAX,
    ARENA_TEST,
    ARENAS,
    ARENAS_LIMIT,
    CORES,
    FREE_ARENAS,
    HEAP_ARENA,
    HEAP_INFO_BYTES,
    HEAP_SIZE,
    MAIN_ARENA,
    NEXT_ARENA_TO_USE,
    NO_TCACHE,
    RECORD_BYTES,
    TCACHE_BINS,
    TCACHE_COUNT,
    TCACHE_LARGEST,
    THREADS,
    TOP_PAD,
    V2_43,
    align_up,
    heap_of,
    new_heap,
    since,
)
from heapwright.managers.malloc.glibc.tcache import (
    BIN_COUNT,
    LARGE_BIN_COUNT,
    LARGE_TCACHE_BYTES,
    TCACHE_BYTES,
    tcache_index,
    tcache_put,
)

ARENAS_PER_CORE = 8  # NARENAS_FROM_NCORES

THREAD_LIMIT = 1 << 26  # threads over a whole trace: 1 GiB of addresses for their rows


def thread_rows():
    """int64[2 * thread]: each thread's tcache and arena, addresses; 0: none yet, or no more."""
    return reserve(2 * THREAD_LIMIT, np.int64)


@kernel(inline=True)
def tcache_of(heap, thread):
    """The thread's cache, 0 before its first request and after its exit."""
    return heap.threads[unsigned(2 * thread)]


@kernel
def cache_lists(machine, tcache):
    """How many lists that cache has; 0 of none."""
    if not tcache or tcache == NO_TCACHE:
        return 0
    return BIN_COUNT + LARGE_BIN_COUNT if since(machine, V2_43) else BIN_COUNT


@kernel
def set_tcache(heap, thread, tcache):
    """Give the thread a cache, or take it."""
    heap.threads[unsigned(2 * thread)] = tcache


@kernel(inline=True)
def _thread_arena(heap, thread):
    """The thread's arena; the first thread starts on the main arena."""
    return heap.threads[unsigned(2 * thread + 1)]


@kernel(inline=True)
def arena_of(machine, chunk):
    """The arena that a chunk belongs to (arena_for_chunk)."""
    if head(machine, chunk) & NON_MAIN_ARENA:
        return load(machine, heap_of(chunk) + HEAP_ARENA)
    return MAIN_ARENA


@kernel(inline=True)
def init_tcache(heap, thread):
    """The thread's cache, made at its first request (MAYBE_INIT_TCACHE); 0 where it is made later:
    see malloc_in."""
    tcache = tcache_of(heap, thread)
    return tcache if tcache else _make_tcache(heap, thread)


@kernel
def _make_tcache(heap, thread):
    """A cache in the thread's arena, 0 if refused or not yet wanted (tcache_init)."""
    machine = heap.machine
    if since(machine, V2_43):
        return 0
    size = chunk_request(TCACHE_BYTES)
    arena = _thread_arena(heap, thread)
    if not arena:
        arena = _first_arena(heap, thread, TCACHE_BYTES)
    chunk = int_malloc(heap, arena, 0, size)
    if not chunk:
        arena = MAIN_ARENA if arena != MAIN_ARENA else _another_arena(heap, thread, TCACHE_BYTES)
        chunk = int_malloc(heap, arena, 0, size)
        if not chunk:
            return 0
    return _empty_tcache(heap, thread, chunk + HEADER_BYTES, TCACHE_BYTES)


@kernel
def _empty_tcache(heap, thread, tcache, length):
    """Make this block the thread's cache."""
    touch(heap.machine, tcache, length)
    for offset in range(0, length, 8):
        store(heap.machine, tcache + offset, 0)
    set_tcache(heap, thread, tcache)
    return tcache


@kernel
def tcache_for_free(heap, thread, size):
    """The cache of a thread that frees a chunk of `size` bytes and has none yet: from 2.43 on only
    for one that belongs into it (tcache_free_init)."""
    machine = heap.machine
    if not since(machine, V2_43):
        return _make_tcache(heap, thread)
    if tcache_index(size) >= load(machine, TCACHE_BINS) and size > load(machine, TCACHE_LARGEST):
        return 0
    if not load(machine, TCACHE_COUNT):
        set_tcache(heap, thread, NO_TCACHE)
        return NO_TCACHE
    arena = arena_for(heap, thread, LARGE_TCACHE_BYTES)
    chunk = int_malloc(heap, arena, 0, chunk_request(LARGE_TCACHE_BYTES))
    if not chunk:
        arena = arena_for_retry(heap, thread, arena, LARGE_TCACHE_BYTES)
        if arena:
            chunk = int_malloc(heap, arena, 0, chunk_request(LARGE_TCACHE_BYTES))
    return _late_tcache(heap, thread, chunk)


@kernel
def _tcache_in(heap, thread, arena):
    """The cache that a malloc makes on its way, in the arena where it is (tcache_init): the request
    is padded once more than need be."""
    if not load(heap.machine, TCACHE_COUNT):
        return _late_tcache(heap, thread, 0)
    twice = chunk_request(chunk_request(LARGE_TCACHE_BYTES))
    return _late_tcache(heap, thread, int_malloc(heap, arena, 0, twice))


@kernel
def _late_tcache(heap, thread, chunk):
    """The cache in this chunk; where it was refused there will be none."""
    if not chunk:
        set_tcache(heap, thread, NO_TCACHE)
        return NO_TCACHE
    return _empty_tcache(heap, thread, chunk + HEADER_BYTES, LARGE_TCACHE_BYTES)


@kernel(inline=True)
def malloc_in(heap, thread, arena, tcache, size):
    """A chunk of `size` bytes for the thread from this arena."""
    if not tcache and since(heap.machine, V2_43):
        return _malloc_before_tcache(heap, thread, arena, size)
    return int_malloc(heap, arena, tcache, size)


@kernel
def _malloc_before_tcache(heap, thread, arena, size):
    """int_malloc of a thread without a cache, which it makes when it finds a chunk of this very
    size and could keep more of them: in a small bin, or on the unsorted list."""
    machine = heap.machine
    index = tcache_index(size)
    bin_ = bin_at(arena, size >> 4)
    if size < MIN_LARGE_BYTES and load(machine, bin_ + BK) != bin_:
        chunk = int_malloc(heap, arena, 0, size)
        if index < load(machine, TCACHE_BINS):
            tcache = _tcache_in(heap, thread, arena)
            stash_small(heap, arena, tcache, size, load(machine, bin_ + BK))
        return chunk
    exact = heap.paths[UNSORTED_FIT]
    chunk = int_malloc(heap, arena, 0, size)
    if heap.paths[UNSORTED_FIT] == exact:
        return chunk
    tcache = _tcache_in(heap, thread, arena)
    if stash_room(heap, tcache, size) <= 0:
        return chunk
    heap.paths[UNSORTED_FIT] = exact
    tcache_put(heap, tcache, chunk, index)
    return from_unsorted(heap, arena, tcache, size, True)


@kernel(inline=True)
def arena_for(heap, thread, request):
    """The arena for a request of this thread (arena_get): the main one while there is no other
    thread (SINGLE_THREAD_P), also where it was full when the thread's cache was made."""
    arena = _thread_arena(heap, thread)
    if arena == MAIN_ARENA:
        return arena
    return _first_arena(heap, thread, request) if not arena else _own_arena(heap, arena)


@kernel(inline=True)
def is_alone(heap):
    """Whether only the first thread has asked for memory so far."""
    return load(heap.machine, THREADS) <= 1


@kernel(inline=True)
def _own_arena(heap, arena):
    """A further arena, for a thread that is not alone."""
    return MAIN_ARENA if is_alone(heap) else arena


@kernel
def _first_arena(heap, thread, request):
    """The arena for a thread's first request: the main one for the first thread that makes one."""
    machine = heap.machine
    is_first = load(machine, THREADS) == 0
    if thread >= load(machine, THREADS):
        store(machine, THREADS, thread + 1)
    if is_first:
        return _attach(heap, thread, MAIN_ARENA)
    return _another_arena(heap, thread, request)


@kernel
def arena_for_retry(heap, thread, arena, request):
    """Another arena after a refusal: the main one, or from there any (arena_get_retry); 0 while the
    process has one thread (SINGLE_THREAD_P), which tries no other."""
    if is_alone(heap):
        return 0
    return MAIN_ARENA if arena != MAIN_ARENA else _another_arena(heap, thread, request)


@kernel
def _attach(heap, thread, arena):
    """Make `arena` the thread's own."""
    heap.threads[unsigned(2 * thread + 1)] = arena
    return arena


@kernel
def _count_thread(machine, arena, change):
    """Count a thread on or off an arena; how many are left."""
    threads = load(machine, arena + ATTACHED_THREADS) + change
    store(machine, arena + ATTACHED_THREADS, threads)
    return threads


@kernel
def _another_arena(heap, thread, request):
    """A free arena, a new one, or the next in turn (arena_get2)."""
    machine = heap.machine
    replaced = _thread_arena(heap, thread)
    arena = load(machine, FREE_ARENAS)
    if arena:
        store(machine, FREE_ARENAS, load(machine, arena + NEXT_FREE_ARENA))
        store(machine, arena + ATTACHED_THREADS, 1)
    else:
        arenas, limit = load(machine, ARENAS), load(machine, ARENAS_LIMIT)
        if limit == 0:
            if load(machine, ARENA_MAX):
                limit = load(machine, ARENA_MAX)
            elif arenas > load(machine, ARENA_TEST):
                limit = ARENAS_PER_CORE * load(machine, CORES)
            store(machine, ARENAS_LIMIT, limit)
        if limit == 0 or arenas < limit:
            arena = _new_arena(machine, request)
        if not arena:
            arena = _arena_in_turn(machine)
    if replaced:
        _count_thread(machine, replaced, -1)
    return _attach(heap, thread, arena)


@kernel
def _new_arena(machine, request):
    """An arena in a heap of its own, 0 if the system refuses (_int_new_arena)."""
    info, record_bytes = load(machine, HEAP_INFO_BYTES), load(machine, RECORD_BYTES)
    overhead = info + record_bytes + ALIGN_BYTES
    heap = new_heap(machine, request + overhead, load(machine, TOP_PAD))
    if not heap:
        heap = new_heap(machine, overhead, load(machine, TOP_PAD))
        if not heap:
            return 0
    arena = heap + info
    size = load(machine, heap + HEAP_SIZE)
    touch(machine, arena, record_bytes)
    init_arena(machine, arena, record_bytes)
    store(machine, heap + HEAP_ARENA, arena)
    store(machine, arena + ATTACHED_THREADS, 1)
    store(machine, arena + SYSTEM_BYTES, size)
    top = align_up(arena + record_bytes, ALIGN_BYTES)
    store(machine, arena + TOP, top)
    set_head(machine, top, (heap + size - top) | PREV_INUSE)
    store(machine, arena + NEXT_ARENA, load(machine, MAIN_ARENA + NEXT_ARENA))
    store(machine, MAIN_ARENA + NEXT_ARENA, arena)
    store(machine, ARENAS, load(machine, ARENAS) + 1)
    return arena


@kernel
def _arena_in_turn(machine):
    """An arena that other threads use too (reused_arena)."""
    arena = load(machine, NEXT_ARENA_TO_USE)
    if not arena:
        arena = MAIN_ARENA
    previous = 0  # off the list of free arenas, if it is there
    free_arena = load(machine, FREE_ARENAS)
    while free_arena and free_arena != arena:
        previous = free_arena
        free_arena = load(machine, free_arena + NEXT_FREE_ARENA)
    if free_arena:
        after = load(machine, free_arena + NEXT_FREE_ARENA)
        store(machine, previous + NEXT_FREE_ARENA if previous else FREE_ARENAS, after)
    _count_thread(machine, arena, 1)
    store(machine, NEXT_ARENA_TO_USE, load(machine, arena + NEXT_ARENA))
    return arena


@kernel
def detach_thread(heap, thread):
    """The thread leaves its arena; the last one out makes it free."""
    machine = heap.machine
    arena = _thread_arena(heap, thread)
    if arena:
        _attach(heap, thread, 0)
        if _count_thread(machine, arena, -1) == 0:
            store(machine, arena + NEXT_FREE_ARENA, load(machine, FREE_ARENAS))
            store(machine, FREE_ARENAS, arena)
