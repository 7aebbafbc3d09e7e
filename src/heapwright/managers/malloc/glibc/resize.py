"""ptmalloc's ways to change a chunk: resize it, or align one.

    int_realloc  ─► in place ─► into the upper neighbour ─► malloc_in, copy, free_within
    int_memalign ─► a chunk with room to align in ─► what lies before and behind is freed

Like those of `core`, they return chunks; the thread is that of the cache.

Versions   what memalign cuts off goes to the thread cache or a fastbin up to 2.38, straight to the
           arena from 2.39 on; 16 bytes are kept unless what follows is free, from 2.43 on always
Source     glibc 2.31 to 2.43 malloc/malloc.c: _int_realloc, _int_memalign
"""

from heapwright.compiler import kernel
from heapwright.machine import copy, load, store, touch
from heapwright.managers.malloc.glibc.bins import TOP, unlink
from heapwright.managers.malloc.glibc.chunk import (
    HEADER_BYTES,
    IS_MMAPPED,
    MIN_CHUNK_BYTES,
    PREV_INUSE,
    SIZE_WORD_BYTES,
    below_bytes,
    chunk_bytes,
    head,
    in_use,
    mark_in_use,
    set_head,
    set_head_bytes,
)
from heapwright.managers.malloc.glibc.core import chunk_request
from heapwright.managers.malloc.glibc.release import arena_flag, free_within, int_free, merge
from heapwright.managers.malloc.glibc.system import V2_39, V2_43, align_up, since
from heapwright.managers.malloc.glibc.threads import malloc_in


@kernel
def int_realloc(heap, thread, arena, tcache, old, size):
    """Resize a chunk that is not mapped: in place, into its upper neighbour, or by copying."""
    machine = heap.machine
    old_size = chunk_bytes(machine, old)
    if old_size < size:
        above = old + old_size
        above_size = chunk_bytes(machine, above)
        if above == load(machine, arena + TOP):
            both = old_size + above_size
            if both >= size + MIN_CHUNK_BYTES:
                set_head_bytes(machine, old, size | arena_flag(arena))
                store(machine, arena + TOP, old + size)
                set_head(machine, old + size, (both - size) | PREV_INUSE)
                return old
            above_is_free = False
        else:
            above_is_free = not in_use(machine, above)
        if above_is_free and old_size + above_size >= size:
            unlink(machine, above)
            old_size += above_size
        else:
            chunk = malloc_in(heap, thread, arena, tcache, size)
            if not chunk:
                return 0
            if chunk != above:
                length = old_size - SIZE_WORD_BYTES
                copy(machine, chunk + HEADER_BYTES, old + HEADER_BYTES, length)
                free_within(heap, arena, tcache, old)
                return chunk
            old_size += chunk_bytes(machine, chunk)
    rest = old_size - size
    if rest < MIN_CHUNK_BYTES:
        set_head_bytes(machine, old, old_size | arena_flag(arena))
        mark_in_use(machine, old, old_size)
        return old
    set_head_bytes(machine, old, size | arena_flag(arena))
    set_head(machine, old + size, rest | PREV_INUSE | arena_flag(arena))
    mark_in_use(machine, old + size, rest)
    free_within(heap, arena, tcache, old + size)
    return old


@kernel
def int_memalign(heap, thread, arena, tcache, size, align):
    """A chunk whose user address is a multiple of `align`, a power of two of at least 32."""
    machine = heap.machine
    wanted = chunk_request(size + align + MIN_CHUNK_BYTES)
    chunk = malloc_in(heap, thread, arena, tcache, wanted)
    if not chunk:
        return 0
    if head(machine, chunk) & IS_MMAPPED:
        return _align_mapped(machine, chunk, align)
    direct = since(machine, V2_39)
    user = chunk + HEADER_BYTES
    if user & (align - 1):
        aligned = align_up(user + MIN_CHUNK_BYTES, align) - HEADER_BYTES
        lead = aligned - chunk
        length = chunk_bytes(machine, chunk) - lead
        set_head(machine, aligned, length | PREV_INUSE | arena_flag(arena))
        mark_in_use(machine, aligned, length)
        set_head_bytes(machine, chunk, lead | arena_flag(arena))
        if direct:
            merge(heap, arena, chunk, lead)
        else:
            int_free(heap, arena, tcache, chunk)
        chunk = aligned
    rest = chunk_bytes(machine, chunk) - size
    if direct:
        if rest >= MIN_CHUNK_BYTES or (rest and _is_free_above(machine, arena, chunk)):
            set_head_bytes(machine, chunk, size)
            set_head(machine, chunk + size, rest | PREV_INUSE)
            merge(heap, arena, chunk + size, rest)
    elif rest > MIN_CHUNK_BYTES:
        set_head(machine, chunk + size, rest | PREV_INUSE | arena_flag(arena))
        set_head_bytes(machine, chunk, size)
        int_free(heap, arena, tcache, chunk + size)
    return chunk


@kernel
def _is_free_above(machine, arena, chunk):
    """Whether what follows takes even a piece smaller than a chunk: top, or a free chunk; no more
    from 2.43 on."""
    if since(machine, V2_43):
        return False
    above = chunk + chunk_bytes(machine, chunk)
    return above == load(machine, arena + TOP) or not in_use(machine, above)


@kernel
def _align_mapped(machine, chunk, align):
    """Move a mapped chunk up within its area, which has room."""
    aligned = align_up(chunk + HEADER_BYTES, align) - HEADER_BYTES
    lead = aligned - chunk
    if lead and lead < MIN_CHUNK_BYTES and not since(machine, V2_43):
        lead += align
    aligned = chunk + lead
    if lead:
        length = chunk_bytes(machine, chunk) - lead
        touch(machine, aligned, HEADER_BYTES)
        store(machine, aligned, below_bytes(machine, chunk) + lead)
        set_head(machine, aligned, length | IS_MMAPPED)
    return aligned
