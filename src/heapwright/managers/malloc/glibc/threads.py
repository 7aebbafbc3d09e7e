"""Which arena and which cache a thread uses.

    first request of a thread ─► a free arena, else a new one while there are fewer than the
                                 limit, else the next in turn
    thread exit               ─► its arena, if no thread is left on it, becomes free

Source     glibc 2.36 malloc/arena.c: arena_get2, reused_arena, arena_thread_freeres; tcache_init
Omits      contention: an arena in use by another thread is never skipped
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.reserve import reserve
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.glibc.bins import (
    ARENA_BYTES,
    ATTACHED_THREADS,
    NEXT_ARENA,
    NEXT_FREE_ARENA,
    SYSTEM_BYTES,
    TOP,
    init_arena,
)
from heapwright.managers.malloc.glibc.chunk import (
    ALIGN_BYTES,
    HEADER_BYTES,
    NON_MAIN_ARENA,
    PREV_INUSE,
    head,
    set_head,
)
from heapwright.managers.malloc.glibc.core import chunk_request, int_malloc
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
    THREADS,
    TOP_PAD,
    align_up,
    heap_of,
    new_heap,
)
from heapwright.managers.malloc.glibc.tcache import TCACHE_BYTES

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
    """The thread's cache, made at its first request (MAYBE_INIT_TCACHE)."""
    tcache = tcache_of(heap, thread)
    return tcache if tcache else _make_tcache(heap, thread)


@kernel
def _make_tcache(heap, thread):
    """A cache in the thread's arena, 0 if refused (tcache_init)."""
    machine = heap.machine
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
    tcache = chunk + HEADER_BYTES
    touch(machine, tcache, TCACHE_BYTES)
    for offset in range(0, TCACHE_BYTES, 8):
        store(machine, tcache + offset, 0)
    set_tcache(heap, thread, tcache)
    return tcache


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
    overhead = HEAP_INFO_BYTES + ARENA_BYTES + ALIGN_BYTES
    heap = new_heap(machine, request + overhead, load(machine, TOP_PAD))
    if not heap:
        heap = new_heap(machine, overhead, load(machine, TOP_PAD))
        if not heap:
            return 0
    arena = heap + HEAP_INFO_BYTES
    size = load(machine, heap + HEAP_SIZE)
    touch(machine, arena, ARENA_BYTES)
    init_arena(machine, arena)
    store(machine, heap + HEAP_ARENA, arena)
    store(machine, arena + ATTACHED_THREADS, 1)
    store(machine, arena + SYSTEM_BYTES, size)
    top = align_up(arena + ARENA_BYTES, ALIGN_BYTES)
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
