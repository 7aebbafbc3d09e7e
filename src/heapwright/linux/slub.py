"""Caches of equal objects over the frames, without queues: SLUB.

    alloc  the processor's free list ─empty─► its partial slabs ─► the node's, from the front
           (and some more become the processor's) ─► a new slab
    free   onto the free list of the object's slab; a full slab's first free makes it one of the
           processor's partial slabs; too many of those go to the end of the node's list, and the
           empty ones beyond min_partial go back

Terms      frozen: a slab is the processor's, and in no list of the node; inuse: its objects that
           are not in its own free list; c: the first word of a cache's row in `cache`, of which
           each processor has one; home: that of the first, where the node's words are
Invariant  an unfrozen slab with a free object is in its node's list; its free list and its objects
           in use make up its objects; lists are linked both ways (slub_lists.check: 5-7)
Source     Linux 6.1, mm/slub.c: ___slab_alloc, get_partial_node, __slab_free, put_cpu_partial,
           __unfreeze_partials, shuffle_freelist
Omits      debugging, the obfuscation of free pointers (no address depends on it)

A free object's link lies in the object, as the real one's does.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, likely, unsigned
from heapwright.compiler.record import record
from heapwright.linux.frames import NONE, Pages, address_of, frame_of, run_on
from heapwright.linux.page_alloc import (
    ANYONE,
    GFP_DIRECT_RECLAIM,
    GFP_KSWAPD,
    GFP_NOMEMALLOC,
    alloc_pages,
    free_pages,
)
from heapwright.machine import load, store

# Words of a cache's row
(
    SIZE,  # bytes from one object to the next
    OBJECTS,  # of a slab
    ORDER,  # log2 of a slab's frames
    LEAST_ORDER,
    OFFSET,  # of the link in a free object
    MIN_PARTIAL,  # slabs
    CPU_SLABS,  # -1 without partial slabs of a processor
    GFP,  # flags added to a slab's request
    SEQUENCE,  # where its order of free objects starts in `sequence`; -1 ascending
    CPU_SLAB,  # frame; NONE
    CPU_FREE,  # address of the processor's first free object; 0
    CPU_PARTIAL,  # frame of its first partial slab; NONE
    PARTIALS,  # slabs in the node's list
    SLABS,  # it has
    OBJECT_BYTES,  # asked for, of an object
    CACHE_WORDS,
) = range(16)

PATHS = (
    *("fast", "cpu_partial", "node_partial", "new_slab", "refused"),
    *("free_fast", "free_slow", "to_cpu_partial", "to_node", "discard"),
)
FAST, TO_CPU_SLAB, FROM_NODE, NEW_SLAB, REFUSED = range(5)
FREE_FAST, FREE_SLOW, TO_CPU_PARTIAL, TO_NODE, DISCARD = range(5, 10)


@record(
    "caches",
    "shift",  # words from a cache's home to the row of the processor that runs
    "observed",  # address of the object that the real kernel gave, for a new slab's order; 0
    "random",  # state of the generator that chooses where a new slab's order starts
)
class Slub(NamedTuple):
    """All caches, and what a slab's first frame says of it."""

    pages: Pages
    cache: np.ndarray  # int64[cache word]
    free: np.ndarray  # int64[frame]  address of the slab's first free object; 0
    inuse: np.ndarray  # int32[frame]
    objects: np.ndarray  # int32[frame]
    slabs: np.ndarray  # int32[frame]  in the processor's list from this one on
    order: np.ndarray  # int8[frame]  log2 of the slab's frames
    frozen: np.ndarray  # uint8[frame]
    next: np.ndarray  # int32[frame, then cache]  a cache's node heads its node's list
    previous: np.ndarray  # int32[frame, then cache]
    head: np.ndarray  # int32[frame]  the first frame of its slab
    owner: np.ndarray  # int16[frame]  the slab's cache; -1 of none
    sequence: np.ndarray  # int32[...]  of each cache with a random order, its objects by turn
    paths: np.ndarray  # int64[path]  times taken
    fields: np.ndarray  # int64[word]


@kernel(inline=True)
def slab_of(slub, address):
    """The first frame of the slab around an object."""
    return np.int64(slub.head[unsigned(frame_of(slub.pages, address))])


@kernel(inline=True)
def node_of(slub, c):
    """Head of a cache's list of partial slabs; `c` is its home."""
    return slub.pages.frames + c // CACHE_WORDS


@kernel(inline=True)
def home(slub, c):
    """A cache's home, from the row of the processor that runs."""
    return c - slub.shift


@kernel(cold=True)
def run_thread(slub, thread):
    """The requests that follow are this thread's."""
    run_on(slub.pages, thread)
    slub.shift = slub.pages.cpu * slub.caches * CACHE_WORDS


@kernel
def append(slub, c, slab):
    """A slab at the end of its node's list; `c` is the cache's home."""
    head = node_of(slub, c)
    last = np.int64(slub.previous[unsigned(head)])
    slub.previous[unsigned(slab)], slub.next[unsigned(slab)] = last, head
    slub.next[unsigned(last)] = slub.previous[unsigned(head)] = slab
    slub.cache[unsigned(c + PARTIALS)] += 1


