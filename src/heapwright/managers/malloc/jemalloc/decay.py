"""jemalloc's decay: dirty pages become muzzy or go back, the oldest first, along a smooth curve.

    epoch   a 200th of the delay, ended by the first look after a random deadline: the pages that
            may stay are those of the last 200 epochs, each times its share
    look    about every 1,000th fill, flush of one, large block: the arena's epochs advance
    delay   0: what is freed goes back at once; -1: never

Source     jemalloc 5.3.0 src/decay.c, src/pac.c, src/arena.c (arena_decay, arena_decay_ticks)
Omits      background threads
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, now, store
from heapwright.managers.malloc.jemalloc import state as words
from heapwright.managers.malloc.jemalloc.draws import (
    STEP_BITS,
    STEPS,
    TICKER_BITS,
    draw,
    draw_jitter,
)
from heapwright.managers.malloc.jemalloc.extents import (
    DIRTY_DECAY,
    MUZZY_DECAY,
    free_pages,
    give_back,
    join,
    make_muzzy,
)
from heapwright.managers.malloc.jemalloc.sets import enter, set_of, take_out
from heapwright.managers.malloc.jemalloc.state import (
    BACKLOG,
    BYTES,
    DEADLINE,
    DECAY_SHIFT,
    DECAYS,
    DELAY_MS,
    DIRTY,
    EPOCH,
    IN_USE,
    INTERVAL,
    JITTER,
    LIMIT,
    NEXT,
    OLDEST,
    PAGE_SHIFT,
    PAGES,
    PURGES,
    RETAINED,
    STATE,
    TICKS,
    UNPURGED,
    add,
    get,
    owner_of,
    put,
)

MS_NS = 1_000_000
TICKS_MEAN = 1000  # ARENA_DECAY_NTICKS_PER_UPDATE


@kernel(inline=True)
def decay_of(state):
    """Where an arena's words of the decay of a state begin."""
    return DECAYS + ((state - DIRTY) << DECAY_SHIFT)


@kernel
def begin_decay(heap, arena, state, delay_ms, seed):
    """Start from nothing (decay_reinit)."""
    decay = decay_of(state)
    put(heap, arena, decay + DELAY_MS, delay_ms)
    put(heap, arena, decay + INTERVAL, delay_ms * MS_NS // STEPS if delay_ms > 0 else 0)
    put(heap, arena, decay + EPOCH, now(heap.machine))
    put(heap, arena, decay + JITTER, seed)
    put(heap, arena, decay + UNPURGED, 0)
    for step in range(STEPS):
        put(heap, arena, decay + BACKLOG + step, 0)
    _set_deadline(heap, arena, decay)


@kernel
def _set_deadline(heap, arena, decay):
    """An interval after the epoch's begin, and up to one more."""
    if get(heap, arena, decay + DELAY_MS) > 0:
        interval = get(heap, arena, decay + INTERVAL)
        jitter = draw_jitter(heap, arena, decay, interval)
        put(heap, arena, decay + DEADLINE, get(heap, arena, decay + EPOCH) + interval + jitter)


@kernel
def _advance(heap, arena, decay, pages):
    """End the epoch if its deadline is past; whether it was (decay_maybe_advance_epoch)."""
    time = now(heap.machine)
    if time < get(heap, arena, decay + DEADLINE):
        return False
    interval = get(heap, arena, decay + INTERVAL)
    passed = (time - get(heap, arena, decay + EPOCH)) // interval
    add(heap, arena, decay + EPOCH, passed * interval)
    _set_deadline(heap, arena, decay)
    total, backlog = 0, decay + BACKLOG
    for step in range(STEPS - 1):
        older = step + passed
        still = get(heap, arena, backlog + older) if older < STEPS else 0
        put(heap, arena, backlog + step, still)
        total += still * heap.steps[unsigned(step)]
    fresh = max(pages - get(heap, arena, decay + UNPURGED), 0)
    put(heap, arena, backlog + STEPS - 1, fresh)
    limit = (total + fresh * heap.steps[STEPS - 1]) >> STEP_BITS
    put(heap, arena, decay + LIMIT, limit)
    put(heap, arena, decay + UNPURGED, max(limit, pages))
    return True


@kernel
def _purge(heap, arena, state, limit, fully):
    """Take the oldest out of a set until `limit` pages are left, or as many as are over it now were
    taken, each merged with a neighbour of its state first, which makes it the newest; then they
    go (pac_decay_to_limit)."""
    machine, set_words = heap.machine, set_of(arena, state)
    most = heap.arenas[unsigned(set_words + PAGES)] - limit
    first = last = pages = extents = 0
    while pages < most and heap.arenas[unsigned(set_words + PAGES)] > limit:
        extent = heap.arenas[unsigned(set_words + OLDEST)]
        if not extent:
            break
        take_out(heap, extent, state)
        store(machine, extent + STATE, IN_USE)
        joined = join(heap, extent, state) if state == DIRTY else 0
        if joined:
            enter(heap, joined, state)
            continue
        store(machine, extent + NEXT, 0)
        if last:
            store(machine, last + NEXT, extent)
        else:
            first = extent
        last = extent
        pages += load(machine, extent + BYTES) >> PAGE_SHIFT
        extents += 1
    if not pages:
        return
    heap.paths[words.PURGE] += 1
    counts = PURGES + 3 * (state - DIRTY)
    add(heap, arena, counts, 1)
    add(heap, arena, counts + 1, extents)
    add(heap, arena, counts + 2, pages)
    muzzy = state == DIRTY and not fully and get(heap, arena, MUZZY_DECAY + DELAY_MS) != 0
    while first:
        extent, first = first, load(machine, first + NEXT)
        if muzzy:
            make_muzzy(heap, extent)
        else:
            give_back(heap, extent)


@kernel
def look(heap, arena, everything):
    """Let an arena's free pages decay: what is over the limit of an epoch that has just begun goes;
    or everything does, if not 0 (arena_decay, pac_maybe_decay_purge)."""
    for state in range(DIRTY, RETAINED):
        decay = decay_of(state)
        delay_ms = get(heap, arena, decay + DELAY_MS)
        pages = heap.arenas[unsigned(set_of(arena, state) + PAGES)]
        limit = pages
        if everything or delay_ms == 0:
            limit = 0
        elif delay_ms > 0 and _advance(heap, arena, decay, pages):
            limit = get(heap, arena, decay + LIMIT)
        if pages > limit:
            _purge(heap, arena, state, limit, everything)


@kernel
def tick(heap, row, arena, times):
    """Count; a look at the arena's decay now and then."""
    left = heap.rows[unsigned(row + TICKS)] - times
    if left < 0:
        left = heap.ticks[unsigned(draw(heap, row, TICKER_BITS))]
        heap.rows[unsigned(row + TICKS)] = left
        look(heap, arena, np.int64(0))
    else:
        heap.rows[unsigned(row + TICKS)] = left


@kernel
def free_extent(heap, extent):
    """An extent in use is free; without a delay it and all that is dirty goes back
    (arena_handle_deferred_work)."""
    arena = owner_of(heap, extent)
    free_pages(heap, extent)
    purge_at_once(heap, arena)


@kernel
def purge_at_once(heap, arena):
    """Without a delay: all that is dirty goes back."""
    if not get(heap, arena, DIRTY_DECAY + DELAY_MS):
        _purge(heap, arena, np.int64(DIRTY), np.int64(0), np.int64(1))
