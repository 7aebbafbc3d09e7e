"""nginx's slab allocator 1.22: objects of powers of two in a shared zone of a fixed size.

    alloc ─► slot of the size: its first page, lowest free object ─none─► a page of its own
              └ over 2 KiB: a run of whole pages, the first in the list that is long enough
    free  ─► the object's bit; a page that was full comes first in its slot, one without an object
             goes back to the runs

Terms      slot: pages with a free object of one size, 8 bytes to 2 KiB; run: pages side by side;
           own objects: those of a page of objects below 64 bytes that its bits lie in
Invariant  free runs sum to the free pages and name their ends (check: 1); slots' pages are linked
           both ways and have a free object (2); a slot's counters are what its pages hold (3)
Source     nginx 1.22 src/core/ngx_slab.c; parts in the files beside
Omits      the lock of the zone's processes; what nginx has no function for: realloc is a block, a
           copy and a free here, memalign a block of at least the alignment, none beyond a page
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import ALIGN_BYTES, cached, counters, write_row
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length, trailing_zeros
from heapwright.compiler.record import words
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, clear, copy, load, mmap, store, touch
from heapwright.machine.address_space import PAGE_SHIFT
from heapwright.managers.malloc.nginx_slab import layout
from heapwright.managers.malloc.nginx_slab.invariants import check, statistics
from heapwright.managers.malloc.nginx_slab.layout import (
    BIG,
    BITS,
    COUNTER_BYTES,
    ENTRY_BYTES,
    EXACT,
    EXACT_SHIFT,
    FAILS,
    HALF,
    HEADER_BYTES,
    LARGEST_BYTES,
    LEAST_SHIFT,
    LOW,
    PATHS,
    PREVIOUS,
    REQUESTS,
    RUN,
    SLOTS,
    SMALL,
    TAKEN,
    TOTAL,
    USED,
    WORD,
    ZoneHeap,
    bit,
    bit_words,
    bits,
    bits_at,
    count_up,
    entry_of,
    kind,
    link_first,
    next_of,
    no_objects,
    objects_of,
    own_objects,
    page_address,
    shift_of,
    unlink,
    word,
    write_entry,
)
from heapwright.managers.malloc.nginx_slab.runs import give_run, take_run
from heapwright.versions import version_number
from heapwright.words import counted

__all__ = [
    "PATHS",
    "Config",
    "ZoneHeap",
    "alloc",
    "boot",
    "cached",
    "calloc",
    "check",
    "extent",
    "free",
    "metadata",
    "notes",
    "realloc",
    "statistics",
    "usable",
]

LEAST_ZONE_BYTES, MOST_ZONE_BYTES = 8 * PAGE_BYTES, 1 << 34  # nginx refuses a smaller one
POOL_OFFSET = HEADER_BYTES + SLOTS * (ENTRY_BYTES + COUNTER_BYTES)
RING_OFFSET = 40  # of the header: the entry that heads the free runs


class Config(NamedTuple):
    """What the zone's directive says."""

    zone_bytes: int = 1 << 26  # 32 KiB to 16 GiB
    version: int = version_number("1.22")


def boot(machine, config):
    """No zone yet; HeapwrightError for one that nginx refuses, or that has no room here."""
    if not LEAST_ZONE_BYTES <= config.zone_bytes <= MOST_ZONE_BYTES:
        raise HeapwrightError(
            f"nginx-slab.zone_bytes is {LEAST_ZONE_BYTES:,} to {MOST_ZONE_BYTES:,}, not "
            f"{config.zone_bytes:,}."
        )
    tally, fields = np.zeros(2 * SLOTS, np.int64), words(ZoneHeap, zone_bytes=config.zone_bytes)
    return ZoneHeap(machine, tally, fields, counters(PATHS))


def notes(heap):
    """What its figures mean, in sentences."""
    refused = int(heap.paths[layout.REFUSED])
    if not refused:
        return []
    return [
        f"Its zone of {heap.zone_bytes:,} bytes had no room for {counted(refused, 'request')}; "
        "nginx answers so and goes on."
    ]


