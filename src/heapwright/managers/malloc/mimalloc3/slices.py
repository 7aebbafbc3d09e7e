"""Free slices of mimalloc 3's arenas, looked for chunk by chunk, as its bitmaps are.

    take ─► chunks up to the highest that was used, from the thread's number on, then the others:
            first those used for smaller pieces, then for the like, then the wholly free ones; in a
            chunk the first run that is long enough, a piece of eight at a multiple of eight
    free ─► to be given back after a while; its chunk may be used for anything once it is all free

Invariant  see `invariants.py` (check: 1)
Source     mimalloc 3.4.3 src/bitmap.c (mi_bbitmap_try_find_and_clear_generic, mi_bfield_iterate),
           src/arena.c (mi_forall_arenas)
Omits      races: here one thread looks at a time
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.managers.malloc.mimalloc3.state import (
    ARENA_BINS,
    CHUNK_SHIFT,
    CHUNK_SLICES,
    EIGHT,
    FIELD,
    FIELD_SLICES,
    FIRST,
    HIGHEST,
    IS_FREE,
    LARGE_SLICES,
    LENGTH_SLICES,
    MEDIUM_SLICES,
    MOST_ARENA_CHUNKS,
    NONE,
    OTHER,
    PAST,
    SINGLE,
    WHOLE,
    arena_word,
    set_arena_word,
)


@kernel(inline=True)
def chunk_row(arena, chunk):
    """A chunk's place in what is kept of each."""
    return unsigned(arena * MOST_ARENA_CHUNKS + chunk)


@kernel(inline=True)
def turn(step, start, cycle):
    """The step-th place of a walk that begins at `start`, goes on to `cycle`, then takes what is
    below the start and what is from the cycle on (mi_bfield_iterate)."""
    if step < cycle - start:
        return start + step
    rest = step - (cycle - start)
    return rest if rest < start else cycle + rest - start


@kernel
def arena_at(heap, step, sequence):
    """The step-th arena that a thread looks in: the last one at last (mi_forall_arenas)."""
    cycle = heap.arenas - 1
    if step >= cycle:
        return step
    place = step + (sequence % cycle if cycle > 1 else 0)
    return place - cycle if place >= cycle else place


@kernel
def _use(count):
    """What a chunk is used for from which so many slices are taken (mi_chunkbin_of)."""
    if count == 1:
        return SINGLE
    if count == MEDIUM_SLICES:
        return EIGHT
    return FIELD if count == LARGE_SLICES else OTHER


@kernel
def _see(heap, arena, chunk):
    """A chunk was used or freed."""
    if chunk > arena_word(heap, arena, HIGHEST):
        set_arena_word(heap, arena, HIGHEST, chunk)


@kernel
def _run_in(heap, first, count):
    """The first slice of a run of free ones in the chunk that begins at `first`; -1: there is none
    so long."""
    if count == MEDIUM_SLICES:
        for slice_ in range(first, first + CHUNK_SLICES, MEDIUM_SLICES):
            length = 0
            while length < count and heap.marks[unsigned(slice_ + length)] & IS_FREE:
                length += 1
            if length == count:
                return slice_
        return -1
    length = 0
    for slice_ in range(first, first + CHUNK_SLICES):
        length = length + 1 if heap.marks[unsigned(slice_)] & IS_FREE else 0
        if length == count:
            return slice_ - count + 1
    return -1


@kernel
def claim(heap, arena, slice_, count):
    """Slices are free no more; they may lie in several chunks."""
    first = arena_word(heap, arena, FIRST)
    if slice_ + count > arena_word(heap, arena, PAST):
        set_arena_word(heap, arena, PAST, slice_ + count)
    for place in range(slice_, slice_ + count):
        heap.marks[unsigned(place)] &= 255 - IS_FREE
        heap.free_in[chunk_row(arena, (place - first) >> CHUNK_SHIFT)] -= 1


@kernel
def release(heap, arena, slice_, count):
    """They are again. A chunk that is all free may be used for anything."""
    first = arena_word(heap, arena, FIRST)
    for place in range(slice_, slice_ + count):
        heap.marks[unsigned(place)] |= IS_FREE
        heap.free_in[chunk_row(arena, (place - first) >> CHUNK_SHIFT)] += 1
    low, high = (slice_ - first) >> CHUNK_SHIFT, (slice_ + count - 1 - first) >> CHUNK_SHIFT
    for chunk in range(low, high + 1):
        row = chunk_row(arena, chunk)
        if heap.free_in[row] == CHUNK_SLICES:
            heap.use_of[row] = NONE
        heap.listed[row] = 1
        _see(heap, arena, chunk)


