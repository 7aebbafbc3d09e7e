"""A young collection of CMS (ParNew), with one thread.

    chunks of 256 cards, those of stride 0, then 1 ─► in each, runs of dirty cards from the highest
    a reference there ─► its object copied and queued; more than 10 queued: the latest looked at
    an object ─► buffer of to-space, 8 KiB ─► buffer of chunks of its size in old ─► it stays

Terms      part: an array of more than 50 references is looked at 50 by 50, what it refers to
           before the next 50
Source     OpenJDK 11 src/hotspot/share/gc/cms/parNewGeneration.cpp, parOopClosures.inline.hpp,
           cmsCardTable.cpp, compactibleFreeListSpace.cpp; share/gc/shared/cardTableRS.cpp
Omits      several threads, which share strides and steal; a queue of more than 131,070 objects

Once an object stays, no other is promoted. Cards are dirty, 1, or while this runs 2: made dirty by
it, and not to be looked at; 3: both.
"""

from heapwright.collectors.hotspot.ages import AGES, clear_ages, next_threshold
from heapwright.collectors.hotspot.cards import card_of, covering, highest_dirty
from heapwright.collectors.hotspot.evacuating import (
    close_young_lab,
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
    CARD_SHIFT,
    FIELDS_MASK,
    HEADER_BYTES,
    INSTANCE,
    MARKED,
    MOST_AGE,
    block_bytes,
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
from heapwright.collectors.mark import pop, push
from heapwright.collectors.references import begin
from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.machine import load, store
from heapwright.managers.runtime.hotspot_cms.buffers import (
    LAB_BYTES,
    in_old,
    in_to_space,
    retire_buffers,
)
from heapwright.managers.runtime.hotspot_cms.state import (
    FOUND,
    IDLE,
    NUMBER_SHIFT,
)

CHUNK_SHIFT, STRIDES = 8, 2  # log2 of ParGCCardsPerStrideChunk, ParGCStridesPerThread
QUEUED = 10  # objects that may wait while cards are looked at
PART = 50  # ParGCArrayScanChunk


@kernel
def scavenge(heap):
    """Collect young; whether every object that lives there could be moved."""
    clear_ages(heap.ages)
    heap.promotion_failed = heap.young_full = heap.direct = heap.headers = 0
    heap.young_lab_bytes = LAB_BYTES
    heap.number += 1
    if heap.references.entries:
        begin(heap.references)
    _scan_cards(heap)
    _trim(heap, 0)
    close_young_lab(heap)
    retire_buffers(heap)
    if heap.references.entries:
        _look_at_references(heap)
    if heap.promotion_failed:
        forget_forwarding(heap)
    else:
        heap.eden_top, heap.survivors_top = heap.eden, heap.survivors
        for age in range(1, AGES):
            heap.shown_ages[unsigned(age)] = heap.ages[unsigned(age)]
        heap.threshold = next_threshold(
            heap.ages, heap.survivor_bytes, heap.target_percent, heap.most_threshold
        )
    swap_survivors(heap)
    return heap.promotion_failed == 0


@kernel
def _look_at_references(heap):
    """Keep what references keep, and clear the others. The thread has given back its buffers: what
    is kept is copied as the serial collector would."""
    scanned, heap.direct = heap.spare_top, 1
    clear_softs_and_weaks(heap)
    for row in range(heap.references.found_rows):
        _reach(heap, to_finalise(heap, row))
    while scanned < heap.spare_top or heap.grey:
        while scanned < heap.spare_top:
            address = scanned + HEADER_BYTES
            for field in range(fields_of(heap.machine, address)):
                _follow(heap, address, field)
            scanned += block_bytes(heap.machine, scanned)
        _trim(heap, 0)
    settle_young(heap)


@kernel
def _reach(heap, address):
    """Move an object if it is young. It waits to be looked at."""
    if is_young(heap, address):
        word = load(heap.machine, address - HEADER_BYTES)
        if word & MARKED != MARKED:
            _evacuate(heap, address, word)


@kernel
def _scan_cards(heap):
    """Look at what dirty cards of old refer to, stride by stride."""
    java = heap.java
    lowest, highest = card_of(java, heap.old), card_of(java, heap.old_end - 1)
    card = highest_dirty(java, lowest, highest)
    while card >= lowest:
        java.cards[unsigned(card)] = 1
        card = highest_dirty(java, lowest, card - 1)
    for stride in range(STRIDES):
        first = lowest + ((stride - (lowest >> CHUNK_SHIFT)) % STRIDES << CHUNK_SHIFT)
        for low in range(first, highest + 1, STRIDES << CHUNK_SHIFT):
            _scan_chunk(heap, low, min(low + (1 << CHUNK_SHIFT) - 1, highest))


@kernel
def _scan_chunk(heap, lowest, highest):
    """The runs of dirty cards from `lowest` to `highest`, the highest first."""
    java = heap.java
    high = highest_dirty(java, lowest, highest)
    list_card = card_of(java, java.finalizers)
    head = heap.references.head if lowest <= list_card <= highest else 0
    while high >= lowest:
        if head and high < list_card:
            _reach(heap, head)
            _trim(heap, QUEUED)
            head = 0
        if java.cards[unsigned(high)] == 2:
            high = highest_dirty(java, lowest, high - 1)
            continue
        low = high + 1
        while low > lowest and java.cards[unsigned(low - 1)] & 1:
            low -= 1
            java.cards[unsigned(low)] &= 2
            if heap.phase != IDLE:
                heap.union[unsigned(low)] = 1
        heap.log.totals[REMEMBERED] += high + 1 - low
        start, end = java.base + (low << CARD_SHIFT), java.base + ((high + 1) << CARD_SHIFT)
        _scan_table(heap, start, end)
        if end > heap.objects:
            _scan_objects(heap, start, end)
        high = highest_dirty(java, lowest, low - 1)
    if head:
        _reach(heap, head)
        _trim(heap, QUEUED)


@kernel(inline=True)
def _note(heap, place):
    """The reference at `place` in old leads to young: its card is dirty for the next time."""
    card = unsigned(place - heap.java.base) >> unsigned(CARD_SHIFT)
    heap.java.cards[card] |= 2


@kernel
def _scan_table(heap, start, end):
    """The elements of the table that lie in [start, end)."""
    java, handles = heap.java, heap.mutator.handles
    first, past = slots_within(java, start, end)
    for slot in range(first, past):
        address = handles[unsigned(slot)]
        if is_young(heap, address):
            word = load(heap.machine, address - HEADER_BYTES)
            if word & MARKED == MARKED:
                address = word & ~MARKED
                handles[unsigned(slot)] = address
            else:
                address = _evacuate(heap, address, word)
                handles[unsigned(slot)] = address
                _trim(heap, QUEUED)
            if is_young(heap, address):
                _note(heap, java.table + (slot << java.shift))


@kernel
def _scan_objects(heap, start, end):
    """The references of old objects that lie in [start, end), but of what is promoted now."""
    machine, java = heap.machine, heap.java
    block = heap.objects
    if start > block:
        block = covering(java, card_of(java, start))
    end = min(end, heap.old_end)
    while block < end:
        shape = load(machine, block + 8)
        if shape & FIELDS_MASK and load(machine, block) >> NUMBER_SHIFT != heap.number:
            address = block + HEADER_BYTES
            first, past = fields_within(java, address, shape & FIELDS_MASK, (start, end))
            if unlikely(shape & INSTANCE):
                _scan_instance(heap, address)
                first = past
            for field in range(first, past):
                if _follow(heap, address, field):
                    _trim(heap, QUEUED)
                _note_field(heap, address, field)
        block += shape >> BYTES_SHIFT << 3


@kernel(inline=True)
def _note_field(heap, address, field):
    if is_young(heap, reference(heap.java, heap.machine, address, field)):
        _note(heap, address + (field << heap.java.shift))


@kernel(inline=True)
def _follow(heap, address, field):
    """Let a reference lead to where its object lies now; whether that was moved just now."""
    machine, java = heap.machine, heap.java
    target = reference(java, machine, address, field)
    if not is_young(heap, target):
        return False
    word = load(machine, target - HEADER_BYTES)
    if word & MARKED == MARKED:
        refer(java, machine, address, field, word & ~MARKED)
        return False
    refer(java, machine, address, field, _evacuate(heap, target, word))
    return True


@kernel
def _trim(heap, most):
    """Look at queued objects, the latest first, until so many are left."""
    machine, java = heap.machine, heap.java
    while heap.grey > most:
        item = pop(machine, heap.stack)
        heap.grey -= 1
        address, first, past = item, 0, 0
        if is_young(heap, item):
            word = load(machine, item - HEADER_BYTES)
            if word & MARKED == MARKED and word & ~MARKED != item:  # an array, in parts
                address = word & ~MARKED
                first, past = load(machine, item), _length(heap, address)
                if past - first > 2 * PART:
                    past = first + PART
                    store(machine, item, past)
                    push(machine, heap.stack, item)
                    heap.grey += 1
                past = min(past, fields_of(machine, address))
            else:
                past = fields_of(machine, address)
        else:
            past = fields_of(machine, address)
        is_old = not is_young(heap, address)
        if unlikely(load(machine, address - 8) & INSTANCE):
            _look_at_instance(heap, address)
            continue
        for field in range(first, past):
            _follow(heap, address, field)
            if is_old and is_young(heap, reference(java, machine, address, field)):
                _note(heap, address + (field << java.shift))


@kernel(cold=True)
def _look_at_instance(heap, address):
    """Look at the references of a moved object that is no array; at a reference object's target
    last, unless it is left for later."""
    first = first_followed(heap, address)
    for field in range(first, fields_of(heap.machine, address)):
        _follow(heap, address, field)
        _note_old(heap, address, field, address + (field << heap.java.shift))
    if follows_first(heap, address):
        _follow(heap, address, 0)
        _note_old(heap, address, 0, first_place(heap.java, address))


@kernel(cold=True)
def _scan_instance(heap, address):
    """Likewise of one that lies in old, and was not moved now."""
    first = first_followed(heap, address)
    for field in range(first, fields_of(heap.machine, address)):
        if _follow(heap, address, field):
            _trim(heap, QUEUED)
        _note_old(heap, address, field, address + (field << heap.java.shift))
    if follows_first(heap, address):
        if _follow(heap, address, 0):
            _trim(heap, QUEUED)
        _note_old(heap, address, 0, first_place(heap.java, address))


@kernel
def _note_old(heap, address, field, place):
    """If an old object's reference, which lies at `place`, leads to young, its card says so."""
    if not is_young(heap, address):
        if is_young(heap, reference(heap.java, heap.machine, address, field)):
            _note(heap, place)


@kernel
def _length(heap, address):
    """Elements of the array."""
    return (block_bytes(heap.machine, address - HEADER_BYTES) - HEADER_BYTES) >> heap.java.shift


@kernel
def _evacuate(heap, address, word):
    """Where the young object, whose mark word this is, lies now: in to-space, promoted, or where
    it was. It waits to be looked at."""
    machine, block = heap.machine, address - HEADER_BYTES
    bytes_, age = load(machine, block + 8) >> BYTES_SHIFT << 3, word >> AGE_SHIFT
    target, item = 0, address
    if age < heap.threshold:
        target = in_to_space(heap, bytes_)
    if target:
        age = min(age + 1, MOST_AGE)
        heap.ages[unsigned(age)] += bytes_
        moved = move(heap, block, target, bytes_, age)
    else:
        if not heap.promotion_failed:
            target = in_old(heap, bytes_ >> 3)
        if target:
            promoted(heap, target, bytes_)
            moved = move(heap, block, target, bytes_, 0)
            heap.headers += load(machine, target + 8) & INSTANCE != 0
            found = FOUND if heap.phase != IDLE else 0
            store(machine, target, heap.number << NUMBER_SHIFT | found)
        else:
            heap.promotion_failed = 1
            moved = address
            store(machine, block, address | MARKED)
    if moved != address:
        item = moved
        if heap.direct and is_young(heap, moved):
            return moved
        if fields_of(machine, moved) and _length(heap, moved) > PART:
            item = address
            store(machine, item, 0)
    push(machine, heap.stack, item)
    heap.grey += 1
    return moved
