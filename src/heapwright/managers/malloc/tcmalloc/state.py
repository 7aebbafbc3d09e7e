"""tcmalloc's words: what its parts share, in the places where the real one keeps it.

    span      48 bytes of metadata: a run of pages, free, of one class, or one block
    row       a thread's cache: eight words a class, its own in those of class 0; row 0 is the
              cache that the library's constructor made and no thread finds again
    rings     spans in a circle, by the number of its first: free by length, then by class
    leaf      2 MiB of metadata: the span of each page of 2 GiB, by page number

Terms      normal, returned: free pages that are resident, that were given back; batch: objects that
           move at a time; slot: a batch that waits in the central cache
Invariant  see `invariants.py`
Source     gperftools 2.10 src/span.h, thread_cache.h, central_freelist.h, page_heap.h, pagemap.h
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record
from heapwright.machine import Machine, load, store
from heapwright.managers.malloc.tcmalloc.size_classes import CLASSES, Classes
from heapwright.structures.sorted_keys import SortedKeys

LONGEST_PAGES = 128  # kMaxPages: longer free runs are sorted

# Words of a span
START, LENGTH, NEXT, PREVIOUS, OBJECTS, STATE = range(0, 48, 8)
IN_USE, NORMAL, RETURNED = 0, 1, 2  # location
CLASS_SHIFT, LOCATION_SHIFT = 16, 24  # of STATE, above the objects in use

# Rings
RETURNED_RINGS = LONGEST_PAGES + 1  # of returned runs, by their length; before them of normal ones
CLASS_RINGS = 2 * RETURNED_RINGS  # of spans with a free object, by class
RINGS = CLASS_RINGS + CLASSES

# Words of a class in a row; of the row itself, where class 0 has its words
ROW_SHIFT, LIST_SHIFT = 10, 3
FIRST, COUNT, LOW, MOST, OVER = range(5)
SIZE, LIMIT, AFTER, BEFORE, RECORD = range(5)  # bytes cached, most of them; neighbours; metadata
MOST_THREADS = 1 << 16
LOST = 0  # the row of the constructor's cache

# Words of a class in `central`
FREE, SPANS, SLOTS_USED, SLOTS = range(4)  # objects in spans, spans, batches, room for batches
CENTRAL_SHIFT = 2

# Kinds of records in the metadata
SPAN_RECORD, TRACE_RECORD, NODE_RECORD, CACHE_RECORD, KINDS = range(5)
RECORD_BYTES = (48, 264, 48, 4224)
SPARE, PIECE, PIECE_LEFT = range(3)  # words of a kind in `records`
KIND_SHIFT = 2

MOST_CHUNKS = 1 << 12

PATHS = (
    "fetch",  # a thread's cache was empty
    "slot_taken",  # a whole batch waited for it
    "span",  # none of the class's spans had a free object
    "span_freed",
    "give",  # objects went from a thread's cache to the central one
    "slot_filled",
    "slot_evicted",
    "scavenge",  # a thread's cache was over its limit
    "limit_stolen",
    "pages",  # a request beyond the classes
    "pages_freed",
    "carve",
    "merge",
    "grow",
    "release",
    "release_all",
    "metadata",  # a chunk of 8 MiB
    "in_place",
    "moved",
    "exit",
)
(
    FETCH,
    SLOT_TAKEN,
    SPAN,
    SPAN_FREED,
    GIVE,
    SLOT_FILLED,
    SLOT_EVICTED,
    SCAVENGE,
    LIMIT_STOLEN,
    PAGES,
    PAGES_FREED,
    CARVE,
    MERGE,
    GROW,
    RELEASE,
    RELEASE_ALL,
    METADATA,
    IN_PLACE,
    MOVED,
    EXIT,
) = range(len(PATHS))


@record(
    "started",  # the library's constructor has run
    "version",  # as a number: see versions.py
    "release_rate",  # TCMALLOC_RELEASE_RATE
    "aggressive",  # TCMALLOC_AGGRESSIVE_DECOMMIT
    "total",  # bytes that all caches may keep (overall_thread_cache_size_)
    "unclaimed",  # bytes of the caches' total that no cache may use yet
    "first_cache",  # row of the newest cache, plus one; 0: none (thread_heaps_)
    "steal",  # row whose limit is next to be cut, plus one; 0: the first (next_memory_steal_)
    "turn",  # class whose slot is next to be evicted (race_counter)
    "wait",  # pages that may still be freed before one run is given back (scavenge_counter_)
    "lengths_turn",  # length less one that is next to be given back (release_index_)
    "system",  # bytes of the heap (system_bytes)
    "normal",  # bytes free and resident (free_bytes)
    "returned",  # bytes given back (unmapped_bytes)
    "committed",  # bytes
    "decommitted",  # bytes given back so far
    "scavenges",
    "commits",
    "decommits",
    "reserves",
    "chunk",  # address of the first byte of metadata that was not handed out
    "chunk_left",  # bytes of it
    "chunks",  # how many there are
    "metadata_bytes",  # handed out (metadata_system_bytes_)
    "spare_nodes",  # records of sorted runs that were given back
    "broken",  # metadata was refused, which ends the real program
)
class Heap(NamedTuple):
    """The whole state; what lies in blocks and in metadata is in the machine's words."""

    machine: Machine
    classes: Classes
    rows: np.ndarray  # int64[row << 10 | class << 3 | word]  the threads' caches
    central: np.ndarray  # int64[class << 2 | word]
    slots: np.ndarray  # int64[class << 7 | slot << 1]  first and last object of a batch
    rings: np.ndarray  # int64[ring]  address of its first span; 0: none
    normal_runs: SortedKeys  # length << 24 | page of normal free runs longer than 128 pages
    returned_runs: SortedKeys  # likewise of returned ones
    leaves: np.ndarray  # int64[page >> 18]  address; 0 where there is none
    page_class: np.ndarray  # uint8[page]  class of its objects; 0 of a block's first page
    records: np.ndarray  # int64[kind << 2 | word]
    chunk_starts: np.ndarray  # int64[chunk]  address
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel(inline=True)
def row_of(thread):
    """The number of the thread's row."""
    return (thread & (MOST_THREADS - 1)) + 1


@kernel(inline=True)
def list_of(row, class_):
    """Where the words of a class's list in a row begin."""
    return (row << ROW_SHIFT) + (class_ << LIST_SHIFT)


@kernel(inline=True)
def location_of(machine, span):
    """IN_USE, NORMAL or RETURNED."""
    return load(machine, span + STATE) >> LOCATION_SHIFT


@kernel(inline=True)
def set_location(machine, span, location):
    """Write it; the span is of no class and has no objects in use."""
    store(machine, span + STATE, location << LOCATION_SHIFT)


@kernel(inline=True)
def push(heap, ring, span):
    """Put a span in front of a ring (DLL_Prepend)."""
    machine, first = heap.machine, heap.rings[unsigned(ring)]
    last = span
    if first:
        last = load(machine, first + PREVIOUS)
    else:
        first = span
    store(machine, span + NEXT, first)
    store(machine, span + PREVIOUS, last)
    store(machine, last + NEXT, span)
    store(machine, first + PREVIOUS, span)
    heap.rings[unsigned(ring)] = span


@kernel(inline=True)
def pull(heap, ring, span):
    """Take a span out of a ring (DLL_Remove)."""
    machine = heap.machine
    after, before = load(machine, span + NEXT), load(machine, span + PREVIOUS)
    store(machine, before + NEXT, after)
    store(machine, after + PREVIOUS, before)
    if heap.rings[unsigned(ring)] == span:
        heap.rings[unsigned(ring)] = after if after != span else 0
