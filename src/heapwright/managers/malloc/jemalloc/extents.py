"""jemalloc's page cache: extents in use and free, from dirty ones, muzzy ones, retained ones, the
system (pac_t).

    alloc ─► dirty ─► muzzy, if such are made ─► retained ─► a mapping, each larger than the last
    free  ─► dirty; from 16 KiB on merged with dirty neighbours at once; from 8 MiB on given back
    split ─► the parts before and behind stay in the set; only a mapping's first part is its head

Terms      see `state.py`; give back: the system takes the pages, the extent is retained
Invariant  see `invariants.py` (check: 1-3)
Source     jemalloc 5.3.0 src/pac.c, src/extent.c, src/emap.c, src/ecache.c, src/exp_grow.c
Omits      a mapping of exactly what is wanted where a larger one is refused
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.machine import (
    ADVISE_DONTNEED,
    ADVISE_FREE,
    PAGE_BYTES,
    load,
    madvise,
    mmap,
    read,
    store,
)
from heapwright.managers.malloc.jemalloc import state as words
from heapwright.managers.malloc.jemalloc.metadata import drop_record, map_page, new_record
from heapwright.managers.malloc.jemalloc.sets import enter, fit, take_out
from heapwright.managers.malloc.jemalloc.size_classes import LARGE_BYTES, PAGE_CLASSES
from heapwright.managers.malloc.jemalloc.state import (
    ACTIVE,
    ADDRESS,
    BYTES,
    DECAY_SHIFT,
    DECAYS,
    DELAY_MS,
    DIRTY,
    GROW,
    HEAD_BIT,
    IN_USE,
    KIND,
    LEAF_MASK,
    LEAF_SHIFT,
    MAPPED,
    MUZZY,
    NUMBER,
    OVERSIZE,
    OWNER_SHIFT,
    PAGE_SHIFT,
    PURGES,
    RETAINED,
    SERIAL,
    START,
    STATE,
    add,
    get,
    owner_of,
    put,
    set_extent,
)

DIRTY_DECAY, MUZZY_DECAY = DECAYS, DECAYS + (1 << DECAY_SHIFT)


@kernel
def _enter_pages(heap, extent):
    """Say of its first and last page whose they are."""
    machine = heap.machine
    first = load(machine, extent + START) >> PAGE_SHIFT
    last = first + (load(machine, extent + BYTES) >> PAGE_SHIFT) - 1
    map_page(heap, first)
    map_page(heap, last)
    set_extent(heap, first, extent)
    set_extent(heap, last, extent)


@kernel
def _write(heap, extent, start, bytes_, kind):
    """The words of an extent in use."""
    machine = heap.machine
    store(machine, extent + ADDRESS, start)
    store(machine, extent + START, start)
    store(machine, extent + BYTES, bytes_)
    store(machine, extent + KIND, kind)
    store(machine, extent + STATE, IN_USE)


@kernel
def split(heap, extent, bytes_):
    """The first bytes stay the extent; the rest, an extent in use like it."""
    heap.paths[words.SPLIT] += 1
    machine, arena = heap.machine, owner_of(heap, extent)
    rest = new_record(heap, arena)
    start, whole = load(machine, extent + START), load(machine, extent + BYTES)
    _write(heap, rest, start + bytes_, whole - bytes_, arena << OWNER_SHIFT)
    store(machine, rest + NUMBER, load(machine, extent + NUMBER))
    store(machine, extent + BYTES, bytes_)
    _enter_pages(heap, extent)
    _enter_pages(heap, rest)
    return rest


@kernel
def merge(heap, low, high):
    """Two extents that touch are the lower one."""
    heap.paths[words.MERGE] += 1
    machine = heap.machine
    bytes_, more = load(machine, low + BYTES), load(machine, high + BYTES)
    end = (load(machine, low + START) + bytes_) >> PAGE_SHIFT
    set_extent(heap, end - 1, 0)
    set_extent(heap, end, 0)
    store(machine, low + BYTES, bytes_ + more)
    number = min(load(machine, low + NUMBER), load(machine, high + NUMBER))
    store(machine, low + NUMBER, number)
    _enter_pages(heap, low)
    drop_record(heap, owner_of(heap, low), high)


@kernel
def _beside(heap, page):
    """The extent that a page at another's end is the first or last of; 0 where there is none."""
    leaf = heap.leaves[unsigned(page >> LEAF_SHIFT)]
    if not leaf:
        return 0
    word = leaf + ((page & LEAF_MASK) << 3)
    read(heap.machine, word, 8)  # of a page of the leaf that nothing may have been written to
    return load(heap.machine, word)


