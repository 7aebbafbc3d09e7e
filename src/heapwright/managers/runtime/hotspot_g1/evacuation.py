"""Evacuation: what lives in the chosen regions is copied to survivor regions or to old ones.

    cards outside the chosen regions, region by region, runs upwards ─► references that lead into
    them wait; where more than 129 do after a run, the latest are followed until 64 are left
    an object: survivor buffer ─► old buffer ─► it stays, and its region becomes old

Terms      part: an array of 50 references and more is looked at in parts, the first what 50 does
           not divide
Source     OpenJDK 17 src/hotspot/share/gc/g1/g1ParScanThreadState.cpp
Omits      one remembered set a region: the cards of all old regions serve for all; several threads
"""

from heapwright.collectors.hotspot.ages import clear_ages
from heapwright.collectors.hotspot.cards import covering, lowest_dirty, settle
from heapwright.collectors.hotspot.evacuating import (
    at_place,
    close_old_lab,
    close_young_lab,
    fields_within,
    let_hold,
    move,
    slots_within,
)
from heapwright.collectors.hotspot.layout import (
    AGE_SHIFT,
    BYTES_SHIFT,
    CARD_SHIFT,
    FIELDS_MASK,
    HEADER_BYTES,
    INSTANCE,
    MARKED,
    MOST_AGE,
    block_bytes,
    entry_of,
    fields_of,
    fill,
    reference,
    reference_at,
)
from heapwright.collectors.hotspot.referring import come_upon
from heapwright.collectors.log import PROMOTED_BYTES, PROMOTED_OBJECTS, REMEMBERED
from heapwright.collectors.mark import pop, push
from heapwright.collectors.references import begin
from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.machine import load, store
from heapwright.managers.runtime.hotspot_g1.destinations import CLOSED, in_old, in_survivors
from heapwright.managers.runtime.hotspot_g1.linking import (
    clear_softs_and_weaks,
    follows_first,
    settle_found,
    to_finalise,
)
from heapwright.managers.runtime.hotspot_g1.logged import order_regions
from heapwright.managers.runtime.hotspot_g1.state import (
    BY_COLLECTION,
    BY_PROGRAM,
    HUMONGOUS,
    LOGGED,
    OLD,
    OWN,
    REST,
    TO_YOUNG,
    free_region,
    note_card,
    objects_of,
    region_of,
    set_kind,
    start_of,
)

MOST_QUEUED, LEFT_QUEUED = 129, 64  # 2 GCDrainStackTargetSize + 1, GCDrainStackTargetSize
PART = 50  # ParGCArrayScanChunk
WAITS = TO_YOUNG | LOGGED  # of a card
PARTLY = 1  # of a place that waits: the address of a long array that was moved


@kernel
def evacuate(heap, mixed):
    """Empty the chosen regions; with `mixed` there are old ones among them."""
    clear_ages(heap.ages)
    heap.survivors_full = heap.old_full = heap.failed = heap.grey = 0
    heap.to_region = -1
    heap.logging = BY_COLLECTION
    if heap.references.entries:
        begin(heap.references)
    _scan_cards(heap, mixed)
    _drain(heap, 0)
    if heap.references.entries:
        _look_at_references(heap)
    close_young_lab(heap)
    close_old_lab(heap)
    for region in range(heap.own, heap.total):
        chosen = heap.regions.chosen[unsigned(region)]
        if chosen == 1:
            free_region(heap, region)
        elif chosen == 2:
            _keep(heap, region)
    heap.logging, heap.logged = BY_PROGRAM, 0


@kernel
def _look_at_references(heap):
    """Keep what references keep, and clear the others."""
    clear_softs_and_weaks(heap)
    for row in range(heap.references.found_rows):
        finalizer = to_finalise(heap, row)
        if finalizer:
            push(heap.machine, heap.stack, finalizer)  # the place of its first reference
            heap.grey += 1
    _drain(heap, 0)
    settle_found(heap)


