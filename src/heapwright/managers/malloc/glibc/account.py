"""What of ptmalloc's memory is whose: a block's bytes, what caches hold, what it needs itself.

Source     glibc 2.31 to 2.43 malloc/malloc.c: musable, malloc_state, tcache_perthread_struct
"""

from heapwright.compiler import kernel
from heapwright.machine import load
from heapwright.managers.malloc.glibc.bins import (
    ARENA_BYTES,
    FASTBIN_COUNT,
    FASTBINS,
    NEXT_ARENA,
    TOP,
)
from heapwright.managers.malloc.glibc.chunk import (
    FD,
    HEADER_BYTES,
    IS_MMAPPED,
    SIZE_WORD_BYTES,
    below_bytes,
    chunk_bytes,
    head,
)
from heapwright.managers.malloc.glibc.system import (
    HEAP_INFO_BYTES,
    HEAP_PREVIOUS,
    MAIN_ARENA,
    MAPPED_TAIL,
    RECORD_BYTES,
    THREADS,
    heap_of,
    mapped_bytes,
)
from heapwright.managers.malloc.glibc.tcache import entry_of
from heapwright.managers.malloc.glibc.threads import cache_lists, tcache_of


@kernel
def usable(heap, address, size):
    """malloc_usable_size of a live block."""
    chunk = address - HEADER_BYTES
    overhead = SIZE_WORD_BYTES
    if head(heap.machine, chunk) & IS_MMAPPED and not load(heap.machine, MAPPED_TAIL):
        overhead = HEADER_BYTES
    return chunk_bytes(heap.machine, chunk) - overhead


@kernel
def extent(heap, address, size):
    """The chunk from its size word to the next one's; a mapped chunk with its whole area."""
    chunk = address - HEADER_BYTES
    length = chunk_bytes(heap.machine, chunk)
    if head(heap.machine, chunk) & IS_MMAPPED:
        offset = below_bytes(heap.machine, chunk)
        return chunk - offset, offset + mapped_bytes(heap.machine, chunk)
    return chunk + SIZE_WORD_BYTES, length


@kernel
def cached(heap, blocks):
    """Chunks in the thread caches and fastbins."""
    machine = heap.machine
    count = 0
    for thread in range(load(machine, THREADS)):
        tcache = tcache_of(heap, thread)
        for index in range(cache_lists(machine, tcache)):
            user = load(machine, entry_of(tcache, index))
            while user:
                count = _note(heap, blocks, count, user)
                user = load(machine, user)
    arena = MAIN_ARENA
    while True:
        for number in range(FASTBIN_COUNT if load(machine, RECORD_BYTES) == ARENA_BYTES else 0):
            chunk = load(machine, arena + FASTBINS + 8 * number)
            while chunk:
                count = _note(heap, blocks, count, chunk + HEADER_BYTES)
                chunk = load(machine, chunk + FD)
        arena = load(machine, arena + NEXT_ARENA)
        if arena == MAIN_ARENA:
            return count


@kernel
def _note(heap, blocks, count, user):
    """Write row `count` if there is room; the next row's number."""
    if count < len(blocks):
        blocks[count, 0], blocks[count, 1] = extent(heap, user, 0)
    return count + 1


@kernel
def metadata(heap, blocks):
    """The thread caches' own chunks, and the records at the start of further arenas' heaps."""
    machine = heap.machine
    count = 0
    for thread in range(load(machine, THREADS)):
        tcache = tcache_of(heap, thread)
        if cache_lists(machine, tcache):
            if count < len(blocks):
                blocks[count, 0], blocks[count, 1] = extent(heap, tcache, 0)
            count += 1
    arena = load(machine, MAIN_ARENA + NEXT_ARENA)
    while arena != MAIN_ARENA:
        part = heap_of(load(machine, arena + TOP))
        info, record_bytes = load(machine, HEAP_INFO_BYTES), load(machine, RECORD_BYTES)
        while part:
            if count < len(blocks):
                blocks[count, 0] = part
                first = part + info == arena
                blocks[count, 1] = info + (record_bytes if first else 0)
            count += 1
            part = load(machine, part + HEAP_PREVIOUS)
        arena = load(machine, arena + NEXT_ARENA)
    return count
