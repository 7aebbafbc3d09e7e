"""An arena's bins: fastbins, unsorted, small and large, with the bitmap over them.

    freed ─► fastbin (<= 128 B, LIFO, stays "in use") ─consolidate─► unsorted
    freed ─► unsorted ─next search─► small bin (one size, FIFO) or large bin (sorted, big first)

Terms      malloc_state: the arena's record, `arena` is its address; bin: the address at which
           a chunk would lie whose fd and bk are the bin's list head
Invariant  every bin is a circular doubly linked list; a large bin is sorted by descending size,
           and its nextsize ring links the first chunk of each size           (managers/glibc check)
Versions   up to 2.39 what is freed goes to the unsorted list first; from 2.41 on a small chunk goes
           straight to its bin; from 2.43 on there are no fastbins, and the record ends before them
Source     glibc 2.31 to 2.43 malloc/malloc.c: malloc_state, bin_at, unlink_chunk,
           malloc_consolidate, _int_free_create_chunk
"""

import numpy as np

from heapwright.compiler import kernel
from heapwright.compiler.bits import trailing_zeros
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.glibc.chunk import (
    BK,
    BK_NEXTSIZE,
    FD,
    FD_NEXTSIZE,
    MIN_CHUNK_BYTES,
    PREV_INUSE,
    below_bytes,
    below_in_use,
    chunk_bytes,
    mark_free,
    set_foot,
    set_head,
)

# Offsets in malloc_state, bytes; the first two 32-bit words are mutex and flags. The fastbins are
# the last here and not in the middle: a record of 2.43 is without them, and where it would say that
# there are some lies the first chunk's size of the chunk below, which stays 0.
ARENA_FLAGS = 0
TOP = 8
LAST_REMAINDER = 16
BINS = 24
BINMAP = 2056
NEXT_ARENA = 2072
NEXT_FREE_ARENA = 2080
ATTACHED_THREADS = 2088
SYSTEM_BYTES = 2096  # system_mem; max_system_mem follows
BARE_ARENA_BYTES = 2112  # sizeof (struct malloc_state) from 2.43 on
HAVE_FASTCHUNKS = 2112
FASTBINS = 2120
ARENA_BYTES = 2200  # sizeof (struct malloc_state) before

NONCONTIGUOUS = 2  # ARENA_FLAGS
FASTBIN_COUNT = 10  # NFASTBINS
BIN_COUNT = 128  # NBINS
UNSORTED = 1
MIN_LARGE_BYTES = 1024  # MIN_LARGE_SIZE


@kernel
def init_arena(machine, arena, record_bytes):
    """Empty bins, and the unsorted bin as a top of size 0 (malloc_init_state)."""
    for number in range(1, BIN_COUNT):
        bin_ = bin_at(arena, number)
        store(machine, bin_ + FD, bin_)
        store(machine, bin_ + BK, bin_)
    for offset in range(0, BINS, 8):
        store(machine, arena + offset, 0)
    for offset in range(BINMAP, record_bytes, 8):
        store(machine, arena + offset, 0)
    store(machine, arena + TOP, bin_at(arena, UNSORTED))


@kernel(inline=True)
def bin_at(arena, number):
    """The bin as if it were a chunk."""
    return arena + BINS - FD + 16 * (number - 1)


@kernel(inline=True)
def fastbin_at(arena, chunk_size):
    """Address of the head of the fastbin for chunks of `chunk_size` bytes."""
    return arena + FASTBINS + 8 * ((chunk_size >> 4) - 2)


@kernel(inline=True)
def bin_number(chunk_size):
    """The bin for a free chunk of `chunk_size` bytes (bin_index, largebin_index_64)."""
    if chunk_size < MIN_LARGE_BYTES:
        return chunk_size >> 4
    if chunk_size >> 6 <= 48:
        return 48 + (chunk_size >> 6)
    if chunk_size >> 9 <= 20:
        return 91 + (chunk_size >> 9)
    if chunk_size >> 12 <= 10:
        return 110 + (chunk_size >> 12)
    if chunk_size >> 15 <= 4:
        return 119 + (chunk_size >> 15)
    if chunk_size >> 18 <= 2:
        return 124 + (chunk_size >> 18)
    return 126