@kernel
def find(heap, arena, sequence, count):
    """The first slice of a run in an arena, which is free no more; 0: there is none."""
    if count > CHUNK_SLICES:
        return _find_whole(heap, arena, count)
    chunks = arena_word(heap, arena, LENGTH_SLICES) >> CHUNK_SHIFT
    entries = (chunks + FIELD_SLICES - 1) // FIELD_SLICES
    highest = arena_word(heap, arena, HIGHEST)
    cycle = highest // FIELD_SLICES + 1
    for step in range(entries):
        entry = turn(step, sequence % cycle, cycle)
        wide = FIELD_SLICES if entry != cycle - 1 else 1 + highest % FIELD_SLICES
        found = _find_among(heap, arena, (entry, wide), sequence, count)
        if found:
            return found
    return 0


@kernel
def _find_among(heap, arena, among, sequence, count):
    """The same in the 64 chunks of an entry, of which `wide` are looked at in turn."""
    entry, wide = among
    first, use = arena_word(heap, arena, FIRST), _use(count)
    want = SINGLE
    while want <= NONE:
        for step in range(FIELD_SLICES):
            chunk = entry * FIELD_SLICES + turn(step, sequence % wide, wide)
            row = chunk_row(arena, chunk)
            if not heap.listed[row] or heap.use_of[row] != want:
                continue
            start = first + (chunk << CHUNK_SHIFT)
            found = _run_in(heap, start, count) if heap.free_in[row] >= count else -1
            if found >= 0:
                if found == start and want == NONE:
                    heap.use_of[row] = use
                claim(heap, arena, found, count)
                return found
            if not heap.free_in[row]:
                heap.listed[row] = 0
                _see(heap, arena, chunk)
        want = NONE if want == use else want + 1
    return 0


@kernel
def _find_whole(heap, arena, count):
    """A run that begins with a wholly free chunk and takes such only."""
    chunks = arena_word(heap, arena, LENGTH_SLICES) >> CHUNK_SHIFT
    need = (count + CHUNK_SLICES - 1) >> CHUNK_SHIFT
    chunk = 0
    while chunk <= chunks - need:
        have = 0
        while have < need and heap.free_in[chunk_row(arena, chunk + have)] == CHUNK_SLICES:
            have += 1
        if have == need:
            found = arena_word(heap, arena, FIRST) + (chunk << CHUNK_SHIFT)
            for each in range(need):
                heap.use_of[chunk_row(arena, chunk + each)] = WHOLE
            claim(heap, arena, found, count)
            return found
        chunk += have + 1
    return 0


@kernel
def note_mapped(heap, arena, page, bin_):
    """An abandoned page can be found."""
    chunk = (page - arena_word(heap, arena, FIRST)) >> CHUNK_SHIFT
    place = unsigned(bin_row(arena, chunk, bin_))
    heap.mapped[unsigned(page)] = bin_
    heap.mapped_in[place] += 1
    heap.mapped_listed[place] = 1
    heap.mapped_count[unsigned(bin_)] += 1


@kernel
def forget_mapped(heap, arena, page):
    """It cannot any more."""
    bin_ = np.int64(heap.mapped[unsigned(page)])
    chunk = (page - arena_word(heap, arena, FIRST)) >> CHUNK_SHIFT
    heap.mapped[unsigned(page)] = 0
    heap.mapped_in[unsigned(bin_row(arena, chunk, bin_))] -= 1
    heap.mapped_count[unsigned(bin_)] -= 1


@kernel(inline=True)
def bin_row(arena, chunk, bin_):
    """A chunk's place in what is kept of each of its bins."""
    return (arena * MOST_ARENA_CHUNKS + chunk) * ARENA_BINS + bin_


@kernel
def find_mapped(heap, arena, sequence, bin_):
    """An abandoned page of a bin in an arena; 0: there is none (mi_bitmap_try_find_and_claim)."""
    chunks = arena_word(heap, arena, LENGTH_SLICES) >> CHUNK_SHIFT
    for low in range(0, chunks, FIELD_SLICES):
        high = min(low + FIELD_SLICES, chunks) - 1
        while high >= low and not heap.mapped_listed[unsigned(bin_row(arena, high, bin_))]:
            high -= 1
        cycle = high - low + 1
        for step in range(cycle):
            chunk = low + turn(step, sequence % 8 % cycle, cycle)
            place = unsigned(bin_row(arena, chunk, bin_))
            if not heap.mapped_listed[place]:
                continue
            if heap.mapped_in[place]:
                page = arena_word(heap, arena, FIRST) + (chunk << CHUNK_SHIFT)
                while heap.mapped[unsigned(page)] != bin_:
                    page += 1
                return page
            heap.mapped_listed[place] = 0
    return 0
