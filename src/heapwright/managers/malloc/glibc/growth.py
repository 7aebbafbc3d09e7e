"""More memory for an arena: a longer break, a longer heap, another heap, or a chunk mapped alone.

Versions   how much is mapped where the break is refused: see `_mapped_instead`
Source     glibc 2.31 to 2.43 malloc/malloc.c: sysmalloc, sysmalloc_mmap_fallback
"""

from heapwright.compiler import kernel
from heapwright.machine import PAGE_BYTES, load, mmap, store
from heapwright.machine.address_space import BREAK
from heapwright.managers.malloc.glibc.bins import (
    ARENA_FLAGS,
    NONCONTIGUOUS,
    SYSTEM_BYTES,
    TOP,
)
from heapwright.managers.malloc.glibc.chunk import (
    ALIGN_BYTES,
    ALIGN_MASK,
    HEADER_BYTES,
    MIN_CHUNK_BYTES,
    NON_MAIN_ARENA,
    PREV_INUSE,
    chunk_bytes,
    set_foot,
    set_head,
)
from heapwright.managers.malloc.glibc.release import arena_flag, free_within
from heapwright.managers.malloc.glibc.system import (
    BROKEN,
    HEAP_ARENA,
    HEAP_INFO_BYTES,
    HEAP_PREVIOUS,
    HEAP_SIZE,
    IN_PIECES,
    MAIN_ARENA,
    MMAP_AS_MORECORE_BYTES,
    MMAP_COUNT,
    MMAP_MAX,
    MMAP_THRESHOLD,
    SBRK_BASE,
    TOP_PAD,
    V2_35,
    V2_38,
    V2_43,
    align_up,
    below,
    grow_heap,
    heap_of,
    map_chunk,
    new_heap,
    sbrk,
    since,
)


@kernel(inline=True)
def cut_top(machine, arena, size):
    """Allocate the lower end of top, which has room."""
    chunk = load(machine, arena + TOP)
    rest = chunk_bytes(machine, chunk) - size
    store(machine, arena + TOP, chunk + size)
    set_head(machine, chunk, size | PREV_INUSE | arena_flag(arena))
    set_head(machine, chunk + size, rest | PREV_INUSE)
    return chunk


@kernel
def sys_malloc(heap, arena, tcache, size):
    """More memory from the system: a chunk mapped on its own, or a longer top (sysmalloc)."""
    machine = heap.machine
    may_map = load(machine, MMAP_COUNT) < load(machine, MMAP_MAX)
    tried_mmap = size >= load(machine, MMAP_THRESHOLD) and may_map
    if tried_mmap:
        chunk = map_chunk(machine, size)
        if chunk:
            return chunk
    if arena == MAIN_ARENA:
        _extend_main(heap, tcache, size)
    elif not _extend_heap(heap, arena, tcache, size) and not tried_mmap:
        return map_chunk(machine, size)
    if chunk_bytes(machine, load(machine, arena + TOP)) < size + MIN_CHUNK_BYTES:
        return 0
    return cut_top(machine, arena, size)


@kernel
def _extend_heap(heap, arena, tcache, size):
    """Lengthen an arena's last heap, or give the arena another one; whether that worked."""
    machine = heap.machine
    top = load(machine, arena + TOP)
    top_size = chunk_bytes(machine, top)
    last = heap_of(top)
    before = load(machine, last + HEAP_SIZE)
    if grow_heap(machine, last, MIN_CHUNK_BYTES + size - top_size):
        after = load(machine, last + HEAP_SIZE)
        store(machine, arena + SYSTEM_BYTES, load(machine, arena + SYSTEM_BYTES) + after - before)
        set_head(machine, top, (last + after - top) | PREV_INUSE)
        return True
    info = load(machine, HEAP_INFO_BYTES)
    fresh = new_heap(machine, size + MIN_CHUNK_BYTES + info, load(machine, TOP_PAD))
    if not fresh:
        return False
    fresh_size = load(machine, fresh + HEAP_SIZE)
    store(machine, fresh + HEAP_ARENA, arena)
    store(machine, fresh + HEAP_PREVIOUS, last)
    store(machine, arena + SYSTEM_BYTES, load(machine, arena + SYSTEM_BYTES) + fresh_size)
    store(machine, arena + TOP, fresh + info)
    set_head(machine, fresh + info, (fresh_size - info) | PREV_INUSE)
    # The old top ends in two fenceposts, which look allocated; the rest of it is freed.
    kept = top_size - MIN_CHUNK_BYTES
    set_head(machine, top + kept + HEADER_BYTES, PREV_INUSE)
    if kept >= MIN_CHUNK_BYTES:
        set_head(machine, top + kept, HEADER_BYTES | PREV_INUSE)
        set_foot(machine, top + kept, HEADER_BYTES)
        set_head(machine, top, kept | PREV_INUSE | NON_MAIN_ARENA)
        free_within(heap, arena, tcache, top)
    else:
        set_head(machine, top, (kept + HEADER_BYTES) | PREV_INUSE)
        set_foot(machine, top, kept + HEADER_BYTES)
    return True