@kernel(inline=True)
def unlink(machine, chunk):
    """Take a free chunk out of its bin (unlink_chunk)."""
    forward, back = load(machine, chunk + FD), load(machine, chunk + BK)
    store(machine, forward + BK, back)
    store(machine, back + FD, forward)
    if chunk_bytes(machine, chunk) < MIN_LARGE_BYTES:
        return
    next_ = load(machine, chunk + FD_NEXTSIZE)
    if not next_:
        return
    previous = load(machine, chunk + BK_NEXTSIZE)
    if load(machine, forward + FD_NEXTSIZE):
        store(machine, next_ + BK_NEXTSIZE, previous)
        store(machine, previous + FD_NEXTSIZE, next_)
    elif next_ == chunk:  # the only size: the next chunk, of the same size, takes its place
        store(machine, forward + FD_NEXTSIZE, forward)
        store(machine, forward + BK_NEXTSIZE, forward)
    else:
        store(machine, forward + FD_NEXTSIZE, next_)
        store(machine, forward + BK_NEXTSIZE, previous)
        store(machine, next_ + BK_NEXTSIZE, forward)
        store(machine, previous + FD_NEXTSIZE, forward)


@kernel(inline=True)
def link_unsorted(machine, arena, chunk, size):
    """Put a free chunk first on the unsorted list and write its tags."""
    touch(machine, chunk + FD, 32)
    unsorted = bin_at(arena, UNSORTED)
    forward = load(machine, unsorted + FD)
    store(machine, chunk + FD, forward)
    store(machine, chunk + BK, unsorted)
    if size >= MIN_LARGE_BYTES:
        store(machine, chunk + FD_NEXTSIZE, 0)
        store(machine, chunk + BK_NEXTSIZE, 0)
    store(machine, unsorted + FD, chunk)
    store(machine, forward + BK, chunk)
    set_head(machine, chunk, size | PREV_INUSE)
    set_foot(machine, chunk, size)


@kernel(inline=True)
def link_small(machine, arena, chunk, size):
    """Put a small free chunk first into its bin and write its tags."""
    touch(machine, chunk + FD, 16)
    number = size >> 4
    bin_ = bin_at(arena, number)
    forward = load(machine, bin_ + FD)
    mark_bin(machine, arena, number)
    store(machine, chunk + BK, bin_)
    store(machine, chunk + FD, forward)
    store(machine, bin_ + FD, chunk)
    store(machine, forward + BK, chunk)
    set_head(machine, chunk, size | PREV_INUSE)
    set_foot(machine, chunk, size)


@kernel(inline=True)
def mark_bin(machine, arena, number):
    """Say in the bitmap that a bin may have chunks."""
    word = arena + BINMAP + 8 * (number >> 6)
    store(machine, word, load(machine, word) | (np.int64(1) << (number & 63)))


@kernel
def link_sorted(machine, arena, chunk, size):
    """Put a free chunk taken off the unsorted list into its small or large bin."""
    number = bin_number(size)
    back = bin_at(arena, number)
    forward = load(machine, back + FD)
    if size >= MIN_LARGE_BYTES:
        if forward == back:
            store(machine, chunk + FD_NEXTSIZE, chunk)
            store(machine, chunk + BK_NEXTSIZE, chunk)
        elif size < chunk_bytes(machine, load(machine, back + BK)):
            forward = back
            back = load(machine, back + BK)
            first = load(machine, forward + FD)
            last = load(machine, first + BK_NEXTSIZE)
            store(machine, chunk + FD_NEXTSIZE, first)
            store(machine, chunk + BK_NEXTSIZE, last)
            store(machine, first + BK_NEXTSIZE, chunk)
            store(machine, last + FD_NEXTSIZE, chunk)
        else:
            while size < chunk_bytes(machine, forward):
                forward = load(machine, forward + FD_NEXTSIZE)
            if size == chunk_bytes(machine, forward):  # second place: the ring stays as it is
                forward = load(machine, forward + FD)
            else:
                previous = load(machine, forward + BK_NEXTSIZE)
                store(machine, chunk + FD_NEXTSIZE, forward)
                store(machine, chunk + BK_NEXTSIZE, previous)
                store(machine, forward + BK_NEXTSIZE, chunk)
                store(machine, previous + FD_NEXTSIZE, chunk)
            back = load(machine, forward + BK)
    mark_bin(machine, arena, number)
    store(machine, chunk + BK, back)
    store(machine, chunk + FD, forward)
    store(machine, forward + BK, chunk)
    store(machine, back + FD, chunk)


