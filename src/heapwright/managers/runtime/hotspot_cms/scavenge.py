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

import numpy as np

from heapwright.collectors.hotspot.ages import AGES, clear_ages, next_threshold
from heapwright.collectors.hotspot.cards import card_of, covering, highest_dirty
from heapwright.collectors.hotspot.evacuating import (
    FILLER_BYTES,
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
    MARKED,
    MOST_AGE,
    block_bytes,
    fields_of,
    refer,
    reference,
)
from heapwright.collectors.hotspot.referring import look_at_young, settle_young
from heapwright.collectors.log import REMEMBERED
from heapwright.collectors.mark import pop, push
from heapwright.collectors.references import DECIDED, KEEP, begin, decide
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store
from heapwright.managers.runtime.hotspot_cms.free_lists import (
    exact_chunk,
    give_back,
    pop_first,
    spooled,
    take_several,
)
from heapwright.managers.runtime.hotspot_cms.state import (
    FOUND,
    IDLE,
    LEAST_WORDS,
    LISTED,
    NUMBER_SHIFT,
)

LAB_BYTES, LEAST_LAB_BYTES = 1024 * 8, 258 * 8  # YoungPLABSize of ParNew; PLAB::min_size
WASTE_PERCENT = 10  # ParallelGCBufferWastePct
CHUNK_SHIFT, STRIDES = 8, 2  # log2 of ParGCCardsPerStrideChunk, ParGCStridesPerThread
QUEUED = 10  # objects that may wait while cards are looked at
PART = 50  # ParGCArrayScanChunk
CLAIM, LEAST_CLAIM, MOST_CLAIM = 16, 16, 1024  # OldPLABSize, CMSOldPLABMin, CMSOldPLABMax
REFILLS = 4  # CMSOldPLABNumRefills
CLAIM_WEIGHT = 50  # OldPLABWeight


@kernel
def scavenge(heap):
    """Collect young; whether every object that lives there could be moved."""
    clear_ages(heap.ages)
    heap.promotion_failed = heap.young_full = 0
    heap.young_lab_bytes = LAB_BYTES
    heap.number += 1
    _scan_cards(heap)
    _reach(heap, heap.references.head)
    _trim(heap, 0)
    if heap.references.entries:
        _look_at_references(heap)
    close_young_lab(heap)
    _retire_buffers(heap)
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
    """Keep what references keep, and clear the others."""
    refs = heap.references
    begin(refs)
    while refs.phase < DECIDED:
        look_at_young(heap)
        if decide(refs):
            for entry in range(refs.entries):
                if refs.bits[unsigned(entry)] & KEEP:
                    _reach(heap, refs.target[unsigned(entry)])
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
    while high >= lowest:
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
        for field in range(first, past):
            _follow(heap, address, field)
            if is_old and is_young(heap, reference(java, machine, address, field)):
                _note(heap, address + (field << java.shift))


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
        target = _in_to_space(heap, bytes_)
    if target:
        age = min(age + 1, MOST_AGE)
        heap.ages[unsigned(age)] += bytes_
        moved = move(heap, block, target, bytes_, age)
    else:
        if not heap.promotion_failed:
            target = _in_old(heap, bytes_ >> 3)
        if target:
            promoted(heap, target, bytes_)
            moved = move(heap, block, target, bytes_, 0)
            found = FOUND if heap.phase != IDLE else 0
            store(machine, target, heap.number << NUMBER_SHIFT | found)
        else:
            heap.promotion_failed = 1
            moved = address
            store(machine, block, address | MARKED)
    if moved != address:
        item = moved
        if fields_of(machine, moved) and _length(heap, moved) > PART:
            item = address
            store(machine, item, 0)
    push(machine, heap.stack, item)
    heap.grey += 1
    return moved


@kernel
def _in_to_space(heap, bytes_):
    """A block of to-space, 0 without room."""
    if heap.young_lab + bytes_ <= heap.young_lab_end:
        heap.young_lab += bytes_
        return heap.young_lab - bytes_
    if heap.young_full:
        return 0
    top = heap.spare_top
    free = heap.spare + heap.survivor_bytes - top
    if bytes_ * 100 >= WASTE_PERCENT * heap.young_lab_bytes:
        if bytes_ > free:
            return 0
        heap.spare_top = top + bytes_
        return top
    close_young_lab(heap)
    size = heap.young_lab_bytes
    if size > free:
        if free < LEAST_LAB_BYTES:
            heap.young_full = 1
            return 0
        size = free
    heap.spare_top = top + size
    heap.young_lab_bytes = size
    heap.young_lab, heap.young_lab_end = top, top + size - FILLER_BYTES
    if top + bytes_ > heap.young_lab_end:
        return 0
    heap.young_lab = top + bytes_
    return top


@kernel
def _in_old(heap, words):
    """A block of old for a promoted object, 0 without room."""
    if not spooled(heap):
        return 0
    if words >= LISTED:
        block = exact_chunk(heap, words)
    else:
        if heap.taken.count[unsigned(words)] == 0:
            take_several(heap, words, np.int64(heap.claims[unsigned(words)]))
            heap.taken_count[unsigned(words)] += heap.taken.count[unsigned(words)]
        block = pop_first(heap, heap.taken, words)
    if block:
        heap.old_top += words << 3
    return block


@kernel
def _retire_buffers(heap):
    """Give back what is left of the buffers, and learn how many chunks to take at once."""
    for words in range(LEAST_WORDS, LISTED):
        taken = heap.taken_count[unsigned(words)]
        if not taken:
            continue
        taken -= heap.taken.count[unsigned(words)]
        heap.taken_count[unsigned(words)] = 0
        give_back(heap, words)
        heap.claim_samples[unsigned(words)] += 1
        weight = max(CLAIM_WEIGHT, 100 // heap.claim_samples[unsigned(words)])
        value = np.float32(max(LEAST_CLAIM, min(MOST_CLAIM, taken // REFILLS)))
        kept = np.float32(np.float32(100 - weight) * heap.claims[unsigned(words)])
        added = np.float32(np.float32(weight) * value)
        heap.claims[unsigned(words)] = np.float32(
            np.float32(kept / np.float32(100)) + np.float32(added / np.float32(100))
        )
