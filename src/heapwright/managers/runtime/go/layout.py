"""Go's heap in tables: what every word of them means.

    address >> 13 ─► page_words ─► first page of the span ─► spans, bits
    spans    │ class pages objects size swept allocated next before │ zero set fields .. │   a row
    bits     │ allocated, marked │ allocated, marked │ ...   64 objects a pair, 16 pairs

Terms      page: 8 KiB; span: a run of pages that holds objects of one class, named by the number
           of its first page; processor: a P of the scheduler, which has caches of its own
Invariant  a page of a span has its page word, any other page has 0; of a span that no cache holds
           the allocated bits are exact, and between two collections no bit is marked
Source     Go 1.27 runtime/mheap.go (mspan, heapArena), mcache.go, mbitmap.go
Differs    the real one keeps spans in records of their own and bits partly in the span; here both
           lie in tables by page, which no measure of memory counts
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.machine import Machine
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.runtime.go.pages import Pages, pages
from heapwright.managers.runtime.go.size_classes import (
    PAGE_SHIFT,
    SPAN_CLASSES,
    SizeClasses,
    size_classes,
)

SPACE_PAGES = SPACE_BYTES >> PAGE_SHIFT
ARENA_SHIFT = 26  # an arena is 64 MiB
NEVER = (1 << 62) - 1  # a heap that no program reaches

# A span's row
(
    CLASS,  # span class
    PAGES,
    OBJECTS,  # that fit
    SIZE,  # of one, bytes
    SWEPT,  # sweep generation sg of the span: generation - 2 needs sweeping, equal: swept,
    # + 1 cached and needs sweeping, + 3 cached and swept
    ALLOCATED,  # objects, when no cache holds the span; all of them while one does
    NEXT,  # span of the same set, 0 none
    BEFORE,
    NEEDS_ZERO,  # 1 when its memory was used before
    SET,  # that it is in, -1 none
    FIELDS,  # references of its large object
) = range(11)
ROW_SHIFT = 4  # a row is 16 words

# Bits: pair w of a span holds objects 64 w to 64 w + 63
PAIRS_SHIFT = 5  # a span's pairs are 32 words

# A page word: pages from the span's first << DELTA_SHIFT | span class + 1
DELTA_SHIFT, CLASS_MASK = 8, 255

# A cache's row per span class: the 64 objects it is at, and what is free of them
FREE_BITS, BASE, STRIDE, ZERO, SPAN, NEXT_PAIR = range(6)
CACHE_SHIFT = 3  # a row is 8 words
CACHE_WORDS = SPAN_CLASSES << CACHE_SHIFT

# A processor's words
(
    TINY,  # address of the block that small objects without references share, 0 none
    TINY_USED,  # bytes
    PAGE_BASE,  # first of the 64 pages of the page cache
    PAGE_FREE,  # bit i: page PAGE_BASE + i is free and kept here
    PAGE_GONE,  # bit i: and the system has its memory
    SCANNABLE,  # bytes of references allocated since the last refill
    FLUSHED,  # sweep generation in which its cache was last emptied
) = range(7)
PROCESSOR_SHIFT = 3

PAGES_PER_BYTE = 0  # of ratios: pages to sweep for each byte allocated; sweepPagesPerByte


# Bytes unless another unit is named.
@record(
    "live",  # marked by the last collection and allocated since; runtime: heapLive
    "scan",  # of it references; heapScan
    "in_use",  # in spans; heapInUse, HeapInuse
    "free",  # in free pages that have memory; heapFree
    "released",  # in free pages that have none; heapReleased
    "allocated_total",  # ever, as known at refills; totalAlloc
    "freed_total",  # ever, as known after sweeps; totalFree
    "generation",  # sweep generation, rises by 2 with each collection; sweepgen
    "pages_in_use",
    "pages_swept",  # in this generation
    "sweep_basis",  # pages swept when the sweep was last paced
    "sweep_live",  # LIVE at that time
    "sweep_set",  # next span class and set to sweep
    "is_swept",  # 1 when no span of this generation needs sweeping
    "reclaim_page",  # where the search for spans without a marked object goes on
    "reclaim_credit",  # pages
    "marking",  # 1 while objects are born black
    "born_black",  # in this cycle
    "swept_objects",  # freed by the sweep since boot
    "processor_count",  # setting
    "memory_limit",  # setting, NEVER when there is none
    "outside",  # setting: memory of the runtime that is not heap
    "scavenge_goal",  # IN_USE + FREE that the scavenger leaves, NEVER when it rests
    "scavenged",  # ever given back
    "arena_next",  # address that the heap grows from
    "arena_end",  # of the reserved address space it lies in
    "hint",  # number of the hint that arenas are asked at
    "hint_next",  # address that the next one is asked at, 0: the hint's
    "lowest_page",  # the heap's pages
    "past_page",
    "scavenge_past",  # page; from here on no free page has memory
    array="meters",
)
class GoHeap(NamedTuple):
    """The heap without its collector."""

    machine: Machine
    classes: SizeClasses
    pages: Pages
    page_words: np.ndarray  # int64[page]
    spans: np.ndarray  # int64[page << ROW_SHIFT]
    bits: np.ndarray  # int64[page << PAIRS_SHIFT]
    heads: np.ndarray  # int64[set]  first span, 0 none; see span_sets
    tails: np.ndarray  # int64[set]
    caches: np.ndarray  # int64[processor * CACHE_WORDS]
    processors: np.ndarray  # int64[processor << PROCESSOR_SHIFT]
    used_past: np.ndarray  # int64[arena]  page; from here on its memory was never used; zeroedBase
    meters: np.ndarray  # int64[word]
    ratios: np.ndarray  # float64[1]


def go_heap(machine: Machine, processors: int) -> GoHeap:
    """A heap that has asked the system for nothing yet."""
    meters = words(
        GoHeap,
        processor_count=processors,
        is_swept=1,
        memory_limit=NEVER,
        scavenge_goal=NEVER,
        lowest_page=SPACE_PAGES,
    )
    return GoHeap(
        machine=machine,
        classes=size_classes(),
        pages=pages(SPACE_PAGES),
        page_words=reserve(SPACE_PAGES, np.int64),
        spans=reserve(SPACE_PAGES << ROW_SHIFT, np.int64),
        bits=reserve(SPACE_PAGES << PAIRS_SHIFT, np.int64),
        heads=np.zeros(4 * SPAN_CLASSES, np.int64),
        tails=np.zeros(4 * SPAN_CLASSES, np.int64),
        caches=np.zeros(processors * CACHE_WORDS, np.int64),
        processors=np.zeros(processors << PROCESSOR_SHIFT, np.int64),
        used_past=np.zeros(SPACE_BYTES >> ARENA_SHIFT, np.int64),
        meters=meters,
        ratios=np.zeros(1, np.float64),
    )


@kernel(inline=True)
def field(go, span, name):
    """Word `name` of the span's row."""
    return go.spans[unsigned((span << ROW_SHIFT) + name)]


@kernel(inline=True)
def set_field(go, span, name, value):
    """Write word `name` of the span's row."""
    go.spans[unsigned((span << ROW_SHIFT) + name)] = value


@kernel(inline=True)
def span_of(go, address):
    """The span that `address` lies in, 0 if none; any integer may be asked about."""
    page = address >> PAGE_SHIFT
    if page < go.lowest_page or page >= go.past_page:
        return 0
    word = go.page_words[unsigned(page)]
    return page - (word >> DELTA_SHIFT) if word else 0


@kernel(inline=True)
def valid_bits(objects, pair):
    """The bits of a pair that stand for objects, of a span with room for so many."""
    rest = objects - (pair << 6)
    return np.int64(-1) if rest >= 64 else ~(np.int64(-1) << rest)