@kernel(cold=True)
def _open(heap):
    """Lay out the zone (ngx_slab_init); whether there was room for it."""
    machine, size = heap.machine, heap.zone_bytes
    pool = mmap(machine, 0, size)
    if not pool:
        return False
    heap.pool = pool
    heap.ring = pool + RING_OFFSET
    heap.slots = pool + HEADER_BYTES
    heap.counters = heap.slots + SLOTS * ENTRY_BYTES
    heap.entries = heap.counters + SLOTS * COUNTER_BYTES
    pages = (size - POOL_OFFSET) // (PAGE_BYTES + ENTRY_BYTES)
    start = heap.entries + pages * ENTRY_BYTES
    heap.start = (start + PAGE_BYTES - 1) & -PAGE_BYTES
    clear(machine, pool, start - pool)
    for slot in range(SLOTS):
        head = heap.slots + slot * ENTRY_BYTES
        write_entry(heap, head, 0, head, 0)
    # zeroed before the zone is aligned: an entry too many stays unused
    heap.total_pages = heap.free_pages = min(pages, (pool + size - heap.start) >> PAGE_SHIFT)
    write_entry(heap, heap.ring, 0, heap.entries, heap.entries)
    write_entry(heap, heap.entries, heap.total_pages, heap.ring, heap.ring)
    last = heap.entries + (heap.total_pages - 1) * ENTRY_BYTES
    if heap.total_pages > 1:
        store(machine, last + PREVIOUS, heap.entries)
    return True


@kernel
def alloc(heap, thread, size, align):
    """ngx_slab_alloc: an object, or whole pages; 0 where the zone has none."""
    heap.paths[layout.ALLOC] += 1
    if not heap.pool and not _open(heap):
        return 0
    if align > ALIGN_BYTES:
        size = max(size, align)
    if unsigned(size) > unsigned(heap.zone_bytes) or align > PAGE_BYTES:
        heap.paths[layout.REFUSED] += 1
        return 0
    address = _alloc_pages(heap, size) if size > LARGEST_BYTES else _alloc_object(heap, size)
    if not address:
        heap.paths[layout.REFUSED] += 1
    return address


@kernel
def _alloc_pages(heap, size):
    heap.paths[layout.PAGES] += 1
    entry = take_run(heap, (size + PAGE_BYTES - 1) >> PAGE_SHIFT)
    return page_address(heap, entry) if entry else 0


@kernel
def _alloc_object(heap, size):
    """An object of the slot's first page, or of a fresh one."""
    shift = bit_length(size - 1) if size > 1 << LEAST_SHIFT else LEAST_SHIFT
    slot = shift - LEAST_SHIFT
    count_up(heap, slot, REQUESTS, 1)
    head = heap.slots + slot * ENTRY_BYTES
    entry = next_of(heap, head)
    if entry == head:
        entry = _open_page(heap, slot, shift)
        if not entry:
            count_up(heap, slot, FAILS, 1)
            return 0
    count_up(heap, slot, USED, 1)
    number = _take_bit(heap, entry, shift)
    if not _has_room(heap, entry, shift):
        unlink(heap, entry)
    return page_address(heap, entry) + (number << shift)


@kernel
def _open_page(heap, slot, shift):
    """A page for a slot that has none with room; its bits may lie in its first objects."""
    entry = take_run(heap, 1)
    if not entry:
        return 0
    heap.paths[layout.SLOT_PAGE] += 1
    kind_, word_ = EXACT, 0
    if shift < EXACT_SHIFT:
        kind_, word_ = SMALL, shift
        page = page_address(heap, entry)
        touch(heap.machine, page, 8 * bit_words(shift))
        for number in range(bit_words(shift)):
            store(heap.machine, page + 8 * number, no_objects(shift, number))
    elif shift > EXACT_SHIFT:
        kind_, word_ = BIG, (no_objects(shift, 0) & LOW) | (shift << HALF)
    store(heap.machine, entry + WORD, word_)
    count_up(heap, slot, TOTAL, objects_of(shift))
    link_first(heap, heap.slots + slot * ENTRY_BYTES, entry, kind_)
    return entry