@kernel
def _remove(slub, c, slab):
    """A slab out of its node's list; `c` is the cache's home."""
    after, before = np.int64(slub.next[unsigned(slab)]), np.int64(slub.previous[unsigned(slab)])
    slub.next[unsigned(before)], slub.previous[unsigned(after)] = after, before
    slub.cache[unsigned(c + PARTIALS)] -= 1


@kernel(inline=True)
def alloc(slub, c, gfp):
    """Address of an object of the cache at home `c`; 0 where there is no frame for it. About 2
    ns."""
    c += slub.shift
    address = slub.cache[unsigned(c + CPU_FREE)]
    if likely(address != 0):
        link = address + slub.cache[unsigned(c + OFFSET)]
        slub.cache[unsigned(c + CPU_FREE)] = load(slub.pages.machine, link)
        slub.paths[FAST] += 1
        return address
    return _alloc_slowly(slub, c, gfp)


@kernel
def _alloc_slowly(slub, c, gfp):
    """Another slab becomes the processor's."""
    slab = slub.cache[unsigned(c + CPU_SLAB)]
    if slab != NONE:
        if slub.free[unsigned(slab)]:
            return _take_over(slub, c, slab)
        slub.frozen[unsigned(slab)] = 0
        slub.cache[unsigned(c + CPU_SLAB)] = NONE
    slab = slub.cache[unsigned(c + CPU_PARTIAL)]
    if slab != NONE:
        slub.cache[unsigned(c + CPU_PARTIAL)] = np.int64(slub.next[unsigned(slab)])
        slub.paths[TO_CPU_SLAB] += 1
        return _take_over(slub, c, slab)
    slab = _from_node(slub, c)
    if slab != NONE:
        slub.paths[FROM_NODE] += 1
        return _take_over(slub, c, slab)
    slab = _new_slab(slub, c, gfp)
    if slab == NONE:
        slub.paths[REFUSED] += 1
        return 0
    return _take_over(slub, c, slab)


@kernel
def _take_over(slub, c, slab):
    """The slab's free objects become the processor's; the first of them is handed out."""
    address = slub.free[unsigned(slab)]
    slub.free[unsigned(slab)] = 0
    slub.inuse[unsigned(slab)] = slub.objects[unsigned(slab)]
    slub.cache[unsigned(c + CPU_SLAB)] = slab
    link = address + slub.cache[unsigned(c + OFFSET)]
    slub.cache[unsigned(c + CPU_FREE)] = load(slub.pages.machine, link)
    return address


@kernel
def _from_node(slub, c):
    """The first slab of the node's list; the next ones become the processor's partial slabs, for
    about half of what it keeps."""
    head, most = node_of(slub, home(slub, c)), slub.cache[unsigned(c + CPU_SLABS)]
    found, more = NONE, 0
    while True:
        slab = np.int64(slub.next[unsigned(head)])
        if slab == head:
            return found
        _remove(slub, home(slub, c), slab)
        slub.frozen[unsigned(slab)] = 1
        if found == NONE:
            found = slab
        else:
            _keep(slub, c, slab, False)
            more += 1
        if most < 0 or more > most // 2:
            return found


