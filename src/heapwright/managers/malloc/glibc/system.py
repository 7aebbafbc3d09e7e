"""What ptmalloc takes from the operating system and gives back: break, heaps, mapped chunks.

    main arena    ─► brk: one contiguous heap, trimmed from the top
    other arenas  ─► heaps: 64 MiB of reserved address space each, aligned to 64 MiB so that a
                     chunk's heap_info, and through it its arena, is found by masking its address
    large request ─► mmap: a chunk of its own, `prev_size` holds the offset from the area's start

Terms      parameters: malloc_par and the other static variables, one word each
Versions   the size of a mapped chunk does not count its last 16 bytes from 2.43 on, and it takes as
           many beyond its block; a heap's record is 32 bytes long up to 2.34
Source     glibc 2.31 to 2.43 malloc/malloc.c (systrim, munmap_chunk, mremap_chunk,
           mmap_set_chunk), malloc/arena.c
Omits      explicit huge pages (glibc.malloc.hugetlb)
"""

from heapwright.compiler import kernel
from heapwright.machine import (
    ADVISE_DONTNEED,
    PAGE_BYTES,
    STATIC_BASE,
    brk,
    load,
    madvise,
    mmap,
    mprotect,
    mremap,
    munmap,
    store,
    touch,
)
from heapwright.machine.address_space import BREAK
from heapwright.managers.malloc.glibc.bins import (
    SYSTEM_BYTES,
    TOP,
    unlink,
)
from heapwright.managers.malloc.glibc.chunk import (
    ALIGN_MASK,
    HEADER_BYTES,
    IS_MMAPPED,
    MIN_CHUNK_BYTES,
    PREV_INUSE,
    below_bytes,
    below_in_use,
    chunk_bytes,
    set_head,
)

MAIN_ARENA = STATIC_BASE

# The static variables: addresses
PARAMETERS = STATIC_BASE + PAGE_BYTES
(
    TRIM_THRESHOLD,
    TOP_PAD,
    MMAP_THRESHOLD,
    MMAP_COUNT,  # n_mmaps
    MMAP_MAX,  # n_mmaps_max
    NO_DYNAMIC_THRESHOLD,
    SBRK_BASE,
    MAX_FAST,  # global_max_fast: chunk bytes
    TCACHE_BINS,
    TCACHE_COUNT,
    TCACHE_UNSORTED_LIMIT,
    ARENA_MAX,
    ARENA_TEST,
    CORES,
    ARENAS,  # narenas
    ARENAS_LIMIT,  # narenas_limit
    FREE_ARENAS,  # free_list
    NEXT_ARENA_TO_USE,
    ALIGNED_HEAP_AREA,
    THREADS,  # one more than the largest thread number seen
    IN_PIECES,  # 1 after the program moved the break: the main heap is in pieces
    BROKEN,  # 1 after it moved the break below the heap's end, for which glibc ends the program
    # What the versions have differently; `boot` stores it
    VERSION,  # as in settings: 2_036_000
    DIRECT_BELOW,  # chunk bytes; what is freed and smaller goes straight to its small bin
    TCACHE_LARGEST,  # chunk bytes; large chunks up to here are cached; 0: none
    RECORD_BYTES,  # of an arena
    HEAP_INFO_BYTES,  # of a heap of its
    MAPPED_EXTRA,  # bytes that a mapped chunk takes beyond its padded request
    MAPPED_TAIL,  # bytes at the end of a mapped chunk's area that its size does not count
    HOOKED,  # 1 up to 2.31, until the first malloc or calloc
) = range(PARAMETERS, PARAMETERS + 30 * 8, 8)
SET_AT_BOOT = {  # by the names of parameters.Parameters
    "trim_threshold": TRIM_THRESHOLD,
    "top_pad": TOP_PAD,
    "mmap_threshold": MMAP_THRESHOLD,
    "mmap_max": MMAP_MAX,
    "no_dynamic_threshold": NO_DYNAMIC_THRESHOLD,
    "max_fast": MAX_FAST,
    "tcache_bins": TCACHE_BINS,
    "tcache_count": TCACHE_COUNT,
    "tcache_unsorted_limit": TCACHE_UNSORTED_LIMIT,
    "arena_max": ARENA_MAX,
    "arena_test": ARENA_TEST,
    "cores": CORES,
    "version": VERSION,
    "direct_below": DIRECT_BELOW,
    "tcache_largest": TCACHE_LARGEST,
    "record_bytes": RECORD_BYTES,
    "heap_info_bytes": HEAP_INFO_BYTES,
    "mapped_extra": MAPPED_EXTRA,
    "mapped_tail": MAPPED_TAIL,
    "hooked": HOOKED,
}
NO_TCACHE = PARAMETERS + 1024  # stands for the cache of a thread that shall have none: from 2.43 on

