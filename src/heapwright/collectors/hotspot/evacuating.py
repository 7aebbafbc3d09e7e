"""What every young collection of HotSpot's does alike: it follows places, and moves objects.

Terms      place: address of a reference, in an object or in the program's table; promotion buffer
           (PLAB): a piece of a space in which a thread bumps while it copies, its last 16 bytes for
           the filler that closes it
Source     OpenJDK 17 src/hotspot/share/gc/shared/plab.cpp, oops/markWord.inline.hpp

A heap with promotion buffers has the words BUFFERS.
"""

from heapwright.collectors.hotspot.cards import settle
from heapwright.collectors.hotspot.layout import (
    AGE_SHIFT,
    BYTES_SHIFT,
    HEADER_BYTES,
    MARKED,
    copy_object,
    fill,
    refer_at,
    reference_at,
)
from heapwright.collectors.log import (
    COPIED_BYTES,
    COPIED_OBJECTS,
    PROMOTED_BYTES,
    PROMOTED_OBJECTS,
)
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store

BUFFERS = ("young_lab", "young_lab_end", "old_lab", "old_lab_end")  # next byte, end; 0, 0 none
YOUNG_LAB_BYTES, OLD_LAB_BYTES = 4096 * 8, 1024 * 8  # YoungPLABSize, OldPLABSize
FILLER_BYTES = 16


@kernel(inline=True)
def slots_within(java, start, end):
    """The table's elements that lie in [start, end): the first, and past the last."""
    first = max(0, start - java.table) >> java.shift
    return first, min((end - java.table + (1 << java.shift) - 1) >> java.shift, java.slots)


@kernel(inline=True)
def fields_within(java, address, fields, span):
    """Of an object's references those that lie in the span (start, end): first, past the last."""
    start, end = span
    part = (1 << java.shift) - 1
    first = max(0, start - address + part) >> java.shift
    return first, min(fields, (end - address + part) >> java.shift)


@kernel(inline=True)
def at_place(heap, place):
    """The address that is held at `place`, in the table or in an object."""
    java = heap.java
    if java.table <= place < java.table + (java.slots << java.shift):
        return heap.mutator.handles[unsigned((place - java.table) >> java.shift)]
    return reference_at(java, heap.machine, place)


@kernel(inline=True)
def let_hold(heap, place, target):
    """Let `place` hold the address of an object that was moved."""
    java = heap.java
    if java.table <= place < java.table + (java.slots << java.shift):
        heap.mutator.handles[unsigned((place - java.table) >> java.shift)] = target
    else:
        refer_at(java, heap.machine, place, target)


@kernel(inline=True)
def move(heap, block, target, bytes_, age):
    """Copy the object of `block` to `target`, and leave word of it; its new address."""
    machine, totals = heap.machine, heap.log.totals
    totals[COPIED_OBJECTS] += 1
    totals[COPIED_BYTES] += bytes_
    copy_object(heap.java, machine, block, target, bytes_)
    store(machine, target, age << AGE_SHIFT)
    store(machine, block, (target + HEADER_BYTES) | MARKED)
    return target + HEADER_BYTES


@kernel(inline=True)
def promoted(heap, block, bytes_):
    """The block of old takes a young object."""
    settle(heap.java, block, bytes_)
    heap.log.totals[PROMOTED_OBJECTS] += 1
    heap.log.totals[PROMOTED_BYTES] += bytes_


@kernel
def forget_forwarding(heap):
    """After a failure eden and from are as before, of age 0: what was moved is dead there."""
    _unmark(heap.machine, heap.eden, heap.eden_top)
    _unmark(heap.machine, heap.survivors, heap.survivors_top)


@kernel
def _unmark(machine, block, past):
    while block < past:
        if load(machine, block) & MARKED == MARKED:
            store(machine, block, 0)
        block += load(machine, block + 8) >> BYTES_SHIFT << 3


@kernel
def close_young_lab(heap):
    """Fill what is left of the survivors' buffer."""
    if heap.young_lab_end:
        fill(heap.machine, heap.young_lab, heap.young_lab_end + FILLER_BYTES - heap.young_lab)
    heap.young_lab = heap.young_lab_end = 0


@kernel
def close_old_lab(heap):
    """Likewise of old."""
    if heap.old_lab_end:
        left = heap.old_lab_end + FILLER_BYTES - heap.old_lab
        fill(heap.machine, heap.old_lab, left)
        settle(heap.java, heap.old_lab, left)
    heap.old_lab = heap.old_lab_end = 0
