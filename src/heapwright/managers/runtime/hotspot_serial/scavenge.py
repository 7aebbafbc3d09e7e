"""A young collection: what lives in eden and the survivors is copied, or promoted.

    dirty cards, in runs ─► to-space: Cheney ─► promoted: Cheney ─► again ─► references

    promotion fails    the object stays where it is and refers to itself; what it refers to is
                       copied at once, and eden is not emptied

Source     OpenJDK 17 src/hotspot/share/gc/serial/defNewGeneration.cpp, share/gc/shared/
           cardTableRS.cpp (runs from high to low), space.cpp; 25 share/gc/serial/cardTableRS.cpp
           (from low to high)
Omits      the JVM's own roots

The order decides who is promoted when to-space overflows, and so every later address.
"""

from heapwright.collectors.hotspot.ages import clear_ages, next_threshold
from heapwright.collectors.hotspot.cards import (
    card_of,
    covering,
    highest_dirty,
    lowest_dirty,
)
from heapwright.collectors.hotspot.evacuating import (
    fields_within,
    forget_forwarding,
    move,
    promoted,
    slots_within,
)
from heapwright.collectors.hotspot.generations import is_young, swap_survivors
from heapwright.collectors.hotspot.layout import (
    AGE_SHIFT,
    BYTES_SHIFT,
    CARD_BYTES,
    CARD_SHIFT,
    FIELDS_MASK,
    HEADER_BYTES,
    INSTANCE,
    MARKED,
    MOST_AGE,
    dirty,
    fields_of,
    first_place,
    refer,
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
from heapwright.managers.runtime.hotspot_serial.growth import LEAST_BYTES, grow


@kernel
def scavenge(heap):
    """Collect young; whether every object that lives there could be moved."""
    clear_ages(heap.ages)
    heap.promotion_failed = 0
    copies = heap.spare, heap.old_top
    if heap.references.entries:
        begin(heap.references)
    _scan_cards(heap)
    copies = _scan_copies(heap, copies)
    if heap.references.entries:
        _look_at_references(heap, copies)
    if heap.promotion_failed:
        forget_forwarding(heap)
    else:
        heap.eden_top, heap.survivors_top = heap.eden, heap.survivors
        _publish(heap)
    swap_survivors(heap)
    return heap.promotion_failed == 0


@kernel
def _scan_copies(heap, copies):
    """Look at what was moved and not looked at yet: from where on, in to-space and in old."""
    scanned, fresh = copies
    while scanned < heap.spare_top or fresh < heap.old_top:
        while scanned < heap.spare_top:
            scanned += _scan_copy(heap, scanned)
        while fresh < heap.old_top:
            fresh += _scan_copy(heap, fresh)
    return scanned, fresh


@kernel
def _look_at_references(heap, copies):
    """Keep what references keep, and clear the others."""
    clear_softs_and_weaks(heap)
    for row in range(heap.references.found_rows):
        _reach(heap, to_finalise(heap, row))
    _scan_copies(heap, copies)
    settle_young(heap)


@kernel
def _reach(heap, address):
    """Move an object if it is young."""
    if is_young(heap, address):
        _evacuate(heap, address)
        if heap.promotion_failed:
            _drain(heap)


@kernel
def _publish(heap):
    """The age table as the JVM shows it, and the next threshold."""
    for age in range(1, MOST_AGE + 1):
        heap.shown_ages[unsigned(age)] = heap.ages[unsigned(age)]
    heap.threshold = next_threshold(
        heap.ages, heap.survivor_bytes, heap.target_percent, heap.most_threshold
    )


@kernel
def _scan_cards(heap):
    """Look at what dirty cards of old refer to; not at objects that are promoted meanwhile."""
    java, past = heap.java, heap.old_top
    lowest, highest = card_of(java, heap.old), card_of(java, past - 1)
    # From low to high, the JVM's own first; the end stays dirty: promoted objects share its card
    if heap.modern:
        kept = highest if past & (CARD_BYTES - 1) == 0 else highest - 1
        low = lowest_dirty(java, lowest, highest)
        head = heap.references.head
        while low <= highest:
            if java.finalizers < java.base + (low << CARD_SHIFT):
                _reach(heap, head)
                head = 0
            high = low
            while high < highest and java.cards[unsigned(high + 1)]:
                high += 1
            _clear(heap, low, min(high, kept - 1))
            _scan_run(heap, low, high, past)
            low = lowest_dirty(java, high + 1, highest)
        _reach(heap, head)
        return
    high = highest_dirty(java, lowest, highest)
    head = heap.references.head
    while high >= lowest:
        if java.finalizers >= java.base + ((high + 1) << CARD_SHIFT):
            _reach(heap, head)
            head = 0
        low = high
        while low > lowest and java.cards[unsigned(low - 1)]:
            low -= 1
        _clear(heap, low, high)
        _scan_run(heap, low, high, past)
        high = highest_dirty(java, lowest, low - 1)
    _reach(heap, head)


@kernel
def _clear(heap, low, high):
    """The cards from `low` to `high` are clean."""
    for card in range(low, high + 1):
        heap.java.cards[unsigned(card)] = 0


@kernel
def _scan_run(heap, low, high, past):
    """What the cards from `low` to `high` refer to, as far as they lie below `past`."""
    java = heap.java
    heap.log.totals[REMEMBERED] += high + 1 - low
    start = java.base + (low << CARD_SHIFT)
    end = min(java.base + ((high + 1) << CARD_SHIFT), past)
    _scan_table(heap, start, end)
    if end > heap.objects:
        _scan_objects(heap, start, end)


@kernel
def _scan_table(heap, start, end):
    """The elements of the table that lie in [start, end)."""
    java, handles = heap.java, heap.mutator.handles
    first, past = slots_within(java, start, end)
    for slot in range(first, past):
        address = handles[unsigned(slot)]
        if is_young(heap, address):
            address = _evacuate(heap, address)
            if unlikely(heap.promotion_failed):
                _drain(heap)
            handles[unsigned(slot)] = address
            if is_young(heap, address):
                dirty(java, java.table + (slot << java.shift))


@kernel
def _scan_objects(heap, start, end):
    """The references of old objects that lie in [start, end)."""
    machine, java = heap.machine, heap.java
    block = heap.objects
    if start > block:
        block = covering(java, card_of(java, start))
    while block < end:
        shape = load(machine, block + 8)
        if unlikely(shape & INSTANCE):
            _scan_instance(heap, block + HEADER_BYTES)
        elif shape & FIELDS_MASK:
            address = block + HEADER_BYTES
            first, past = fields_within(java, address, shape & FIELDS_MASK, (start, end))
            for field in range(first, past):
                _follow(heap, address, field)
        block += shape >> BYTES_SHIFT << 3


@kernel(inline=True)
def _follow(heap, address, field):
    """Move what a reference of an object leads to; an old one that still refers to young has a
    dirty card."""
    machine, java = heap.machine, heap.java
    target = reference(java, machine, address, field)
    if is_young(heap, target):
        target = _evacuate(heap, target)
        if unlikely(heap.promotion_failed):
            _drain(heap)
        refer(java, machine, address, field, target)
        if is_young(heap, target) and not is_young(heap, address):
            dirty(java, address + (field << java.shift))


@kernel
def _scan_copy(heap, block):
    """Look at the references of an object that was moved; its block's bytes."""
    shape = load(heap.machine, block + 8)
    if unlikely(shape & INSTANCE):
        _scan_instance(heap, block + HEADER_BYTES)
    else:
        for field in range(shape & FIELDS_MASK):
            _follow(heap, block + HEADER_BYTES, field)
    return shape >> BYTES_SHIFT << 3


@kernel(cold=True)
def _scan_instance(heap, address):
    """Look at the references of an object that is no array; at a reference object's first one last,
    unless it is left for later."""
    java = heap.java
    for field in range(first_followed(heap, address), fields_of(heap.machine, address)):
        _follow(heap, address, field)
    if follows_first(heap, address):
        target = reference(java, heap.machine, address, 0)
        if is_young(heap, target):
            target = _evacuate(heap, target)
            if heap.promotion_failed:
                _drain(heap)
            refer(java, heap.machine, address, 0, target)
            if is_young(heap, target) and not is_young(heap, address):
                dirty(java, first_place(java, address))


@kernel
def _evacuate(heap, address):
    """Where the young object lies now: in to-space, promoted, or where it was."""
    machine, block = heap.machine, address - HEADER_BYTES
    word = load(machine, block)
    if word & MARKED == MARKED:
        return word & ~MARKED
    bytes_, age = load(machine, block + 8) >> BYTES_SHIFT << 3, word >> AGE_SHIFT
    if age < heap.threshold and heap.spare_top + bytes_ <= heap.spare + heap.survivor_bytes:
        target = heap.spare_top
        heap.spare_top += bytes_
        age = min(age + 1, MOST_AGE)
        heap.ages[unsigned(age)] += bytes_
    elif _old_has_room(heap, bytes_):
        target = heap.old_top
        heap.old_top += bytes_
        promoted(heap, target, bytes_)
    else:
        return _stay(heap, address)
    return move(heap, block, target, bytes_, age)


@kernel(inline=True)
def _old_has_room(heap, bytes_):
    """Whether old has room for a promoted object, if need be by growing."""
    if unlikely(heap.old_top + bytes_ > heap.old_end):
        grow(heap, bytes_, LEAST_BYTES)
    return heap.old_top + bytes_ <= heap.old_end


@kernel
def _stay(heap, address):
    """Nothing has room for the object: it stays where it is, to be looked at by `_drain`."""
    heap.promotion_failed = 1
    store(heap.machine, address - HEADER_BYTES, address | MARKED)
    push(heap.machine, heap.stack, address)
    return address


@kernel(cold=True)
def _drain(heap):
    """Move what the objects that stay refer to, the latest first."""
    machine, java = heap.machine, heap.java
    while not is_empty(machine, heap.stack):
        stayed = pop(machine, heap.stack)
        for field in range(first_followed(heap, stayed), fields_of(machine, stayed)):
            target = reference(java, machine, stayed, field)
            if is_young(heap, target):
                refer(java, machine, stayed, field, _evacuate(heap, target))
        if load(machine, stayed - 8) & INSTANCE and follows_first(heap, stayed):
            target = reference(java, machine, stayed, 0)
            if is_young(heap, target):
                refer(java, machine, stayed, 0, _evacuate(heap, target))