@kernel
def _take_bit(heap, entry, shift):
    """Number of the lowest free object of a page that has one, taken."""
    at, number = bits_at(heap, entry, shift), 0
    while bits(heap, at, shift) == -1:
        at += 8
        number += BITS
    number += trailing_zeros(~bits(heap, at, shift))
    store(heap.machine, at, load(heap.machine, at) | bit(number))
    return number


@kernel
def _has_room(heap, entry, shift):
    """Whether a page has a free object."""
    at, full = bits_at(heap, entry, shift), True
    for number in range(bit_words(shift)):
        full &= bits(heap, at + 8 * number, shift) == -1
    return not full


@kernel
def _is_empty(heap, entry, shift):
    """Whether a page has no object but its own."""
    at = bits_at(heap, entry, shift)
    for number in range(bit_words(shift)):
        if bits(heap, at + 8 * number, shift) != no_objects(shift, number):
            return False
    return True


@kernel
def free(heap, thread, address):
    """ngx_slab_free."""
    heap.paths[layout.FREE] += 1
    entry = entry_of(heap, address)
    if kind(heap, entry) == RUN:
        give_run(heap, entry, word(heap, entry) & ~TAKEN)
        return
    shift = shift_of(heap, entry)
    slot, number = shift - LEAST_SHIFT, (address & (PAGE_BYTES - 1)) >> shift
    if not next_of(heap, entry):  # was full
        link_first(heap, heap.slots + slot * ENTRY_BYTES, entry, kind(heap, entry))
    at = bits_at(heap, entry, shift) + 8 * (number // BITS)
    store(heap.machine, at, load(heap.machine, at) & ~bit(number))
    count_up(heap, slot, USED, -1)
    if _is_empty(heap, entry, shift):
        heap.paths[layout.PAGE_BACK] += 1
        count_up(heap, slot, TOTAL, -objects_of(shift))
        unlink(heap, entry)
        store(heap.machine, entry + PREVIOUS, RUN)
        give_run(heap, entry, 1)


@kernel
def calloc(heap, thread, size):
    """ngx_slab_calloc: all of it is written."""
    address = alloc(heap, thread, size, ALIGN_BYTES)
    if address:
        clear(heap.machine, address, size)
    return address


@kernel
def realloc(heap, thread, address, size):
    """A new block, a copy, and the old one freed, which stays where there is no room."""
    moved = alloc(heap, thread, size, ALIGN_BYTES)
    if moved:
        copy(heap.machine, moved, address, min(usable(heap, address, 0), size))
        free(heap, thread, address)
    return moved


@kernel
def usable(heap, address, size):
    """The object's size, or the run's pages."""
    entry = entry_of(heap, address)
    if kind(heap, entry) == RUN:
        return (word(heap, entry) & ~TAKEN) << PAGE_SHIFT
    return 1 << shift_of(heap, entry)


@kernel
def extent(heap, address, size):
    """The block: it has no header."""
    return address, usable(heap, address, size)


@kernel
def metadata(heap, blocks):
    """The zone's head up to its first page, and own objects of pages."""
    if not heap.pool:
        return 0
    count = write_row(blocks, 0, heap.pool, heap.start - heap.pool)
    number = 0
    while number < heap.total_pages:
        entry = heap.entries + number * ENTRY_BYTES
        number += word(heap, entry) & ~TAKEN if kind(heap, entry) == RUN else 1
        if kind(heap, entry) == SMALL:
            shift = word(heap, entry)
            bytes_ = own_objects(shift) << shift
            count = write_row(blocks, count, page_address(heap, entry), bytes_)
    return count
