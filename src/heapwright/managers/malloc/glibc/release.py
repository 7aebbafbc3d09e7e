"""Freeing: to the thread cache, a fastbin, or the arena's unsorted list and top.

    int_free ─► tcache ─full─► fastbin ─too large─► coalesce ─► consolidate and trim when large

Versions   from 2.43 on only a program's own free reaches the thread cache, which may take large
           chunks as well; glibc's own go to the arena
Source     glibc 2.31 to 2.43 malloc/malloc.c: _int_free, __libc_free, _int_free_chunk,
           _int_free_merge_chunk, _int_free_maybe_consolidate
"""

from heapwright.compiler import kernel
from heapwright.machine import load, store
from heapwright.managers.malloc.glibc.bins import (
    HAVE_FASTCHUNKS,
    TOP,
    coalesce,
    consolidate,
    fastbin_at,
)
from heapwright.managers.malloc.glibc.chunk import (
    FD,
    NON_MAIN_ARENA,
    chunk_bytes,
)
from heapwright.managers.malloc.glibc.paths import (
    COALESCE,
    CONSOLIDATE,
    FASTBIN_PUT,
    TCACHE_PUT,
)
from heapwright.managers.malloc.glibc.system import (
    DIRECT_BELOW,
    MAIN_ARENA,
    MAX_FAST,
    TCACHE_BINS,
    TCACHE_COUNT,
    TCACHE_LARGEST,
    TOP_PAD,
    TRIM_THRESHOLD,
    V2_43,
    since,
    trim_heap,
    trim_main,
)
from heapwright.managers.malloc.glibc.tcache import (
    SMALL_CHUNK_BYTES,
    count_of,
    large_index,
    tcache_index,
    tcache_length,
    tcache_put,
    tcache_put_large,
)

CONSOLIDATION_BYTES = 65536  # FASTBIN_CONSOLIDATION_THRESHOLD


@kernel(inline=True)
def arena_flag(arena):
    """The flag that chunks of this arena carry while allocated."""
    return 0 if arena == MAIN_ARENA else NON_MAIN_ARENA


@kernel(inline=True)
def stash_room(heap, tcache, size):
    """How many more chunks of `size` bytes the thread cache takes; 0 without one."""
    index = tcache_index(size)
    if not tcache or index >= load(heap.machine, TCACHE_BINS):
        return 0
    return load(heap.machine, TCACHE_COUNT) - tcache_length(heap.halves, tcache, index)


@kernel(inline=True)
def int_free(heap, arena, tcache, chunk):
    """Free a chunk that is not mapped (_int_free)."""
    size = chunk_bytes(heap.machine, chunk)
    if stash_room(heap, tcache, size) > 0:
        heap.paths[TCACHE_PUT] += 1
        tcache_put(heap, tcache, chunk, tcache_index(size))
    elif size > load(heap.machine, TCACHE_LARGEST) or not stashed_large(heap, tcache, chunk, size):
        free_to_arena(heap, arena, chunk, size)


@kernel
def stashed_large(heap, tcache, chunk, size):
    """Whether the thread cache took a chunk of a size for its large lists."""
    if not tcache or size <= SMALL_CHUNK_BYTES:
        return False
    if heap.halves[count_of(tcache, large_index(size))] >= load(heap.machine, TCACHE_COUNT):
        return False
    heap.paths[TCACHE_PUT] += 1
    tcache_put_large(heap, tcache, chunk, size)
    return True


@kernel
def free_within(heap, arena, tcache, chunk):
    """Free a chunk that is not mapped, on glibc's own account."""
    int_free(heap, arena, 0 if since(heap.machine, V2_43) else tcache, chunk)


@kernel
def free_to_arena(heap, arena, chunk, size):
    """Free past the thread cache: into a fastbin, or merged with free neighbours."""
    machine = heap.machine
    if size <= load(machine, MAX_FAST):
        heap.paths[FASTBIN_PUT] += 1
        store(machine, arena + HAVE_FASTCHUNKS, 1)
        fastbin = fastbin_at(arena, size)
        store(machine, chunk + FD, load(machine, fastbin))
        store(machine, fastbin, chunk)
        return
    merge(heap, arena, chunk, size)


@kernel
def merge(heap, arena, chunk, size):
    """Merge a chunk that is neither cached nor binned with its neighbours, and trim."""
    machine = heap.machine
    heap.paths[COALESCE] += 1
    direct = load(machine, DIRECT_BELOW)
    if coalesce(machine, arena, chunk, size, direct) >= CONSOLIDATION_BYTES:
        _tidy(heap, arena)


@kernel
def _tidy(heap, arena):
    """After a large chunk was freed: empty the fastbins, then trim."""
    machine = heap.machine
    if load(machine, arena + HAVE_FASTCHUNKS):
        heap.paths[CONSOLIDATE] += 1
        consolidate(machine, arena)
    if arena != MAIN_ARENA:
        trim_heap(machine, arena, load(machine, TOP_PAD))
    elif chunk_bytes(machine, load(machine, arena + TOP)) >= load(machine, TRIM_THRESHOLD):
        trim_main(machine, arena, load(machine, TOP_PAD))
