"""ptmalloc's algorithms on one arena: allocate, resize, align.

    int_malloc  ─► fastbin ─► small bin ─► unsorted, binning what does not fit ─► large bin
                ─► next larger bin ─► top ─► sys_malloc
    int_realloc ─► in place ─► into the upper neighbour ─► int_malloc, copy, int_free

Every function takes the heap, the arena's address and the calling thread's tcache (0: none);
chunk sizes are already padded. They return chunks, not user addresses; 0 when refused.

Source     glibc 2.36 malloc/malloc.c: _int_malloc, _int_realloc, _int_memalign
"""

from heapwright.compiler import kernel
from heapwright.machine import copy, load, store, touch
from heapwright.managers.malloc.glibc.bins import (
    HAVE_FASTCHUNKS,
    LAST_REMAINDER,
    MIN_LARGE_BYTES,
    TOP,
    UNSORTED,
    bin_at,
    bin_number,
    consolidate,
    fastbin_at,
    last_of_next_bin,
    link_sorted,
    smallest_fit_in_bin,
    split,
    unlink,
)
from heapwright.managers.malloc.glibc.chunk import (
    BK,
    FD,
    HEADER_BYTES,
    IS_MMAPPED,
    MIN_CHUNK_BYTES,
    NON_MAIN_ARENA,
    PREV_INUSE,
    SIZE,
    SIZE_WORD_BYTES,
    below_bytes,
    chunk_bytes,
    head,
    in_use,
    mark_in_use,
    set_foot,
    set_head,
    set_head_bytes,
)
from heapwright.managers.malloc.glibc.growth import cut_top, sys_malloc
from heapwright.managers.malloc.glibc.paths import (
    CONSOLIDATE,
    FASTBIN_HIT,
    LARGE_BIN_FIT,
    NEXT_BIN_FIT,
    REMAINDER_FIT,
    SMALL_BIN_HIT,
    SYSTEM_CALL,
    TOP_FIT,
    UNSORTED_FIT,
)
from heapwright.managers.malloc.glibc.release import arena_flag, int_free, stash_room
from heapwright.managers.malloc.glibc.system import (
    MAIN_ARENA,
    MAX_FAST,
    TCACHE_UNSORTED_LIMIT,
    align_up,
)
from heapwright.managers.malloc.glibc.tcache import (
    tcache_get,
    tcache_index,
    tcache_put,
)

MAX_UNSORTED_STEPS = 10000  # MAX_ITERS


@kernel
def int_malloc(heap, arena, tcache, size):
    """An allocated chunk of at least `size` bytes."""
    machine = heap.machine
    if size <= load(machine, MAX_FAST):
        chunk = _from_fastbin(heap, arena, tcache, size)
        if chunk:
            return chunk
    if size < MIN_LARGE_BYTES:
        chunk = _from_small_bin(heap, arena, tcache, size)
        if chunk:
            return chunk
    elif load(machine, arena + HAVE_FASTCHUNKS):
        heap.paths[CONSOLIDATE] += 1
        consolidate(machine, arena)
    while True:
        chunk = _from_unsorted(heap, arena, tcache, size)
        if not chunk:
            chunk = _from_larger(heap, arena, size)
        if chunk:
            return chunk
        if chunk_bytes(machine, load(machine, arena + TOP)) >= size + MIN_CHUNK_BYTES:
            heap.paths[TOP_FIT] += 1
            return cut_top(machine, arena, size)
        if not load(machine, arena + HAVE_FASTCHUNKS):
            heap.paths[SYSTEM_CALL] += 1
            return sys_malloc(heap, arena, tcache, size)
        heap.paths[CONSOLIDATE] += 1
        consolidate(machine, arena)


@kernel(inline=True)
def _from_fastbin(heap, arena, tcache, size):
    """Pop a fastbin, moving more of its chunks to the thread cache while they fit."""
    machine = heap.machine
    fastbin = fastbin_at(arena, size)
    chunk = load(machine, fastbin)
    if not chunk:
        return 0
    heap.paths[FASTBIN_HIT] += 1
    following = load(machine, chunk + FD)
    room = stash_room(heap, tcache, size)
    while room > 0 and following:
        after = load(machine, following + FD)
        tcache_put(heap, tcache, following, tcache_index(size))
        following = after
        room -= 1
    store(machine, fastbin, following)
    return chunk


@kernel(inline=True)
def _from_small_bin(heap, arena, tcache, size):
    """Take the oldest chunk of a small bin, moving more to the thread cache while they fit."""
    machine = heap.machine
    bin_ = bin_at(arena, size >> 4)
    chunk = load(machine, bin_ + BK)
    if chunk == bin_:
        return 0
    heap.paths[SMALL_BIN_HIT] += 1
    _allocate_whole(machine, arena, chunk, size)
    back = load(machine, chunk + BK)
    room = stash_room(heap, tcache, size)
    while room > 0 and back != bin_:
        victim = back
        back = load(machine, victim + BK)
        _allocate_whole(machine, arena, victim, size)
        tcache_put(heap, tcache, victim, tcache_index(size))
        room -= 1
    store(machine, bin_ + BK, back)
    store(machine, back + FD, bin_)
    return chunk


@kernel(inline=True)
def _allocate_whole(machine, arena, chunk, size):
    """Flag an unlinked chunk as allocated."""
    mark_in_use(machine, chunk, size)
    if arena != MAIN_ARENA:
        store(machine, chunk + SIZE, head(machine, chunk) | NON_MAIN_ARENA)