@kernel
def _above(heap, extent, state):
    """The free extent of that state behind one; 0 if there is none, or it is of another mapping."""
    machine = heap.machine
    end = load(machine, extent + START) + load(machine, extent + BYTES)
    other = _beside(heap, end >> PAGE_SHIFT)
    if not other or load(machine, other + STATE) != state:
        return 0
    return 0 if load(machine, other + KIND) & HEAD_BIT else other


@kernel
def _below(heap, extent, state):
    """Likewise the one before it."""
    machine = heap.machine
    if load(machine, extent + KIND) & HEAD_BIT:
        return 0
    other = _beside(heap, (load(machine, extent + START) >> PAGE_SHIFT) - 1)
    return other if other and load(machine, other + STATE) == state else 0


@kernel
def join(heap, extent, state):
    """Merge with one neighbour of that state, the one behind it first; the extent, 0 if none."""
    other = _above(heap, extent, state)
    if other:
        take_out(heap, other, state)
        merge(heap, extent, other)
        return extent
    other = _below(heap, extent, state)
    if other:
        take_out(heap, other, state)
        store(heap.machine, other + STATE, IN_USE)
        merge(heap, other, extent)
    return other


@kernel
def _join_all(heap, extent, state):
    """Merge with every neighbour of that state; the extent."""
    while True:
        joined = join(heap, extent, state)
        if not joined:
            return extent
        extent = joined


@kernel
def keep(heap, extent, state):
    """An extent out of use is free in that state (extent_record)."""
    machine = heap.machine
    store(machine, extent + ADDRESS, load(machine, extent + START))
    store(machine, extent + KIND, load(machine, extent + KIND) & (-1 << OWNER_SHIFT | HEAD_BIT))
    if state != DIRTY:
        extent = _join_all(heap, extent, state)
    elif load(machine, extent + BYTES) >= LARGE_BYTES:
        extent = _join_all(heap, extent, state)
        arena, bytes_ = owner_of(heap, extent), load(machine, extent + BYTES)
        if bytes_ >= get(heap, arena, OVERSIZE) and _may_force(heap, arena):
            add(heap, arena, PURGES + 1, 1)
            add(heap, arena, PURGES + 2, bytes_ >> PAGE_SHIFT)
            return extent
    enter(heap, extent, state)
    return 0


@kernel
def _may_force(heap, arena):
    """Whether its pages may be given back before their time (extent_may_force_decay)."""
    dirty = get(heap, arena, DIRTY_DECAY + DELAY_MS)
    return dirty != -1 and get(heap, arena, MUZZY_DECAY + DELAY_MS) != -1


@kernel
def give_back(heap, extent):
    """Let the system take an extent's pages; it is retained (extent_dalloc_wrapper)."""
    heap.paths[words.ADVISE] += 1
    machine = heap.machine
    bytes_ = load(machine, extent + BYTES)
    add(heap, owner_of(heap, extent), MAPPED, -bytes_)
    madvise(machine, load(machine, extent + START), bytes_, ADVISE_DONTNEED)
    keep(heap, extent, np.int64(RETAINED))


@kernel
def make_muzzy(heap, extent):
    """Let the system take an extent's pages when it needs them."""
    heap.paths[words.ADVISE] += 1
    machine = heap.machine
    madvise(machine, load(machine, extent + START), load(machine, extent + BYTES), ADVISE_FREE)
    keep(heap, extent, np.int64(MUZZY))


