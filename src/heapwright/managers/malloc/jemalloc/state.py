"""jemalloc's words: what its parts share.

    row      a thread: counters of bytes first, then four words for each class of its cache
    arena    counters, decay of dirty and muzzy pages, current slabs, sets of free extents
    record   128 bytes of metadata (edata_t): a run of pages, in use or free; a slab's free regions
    leaf     2 MiB of metadata: the record of each page of 1 GiB

Terms      extent: a run of pages; slab: one that is cut into regions; dirty, muzzy, retained: free
           extents that were just freed, that the system may take, that it took; serial: number of
           the mapping that an extent is of; head: its mapping's first
Invariant  see `invariants.py`
Source     jemalloc 5.3.0 include/jemalloc/internal: tsd.h, cache_bin.h, edata.h, eset.h, pac.h
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record
from heapwright.machine import Machine, load, store, touch
from heapwright.managers.malloc.jemalloc.size_classes import Classes
from heapwright.structures.sorted_keys import SortedKeys

# Words of a thread's row
(
    ALLOCATED,  # bytes so far, usable ones
    NEXT_ALLOCATED,  # at which something happens
    FREED,
    NEXT_FREED,
    TICKS,  # until a look at decay
    DRAWS,  # state of its generator
    ARENA,  # plus one; 0: none yet
    TURN,  # class whose turn it is to be looked at
    LAST_ALLOCATED,  # at which something happened
    LAST_FREED,
    WAITS,  # two waits of allocated bytes, two of freed ones: for the cache, for the peak
) = range(11)
STAGE, ARRAY, PLACE, SEED = 14, 15, 16, 17
UNBORN, MINIMAL, WHOLE = range(3)  # STAGE: minimal is a thread that has only freed yet
BINS = 24  # words of the first class, four each
COUNT, LOW, MOST, STACK = range(4)  # blocks; least since the last look; room; past its slots
FILLS = 320  # by small class: divisor of a fill, log2, and whether it was filled since
ROW_SHIFT = 9
MOST_THREADS = 1 << 16
SMALL_BYTES = 4096  # up to here the fast path serves

# Words of an arena
(
    LIVE,  # 1: there is this arena
    THREADS,  # that allocate from it
    SERIAL,  # of its next mapping
    GROW,  # page class of its next mapping
    SPARE,  # first record that was given back
    BLOCK,  # its newest block of metadata, plus one
    BLOCK_CLASS,  # page class of the largest
    OVERSIZE,  # bytes: a free extent so large goes back at once
    ACTIVE,  # bytes of extents in use
    MAPPED,  # and of those that are dirty or muzzy
    FILLED,  # fills of caches
    BLOCKS_BYTES,  # of blocks and regions in use or cached
    META_RESIDENT,  # base_resident
    META_MAPPED,
) = range(14)
PURGES = 16  # three words each of dirty and muzzy: purges, extents, pages
DECAYS, DECAY_SHIFT = 64, 8  # two blocks of words
DELAY_MS, INTERVAL, EPOCH, DEADLINE, JITTER, UNPURGED, LIMIT, BACKLOG = *range(7), 16
CURRENT = 600  # slab of each small class that regions are taken from
ROOT, WAITING = 640, 680  # of the heap of its other slabs with room; entered since it was merged
SETS, SET_SHIFT = 1024, 8  # three blocks of words
OLDEST, NEWEST, PAGES, KEPT, FIRSTS = 0, 1, 2, 4, 16  # KEPT: a bit for each page class with an
# extent; FIRSTS: the key of the least of each
ARENA_SHIFT = 11
MOST_ARENAS = 4096  # MALLOCX_ARENA_LIMIT

# States of an extent
IN_USE, DIRTY, MUZZY, RETAINED = range(4)

# Words of a record
ADDRESS, START, BYTES, NUMBER, KIND, STATE, NEXT, PREVIOUS = range(0, 64, 8)
FREE = NEXT  # of a slab: regions
MAP = 64  # of a slab: a bit for each free region
RECORD_BYTES = 128
HEAD_BIT, CLASS_SHIFT, CLASS_MASK, OWNER_SHIFT = 1, 1, 255, 9  # KIND: head, class, arena

LEAF_SHIFT = 18  # pages of a leaf, log2
LEAF_MASK = (1 << LEAF_SHIFT) - 1
LEAF_BYTES = 8 << LEAF_SHIFT
PAGE_SHIFT, PAGE_MASK = 12, (1 << 24) - 1
SERIAL_SHIFT = 24  # of a key, above the page
KEY_MASK = (1 << 41) - 1
KEPT_SHIFT, SET_KEY_SHIFT = 41, 49

# Words of a block of metadata
BLOCK_AT, BLOCK_REST, BLOCK_START, BLOCK_BYTES, BLOCK_NEXT, BLOCK_NUMBER = range(6)
BLOCK_SHIFT = 3
MOST_BLOCKS = 1 << 15

PATHS = (
    "fill",  # a thread's cache was empty: regions from slabs
    "flush",  # it was full, or its turn had come
    "slab",
    "slab_freed",
    "large",  # an extent of its own
    "large_freed",
    "reuse_dirty",
    "reuse_muzzy",
    "reuse_retained",
    "grow",
    "split",
    "merge",
    "purge",
    "advise",  # extents given back
    "metadata",  # a block of it
    "arena",
    "in_place",
    "moved",
    "exit",
)
(
    FILL,
    FLUSH,
    SLAB,
    SLAB_FREED,
    LARGE,
    LARGE_FREED,
    REUSE_DIRTY,
    REUSE_MUZZY,
    REUSE_RETAINED,
    GROWN,
    SPLIT,
    MERGE,
    PURGE,
    ADVISE,
    METADATA,
    NEW_ARENA,
    IN_PLACE,
    MOVED,
    EXIT,
) = range(len(PATHS))


@record(
    "started",  # the library's constructor has run
    "arenas_wanted",  # narenas
    "dirty_ms",
    "muzzy_ms",
    "cached_classes",  # of a thread's cache; 0: none
    "array_bytes",  # of its array
    "oversize",  # bytes from which on a request goes to the arena of the huge ones
    "huge",  # that arena's number
    "blocks",  # of metadata
    "arrays",  # threads that have an array
    "main_seed",  # where the real one has its thread state: seeds the generators
    "seed",  # likewise of the first other thread,
    "seed_step",  # and from one to the next
    "origin",  # bytes from the machine's addresses to the real one's: seeds the deadlines
    "places",  # stacks that threads have had so far
    "spare_places",  # of them, that ended threads left
    "oldest_array",  # rows that have one, for `cached`: most of them
    "broken",  # metadata was refused, which ends the real program
)
class Heap(NamedTuple):
    """The whole state; records and maps are in the machine's words."""

    machine: Machine
    classes: Classes
    rows: np.ndarray  # int64[row << 9 | word]
    page_class: np.ndarray  # uint8[page]  class of the blocks, where a block begins or lies
    arenas: np.ndarray  # int64[arena << 11 | word]
    extents: SortedKeys  # set << 49 | page class << 41 | serial << 24 | page, of free extents
    leaves: np.ndarray  # int64[page >> 18]  address; 0 where there is none
    blocks_of: np.ndarray  # int64[block << 3 | word]
    flushed: np.ndarray  # int64[512]  what is on its way from a cache; then slabs that are empty
    left: np.ndarray  # int64[place]  stacks that threads left
    steps: np.ndarray  # int64[200]  share of dirty pages that may stay, of 2^24, newest last
    ticks: np.ndarray  # int64[64]  draws of the decay's ticker
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel(inline=True)
def row_of(thread):
    """Where the words of a thread's row begin."""
    return (thread & (MOST_THREADS - 1)) << ROW_SHIFT


