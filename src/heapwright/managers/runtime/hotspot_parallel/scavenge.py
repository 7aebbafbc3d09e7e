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
from heapwright.collectors.hotspot.cards import card_of, covering, lowest_dirty
from heapwright.collectors.hotspot.evacuating import (
    FILLER_BYTES,
    OLD_LAB_BYTES,
    YOUNG_LAB_BYTES,
    at_place,
    close_old_lab,
    close_young_lab,
    fields_within,
    forget_forwarding,
    let_hold,
    move,
    promoted,
    slots_within,
)
from heapwright.collectors.hotspot.generations import is_young, swap_survivors
from heapwright.collectors.hotspot.layout import (
    AGE_SHIFT,
    BYTES_SHIFT,
    CARD_SHIFT,
    FIELDS_MASK,
    HEADER_BYTES,
    INSTANCE,
    MARKED,
    dirty,
    fields_of,
    reference,
)
from heapwright.collectors.hotspot.referring import (
    clear_softs_and_weaks,
    first_followed,
    follows_first,
    settle_young,
    to_finalise,
)
from heapwright.collectors.log import REMEMBERED
from heapwright.collectors.mark import is_empty, pop, push
from heapwright.collectors.references import begin
from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.machine import load, store

STRIPE_SHIFT = 7  # log2 of the cards of a stripe


@kernel
def scavenge(heap):
    """Collect young; whether every object that lives there could be moved."""
    heap.promotion_failed = heap.young_full = heap.old_full = 0
    before = heap.old_top
    if heap.references.entries:
        begin(heap.references)
    _scan_cards(heap)
    if heap.references.entries:
        _look_at_references(heap)
    close_young_lab(heap)
    close_old_lab(heap)
    if heap.promotion_failed:
        forget_forwarding(heap)
        return False
    heap.eden_top = heap.eden
    heap.survivors_top = heap.survivors
    swap_survivors(heap)
    sample(heap.promoted, heap.old_top - before)
    return True


@kernel
def _look_at_references(heap):
    """Keep what references keep, and clear the others."""
    clear_softs_and_weaks(heap)
    for row in range(heap.references.found_rows):
        _reach(heap, to_finalise(heap, row))
    _drain(heap)
    settle_young(heap)


@kernel
def _reach(heap, address):
    """Move an object if it is young; what it refers to waits."""
    if is_young(heap, address):
        word = load(heap.machine, address - HEADER_BYTES)
        if word & MARKED != MARKED:
            _push_contents(heap, _evacuate(heap, address, word >> AGE_SHIFT))


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
    head = heap.references.head
    while low <= highest:
        if java.finalizers < java.base + (low << CARD_SHIFT):
            _reach(heap, head)
            _drain(heap)
            head = 0
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
    _reach(heap, head)
    _drain(heap)


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
    first, past = slots_within(java, start, end)
    for slot in range(first, past):
        if is_young(heap, handles[unsigned(slot)]):
            push(heap.machine, heap.stack, java.table + (slot << java.shift))


@kernel
def _push_objects(heap, start, end):
    """Push the references of old objects in [start, end) that refer to young."""
    machine, java = heap.machine, heap.java
    block = heap.objects
    if start > block:
        block = covering(java, card_of(java, start))
    while block < end:
        shape = load(machine, block + 8)
        if unlikely(shape & INSTANCE):
            _push_instance(heap, block + HEADER_BYTES)
        elif shape & FIELDS_MASK:
            address = block + HEADER_BYTES
            first, past = fields_within(java, address, shape & FIELDS_MASK, (start, end))
            for field in range(first, past):
                if is_young(heap, reference(java, machine, address, field)):
                    push(machine, heap.stack, address + (field << java.shift))
        block += shape >> BYTES_SHIFT << 3


@kernel
def _drain(heap):
    """Move what the pushed references lead to, the latest first, and what that refers to."""
    machine, java = heap.machine, heap.java
    while not is_empty(machine, heap.stack):
        place = pop(machine, heap.stack)
        address = at_place(heap, place)
        word = load(machine, address - HEADER_BYTES)
        if word & MARKED == MARKED:
            target = word & ~MARKED
        else:
            target = _evacuate(heap, address, word >> AGE_SHIFT)
            _push_contents(heap, target)
        let_hold(heap, place, target)
        if place < heap.old_end and is_young(heap, target):
            dirty(java, place)  # of a reference object's target 4 bytes too high


@kernel
def _push_contents(heap, address):
    """Push the references of an object that lead to young."""
    machine, java = heap.machine, heap.java
    shape = load(machine, address - 8)
    if unlikely(shape & INSTANCE):
        _push_instance(heap, address)
        return
    for field in range(shape & FIELDS_MASK):
        if is_young(heap, reference(java, machine, address, field)):
            push(machine, heap.stack, address + (field << java.shift))


@kernel(cold=True)
def _push_instance(heap, address):
    """Push those of an object that is no array; of a reference object its target first, unless that
    is left for later."""
    machine, java = heap.machine, heap.java
    first = first_followed(heap, address)
    if follows_first(heap, address) and is_young(heap, reference(java, machine, address, 0)):
        push(machine, heap.stack, address)
    for field in range(first, fields_of(machine, address)):
        if is_young(heap, reference(java, machine, address, field)):
            push(machine, heap.stack, address + (field << java.shift))


@kernel
def _evacuate(heap, address, age):
    """Where the young object of this age lies now: in to-space, promoted, or where it was."""
    machine, block = heap.machine, address - HEADER_BYTES
    bytes_ = load(machine, block + 8) >> BYTES_SHIFT << 3
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
        promoted(heap, target, bytes_)
    return move(heap, block, target, bytes_, age)


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
    close_young_lab(heap)
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
    close_old_lab(heap)
    if top + OLD_LAB_BYTES > heap.old_end:
        heap.old_full = 1
        return 0
    heap.old_top = top + OLD_LAB_BYTES
    heap.old_lab, heap.old_lab_end = top + bytes_, heap.old_top - FILLER_BYTES
    return top