@kernel
def free_pages(heap, extent):
    """An extent in use is dirty, or given back if it is so large (pac_dalloc, first half)."""
    add(heap, owner_of(heap, extent), ACTIVE, -load(heap.machine, extent + BYTES))
    oversize = keep(heap, extent, np.int64(DIRTY))
    if oversize:
        give_back(heap, oversize)


@kernel
def _cut(heap, extent, state, bytes_, align):
    """The bytes at a multiple of `align` of a free extent that holds them; the parts before and
    behind stay free."""
    machine = heap.machine
    take_out(heap, extent, state)
    store(machine, extent + STATE, IN_USE)
    lead = -load(machine, extent + START) & (align - 1)
    first = extent
    if lead:
        extent = split(heap, extent, lead)
    rest = split(heap, extent, bytes_) if load(machine, extent + BYTES) > bytes_ else 0
    for part in (first if lead else 0, rest):
        if part:
            enter(heap, part, state)
    return extent


@kernel
def _grow(heap, arena, bytes_, align):
    """Pages of a new mapping, whose rest is retained; 0 where refused (extent_grow_retained)."""
    class_, need = get(heap, arena, GROW), bytes_ + align - PAGE_BYTES
    while class_ < PAGE_CLASSES and heap.classes.page_bytes[class_] < need:
        class_ += 1
    if class_ == PAGE_CLASSES:
        return 0
    extent = new_record(heap, arena)
    whole = heap.classes.page_bytes[class_]
    start = mmap(heap.machine, 0, whole)
    if not start:
        drop_record(heap, arena, extent)
        return 0
    heap.paths[words.GROWN] += 1
    _write(heap, extent, start, whole, arena << OWNER_SHIFT | HEAD_BIT)
    store(heap.machine, extent + NUMBER, get(heap, arena, SERIAL))
    add(heap, arena, SERIAL, 1)
    _enter_pages(heap, extent)
    lead = -start & (align - 1)
    first = extent
    if lead:
        extent = split(heap, extent, lead)
    rest = split(heap, extent, bytes_) if whole - lead > bytes_ else 0
    for part in (first if lead else 0, rest):
        if part:
            keep(heap, part, np.int64(RETAINED))
    put(heap, arena, GROW, min(class_ + 1, PAGE_CLASSES - 1))
    return extent


@kernel
def alloc_pages(heap, arena, bytes_, align, clear):
    """An extent in use, at a multiple of `align`; 0 where refused (pac_alloc_real). With `clear`
    pages that were used before are given back, so that they hold zeros."""
    extent, state = 0, RETAINED
    for where in range(DIRTY, RETAINED + 1):
        if where != MUZZY or get(heap, arena, MUZZY_DECAY + DELAY_MS):
            extent = fit(heap, arena, where, bytes_, align)
            if extent:
                state = where
                heap.paths[unsigned(words.REUSE_DIRTY + where - DIRTY)] += 1
                extent = _cut(heap, extent, where, bytes_, align)
                break
    if not extent:
        extent = _grow(heap, arena, bytes_, align)
        if not extent:
            return 0
    if state == RETAINED:
        add(heap, arena, MAPPED, bytes_)
    elif clear:
        madvise(heap.machine, load(heap.machine, extent + START), bytes_, ADVISE_DONTNEED)
    add(heap, arena, ACTIVE, bytes_)
    return extent


@kernel
def expand(heap, extent, more):
    """Let an extent grow upward where it lies; whether it could (pac_expand)."""
    for state in range(DIRTY, RETAINED + 1):
        other = _above(heap, extent, state)
        if other and load(heap.machine, other + BYTES) >= more:
            other = _cut(heap, other, state, more, np.int64(PAGE_BYTES))
            merge(heap, extent, other)
            arena = owner_of(heap, extent)
            add(heap, arena, ACTIVE, more)
            add(heap, arena, MAPPED, more if state == RETAINED else 0)
            return True
    return False


@kernel
def shrink(heap, extent, bytes_):
    """Give back all beyond the first bytes (pac_shrink, first half)."""
    free_pages(heap, split(heap, extent, bytes_))