@kernel
def smallest_fit_in_bin(machine, bin_, size):
    """The smallest chunk of a large bin with at least `size` bytes, 0 if none.

    Not the first of its size where there are two, so that the ring need not be mended.
    """
    largest = load(machine, bin_ + FD)
    if largest == bin_ or chunk_bytes(machine, largest) < size:
        return 0
    victim = load(machine, largest + BK_NEXTSIZE)
    while chunk_bytes(machine, victim) < size:
        victim = load(machine, victim + BK_NEXTSIZE)
    forward = load(machine, victim + FD)
    if victim != load(machine, bin_ + BK):
        if chunk_bytes(machine, victim) == chunk_bytes(machine, forward):
            return forward
    return victim


@kernel
def last_of_next_bin(machine, arena, number):
    """The last chunk of the first bin from `number` up that has one, 0 if none has.

    The bitmap may say "full" of an empty bin; such a bit is cleared when met.
    """
    word = number >> 6
    bits = load(machine, arena + BINMAP + 8 * word) & (-1 << (number & 63))
    while True:
        while bits == 0:
            word += 1
            if word == BIN_COUNT >> 6:
                return 0
            bits = load(machine, arena + BINMAP + 8 * word)
        number = 64 * word + trailing_zeros(bits)
        bin_ = bin_at(arena, number)
        victim = load(machine, bin_ + BK)
        if victim != bin_:
            return victim
        bit = np.int64(1) << (number & 63)
        bits &= ~bit
        map_ = arena + BINMAP + 8 * word
        store(machine, map_, load(machine, map_) & ~bit)


@kernel
def coalesce(machine, arena, chunk, size, direct):
    """Merge a chunk that dies with its free neighbours; onto the unsorted list, or into top, or
    straight into its small bin if it is then smaller than `direct` bytes.

    Returns the size of what came out.
    """
    above = chunk + size
    if not below_in_use(machine, chunk):
        below = below_bytes(machine, chunk)
        size += below
        chunk -= below
        unlink(machine, chunk)
    above_size = chunk_bytes(machine, above)
    if above == load(machine, arena + TOP):
        size += above_size
        set_head(machine, chunk, size | PREV_INUSE)
        store(machine, arena + TOP, chunk)
        return size
    if below_in_use(machine, above + above_size):
        mark_free(machine, above, 0)
    else:
        unlink(machine, above)
        size += above_size
    if size < direct:
        link_small(machine, arena, chunk, size)
    else:
        link_unsorted(machine, arena, chunk, size)
    return size


@kernel
def consolidate(machine, arena):
    """Empty the fastbins: each chunk merges with its neighbours (malloc_consolidate)."""
    if not load(machine, arena + HAVE_FASTCHUNKS):
        return
    store(machine, arena + HAVE_FASTCHUNKS, 0)
    for number in range(FASTBIN_COUNT):
        slot = arena + FASTBINS + 8 * number
        chunk = load(machine, slot)
        store(machine, slot, 0)
        while chunk:
            following = load(machine, chunk + FD)
            coalesce(machine, arena, chunk, chunk_bytes(machine, chunk), 0)
            chunk = following


@kernel(inline=True)
def split(machine, arena, chunk, size, wanted):
    """Keep `wanted` bytes of an unlinked free chunk of `size`; the rest goes to the unsorted list.

    Returns the remainder, 0 when it would be smaller than a chunk and all is kept.
    """
    rest = size - wanted
    if rest < MIN_CHUNK_BYTES:
        return 0
    link_unsorted(machine, arena, chunk + wanted, rest)
    return chunk + wanted
