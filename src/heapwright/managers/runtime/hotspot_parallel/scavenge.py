"""A young collection of the parallel collector, with one thread.

    stripes of 128 cards, ascending ─► each run of dirty cards: its references pushed, then drained
    a reference popped ─► its object copied: buffer of to-space ─► buffer of old ─► it stays
                            └ larger than half a buffer: straight into the space

Terms      promotion buffer: a piece of to-space, 32 KiB, or of old, 8 KiB, in which a thread bumps;
           its last 16 bytes are for the filler that closes it
Source     OpenJDK 17 src/hotspot/share/gc/parallel/psPromotionManager.inline.hpp,
           psPromotionLAB.cpp, psCardTable.cpp, psScavenge.cpp
Omits      several threads, which share stripes and steal; arrays of many references in pieces
"""

from heapwright.collectors.hotspot.averages import sample
from heapwright.collectors.hotspot.cards import card_of, covering, lowest_dirty, settle
from heapwright.collectors.hotspot.layout import (
    AGE_SHIFT,
    BYTES_SHIFT,
    CARD_SHIFT,
    FIELDS_MASK,
    HEADER_BYTES,
    MARKED,
    copy_object,
    dirty,
    fields_of,
    fill,
    refer_at,
    reference,
    reference_at,
)
from heapwright.collectors.log import (
    COPIED_BYTES,
    COPIED_OBJECTS,
    PROMOTED_BYTES,
    PROMOTED_OBJECTS,
    REMEMBERED,
)
from heapwright.collectors.mark import is_empty, pop, push
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store
from heapwright.managers.runtime.hotspot_parallel.state import is_young

YOUNG_LAB_BYTES, OLD_LAB_BYTES = 4096 * 8, 1024 * 8  # YoungPLABSize, OldPLABSize
FILLER_BYTES = 16
STRIPE_SHIFT = 7  # log2 of the cards of a stripe


@kernel
def scavenge(heap):
    """Collect young; whether every object that lives there could be moved."""
    heap.promotion_failed = heap.young_full = heap.old_full = 0
    before = heap.old_top
    _scan_cards(heap)
    _close_young_lab(heap)
    _close_old_lab(heap)
    if heap.promotion_failed:
        _unmark(heap.machine, heap.eden, heap.eden_top)
        _unmark(heap.machine, heap.survivors, heap.survivors_top)
        return False
    heap.eden_top = heap.eden
    survivors = heap.survivors
    heap.survivors, heap.survivors_top = heap.spare, heap.spare_top
    heap.spare = heap.spare_top = survivors
    sample(heap.promoted, heap.old_top - before)
    return True


@kernel
def _scan_cards(heap):
    """Follow what the dirty cards of old refer to, from the lowest run of a stripe to the last.

    The last card is looked at as it was when this began: promoted objects share it.
    """
    java, past = heap.java, heap.old_top  # promoted objects are not looked at here
    lowest, highest = card_of(java, heap.old), card_of(java, past - 1)
    end_dirty = java.cards[unsigned(highest)] != 0
    java.cards[unsigned(highest)] = 0
    low = _next_dirty(heap, lowest, highest, end_dirty)
    while low <= highest:
        last = min(highest, ((low - lowest) >> STRIPE_SHIFT << STRIPE_SHIFT) + 127 + lowest)
        high = low
        while high < last and _next_dirty(heap, high + 1, highest, end_dirty) == high + 1:
            high += 1
        for card in range(low, min(high + 1, highest)):
            java.cards[unsigned(card)] = 0
        heap.log.totals[REMEMBERED] += high + 1 - low
        start = java.base + (low << CARD_SHIFT)
        end = min(java.base + ((high + 1) << CARD_SHIFT), past)
        _push_table(heap, start, end)
        if end > heap.objects:
            _push_objects(heap, start, end)
        _drain(heap)
        low = _next_dirty(heap, high + 1, highest, end_dirty)


@kernel
def _next_dirty(heap, card, highest, end_dirty):
    """The lowest dirty card from `card` to `highest`, which `end_dirty` tells of, or the next."""
    if card < highest:
        card = lowest_dirty(heap.java, card, highest - 1)
    return card if card != highest or end_dirty else highest + 1


@kernel
def _push_table(heap, start, end):
    """Push the elements of the table in [start, end) that refer to young."""
    java, handles = heap.java, heap.mutator.handles
    first = max(0, start - java.table) >> java.shift
    past = (end - java.table + (1 << java.shift) - 1) >> java.shift
    for slot in range(first, min(past, java.slots)):
        if is_young(heap, handles[unsigned(slot)]):
            push(heap.machine, heap.stack, java.table + (slot << java.shift))


@kernel
def _push_objects(heap, start, end):
    """Push the references of old objects in [start, end) that refer to young."""
    machine, java = heap.machine, heap.java
    block = heap.objects
    if start > block:
        block = covering(java, card_of(java, start))
    part = (1 << java.shift) - 1
    while block < end:
        shape = load(machine, block + 8)
        if shape & FIELDS_MASK:
            address = block + HEADER_BYTES
            first = max(0, start - address + part) >> java.shift
            past = min(shape & FIELDS_MASK, (end - address + part) >> java.shift)
            for field in range(first, past):
                if is_young(heap, reference(java, machine, address, field)):
                    push(machine, heap.stack, address + (field << java.shift))
        block += shape >> BYTES_SHIFT << 3


