"""What must hold of a G1 heap between two events."""

from heapwright.collectors.hotspot.layout import (
    BYTES_SHIFT,
    FIELDS_MASK,
    HEADER_BYTES,
    MARKED,
    reference,
)
from heapwright.collectors.mark import is_empty
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load
from heapwright.managers.runtime.hotspot_g1.state import (
    FREE,
    KINDS,
    OLD,
    REST,
    TO_OLD,
    TO_YOUNG,
    is_young,
    region_of,
    settle_tops,
    start_of,
)


@kernel
def check(heap):
    """0, or 1: a region is not tiled by unmarked blocks; 2: a reference leads into a free region;
    3: one that leads to another region lies in a card that does not say so; 4: the counts of
    regions are wrong; 5: a region is still chosen; 6: a handle leads elsewhere; 7: an object is
    grey."""
    if not heap.java.base:
        return 0
    settle_tops(heap)
    table = heap.regions
    for kind in range(KINDS):
        count = 0
        for region in range(heap.total):
            count += table.kind[unsigned(region)] == kind
        if count != table.counts[unsigned(kind)]:
            return 4
    for region in range(heap.own, heap.total):
        kind = table.kind[unsigned(region)]
        if table.chosen[unsigned(region)]:
            return 5
        if kind not in (FREE, REST):
            broken = _check_region(heap, region, kind)
            if broken:
                return broken
    return _check_table(heap)


@kernel
def _check_region(heap, region, kind):
    machine, java = heap.machine, heap.java
    block, past = start_of(heap, region), heap.regions.top[unsigned(region)]
    while block < past:
        shape, address = load(machine, block + 8), block + HEADER_BYTES
        if load(machine, block) & MARKED or shape < 2 << BYTES_SHIFT:
            return 1
        for field in range(shape & FIELDS_MASK):
            target = reference(java, machine, address, field)
            if not target:
                continue
            if heap.regions.kind[unsigned(region_of(heap, target))] == FREE:
                return 2
            if kind >= OLD and not _says_so(heap, address + (field << java.shift), target):
                return 3
        block += shape >> BYTES_SHIFT << 3
    return 0 if block == past else 1


@kernel
def _says_so(heap, place, target):
    """Whether the card of a reference tells where it leads."""
    java = heap.java
    if (place - java.base) >> heap.region_shift == region_of(heap, target):
        return True
    bits = java.cards[unsigned(place - java.base) >> unsigned(9)]
    return bits & (TO_YOUNG if is_young(heap, target) else TO_YOUNG | TO_OLD) != 0


@kernel
def _check_table(heap):
    java = heap.java
    for slot in range(java.slots):
        address = heap.mutator.handles[unsigned(slot)]
        if not address:
            continue
        if heap.regions.kind[unsigned(region_of(heap, address))] == FREE:
            return 6
        if not _says_so(heap, java.table + (slot << java.shift), address):
            return 6
    return 0 if is_empty(heap.machine, heap.stack) else 7