@kernel
def _new_slab(slub, c, gfp):
    """A frozen slab, all of it free; NONE where there are no frames."""
    order = slub.cache[unsigned(c + ORDER)]
    least = slub.cache[unsigned(c + LEAST_ORDER)]
    gfp |= slub.cache[unsigned(c + GFP)]
    first = gfp
    if order > least and gfp & GFP_DIRECT_RECLAIM:  # nothing is reclaimed for a large slab
        first = (gfp | GFP_NOMEMALLOC) & ~(GFP_DIRECT_RECLAIM | GFP_KSWAPD)
    slab = alloc_pages(slub.pages, order, first, np.int64(ANYONE))
    objects = slub.cache[unsigned(c + OBJECTS)]
    if slab == NONE and order > least:
        order = least
        slab = alloc_pages(slub.pages, order, gfp, np.int64(ANYONE))
        objects = min(objects, (4096 << order) // slub.cache[unsigned(c + SIZE)])
    if slab == NONE:
        return NONE
    slub.paths[NEW_SLAB] += 1
    slub.cache[unsigned(home(slub, c) + SLABS)] += 1
    for frame in range(slab, slab + (1 << order)):
        slub.head[unsigned(frame)] = slab
        slub.owner[unsigned(frame)] = home(slub, c) // CACHE_WORDS
    slub.objects[unsigned(slab)], slub.order[unsigned(slab)] = objects, order
    slub.frozen[unsigned(slab)] = 1
    slub.free[unsigned(slab)] = _ordered(slub, c, slab, objects)
    return slab


@kernel
def _start_of(slub, c, slab, objects):
    """Where in its cache's order a slab starts: as the real one did where that is known."""
    base, first = address_of(slub.pages, slab), slub.cache[unsigned(c + SEQUENCE)]
    if slub.observed:
        index = (slub.observed - base) // slub.cache[unsigned(c + SIZE)]
        for turn in range(objects):
            if np.int64(slub.sequence[unsigned(first + turn)]) == index:
                return turn
    slub.random = (slub.random * 1103515245 + 12345) & 0x7FFFFFFF
    return (slub.random >> 8) % objects


@kernel
def _ordered(slub, c, slab, objects):
    """Link all objects of a fresh slab; address of the first."""
    base, size = address_of(slub.pages, slab), slub.cache[unsigned(c + SIZE)]
    offset, sequence = slub.cache[unsigned(c + OFFSET)], slub.cache[unsigned(c + SEQUENCE)]
    whole = objects == slub.cache[unsigned(c + OBJECTS)]
    turn = 0
    if sequence >= 0 and objects > 1 and whole:
        turn = _start_of(slub, c, slab, objects)
    link, first = 0, 0
    for number in range(objects):
        index = number
        if sequence >= 0 and whole:
            index = np.int64(slub.sequence[unsigned(sequence + turn)])
            turn = turn + 1 if turn + 1 < objects else 0
        address = base + index * size
        if link:
            store(slub.pages.machine, link, address)
        else:
            first = address
        link = address + offset
    store(slub.pages.machine, link, 0)
    return first


@kernel
def _keep(slub, c, slab, drains):
    """A frozen slab becomes the first of the processor's partial ones; where that are too many
    (and `drains`), those before it go to the node."""
    old, dropped, length = slub.cache[unsigned(c + CPU_PARTIAL)], NONE, 0
    if old != NONE:
        length = np.int64(slub.slabs[unsigned(old)])
        if drains and length >= slub.cache[unsigned(c + CPU_SLABS)]:
            dropped, old, length = old, NONE, 0
    slub.slabs[unsigned(slab)] = length + 1
    slub.next[unsigned(slab)] = old
    slub.cache[unsigned(c + CPU_PARTIAL)] = slab
    slub.paths[TO_CPU_PARTIAL] += 1
    if dropped != NONE:
        _unfreeze(slub, c, dropped)


@kernel
def _unfreeze(slub, c, slab):
    """A row of the processor's slabs goes to the node's list; empty ones that are too many go
    back, the last of them first."""
    discarded = NONE
    while slab != NONE:
        after = np.int64(slub.next[unsigned(slab)])
        slub.frozen[unsigned(slab)] = 0
        partials = slub.cache[unsigned(home(slub, c) + PARTIALS)]
        enough = partials >= slub.cache[unsigned(c + MIN_PARTIAL)]
        if not slub.inuse[unsigned(slab)] and enough:
            slub.next[unsigned(slab)] = discarded
            discarded = slab
        else:
            slub.paths[TO_NODE] += 1
            append(slub, home(slub, c), slab)
        slab = after
    while discarded != NONE:
        after = np.int64(slub.next[unsigned(discarded)])
        _discard(slub, c, discarded)
        discarded = after


@kernel
def _discard(slub, c, slab):
    """An empty slab's frames go back."""
    order = np.int64(slub.order[unsigned(slab)])
    for frame in range(slab, slab + (1 << order)):
        slub.owner[unsigned(frame)] = -1
    slub.free[unsigned(slab)] = 0
    slub.cache[unsigned(home(slub, c) + SLABS)] -= 1
    slub.paths[DISCARD] += 1
    free_pages(slub.pages, slab, order)


@kernel(inline=True)
def free(slub, address):
    """Give an object back. About 3 ns into the processor's slab."""
    slab = slab_of(slub, address)
    c = np.int64(slub.owner[unsigned(slab)]) * CACHE_WORDS + slub.shift
    if likely(slab == slub.cache[unsigned(c + CPU_SLAB)]):
        link = address + slub.cache[unsigned(c + OFFSET)]
        store(slub.pages.machine, link, slub.cache[unsigned(c + CPU_FREE)])
        slub.cache[unsigned(c + CPU_FREE)] = address
        slub.paths[FREE_FAST] += 1
        return
    _free_slowly(slub, c, slab, address)


@kernel
def _free_slowly(slub, c, slab, address):
    """An object of a slab that is not the processor's first."""
    slub.paths[FREE_SLOW] += 1
    before = slub.free[unsigned(slab)]
    store(slub.pages.machine, address + slub.cache[unsigned(c + OFFSET)], before)
    slub.free[unsigned(slab)] = address
    slub.inuse[unsigned(slab)] -= 1
    if slub.frozen[unsigned(slab)]:
        return
    if not before and slub.cache[unsigned(c + CPU_SLABS)] >= 0:
        slub.frozen[unsigned(slab)] = 1
        _keep(slub, c, slab, True)
        return
    node = home(slub, c)
    if slub.inuse[unsigned(slab)]:
        if not before:
            append(slub, node, slab)
        return
    if slub.cache[unsigned(node + PARTIALS)] >= slub.cache[unsigned(c + MIN_PARTIAL)]:
        if before:
            _remove(slub, node, slab)
        _discard(slub, c, slab)
    elif not before:
        append(slub, node, slab)
