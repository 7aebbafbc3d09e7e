"""What must hold of a heap of two generations between two events."""

from heapwright.collectors.hotspot.cards import card_of
from heapwright.collectors.hotspot.generations import is_young
from heapwright.collectors.hotspot.layout import (
    BYTES_SHIFT,
    FIELDS_MASK,
    HEADER_BYTES,
    INSTANCE,
    MARKED,
    entry_of,
    first_place,
    reference,
)
from heapwright.collectors.mark import is_empty
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load


@kernel
def check(heap):
    """0, or 1-4: old, eden, survivors or the spare space is not tiled by unmarked blocks that refer
    into the heap; 5: an old reference to young lies in a clean card; 6: a handle leads elsewhere,
    or to young from a clean card of the table; 7: an object is grey."""
    if not heap.java.base:
        return 0
    if not is_tiled(heap, heap.objects, heap.old_top, heap.old_end):
        return 1
    eden_top = heap.eden_top if heap.tlab_bytes else heap.bump
    block = heap.eden
    if heap.tlab_bytes and heap.bump_end:
        block = heap.bump_end + heap.tlab_reserve
        if not heap.eden <= heap.bump <= heap.bump_end <= eden_top:
            return 2
    if not is_tiled(heap, block, eden_top, heap.eden_end):
        return 2
    end = heap.survivors + heap.survivor_bytes
    if not is_tiled(heap, heap.survivors, heap.survivors_top, end):
        return 3
    if not is_tiled(heap, heap.spare, heap.spare_top, heap.spare + heap.survivor_bytes):
        return 4
    if not _is_remembered(heap):
        return 5
    if not _handles_are_true(heap):
        return 6
    return 0 if is_empty(heap.machine, heap.stack) else 7


@kernel
def _is_within(heap, address):
    """Whether an object may lie there."""
    return is_young(heap, address) or heap.objects < address <= heap.old_top


@kernel
def is_tiled(heap, block, past, end):
    """Whether unmarked blocks lie end to end up to `past`, and refer into the heap."""
    machine, java = heap.machine, heap.java
    while block < past:
        shape = load(machine, block + 8)
        if load(machine, block) & MARKED or shape < 2 << BYTES_SHIFT:
            return False
        for field in range(shape & FIELDS_MASK):
            target = reference(java, machine, block + HEADER_BYTES, field)
            if target and not _is_within(heap, target):
                return False
        block += shape >> BYTES_SHIFT << 3
    return block == past <= end


@kernel
def _is_remembered(heap):
    """Whether each old reference to young lies in a dirty card."""
    machine, java, block = heap.machine, heap.java, heap.objects
    while block < heap.old_top:
        shape = load(machine, block + 8)
        for field in range(shape & FIELDS_MASK):
            address = block + HEADER_BYTES
            if is_young(heap, reference(java, machine, address, field)):
                if not _is_noted(java, shape, address, field):
                    return False
        block += shape >> BYTES_SHIFT << 3
    return True


@kernel
def _is_noted(java, shape, address, field):
    """Whether the card of a reference is dirty, or of an instance its header's."""
    place = address + (field << java.shift)
    if not shape & INSTANCE:
        return java.cards[unsigned(card_of(java, place))] != 0
    if field == 0 and entry_of(java, address):
        place = first_place(java, address)
    header = card_of(java, address - HEADER_BYTES)
    return java.cards[unsigned(header)] | java.cards[unsigned(card_of(java, place))] != 0


@kernel
def _handles_are_true(heap):
    """Whether each handle is 0 or that of a block, and the table's cards are dirty where they
    must."""
    java = heap.java
    for slot in range(java.slots):
        address = heap.mutator.handles[unsigned(slot)]
        if not address:
            continue
        if not _is_within(heap, address):
            return False
        place = java.table + (slot << java.shift)
        if is_young(heap, address) and not java.cards[unsigned(card_of(java, place))]:
            return False
    return True