V2_34, V2_35, V2_38, V2_39 = 2_034_000, 2_035_000, 2_038_000, 2_039_000
V2_41, V2_43 = 2_041_000, 2_043_000

MMAP_THRESHOLD_MAX = 32 << 20  # bytes: DEFAULT_MMAP_THRESHOLD_MAX
MMAP_AS_MORECORE_BYTES = 1 << 20

# heap_info, at the start of each heap: offsets
HEAP_ARENA, HEAP_PREVIOUS, HEAP_SIZE, HEAP_PROTECTED = 0, 8, 16, 24
HEAP_MIN_BYTES = 32 << 10
HEAP_MAX_BYTES = 64 << 20


@kernel(inline=True)
def since(machine, version):
    """Whether this is that version or a later one."""
    return load(machine, VERSION) >= version


@kernel(inline=True)
def below(one, other):
    """Whether `one` is less than `other`, both as size_t."""
    return one < other if (one < 0) == (other < 0) else other < 0


@kernel
def align_up(value, unit):
    """The least multiple of `unit`, a power of two, that is not below `value`."""
    return (value + unit - 1) & ~(unit - 1)


@kernel
def sbrk(machine, increment):
    """The old break, moved by `increment`; -1 where the system refuses."""
    old = machine.meters[BREAK]
    if increment and brk(machine, old + increment) != old + increment:
        return -1
    return old


@kernel
def trim_main(machine, arena, pad):
    """Give the end of the main arena's top back, but for `pad` bytes; whether it moved (systrim).

    A top of the least size counts as the largest: then the real one grows by a page, and so here.
    """
    top = load(machine, arena + TOP)
    top_size = chunk_bytes(machine, top)
    spare = top_size - MIN_CHUNK_BYTES - 1
    if not below(pad, spare):
        return False
    extra = (spare - pad) & ~(PAGE_BYTES - 1)
    end = machine.meters[BREAK]
    if extra == 0 or end != top + top_size:
        return False
    sbrk(machine, -extra)
    released = end - machine.meters[BREAK]
    if released == 0:
        return False
    store(machine, arena + SYSTEM_BYTES, load(machine, arena + SYSTEM_BYTES) - released)
    set_head(machine, top, (top_size - released) | PREV_INUSE)
    return True


@kernel
def map_chunk(machine, size):
    """A chunk of at least `size` bytes in an area of its own, 0 if refused (sysmalloc_mmap)."""
    length = align_up(size + load(machine, MAPPED_EXTRA), PAGE_BYTES)
    chunk = mmap(machine, 0, length)
    if chunk:
        touch(machine, chunk, HEADER_BYTES)
        store(machine, chunk, 0)
        store(machine, chunk + 8, (length - load(machine, MAPPED_TAIL)) | IS_MMAPPED)
        store(machine, MMAP_COUNT, load(machine, MMAP_COUNT) + 1)
    return chunk


@kernel
def unmap_chunk(machine, chunk):
    """Give a mapped chunk back (munmap_chunk)."""
    offset = below_bytes(machine, chunk)
    store(machine, MMAP_COUNT, load(machine, MMAP_COUNT) - 1)
    munmap(machine, chunk - offset, offset + mapped_bytes(machine, chunk))


@kernel
def mapped_bytes(machine, chunk):
    """Bytes from a mapped chunk to the end of its area."""
    return chunk_bytes(machine, chunk) + load(machine, MAPPED_TAIL)


@kernel
def remap_chunk(machine, chunk, size):
    """Resize a mapped chunk, perhaps elsewhere; its address, 0 if refused (mremap_chunk)."""
    offset = below_bytes(machine, chunk)
    old_length = offset + mapped_bytes(machine, chunk)
    length = align_up(size + offset + load(machine, MAPPED_EXTRA), PAGE_BYTES)
    if length == old_length:
        return chunk
    area = mremap(machine, chunk - offset, old_length, length)
    if not area:
        return 0
    store(machine, area + offset, offset)
    length -= load(machine, MAPPED_TAIL)
    set_head(machine, area + offset, (length - offset) | IS_MMAPPED)
    return area + offset


@kernel
def adapt_thresholds(machine, chunk):
    """A mapped chunk dies: from now on chunks of its size come from the heap."""
    size = chunk_bytes(machine, chunk)
    if load(machine, NO_DYNAMIC_THRESHOLD):
        return
    if load(machine, chunk + 8) > load(machine, MMAP_THRESHOLD) and size <= MMAP_THRESHOLD_MAX - 2:
        store(machine, MMAP_THRESHOLD, size)
        store(machine, TRIM_THRESHOLD, 2 * size)


