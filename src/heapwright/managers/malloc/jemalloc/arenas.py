"""jemalloc's arenas: which one a thread allocates from, and the one of the huge requests.

    first allocation of a thread ─► the first arena with the fewest threads, if that has none or
                                    there are as many as there may be; else a new one
    request from oversize_threshold on ─► an arena of its own, which gives back at once

Source     jemalloc 5.3.0 src/jemalloc.c (arena_choose_hard), src/arena.c (arena_new,
           arena_choose_huge); Debian's 5.3.0-1 for the places of what seeds the deadlines
Omits      arenas by processor (percpu_arena), arenas that a program makes by mallctl
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.malloc.jemalloc import state
from heapwright.managers.malloc.jemalloc.decay import begin_decay
from heapwright.managers.malloc.jemalloc.metadata import first_block
from heapwright.managers.malloc.jemalloc.size_classes import page_class
from heapwright.managers.malloc.jemalloc.state import (
    ARENA,
    DIRTY,
    GROW,
    LIVE,
    OVERSIZE,
    RETAINED,
    THREADS,
    add,
    get,
    put,
)

FIRST_GROWTH_BYTES = 2 << 20  # HUGEPAGE
FIRST_OVERSIZE_BYTES = 8 << 20  # of arena 0, which is made before the option is read
DECAY_PLACE, NEXT_DECAY = 0x11F08, 0x6F8  # in an arena's first block; from dirty to muzzy
ARENA_0_LATER = 0x80  # arena 0 lies so many bytes further on
NEVER_OVERSIZE = SPACE_BYTES


@kernel
def new_arena(heap, arena):
    """An arena in a block of its own; whether there was memory."""
    block = first_block(heap, arena)
    if not block:
        return False
    heap.paths[state.NEW_ARENA] += 1
    put(heap, arena, LIVE, 1)
    put(heap, arena, GROW, page_class(FIRST_GROWTH_BYTES))
    put(heap, arena, OVERSIZE, heap.oversize if arena else FIRST_OVERSIZE_BYTES)
    seed = block + heap.origin + DECAY_PLACE + (0 if arena else ARENA_0_LATER)
    for state_ in range(DIRTY, RETAINED):
        delay_ms = heap.dirty_ms if state_ == DIRTY else heap.muzzy_ms
        if arena == heap.huge:  # it begins like the others, and then is told to
            delay_ms = min(delay_ms, 0)
        begin_decay(heap, arena, state_, delay_ms, seed + (state_ - DIRTY) * NEXT_DECAY)
    return True


@kernel
def huge_arena(heap):
    """The number of the arena of huge requests, which gives back at once; -1 where refused."""
    arena = heap.huge
    if not get(heap, arena, LIVE):
        if not new_arena(heap, arena):
            return -1
    return arena


@kernel
def choose(heap, row):
    """The arena of a thread, chosen at its first allocation."""
    chosen = heap.rows[unsigned(row + ARENA)] - 1
    if chosen >= 0:
        return chosen
    chosen, fresh = 0, 0
    for arena in range(1, heap.arenas_wanted):
        if get(heap, arena, LIVE):
            if get(heap, arena, THREADS) < get(heap, chosen, THREADS):
                chosen = arena
        elif not fresh:
            fresh = arena
    if get(heap, chosen, THREADS) and fresh and new_arena(heap, fresh):
        chosen = fresh
    add(heap, chosen, THREADS, 1)
    heap.rows[unsigned(row + ARENA)] = chosen + 1
    return chosen


@kernel
def arena_for(heap, row, bytes_):
    """The arena that a request is served from; -1 where refused."""
    if bytes_ >= heap.oversize:
        return huge_arena(heap)
    return choose(heap, row)
