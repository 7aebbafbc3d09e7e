"""The zone of nginx's slab allocator: where its words lie.

    pool's header │ slot │ ... │ counters │ ... │ page │ page │ ...   page of objects │ page │ ...
    200 bytes      9 x 24       9 x 32           24 bytes each         from `start` on, aligned

Terms      slot: head of the list of pages with a free object of one size; page: its word of bits or
           of pages, next and previous, whose two lowest bits say what the page holds
Source     nginx 1.22 src/core/ngx_slab.h, ngx_slab.c (ngx_slab_init); the header is that of a build
           with POSIX semaphores
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel
from heapwright.compiler.record import record
from heapwright.machine import PAGE_BYTES, Machine, load, store
from heapwright.machine.address_space import PAGE_SHIFT

LEAST_SHIFT = 3  # of an object's size: 8 bytes
EXACT_SHIFT = 6  # as many objects as a word has bits
LARGEST_BYTES = PAGE_BYTES // 2  # of an object that shares its page
SLOTS = PAGE_SHIFT - LEAST_SHIFT
HEADER_BYTES, ENTRY_BYTES, COUNTER_BYTES = 200, 24, 32
BITS = 64

# Words of a page's entry
WORD, NEXT, PREVIOUS = 0, 8, 16
RUN, BIG, EXACT, SMALL = 0, 1, 2, 3  # kinds, in the lowest bits of PREVIOUS
KIND_MASK = 3
TAKEN = 1 << 62  # of a run's WORD: its first page; in nginx the highest bit
INNER = -1  # WORD of a run's further pages
HALF = 32  # of a page with objects over 64 bytes: bits below, above them the size's shift
LOW = (1 << HALF) - 1
TOP = -(1 << 63)  # the highest bit, as a signed word has it

# Words of a slot's counters
TOTAL, USED, REQUESTS, FAILS = 0, 8, 16, 24

PATHS = ("alloc", "free", "slot_page", "page_back", "pages", "merged", "refused")
ALLOC, FREE, SLOT_PAGE, PAGE_BACK, PAGES, MERGED, REFUSED = range(len(PATHS))


@record(
    "pool",  # address of the zone; 0 while there was no request
    "zone_bytes",
    "total_pages",  # of objects
    "start",  # address of the first one
    "free_pages",
    "slots",  # address of the first slot
    "counters",  # address of the first slot's counters
    "entries",  # address of the first page's entry
    "ring",  # address of the entry that heads the free runs, in the header
)
class ZoneHeap(NamedTuple):
    """The whole state but what lies in the zone."""

    machine: Machine
    tally: np.ndarray  # int64[slot * 2 + word]  objects and those in use, while `check` counts
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel(inline=True)
def word(heap, entry):
    """A page's bits, or the length of its run."""
    return load(heap.machine, entry + WORD)


@kernel(inline=True)
def next_of(heap, entry):
    """The next one of its list."""
    return load(heap.machine, entry + NEXT)


@kernel(inline=True)
def kind(heap, entry):
    """What a page holds."""
    return load(heap.machine, entry + PREVIOUS) & KIND_MASK


@kernel(inline=True)
def write_entry(heap, entry, word_, next_, previous):
    """Write all three."""
    machine = heap.machine
    store(machine, entry + WORD, word_)
    store(machine, entry + NEXT, next_)
    store(machine, entry + PREVIOUS, previous)


@kernel(inline=True)
def unlink(heap, entry):
    """Take a page out of its list; what it holds stays told."""
    machine = heap.machine
    next_, previous = next_of(heap, entry), load(machine, entry + PREVIOUS)
    kind_ = previous & KIND_MASK
    store(machine, (previous & ~KIND_MASK) + NEXT, next_)
    after = load(machine, next_ + PREVIOUS) & KIND_MASK
    store(machine, next_ + PREVIOUS, (previous & ~KIND_MASK) | after)
    store(machine, entry + NEXT, 0)
    store(machine, entry + PREVIOUS, kind_)


@kernel(inline=True)
def link_first(heap, head, entry, kind_):
    """Make a page the first of the list at `head`."""
    machine, first = heap.machine, next_of(heap, head)
    store(machine, entry + NEXT, first)
    store(machine, entry + PREVIOUS, head | kind_)
    after = load(machine, first + PREVIOUS) & KIND_MASK
    store(machine, first + PREVIOUS, entry | after)
    store(machine, head + NEXT, entry)


@kernel(inline=True)
def page_address(heap, entry):
    """Where a page of objects lies."""
    return heap.start + ((entry - heap.entries) // ENTRY_BYTES << PAGE_SHIFT)


@kernel(inline=True)
def entry_of(heap, address):
    """The entry of the page that an address lies in."""
    return heap.entries + ((address - heap.start) >> PAGE_SHIFT) * ENTRY_BYTES


@kernel(inline=True)
def count_up(heap, slot, counter, by):
    """Change a counter of a slot."""
    at = heap.counters + slot * COUNTER_BYTES + counter
    store(heap.machine, at, load(heap.machine, at) + by)


@kernel(inline=True)
def shift_of(heap, entry):
    """The shift of a page's objects."""
    kind_ = kind(heap, entry)
    if kind_ == BIG:
        return word(heap, entry) >> HALF
    return word(heap, entry) if kind_ == SMALL else EXACT_SHIFT


@kernel(inline=True)
def bits_at(heap, entry, shift):
    """Where the first word of a page's bits is: of small objects in the page itself."""
    return page_address(heap, entry) if shift < EXACT_SHIFT else entry + WORD


@kernel(inline=True)
def bit_words(shift):
    """Words of a page's bits."""
    return max((PAGE_BYTES >> shift) // BITS, 1)


@kernel(inline=True)
def bits(heap, at, shift):
    """A word of bits; where there is no object, or the shift, it counts as taken."""
    return load(heap.machine, at) | (-1 << HALF if shift > EXACT_SHIFT else 0)


@kernel(inline=True)
def bit(number):
    """The bit of an object in its word."""
    return TOP if number & (BITS - 1) == BITS - 1 else 1 << (number & (BITS - 1))


@kernel(inline=True)
def no_objects(shift, number):
    """The word of bits `number` of a page without an object."""
    if shift < EXACT_SHIFT:
        return 0 if number else (1 << own_objects(shift)) - 1
    return 0 if shift == EXACT_SHIFT else -1 << (PAGE_BYTES >> shift)


@kernel(inline=True)
def own_objects(shift):
    """Objects that the bits of a page of small ones take."""
    return max((PAGE_BYTES >> shift) // (BITS // 8 << shift), 1)


@kernel(inline=True)
def objects_of(shift):
    """Objects of a page that can be handed out."""
    return (PAGE_BYTES >> shift) - (own_objects(shift) if shift < EXACT_SHIFT else 0)
