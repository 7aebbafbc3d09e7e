"""What must hold of ptmalloc's heaps between any two requests.

1 a chunk's size is a multiple of 16 and at least 32, and the chunks end exactly at top
2 a free chunk's size stands in its foot as well      3 top is preceded by a chunk in use
4 no two free chunks touch                            5 the bins hold all free chunks, sorted
6 a thread cache's counts are the lengths of its lists, of chunks that belong there, ascending
"""

from heapwright.compiler import kernel
from heapwright.machine import load
from heapwright.managers.malloc.glibc.bins import (
    ARENA_FLAGS,
    NEXT_ARENA,
    NONCONTIGUOUS,
    SYSTEM_BYTES,
    TOP,
    UNSORTED,
    bin_at,
    bin_number,
)
from heapwright.managers.malloc.glibc.bins import BIN_COUNT as NUMBER_OF_BINS
from heapwright.managers.malloc.glibc.chunk import (
    BK,
    FD,
    HEADER_BYTES,
    MIN_CHUNK_BYTES,
    below_in_use,
    chunk_bytes,
    in_use,
)
from heapwright.managers.malloc.glibc.system import (
    HEAP_INFO_BYTES,
    HEAP_PREVIOUS,
    HEAP_SIZE,
    IN_PIECES,
    MAIN_ARENA,
    RECORD_BYTES,
    SBRK_BASE,
    THREADS,
    align_up,
    heap_of,
)
from heapwright.managers.malloc.glibc.tcache import (
    BIN_COUNT,
    count_of,
    entry_of,
    large_index,
    tcache_index,
)
from heapwright.managers.malloc.glibc.threads import cache_lists, tcache_of


@kernel
def check(heap):
    """Number of the first invariant that is broken, 0 if none is."""
    machine = heap.machine
    arena = MAIN_ARENA
    while True:
        broken = _check_arena(machine, arena)
        if broken:
            return broken
        arena = load(machine, arena + NEXT_ARENA)
        if arena == MAIN_ARENA:
            break
    for thread in range(load(machine, THREADS)):
        tcache = tcache_of(heap, thread)
        for index in range(cache_lists(machine, tcache)):
            length = 0
            least = 0
            user = load(machine, entry_of(tcache, index))
            while user:
                size = chunk_bytes(machine, user - HEADER_BYTES)
                if size < least:
                    return 6
                if (tcache_index(size) if index < BIN_COUNT else large_index(size)) != index:
                    return 6
                length += 1
                least = size
                user = load(machine, user)
            if length != heap.halves[count_of(tcache, index)]:
                return 6
    return 0


@kernel
def _check_arena(machine, arena):
    """Walk the arena's heaps and its bins."""
    top = load(machine, arena + TOP)
    if arena == MAIN_ARENA:
        start = load(machine, SBRK_BASE)
        if not start or load(machine, arena + ARENA_FLAGS) & NONCONTIGUOUS:
            return 0  # no heap yet, or one in pieces that cannot be walked
        if load(machine, IN_PIECES):
            return 0
        broken, free_chunks = _walk(machine, start, top)
        if broken:
            return broken
        system = top + chunk_bytes(machine, top) - start
    else:
        free_chunks = system = 0
        part, stop = heap_of(top), top
        while part:
            start = part + load(machine, HEAP_INFO_BYTES)
            if start == arena:
                start = align_up(arena + load(machine, RECORD_BYTES), 16)
            broken, found = _walk(machine, start, stop)
            if broken:
                return broken
            free_chunks += found
            system += load(machine, part + HEAP_SIZE)
            part = load(machine, part + HEAP_PREVIOUS)
            stop = part + load(machine, part + HEAP_SIZE) - HEADER_BYTES
    if not below_in_use(machine, top):
        return 3
    if system != load(machine, arena + SYSTEM_BYTES):
        return 7
    binned = 0
    for number in range(UNSORTED, NUMBER_OF_BINS):
        bin_ = bin_at(arena, number)
        chunk, previous = load(machine, bin_ + FD), bin_
        while chunk != bin_:
            size = chunk_bytes(machine, chunk)
            if in_use(machine, chunk) or load(machine, chunk + BK) != previous:
                return 5
            if number != UNSORTED and bin_number(size) != number:
                return 5
            if number != UNSORTED and previous != bin_ and chunk_bytes(machine, previous) < size:
                return 5
            binned += 1
            chunk, previous = load(machine, chunk + FD), chunk
    return 0 if binned == free_chunks else 5


@kernel
def _walk(machine, chunk, stop):
    """Chunks from `chunk` up to `stop`, which is top or a heap's last fencepost.

    Returns the broken invariant and the number of free chunks.
    """
    free_chunks = 0
    below_is_free = False
    while chunk < stop:
        size = chunk_bytes(machine, chunk)
        fencepost = size == HEADER_BYTES and chunk + size == stop
        if size & 15 or (size < MIN_CHUNK_BYTES and not fencepost):
            return 1, 0
        is_free = not in_use(machine, chunk)
        if is_free:
            if below_is_free:
                return 4, 0
            if load(machine, chunk + size) != size:
                return 2, 0
            free_chunks += 1
        below_is_free = is_free
        chunk += size
    return (0 if chunk == stop else 1), free_chunks