@kernel
def _scan_cards(heap, mixed):
    """Follow what cards outside the chosen regions refer to; those that lead to young no longer are
    clean of that."""
    table = heap.regions
    for region in range(heap.total):
        table.scan_top[unsigned(region)] = table.top[unsigned(region)]
        kind = table.kind[unsigned(region)]
        if kind < OLD or kind == REST or table.chosen[unsigned(region)]:
            table.scan_top[unsigned(region)] = 0
    order_regions(heap)
    for row in range(heap.total):
        region = table.order[unsigned(row)]
        if table.scan_top[unsigned(region)]:
            _scan_region(heap, region, mixed)


@kernel
def _scan_region(heap, region, mixed):
    """The cards of one region, as far as it was filled before this collection: runs of them,
    upwards, as far as a chunk goes."""
    java, table = heap.java, heap.regions
    past, lowest = table.scan_top[unsigned(region)], region << (heap.region_shift - CARD_SHIFT)
    highest = lowest + ((past - 1 - start_of(heap, region)) >> CARD_SHIFT)
    chunk = 1 << (heap.region_shift - CARD_SHIFT - ((heap.region_shift >> 1) - 4))
    low = lowest_dirty(java, lowest, highest)
    while low <= highest:
        last = min(highest, (low | (chunk - 1)))
        high = low
        while high <= last and (
            java.cards[unsigned(high)] & WAITS or (mixed and java.cards[unsigned(high)])
        ):
            # What was moved behind `past` meanwhile, by a drain, shares the last card: it says on
            # what they refer to.
            if high < highest or table.top[unsigned(region)] == past:
                java.cards[unsigned(high)] = 0
            high += 1
        if high > low:
            heap.log.totals[REMEMBERED] += high - low
            start, end = java.base + (low << CARD_SHIFT), java.base + (high << CARD_SHIFT)
            if table.kind[unsigned(region)] == OWN:
                _scan_table(heap, start, end)
                if region == heap.shared and end > heap.shared_from:
                    _scan_objects(heap, region, max(start, heap.shared_from), min(end, past))
                if heap.references.head and start <= java.finalizers < end:
                    _look(heap, java.finalizers, heap.references.head)
            else:
                _scan_objects(heap, region, start, min(end, past))
            if heap.grey > MOST_QUEUED:
                _drain(heap, LEFT_QUEUED)
        low = lowest_dirty(java, max(high, low + 1), highest)


@kernel
def _scan_table(heap, start, end):
    """The elements of the table in [start, end)."""
    java, handles = heap.java, heap.mutator.handles
    first, past = slots_within(java, start, end)
    for slot in range(first, past):
        if handles[unsigned(slot)]:
            _look(heap, java.table + (slot << java.shift), handles[unsigned(slot)])


@kernel
def _scan_objects(heap, region, start, end):
    """The references in [start, end) of a region's objects."""
    machine, java = heap.machine, heap.java
    block = objects_of(heap, region)
    if start > block and heap.regions.kind[unsigned(region)] != HUMONGOUS:
        block = covering(java, (start - java.base) >> CARD_SHIFT)
    while block < end:
        shape = load(machine, block + 8)
        if unlikely(shape & INSTANCE) and entry_of(java, block + HEADER_BYTES):
            come_upon(heap, block + HEADER_BYTES, entry_of(java, block + HEADER_BYTES))
        if shape & FIELDS_MASK:
            address = block + HEADER_BYTES
            first, past = fields_within(java, address, shape & FIELDS_MASK, (start, end))
            for field in range(first, past):
                target = reference(java, machine, address, field)
                if target:
                    _look(heap, address + (field << java.shift), target)
        block += shape >> BYTES_SHIFT << 3


@kernel(inline=True)
def _look(heap, place, target):
    """A reference outside the chosen regions: what leads into them waits, of the rest its card is
    noted anew."""
    if heap.regions.chosen[unsigned(region_of(heap, target))]:
        push(heap.machine, heap.stack, place)
        heap.grey += 1
    else:
        note_card(heap, place, target)