@kernel(inline=True)
def _from_unsorted(heap, arena, tcache, size):
    """Empty the unsorted list into the bins; stop at an exact fit beyond the cache's room."""
    machine = heap.machine
    unsorted = bin_at(arena, UNSORTED)
    index = tcache_index(size)
    room = stash_room(heap, tcache, size)
    cached = False
    steps = 0
    while steps < MAX_UNSORTED_STEPS:
        victim = load(machine, unsorted + BK)
        if victim == unsorted:
            break
        back = load(machine, victim + BK)
        victim_size = chunk_bytes(machine, victim)
        if (
            size < MIN_LARGE_BYTES
            and back == unsorted
            and victim == load(machine, arena + LAST_REMAINDER)
            and victim_size > size + MIN_CHUNK_BYTES
        ):
            heap.paths[REMAINDER_FIT] += 1
            _cut_last_remainder(machine, arena, victim, size)
            return victim
        store(machine, unsorted + BK, back)
        store(machine, back + FD, unsorted)
        if victim_size == size:
            _allocate_whole(machine, arena, victim, size)
            if room > 0:
                tcache_put(heap, tcache, victim, index)
                room -= 1
                cached = True
                continue
            heap.paths[UNSORTED_FIT] += 1
            return victim
        link_sorted(machine, arena, victim, victim_size)
        steps += 1
        limit = load(machine, TCACHE_UNSORTED_LIMIT)
        if cached and limit > 0 and steps > limit:
            break
    if cached:
        heap.paths[UNSORTED_FIT] += 1
        return tcache_get(heap, tcache, index) - HEADER_BYTES
    return 0


@kernel(inline=True)
def _cut_last_remainder(machine, arena, chunk, size):
    """Split the last remainder, alone on the unsorted list, where it lies."""
    rest = chunk + size
    rest_size = chunk_bytes(machine, chunk) - size
    unsorted = bin_at(arena, UNSORTED)
    touch(machine, rest + SIZE, 40)
    store(machine, unsorted + BK, rest)
    store(machine, unsorted + FD, rest)
    store(machine, arena + LAST_REMAINDER, rest)
    store(machine, rest + BK, unsorted)
    store(machine, rest + FD, unsorted)
    if rest_size >= MIN_LARGE_BYTES:
        store(machine, rest + FD + 16, 0)
        store(machine, rest + BK + 16, 0)
    set_head(machine, chunk, size | PREV_INUSE | arena_flag(arena))
    set_head(machine, rest, rest_size | PREV_INUSE)
    set_foot(machine, rest, rest_size)


@kernel(inline=True)
def _from_larger(heap, arena, size):
    """The best fit: in the bin of a large request, else in the next bin that is not empty."""
    machine = heap.machine
    number = bin_number(size)
    victim = 0
    if size >= MIN_LARGE_BYTES:
        victim = smallest_fit_in_bin(machine, bin_at(arena, number), size)
    in_own_bin = victim != 0
    if not in_own_bin:
        victim = last_of_next_bin(machine, arena, number + 1)
        if not victim:
            return 0
    heap.paths[LARGE_BIN_FIT if in_own_bin else NEXT_BIN_FIT] += 1
    victim_size = chunk_bytes(machine, victim)
    unlink(machine, victim)
    rest = split(machine, arena, victim, victim_size, size)
    if rest:
        if not in_own_bin and size < MIN_LARGE_BYTES:
            store(machine, arena + LAST_REMAINDER, rest)
        set_head(machine, victim, size | PREV_INUSE | arena_flag(arena))
    else:
        _allocate_whole(machine, arena, victim, victim_size)
    return victim


@kernel
def int_realloc(heap, arena, tcache, old, size):
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
            chunk = int_malloc(heap, arena, tcache, size)
            if not chunk:
                return 0
            if chunk != above:
                length = old_size - SIZE_WORD_BYTES
                copy(machine, chunk + HEADER_BYTES, old + HEADER_BYTES, length)
                int_free(heap, arena, tcache, old)
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
    int_free(heap, arena, tcache, old + size)
    return old


@kernel
def int_memalign(heap, arena, tcache, size, align):
    """A chunk whose user address is a multiple of `align`, a power of two of at least 32."""
    machine = heap.machine
    chunk = int_malloc(heap, arena, tcache, chunk_request(size + align + MIN_CHUNK_BYTES))
    if not chunk:
        return 0
    user = chunk + HEADER_BYTES
    mapped = head(machine, chunk) & IS_MMAPPED
    if user & (align - 1):
        aligned = align_up(user, align) - HEADER_BYTES
        if aligned - chunk < MIN_CHUNK_BYTES:
            aligned += align
        lead = aligned - chunk
        length = chunk_bytes(machine, chunk) - lead
        if mapped:
            touch(machine, aligned, HEADER_BYTES)
            store(machine, aligned, below_bytes(machine, chunk) + lead)
            set_head(machine, aligned, length | IS_MMAPPED)
            return aligned
        set_head(machine, aligned, length | PREV_INUSE | arena_flag(arena))
        mark_in_use(machine, aligned, length)
        set_head_bytes(machine, chunk, lead | arena_flag(arena))
        int_free(heap, arena, tcache, chunk)
        chunk = aligned
    if not mapped:
        rest = chunk_bytes(machine, chunk) - size
        if rest > MIN_CHUNK_BYTES:
            set_head(machine, chunk + size, rest | PREV_INUSE | arena_flag(arena))
            set_head_bytes(machine, chunk, size)
            int_free(heap, arena, tcache, chunk + size)
    return chunk


@kernel
def chunk_request(request):
    """Chunk bytes of an internal request, which is never absurd."""
    return max((request + SIZE_WORD_BYTES + 15) & ~15, MIN_CHUNK_BYTES)