@kernel
def _drain(heap):
    """Move what the pushed references lead to, the latest first, and what that refers to."""
    machine, java = heap.machine, heap.java
    table_end = java.table + (java.slots << java.shift)
    while not is_empty(machine, heap.stack):
        place = pop(machine, heap.stack)
        in_table = java.table <= place < table_end
        if in_table:
            address = heap.mutator.handles[unsigned((place - java.table) >> java.shift)]
        else:
            address = reference_at(java, machine, place)
        word = load(machine, address - HEADER_BYTES)
        if word & MARKED == MARKED:
            target = word & ~MARKED
        else:
            target = _evacuate(heap, address, word >> AGE_SHIFT)
            _push_contents(heap, target)
        if in_table:
            heap.mutator.handles[unsigned((place - java.table) >> java.shift)] = target
        else:
            refer_at(java, machine, place, target)
        if place < heap.old_end and is_young(heap, target):
            dirty(java, place)


@kernel
def _push_contents(heap, address):
    """Push the references of an object that lead to young."""
    machine, java = heap.machine, heap.java
    for field in range(fields_of(machine, address)):
        if is_young(heap, reference(java, machine, address, field)):
            push(machine, heap.stack, address + (field << java.shift))


@kernel
def _evacuate(heap, address, age):
    """Where the young object of this age lies now: in to-space, promoted, or where it was."""
    machine, block = heap.machine, address - HEADER_BYTES
    bytes_, totals = load(machine, block + 8) >> BYTES_SHIFT << 3, heap.log.totals
    target = 0
    if age < heap.threshold:
        target = _in_to_space(heap, bytes_)
        age += 1
    if not target:
        age = 0
        target = _in_old(heap, bytes_)
        if not target:
            heap.promotion_failed = 1
            store(machine, block, address | MARKED)
            return address
        settle(heap.java, target, bytes_)
        totals[PROMOTED_OBJECTS] += 1
        totals[PROMOTED_BYTES] += bytes_
    totals[COPIED_OBJECTS] += 1
    totals[COPIED_BYTES] += bytes_
    copy_object(heap.java, machine, block, target, bytes_)
    store(machine, target, age << AGE_SHIFT)
    store(machine, block, (target + HEADER_BYTES) | MARKED)
    return target + HEADER_BYTES


@kernel
def _in_to_space(heap, bytes_):
    """A block of to-space, 0 without room."""
    if heap.young_lab + bytes_ <= heap.young_lab_end:
        heap.young_lab += bytes_
        return heap.young_lab - bytes_
    if heap.young_full:
        return 0
    end, top = heap.spare + heap.survivor_bytes, heap.spare_top
    if bytes_ > YOUNG_LAB_BYTES // 2:
        if top + bytes_ > end:
            return 0
        heap.spare_top = top + bytes_
        return top
    _close_young_lab(heap)
    if top + YOUNG_LAB_BYTES > end:
        heap.young_full = 1
        return 0
    heap.spare_top = top + YOUNG_LAB_BYTES
    heap.young_lab, heap.young_lab_end = top + bytes_, heap.spare_top - FILLER_BYTES
    return top


@kernel
def _in_old(heap, bytes_):
    """A block of old, 0 without room."""
    if heap.old_lab + bytes_ <= heap.old_lab_end:
        heap.old_lab += bytes_
        return heap.old_lab - bytes_
    if heap.old_full:
        return 0
    top = heap.old_top
    if bytes_ > OLD_LAB_BYTES // 2:
        if top + bytes_ > heap.old_end:
            heap.old_full = 1
            return 0
        heap.old_top = top + bytes_
        return top
    _close_old_lab(heap)
    if top + OLD_LAB_BYTES > heap.old_end:
        heap.old_full = 1
        return 0
    heap.old_top = top + OLD_LAB_BYTES
    heap.old_lab, heap.old_lab_end = top + bytes_, heap.old_top - FILLER_BYTES
    return top


@kernel
def _close_young_lab(heap):
    """Fill what is left of the buffer."""
    if heap.young_lab_end:
        fill(heap.machine, heap.young_lab, heap.young_lab_end + FILLER_BYTES - heap.young_lab)
    heap.young_lab = heap.young_lab_end = 0


@kernel
def _close_old_lab(heap):
    """Likewise of old."""
    if heap.old_lab_end:
        left = heap.old_lab_end + FILLER_BYTES - heap.old_lab
        fill(heap.machine, heap.old_lab, left)
        settle(heap.java, heap.old_lab, left)
    heap.old_lab = heap.old_lab_end = 0


@kernel
def _unmark(machine, block, past):
    """After a failure a space is as before, of age 0: what was moved is dead there."""
    while block < past:
        if load(machine, block) & MARKED == MARKED:
            store(machine, block, 0)
        block += load(machine, block + 8) >> BYTES_SHIFT << 3