@kernel
def _drain(heap, most):
    """Move what the waiting references lead to, the latest first, and what that refers to, until
    so many wait."""
    machine, java, table = heap.machine, heap.java, heap.regions
    while heap.grey > most:
        place = pop(machine, heap.stack)
        heap.grey -= 1
        if place & PARTLY:
            _push_part(heap, place - PARTLY)
            continue
        address = at_place(heap, place)
        word = load(machine, address - HEADER_BYTES)
        if word & MARKED == MARKED:
            target = word & ~MARKED
        else:
            target = _evacuate(heap, address, word >> AGE_SHIFT)
            length = _length(heap, target)
            if target == address or length < PART or not fields_of(machine, target):
                _push_contents(heap, target, 0, fields_of(machine, target))
            else:
                store(machine, address, length % PART)
                push(machine, heap.stack, address + PARTLY)
                heap.grey += 1
                _push_contents(heap, target, 0, length % PART)
        let_hold(heap, place, target)
        if table.kind[unsigned((place - java.base) >> heap.region_shift)] >= OLD:
            note_card(heap, place, target)


@kernel
def _length(heap, address):
    """Elements of the array."""
    return (block_bytes(heap.machine, address - HEADER_BYTES) - HEADER_BYTES) >> heap.java.shift


@kernel
def _push_part(heap, moved):
    """The next references of the long array that was moved from the address `moved`, where the
    number of those that were pushed stands now."""
    machine = heap.machine
    target = load(machine, moved - HEADER_BYTES) & ~MARKED
    first = load(machine, moved)
    if first + PART < _length(heap, target):
        store(machine, moved, first + PART)
        push(machine, heap.stack, moved + PARTLY)
        heap.grey += 1
    _push_contents(heap, target, first, first + PART)


@kernel
def _push_contents(heap, address, first, past):
    """Push the references of a moved object, from `first` on, that lead into chosen regions; note
    the others."""
    machine, java = heap.machine, heap.java
    is_old = heap.regions.kind[unsigned(region_of(heap, address))] >= OLD
    if unlikely(load(machine, address - 8) & INSTANCE) and entry_of(java, address):
        if follows_first(heap, address):
            _push_one(heap, address, is_old)
        first = 1
    for field in range(first, min(past, fields_of(machine, address))):
        _push_one(heap, address + (field << java.shift), is_old)


@kernel(inline=True)
def _push_one(heap, place, is_old):
    """Push a reference of a moved object, or note it."""
    target = reference_at(heap.java, heap.machine, place)
    if target:
        if heap.regions.chosen[unsigned(region_of(heap, target))]:
            push(heap.machine, heap.stack, place)
            heap.grey += 1
        elif is_old:
            note_card(heap, place, target)


@kernel
def _evacuate(heap, address, age):
    """Where the object of this age lies now: in a survivor region, an old one, or where it was."""
    machine, block, totals = heap.machine, address - HEADER_BYTES, heap.log.totals
    bytes_ = load(machine, block + 8) >> BYTES_SHIFT << 3
    region, target = region_of(heap, address), 0
    was_young = heap.regions.kind[unsigned(region)] < OLD
    if was_young and age < heap.threshold and heap.survivors_full != CLOSED:
        target = in_survivors(heap, bytes_)
        age = min(age + 1, MOST_AGE)
    if target:
        heap.ages[unsigned(age)] += bytes_
    else:
        age = 0
        target = in_old(heap, bytes_)
        if not target:
            heap.failed = 1
            heap.regions.chosen[unsigned(region)] = 2
            store(machine, block, address | MARKED)
            return address
        settle(heap.java, target, bytes_)
        if was_young:
            totals[PROMOTED_OBJECTS] += 1
            totals[PROMOTED_BYTES] += bytes_
    return move(heap, block, target, bytes_, age)


@kernel
def _keep(heap, region):
    """A region in which objects stay is old; what was moved or dead there is filled over."""
    machine, java, table = heap.machine, heap.java, heap.regions
    if table.kind[unsigned(region)] != OLD:
        set_kind(heap, region, OLD)
    table.chosen[unsigned(region)] = 0
    block, past = start_of(heap, region), table.top[unsigned(region)]
    while block < past:
        word, shape = load(machine, block), load(machine, block + 8)
        bytes_, address = shape >> BYTES_SHIFT << 3, block + HEADER_BYTES
        if word == address | MARKED:
            store(machine, block, 0)
            for field in range(shape & FIELDS_MASK):
                target = reference(java, machine, address, field)
                if target:
                    note_card(heap, address + (field << java.shift), target)
        else:
            fill(machine, block, bytes_)
        settle(java, block, bytes_)
        block += bytes_
