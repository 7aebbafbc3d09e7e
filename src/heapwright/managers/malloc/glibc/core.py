"""ptmalloc's allocation from one arena.

    int_malloc  ─► fastbin ─► small bin ─► unsorted, binning what does not fit ─► large bin
                ─► next larger bin ─► top ─► sys_malloc

Every function takes the heap, the arena's address and the calling thread's tcache (0: none);
chunk sizes are already padded. They return chunks, not user addresses; 0 when refused.

Source     glibc 2.31 to 2.43 malloc/malloc.c: _int_malloc
"""

from heapwright.compiler import kernel
from heapwright.machine import load, store, touch
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
    MIN_CHUNK_BYTES,
    NON_MAIN_ARENA,
    PREV_INUSE,
    SIZE,
    SIZE_WORD_BYTES,
    chunk_bytes,
    head,
    mark_in_use,
    set_foot,
    set_head,
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
from heapwright.managers.malloc.glibc.release import arena_flag, stash_room
from heapwright.managers.malloc.glibc.system import (
    MAIN_ARENA,
    MAX_FAST,
    TCACHE_UNSORTED_LIMIT,
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
        chunk = from_unsorted(heap, arena, tcache, size, False)
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
    stash_small(heap, arena, tcache, size, load(machine, chunk + BK))
    return chunk


@kernel(inline=True)
def stash_small(heap, arena, tcache, size, back):
    """Move the chunks of a small bin from `back` on to the thread cache while they fit."""
    machine = heap.machine
    bin_ = bin_at(arena, size >> 4)
    room = stash_room(heap, tcache, size)
    while room > 0 and back != bin_:
        victim = back
        back = load(machine, victim + BK)
        _allocate_whole(machine, arena, victim, size)
        tcache_put(heap, tcache, victim, tcache_index(size))
        room -= 1
    store(machine, bin_ + BK, back)
    store(machine, back + FD, bin_)


@kernel(inline=True)
def _allocate_whole(machine, arena, chunk, size):
    """Flag an unlinked chunk as allocated."""
    mark_in_use(machine, chunk, size)
    if arena != MAIN_ARENA:
        store(machine, chunk + SIZE, head(machine, chunk) | NON_MAIN_ARENA)


@kernel(inline=True)
def from_unsorted(heap, arena, tcache, size, cached):
    """Empty the unsorted list into the bins; stop at an exact fit beyond the cache's room.

    `cached`: whether the cache has got one of this search already.
    """
    machine = heap.machine
    unsorted = bin_at(arena, UNSORTED)
    index = tcache_index(size)
    room = stash_room(heap, tcache, size)
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
def chunk_request(request):
    """Chunk bytes of an internal request, which is never absurd."""
    return max((request + SIZE_WORD_BYTES + 15) & ~15, MIN_CHUNK_BYTES)
