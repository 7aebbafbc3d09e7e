"""A full collection: what lives in young and old regions slides into the lowest of them.

    A region of which more than 95 % lives stays as it is, its dead too, unless all else has failed.

Source     OpenJDK 17 src/hotspot/share/gc/g1/g1FullCollector.cpp, g1FullGCPrepareTask.cpp
Omits      several threads
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
from heapwright.collectors.hotspot.referring import mark_references, relocate, settle_gone
from heapwright.collectors.hotspot.tracing import dead_run, mark, redirect, redirect_table, slide
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store
from heapwright.managers.runtime.hotspot_g1.linking import let_head
from heapwright.managers.runtime.hotspot_g1.logged import forget
from heapwright.managers.runtime.hotspot_g1.state import (
    BY_PROGRAM,
    FREE,
    HUMONGOUS,
    IDLE,
    OLD,
    REST,
    UNLOGGED,
    free_region,
    has_objects,
    note_card,
    objects_of,
    set_kind,
    settle_tops,
    start_of,
)

DEAD_PERCENT = 5  # MarkSweepDeadRatio
STAYS = 3  # chosen


@kernel
def compact(heap):
    """Mark, give up dead humongous objects, and slide the rest."""
    table = heap.regions
    heap.logging = UNLOGGED
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
                owner = table.owner[unsigned(region)]
                table.owner[unsigned(region)] = min(owner, ~owner)  # not tracked any more
            else:
                _empty(heap, region)
    _leave_dense(heap)
    last = _forward_all(heap)
    redirect_table(heap)
    if heap.references.entries:
        relocate(heap)
    for region in range(heap.first, heap.total):
        if has_objects(heap, region):
            redirect(heap, objects_of(heap, region), table.top[unsigned(region)])
    for region in range(heap.first, heap.total):
        if _is_compacted(heap, region):
            slide(heap, objects_of(heap, region), table.top[unsigned(region)])
        elif table.kind[unsigned(region)] == HUMONGOUS:
            store(heap.machine, start_of(heap, region), 0)
    _settle_anew(heap, last)
    if heap.references.entries:
        settle_gone(heap)
    forget(heap)
    heap.logging = BY_PROGRAM


@kernel
def _empty(heap, region):
    """The regions of a dead humongous object are empty old ones, which others slide into."""
    kind = HUMONGOUS
    while region < heap.total and heap.regions.kind[unsigned(region)] == kind:
        set_kind(heap, region, OLD)
        heap.regions.top[unsigned(region)] = start_of(heap, region)
        region, kind = region + 1, REST


@kernel
def _is_compacted(heap, region):
    """Whether the region is one of young or old."""
    return FREE < heap.regions.kind[unsigned(region)] <= OLD or region == heap.shared


@kernel
def _slides(heap, region):
    """Whether a region's objects move: those of young and old that are not left as they are."""
    return _is_compacted(heap, region) and heap.regions.chosen[unsigned(region)] != STAYS


@kernel
def _leave_dense(heap):
    """Say of each object in a region where hardly anything is dead that it stays."""
    machine, table = heap.machine, heap.regions
    percent = 0 if heap.references.clear_all else DEAD_PERCENT
    most = ((heap.region_bytes >> 3) * (100 - percent) // 100) << 3
    for region in range(heap.first, heap.total):
        if not _slides(heap, region):
            continue
        start, past = objects_of(heap, region), table.top[unsigned(region)]
        live = start - start_of(heap, region)
        block = start
        while block < past:
            bytes_ = load(machine, block + 8) >> BYTES_SHIFT << 3
            live += bytes_ if is_marked(machine, block) else 0
            block += bytes_
        if live <= most:
            continue
        table.chosen[unsigned(region)], table.live[unsigned(region)] = STAYS, live
        block = start
        while block < past:
            if is_marked(machine, block):
                forward(machine, block, block + HEADER_BYTES, 0)
                block += load(machine, block + 8) >> BYTES_SHIFT << 3
            else:
                block = dead_run(machine, block, past)


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
    for region in range(heap.first, heap.total):
        if not _slides(heap, region):
            continue
        table.scan_top[unsigned(region)] = objects_of(heap, region)
        block, past = objects_of(heap, region), table.top[unsigned(region)]
        while block < past:
            bytes_ = load(heap.machine, block + 8) >> BYTES_SHIFT << 3
            if not is_marked(heap.machine, block):
                block = dead_run(heap.machine, block, past)
                continue
            if target < 0 or top + bytes_ > start_of(heap, target) + heap.region_bytes:
                target = _next(heap, target if target >= 0 else heap.first - 1)
                top = objects_of(heap, target)
            forward(heap.machine, block, top + HEADER_BYTES, 0)
            top += bytes_
            table.scan_top[unsigned(target)] = top
            block += bytes_
    return target


@kernel
def _settle_anew(heap, last):
    """Regions that were filled are old, others free; cards and what covers them are made anew."""
    table, java = heap.regions, heap.java
    for region in range(heap.first, heap.total):
        if table.chosen[unsigned(region)] == STAYS:
            if region != heap.shared:
                set_kind(heap, region, OLD)
            table.chosen[unsigned(region)] = 0
            table.marked_top[unsigned(region)] = table.top[unsigned(region)]
            continue
        if not _slides(heap, region):
            continue
        if region == heap.shared:
            table.top[unsigned(region)] = table.scan_top[unsigned(region)]
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
    if heap.references.head:
        let_head(heap, heap.references.head)
    for region in range(heap.first, heap.total):
        if region == heap.shared or table.kind[unsigned(region)] in (OLD, HUMONGOUS):
            _note_region(heap, region)
    heap.current = heap.retained = heap.to_old = heap.to_region = -1
    heap.bump = heap.bump_end = heap.kept = heap.kept_end = 0
    heap.candidate = heap.candidate_count = heap.marking_left = 0
    heap.phase = IDLE


@kernel
def _note_region(heap, region):
    """The cards of a region's references, and the blocks that cover them."""
    machine, java = heap.machine, heap.java
    block, past = objects_of(heap, region), heap.regions.top[unsigned(region)]
    while block < past:
        shape, address = load(machine, block + 8), block + HEADER_BYTES
        for field in range(shape & FIELDS_MASK):
            target = reference(java, machine, address, field)
            if target:
                note_card(heap, address + (field << java.shift), target)
        settle(java, block, shape >> BYTES_SHIFT << 3)
        block += shape >> BYTES_SHIFT << 3
