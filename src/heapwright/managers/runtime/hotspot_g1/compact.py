"""A full collection: what lives in young and old regions slides into the lowest of them.

Source     OpenJDK 17 src/hotspot/share/gc/g1/g1FullCollector.cpp, g1FullGCPrepareTask.cpp
Omits      regions that are left as they are as hardly anything is dead there; several threads
"""

from heapwright.collectors.hotspot.cards import settle
from heapwright.collectors.hotspot.layout import (
    BYTES_SHIFT,
    FIELDS_MASK,
    HEADER_BYTES,
    forward,
    is_marked,
    reference,
)
from heapwright.collectors.hotspot.referring import mark_references, relocate
from heapwright.collectors.hotspot.tracing import dead_run, mark, redirect, redirect_table, slide
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store
from heapwright.managers.runtime.hotspot_g1.linking import unlink
from heapwright.managers.runtime.hotspot_g1.marking import free_old
from heapwright.managers.runtime.hotspot_g1.state import (
    FREE,
    HUMONGOUS,
    IDLE,
    OLD,
    REST,
    free_region,
    note_card,
    set_kind,
    settle_tops,
    start_of,
)


@kernel
def compact(heap):
    """Mark, free dead humongous objects, and slide the rest."""
    table = heap.regions
    settle_tops(heap)
    mark(heap)
    if heap.references.entries:
        mark_references(heap)
    heap.fulls += 1
    for region in range(heap.own, heap.total):
        block = start_of(heap, region)
        if table.kind[unsigned(region)] == HUMONGOUS:
            if is_marked(heap.machine, block):
                forward(heap.machine, block, block + HEADER_BYTES, 0)
            else:
                free_old(heap, region)
    last = _forward_all(heap)
    redirect_table(heap)
    if heap.references.entries:
        relocate(heap)
    for region in range(heap.own, heap.total):
        kind = table.kind[unsigned(region)]
        if kind not in (FREE, REST):
            redirect(heap, start_of(heap, region), table.top[unsigned(region)])
    for region in range(heap.own, heap.total):
        if _slides(heap, region):
            slide(heap, start_of(heap, region), table.top[unsigned(region)])
        elif table.kind[unsigned(region)] == HUMONGOUS:
            store(heap.machine, start_of(heap, region), 0)
    _settle_anew(heap, last)
    if heap.references.entries:
        unlink(heap)


@kernel
def _slides(heap, region):
    """Whether a region's objects move: those of young and old."""
    return FREE < heap.regions.kind[unsigned(region)] <= OLD


@kernel
def _next(heap, region):
    """The next region whose objects move."""
    region += 1
    while not _slides(heap, region):
        region += 1
    return region


@kernel
def _forward_all(heap):
    """Say in each marked block where it will lie; the last region that is filled, -1 none. Where
    regions will end is written to `scan_top`."""
    table, target, top = heap.regions, -1, 0
    for region in range(heap.own, heap.total):
        if not _slides(heap, region):
            continue
        table.scan_top[unsigned(region)] = start_of(heap, region)
        block, past = start_of(heap, region), table.top[unsigned(region)]
        while block < past:
            bytes_ = load(heap.machine, block + 8) >> BYTES_SHIFT << 3
            if not is_marked(heap.machine, block):
                block = dead_run(heap.machine, block, past)
                continue
            if target < 0 or top + bytes_ > start_of(heap, target) + heap.region_bytes:
                target = _next(heap, target if target >= 0 else heap.own - 1)
                top = start_of(heap, target)
            forward(heap.machine, block, top + HEADER_BYTES, 0)
            top += bytes_
            table.scan_top[unsigned(target)] = top
            block += bytes_
    return target


@kernel
def _settle_anew(heap, last):
    """Regions that were filled are old, others free; cards and what covers them are made anew."""
    table, java = heap.regions, heap.java
    for region in range(heap.own, heap.total):
        if not _slides(heap, region):
            continue
        if region > last:
            free_region(heap, region)
            continue
        set_kind(heap, region, OLD)
        top = table.scan_top[unsigned(region)]
        table.top[unsigned(region)] = table.marked_top[unsigned(region)] = top
        table.live[unsigned(region)] = top - start_of(heap, region)
        table.chosen[unsigned(region)] = 0
    for card in range((heap.total << heap.region_shift) >> 9):
        java.cards[unsigned(card)] = 0
    for slot in range(java.slots):
        if heap.mutator.handles[unsigned(slot)]:
            place = java.table + (slot << java.shift)
            note_card(heap, place, heap.mutator.handles[unsigned(slot)])
    for region in range(heap.own, heap.total):
        kind = table.kind[unsigned(region)]
        if kind in (OLD, HUMONGOUS):
            _note_region(heap, region)
    heap.current = heap.retained = heap.to_old = heap.to_region = -1
    heap.bump = heap.bump_end = heap.kept = heap.kept_end = 0
    heap.candidate = heap.candidate_count = heap.marking_left = 0
    heap.phase = IDLE


@kernel
def _note_region(heap, region):
    """The cards of a region's references, and the blocks that cover them."""
    machine, java = heap.machine, heap.java
    block, past = start_of(heap, region), heap.regions.top[unsigned(region)]
    while block < past:
        shape, address = load(machine, block + 8), block + HEADER_BYTES
        for field in range(shape & FIELDS_MASK):
            target = reference(java, machine, address, field)
            if target:
                note_card(heap, address + (field << java.shift), target)
        settle(java, block, shape >> BYTES_SHIFT << 3)
        block += shape >> BYTES_SHIFT << 3
