"""A full collection of two generations, but for where each object goes: that is the collector's.

    tops[space]   while objects are forwarded: where that space will end

Source     OpenJDK 17 src/hotspot/share/gc/shared/space.inline.hpp, genMarkSweep.cpp
"""

from heapwright.collectors.hotspot.cards import mark_all, settle
from heapwright.collectors.hotspot.generations import occupied
from heapwright.collectors.hotspot.layout import BYTES_SHIFT
from heapwright.collectors.hotspot.referring import relocate, settle_gone
from heapwright.collectors.hotspot.tracing import redirect, redirect_table, slide
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load

OLD, EDEN, SURVIVORS, SPARE = range(4)  # spaces, in the order they are looked at
SPACES = 4


@kernel
def start_of(heap, space):
    """Where a space's objects begin."""
    if space == OLD:
        return heap.objects
    if space == EDEN:
        return heap.eden
    return heap.survivors if space == SURVIVORS else heap.spare


@kernel
def top_of(heap, space):
    """Its first free byte, before this collection."""
    if space == OLD:
        return heap.old_top
    if space == EDEN:
        return heap.eden_top
    return heap.survivors_top if space == SURVIVORS else heap.spare_top


@kernel
def end_of(heap, space):
    """Where a space ends."""
    if space == OLD:
        return heap.old_end
    return heap.eden_end if space == EDEN else start_of(heap, space) + heap.survivor_bytes


@kernel
def empty_tops(heap):
    """Nothing is forwarded yet."""
    for space in range(SPACES):
        heap.tops[unsigned(space)] = start_of(heap, space)


@kernel
def move_all(heap):
    """Every reference leads to where objects will lie, and they slide there."""
    redirect_table(heap)
    if heap.references.entries:
        relocate(heap)
    for space in range(SPACES):
        redirect(heap, start_of(heap, space), top_of(heap, space))
    for space in range(SPACES):
        slide(heap, start_of(heap, space), top_of(heap, space))
    heap.old_top, heap.eden_top = heap.tops[unsigned(OLD)], heap.tops[unsigned(EDEN)]
    heap.survivors_top = heap.tops[unsigned(SURVIVORS)]
    heap.spare_top = heap.tops[unsigned(SPARE)]


@kernel
def settle_anew(heap, young_left):
    """Which object covers which card; all cards are dirty if bytes of young are left, else
    clean."""
    block, past = heap.objects, heap.old_top
    while block < past:
        bytes_ = load(heap.machine, block + 8) >> BYTES_SHIFT << 3
        settle(heap.java, block, bytes_)
        block += bytes_
    mark_all(heap.java, heap.old, heap.old_end, 0)
    if young_left:
        mark_all(heap.java, heap.old, past, 1)
    if heap.references.entries:
        settle_gone(heap)
    heap.references.used_bytes = occupied(heap) + heap.objects - heap.old