@kernel(inline=True)
def get(heap, arena, word):
    """A word of an arena."""
    return heap.arenas[unsigned((arena << ARENA_SHIFT) + word)]


@kernel(inline=True)
def put(heap, arena, word, value):
    """Write it."""
    heap.arenas[unsigned((arena << ARENA_SHIFT) + word)] = value


@kernel(inline=True)
def add(heap, arena, word, more):
    """Add to it."""
    heap.arenas[unsigned((arena << ARENA_SHIFT) + word)] += more


@kernel(inline=True)
def owner_of(heap, extent):
    """The arena of an extent."""
    return load(heap.machine, extent + KIND) >> OWNER_SHIFT


@kernel(inline=True)
def class_at(heap, extent):
    """The class of a slab's regions or of a block."""
    return (load(heap.machine, extent + KIND) >> CLASS_SHIFT) & CLASS_MASK


@kernel(inline=True)
def key_of(heap, extent):
    """What extents are compared by: serial, then address."""
    machine = heap.machine
    return load(machine, extent + NUMBER) << SERIAL_SHIFT | (
        load(machine, extent + START) >> PAGE_SHIFT
    )


@kernel(inline=True)
def extent_at(heap, page):
    """The extent that a page is the first or last of, or any of a slab; 0 where there is none."""
    leaf = heap.leaves[unsigned(page >> LEAF_SHIFT)]
    return load(heap.machine, leaf + ((page & LEAF_MASK) << 3)) if leaf else 0


@kernel(inline=True)
def set_extent(heap, page, extent):
    """Enter a page's extent; 0: none. There is a leaf."""
    word = heap.leaves[unsigned(page >> LEAF_SHIFT)] + ((page & LEAF_MASK) << 3)
    touch(heap.machine, word, 8)
    store(heap.machine, word, extent)
