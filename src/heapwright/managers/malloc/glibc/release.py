"""Freeing: to the thread cache, a fastbin, or the arena's unsorted list and top.

    int_free ─► tcache ─full─► fastbin ─too large─► coalesce ─► consolidate and trim when large

Source     glibc 2.36 malloc/malloc.c: _int_free
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
    MAIN_ARENA,
    MAX_FAST,
    TCACHE_BINS,
    TCACHE_COUNT,
    TOP_PAD,
    TRIM_THRESHOLD,
    trim_heap,
    trim_main,
)
from heapwright.managers.malloc.glibc.tcache import (
    tcache_index,
    tcache_length,
    tcache_put,
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
    else:
        _free_to_arena(heap, arena, chunk, size)


@kernel
def _free_to_arena(heap, arena, chunk, size):
    """Free past the thread cache: into a fastbin, or merged with free neighbours."""
    machine = heap.machine
    if size <= load(machine, MAX_FAST):
        heap.paths[FASTBIN_PUT] += 1
        store(machine, arena + HAVE_FASTCHUNKS, 1)
        fastbin = fastbin_at(arena, size)
        store(machine, chunk + FD, load(machine, fastbin))
        store(machine, fastbin, chunk)
        return
    heap.paths[COALESCE] += 1
    if coalesce(machine, arena, chunk, size) >= CONSOLIDATION_BYTES:
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