@kernel
def heap_of(chunk):
    """The heap_info of a chunk that is not in the main arena (heap_for_ptr)."""
    return chunk & ~(HEAP_MAX_BYTES - 1)


@kernel
def new_heap(machine, size, pad):
    """A heap with `size` usable bytes or somewhat more, 0 if refused (alloc_new_heap)."""
    if below(size + pad, HEAP_MIN_BYTES):
        size = HEAP_MIN_BYTES
    elif not below(HEAP_MAX_BYTES, size + pad):
        size += pad
    elif size > HEAP_MAX_BYTES:
        return 0
    else:
        size = HEAP_MAX_BYTES
    size = align_up(size, PAGE_BYTES)
    heap = 0
    hint = load(machine, ALIGNED_HEAP_AREA)
    if hint:
        store(machine, ALIGNED_HEAP_AREA, 0)
        heap = mmap(machine, hint, HEAP_MAX_BYTES)
        if heap & (HEAP_MAX_BYTES - 1):
            munmap(machine, heap, HEAP_MAX_BYTES)
            heap = 0
    if not heap:
        area = mmap(machine, 0, 2 * HEAP_MAX_BYTES)
        if not area:
            return 0
        heap = align_up(area, HEAP_MAX_BYTES)
        lead = heap - area
        if lead:
            munmap(machine, area, lead)
        else:
            store(machine, ALIGNED_HEAP_AREA, heap + HEAP_MAX_BYTES)
        munmap(machine, heap + HEAP_MAX_BYTES, HEAP_MAX_BYTES - lead)
    mprotect(machine, heap, size)
    touch(machine, heap, load(machine, HEAP_INFO_BYTES))
    store(machine, heap + HEAP_SIZE, size)
    store(machine, heap + HEAP_PROTECTED, size)
    store(machine, heap + HEAP_PREVIOUS, 0)
    return heap


@kernel
def grow_heap(machine, heap, more):
    """Make `more` bytes of a heap usable; whether that was possible."""
    size = load(machine, heap + HEAP_SIZE) + align_up(more, PAGE_BYTES)
    if size > HEAP_MAX_BYTES:
        return False
    protected = load(machine, heap + HEAP_PROTECTED)
    if size > protected:
        mprotect(machine, heap + protected, size - protected)
        store(machine, heap + HEAP_PROTECTED, size)
    store(machine, heap + HEAP_SIZE, size)
    return True


@kernel
def trim_heap(machine, arena, pad):
    """Drop the arena's last heaps while they are empty, then give the end of its top back."""
    top = load(machine, arena + TOP)
    heap = heap_of(top)
    while top == heap + load(machine, HEAP_INFO_BYTES):
        previous = load(machine, heap + HEAP_PREVIOUS)
        previous_size = load(machine, previous + HEAP_SIZE)
        fence = previous + previous_size - HEADER_BYTES
        misalign = fence & ALIGN_MASK
        chunk = fence - misalign
        chunk -= below_bytes(machine, chunk)  # the first of the two fenceposts
        size = chunk_bytes(machine, chunk) + HEADER_BYTES + misalign
        if not below_in_use(machine, chunk):
            size += below_bytes(machine, chunk)
        least = pad + MIN_CHUNK_BYTES + PAGE_BYTES
        if below(size + HEAP_MAX_BYTES - previous_size, least):
            break
        system = load(machine, arena + SYSTEM_BYTES) - load(machine, heap + HEAP_SIZE)
        store(machine, arena + SYSTEM_BYTES, system)
        if heap + HEAP_MAX_BYTES == load(machine, ALIGNED_HEAP_AREA):
            store(machine, ALIGNED_HEAP_AREA, 0)
        munmap(machine, heap, HEAP_MAX_BYTES)
        heap = previous
        if not below_in_use(machine, chunk):
            chunk -= below_bytes(machine, chunk)
            unlink(machine, chunk)
        top = chunk
        store(machine, arena + TOP, top)
        set_head(machine, top, size | PREV_INUSE)
    top_size = chunk_bytes(machine, top)
    spare = top_size - MIN_CHUNK_BYTES - 1
    if top_size < load(machine, TRIM_THRESHOLD) or spare < 0 or not below(pad, spare):
        return
    extra = (spare - pad) & ~(PAGE_BYTES - 1)
    if extra:
        size = load(machine, heap + HEAP_SIZE) - extra
        madvise(machine, heap + size, extra, ADVISE_DONTNEED)
        store(machine, heap + HEAP_SIZE, size)
        store(machine, arena + SYSTEM_BYTES, load(machine, arena + SYSTEM_BYTES) - extra)
        set_head(machine, top, (top_size - extra) | PREV_INUSE)
