"""mallocng's words: what its parts share.

    group   │ record │ last active │ ... head │ slot ... head │ slot ... │     in whole pages, or in
    record  │ previous │ next │ group │ avail, freed │ shape │              a slot of a larger class
    page of records  │ check, next, count │ record │ record │ ...           at the break

Terms      head: the 4 bytes before a block: its slot's number and how much of it is spare, and its
           distance from the group's first slot; avail: free slots that may be handed out; freed:
           free slots that are not yet; shape: last slot, class, pages of its own, 0 of a nested one
Invariant  see `invariants.py`
Source     musl 1.2.3 src/malloc/mallocng/meta.h
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length
from heapwright.compiler.record import record
from heapwright.machine import PAGE_BYTES, Machine, load, store

UNIT = 16
IN_BAND = 4  # IB: bytes of a head
CLASSES = 48
OWN_CLASS = 63  # of a block that is mapped on its own
MAPPED_BYTES = 131052  # MMAP_THRESHOLD
MOST_BYTES = 1 << 46  # refused beyond, as by the kernel

SLOT_UNITS = (
    *(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 18, 20, 25, 31, 36, 42, 50, 63, 72, 84, 102, 127, 146),
    *(170, 204, 255, 292, 340, 409, 511, 584, 682, 818, 1023, 1169, 1364, 1637, 2047, 2340, 2730),
    *(3276, 4095, 4680, 5460, 6552, 8191),
)
# Slots of a group of a small class, by how much the class is used; of larger ones, by class & 3
SMALL_COUNTS = (
    *((30, 30, 30), (31, 15, 15), (20, 10, 10), (31, 15, 7), (25, 12, 6), (21, 10, 5)),
    *((18, 8, 4), (31, 15, 7), (28, 14, 6)),
)
COUNTS = (28, 24, 20, 32)
SMALL_CLASSES = len(SMALL_COUNTS)

# Bytes of a record, struct meta
PREVIOUS, NEXT, GROUP, MASKS, SHAPE = 0, 8, 16, 24, 32
RECORD_BYTES = 40
FIRST_RECORD = 24  # of a page of records, struct meta_area
RECORDS = (PAGE_BYTES - FIRST_RECORD) // RECORD_BYTES
LOW = 0xFFFF_FFFF
TOP_BIT = 1 << 31  # of 32; taken twice it makes a number of 32 bits a signed one
CLASS_SHIFT, PAGES_SHIFT = 6, 12  # of SHAPE
ACTIVE = 8  # byte of a group: its last active slot

# A class whose groups come and go, "bouncing"
FIRST_BOUNCING, BOUNCING = 7, 32
BOUNCE_EVENTS = 10  # so soon a group is made after one went
BOUNCES = 100
MOST_BOUNCES = 150
LAST_TURN = 255

NESTED = 8  # groups at most that lie in each other

PATHS = (
    "alloc",
    "free",
    "group",  # mapped
    "nested",  # in a slot of a larger class
    "single",  # of one slot, of the pages that the request needs
    "group_freed",
    "nested_freed",
    "mapped",  # a block of its own
    "mapped_freed",
    "next_group",  # the ring was turned or its first group left it
    "activate",  # further slots of a group
    "lazily_freed",  # whole pages of a slot, by MADV_FREE
    "in_place",
    "remapped",
    "moved",
)
(
    ALLOC,
    FREE,
    NEW_GROUP,
    NEW_NESTED,
    SINGLE,
    GROUP_FREED,
    NESTED_FREED,
    MAPPED,
    MAPPED_FREED,
    NEXT_GROUP,
    ACTIVATE,
    LAZILY_FREED,
    IN_PLACE,
    REMAPPED,
    MOVED,
) = range(len(PATHS))


@record(
    "turn",  # counts groups and mappings that come and go, 1 to 255 and again
    "mappings",  # ever made, which shift blocks in their slots
    "spare",  # first record that is free; each links to the next
    "fresh",  # the next record that never was one
    "fresh_records",  # that many are left in its page
    "first_page",  # of records; 0: none yet
    "past_pages",
)
class Heap(NamedTuple):
    """The whole state but what lies in the machine's words."""

    machine: Machine
    units: np.ndarray  # int64[class]  of a slot
    counts: np.ndarray  # int64[class * 3 + use]  of a group's slots, small classes
    active: np.ndarray  # int64[class]  first record of the class's ring; 0: none
    usage: np.ndarray  # int64[class]  slots of its groups
    gone: np.ndarray  # int64[class - FIRST_BOUNCING]  turn at which a group last went; 0: none
    bounces: np.ndarray  # int64[class - FIRST_BOUNCING]
    nesting: np.ndarray  # int64[depth * 4 + word]  groups that wait for a slot to lie in
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel(inline=True)
def class_of(heap, size):
    """The class of a request below MAPPED_BYTES (size_to_class)."""
    units = (size + IN_BAND - 1) >> 4
    if units < 10:
        return units
    units += 1
    class_ = (bit_length(units) - 4) * 4 + 8
    if units > heap.units[unsigned(class_ + 1)]:
        class_ += 2
    return class_ + (units > heap.units[unsigned(class_)])


@kernel(inline=True)
def avail(heap, record):
    """Bits of the slots that may be handed out."""
    return load(heap.machine, record + MASKS) & LOW


@kernel(inline=True)
def freed(heap, record):
    """Bits of the slots that are free and may not yet."""
    return (load(heap.machine, record + MASKS) >> 32) & LOW


@kernel(inline=True)
def set_masks(heap, record, avail_, freed_):
    """Write both."""
    store(heap.machine, record + MASKS, avail_ | (((freed_ ^ TOP_BIT) - TOP_BIT) << 32))


@kernel(inline=True)
def last_of(heap, record):
    """Number of a group's last slot."""
    return load(heap.machine, record + SHAPE) & 31


@kernel(inline=True)
def class_in(heap, record):
    """The class of a group."""
    return (load(heap.machine, record + SHAPE) >> CLASS_SHIFT) & 63


@kernel(inline=True)
def pages_of(heap, record):
    """Pages that a group is alone in; 0 of a nested one."""
    return load(heap.machine, record + SHAPE) >> PAGES_SHIFT


@kernel(inline=True)
def group_of(heap, record):
    """Where a group begins."""
    return load(heap.machine, record + GROUP)


@kernel
def stride(heap, record):
    """Bytes from slot to slot (get_stride)."""
    shape = load(heap.machine, record + SHAPE)
    if not shape & 31 and shape >> PAGES_SHIFT:
        return (shape >> PAGES_SHIFT) * PAGE_BYTES - UNIT
    return UNIT * heap.units[unsigned((shape >> CLASS_SHIFT) & 63)]


@kernel(inline=True)
def alone(heap, record):
    """Whether its one slot is smaller than the class's: mapped for one request."""
    class_ = class_in(heap, record)
    return class_ >= CLASSES or stride(heap, record) < UNIT * heap.units[unsigned(class_)]


@kernel
def step(heap):
    """A group or a mapping came or went (step_seq)."""
    if heap.turn == LAST_TURN:
        for row in range(BOUNCING):
            heap.gone[unsigned(row)] = 0
        heap.turn = 1
    else:
        heap.turn += 1


@kernel(inline=True)
def may_bounce(class_):
    """Whether the class is among those whose groups are counted."""
    return FIRST_BOUNCING <= class_ < FIRST_BOUNCING + BOUNCING


@kernel(inline=True)
def bouncing(heap, class_):
    """Whether its groups come and go too often."""
    return may_bounce(class_) and heap.bounces[unsigned(class_ - FIRST_BOUNCING)] >= BOUNCES