@kernel
def _extend_main(heap, tcache, size):
    """Lengthen the main arena's top through the break, or through mmap where brk is refused."""
    machine, arena = heap.machine, MAIN_ARENA
    top = load(machine, arena + TOP)
    top_size = chunk_bytes(machine, top)
    contiguous = not load(machine, arena + ARENA_FLAGS) & NONCONTIGUOUS
    more = size + load(machine, TOP_PAD) + MIN_CHUNK_BYTES
    if contiguous:
        more -= top_size
    more = align_up(more, PAGE_BYTES)
    start = sbrk(machine, more) if more > 0 else -1
    by_mmap = start < 0
    if by_mmap:
        more = _mapped_instead(machine, size, more, top_size if contiguous else -1)
        start = mmap(machine, 0, more) if below(size, more) else 0
        if not start:
            return
        store(machine, arena + ARENA_FLAGS, NONCONTIGUOUS)
        contiguous = False
    if not load(machine, SBRK_BASE):
        store(machine, SBRK_BASE, start)
    store(machine, arena + SYSTEM_BYTES, load(machine, arena + SYSTEM_BYTES) + more)
    if start == top + top_size and not by_mmap:
        set_head(machine, top, (top_size + more) | PREV_INUSE)
        return
    end = start + more
    if contiguous:
        if top_size:
            store(machine, IN_PIECES, 1)
            if start < top + top_size:
                store(machine, BROKEN, 1)
                return
        start, end = _reach_a_page(machine, start, end)
    elif not by_mmap:
        end = machine.meters[BREAK]
    store(machine, arena + TOP, start)
    set_head(machine, start, (end - start) | PREV_INUSE)
    if top_size:  # what was top ends in fenceposts
        kept = (top_size - 2 * HEADER_BYTES) & ~ALIGN_MASK
        set_head(machine, top, kept | PREV_INUSE)
        set_head(machine, top + kept, HEADER_BYTES | PREV_INUSE)
        set_head(machine, top + kept + HEADER_BYTES, HEADER_BYTES | PREV_INUSE)
        if kept >= MIN_CHUNK_BYTES:
            free_within(heap, arena, tcache, top)


@kernel
def _mapped_instead(machine, size, more, top_size):
    """Bytes to map where the break could not move by `more`; `top_size` is -1 where the heap had
    not to go on where it ended, else its top's, which is needed again: 1 MiB at least, in pages.
    From 2.35 to 2.37 the call has the two the wrong way round."""
    if since(machine, V2_43):
        more = align_up(size + load(machine, TOP_PAD) + MIN_CHUNK_BYTES, PAGE_BYTES)
        return MMAP_AS_MORECORE_BYTES if below(more, MMAP_AS_MORECORE_BYTES) else more
    unit, least = PAGE_BYTES, MMAP_AS_MORECORE_BYTES
    if since(machine, V2_35) and not since(machine, V2_38):
        unit, least = least, unit
    if top_size >= 0:
        more = align_up(more + top_size, unit)
    return least if below(more, least) else more


@kernel
def _reach_a_page(machine, start, end):
    """New space that the break gave, apart from the old top: from where on it can be a top, and its
    end, moved up by the old top's size, since that was not asked for anew, and to a whole page.

    Nothing moves at the first growth. After the program moved the break itself, `start` may be any
    byte, and what lies between counts as the arena's.
    """
    arena = MAIN_ARENA
    top_size = chunk_bytes(machine, load(machine, arena + TOP))
    counted = load(machine, arena + SYSTEM_BYTES)
    if top_size:
        counted += start - (load(machine, arena + TOP) + top_size)
    aligned = align_up(start, ALIGN_BYTES)
    correction = aligned - start + top_size
    correction = align_up(end + correction, PAGE_BYTES) - end
    if sbrk(machine, correction) >= 0:
        end += correction
        counted += correction
    store(machine, arena + SYSTEM_BYTES, counted)
    return aligned, end
