"""What must hold of a zone at any time, and what nginx counts of it."""

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_count
from heapwright.machine import load
from heapwright.managers.malloc.nginx_slab.layout import (
    COUNTER_BYTES,
    ENTRY_BYTES,
    KIND_MASK,
    LEAST_SHIFT,
    PREVIOUS,
    RUN,
    SLOTS,
    TAKEN,
    TOTAL,
    USED,
    bit_words,
    bits,
    bits_at,
    kind,
    next_of,
    no_objects,
    objects_of,
    shift_of,
    word,
)

FIGURES = ("total", "used", "reqs", "fails")  # of a slot: ngx_slab_stat_t


@kernel
def _linked(heap, entry):
    """Whether a page's neighbours in its list know it."""
    previous = load(heap.machine, entry + PREVIOUS) & ~KIND_MASK
    after = load(heap.machine, next_of(heap, entry) + PREVIOUS) & ~KIND_MASK
    return next_of(heap, previous) == entry and after == entry


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    if not heap.pool:
        return 0
    number = free = listed = 0
    for row in range(2 * SLOTS):
        heap.tally[unsigned(row)] = 0
    while number < heap.total_pages:
        entry = heap.entries + number * ENTRY_BYTES
        if kind(heap, entry) != RUN:
            _tally(heap, entry)
            number += 1
            continue
        pages = word(heap, entry) & ~TAKEN
        if pages <= 0:
            return 1
        if not word(heap, entry) & TAKEN:
            free += pages
            listed += 1
            last = entry + (pages - 1) * ENTRY_BYTES
            if pages > 1 and load(heap.machine, last + PREVIOUS) & ~KIND_MASK != entry:
                return 1
        number += pages
    entry = next_of(heap, heap.ring)
    while entry != heap.ring:
        listed -= 1
        if not _linked(heap, entry):
            return 1
        entry = next_of(heap, entry)
    if free != heap.free_pages or listed:
        return 1
    for slot in range(SLOTS):
        head = heap.slots + slot * ENTRY_BYTES
        entry = next_of(heap, head)
        while entry != head:
            if not _linked(heap, entry) or shift_of(heap, entry) != slot + LEAST_SHIFT:
                return 2
            entry = next_of(heap, entry)
        at = heap.counters + slot * COUNTER_BYTES
        if heap.tally[unsigned(2 * slot)] != load(heap.machine, at + TOTAL):
            return 3
        if heap.tally[unsigned(2 * slot + 1)] != load(heap.machine, at + USED):
            return 3
    return 0


@kernel
def _tally(heap, entry):
    """Count the objects of a page, and those in use."""
    shift = shift_of(heap, entry)
    row = 2 * (shift - LEAST_SHIFT)
    heap.tally[unsigned(row)] += objects_of(shift)
    for number in range(bit_words(shift)):
        taken = bits(heap, bits_at(heap, entry, shift) + 8 * number, shift)
        heap.tally[unsigned(row + 1)] += bit_count(taken & ~no_objects(shift, number))


def statistics(heap):
    """Free pages, and of each slot its objects, those in use, requests and refusals, by name."""
    found = {"pfree": int(heap.free_pages)}
    for slot in range(SLOTS):
        for number, figure in enumerate(FIGURES):
            at = int(heap.counters) + slot * COUNTER_BYTES + 8 * number
            name = f"{1 << (slot + LEAST_SHIFT)} {figure}"
            found[name] = int(load(heap.machine, at)) if heap.pool else 0
    return found


__all__ = ["FIGURES", "check", "statistics"]
