"""Large objects without references, and pixels in native memory: each in a mapping of its own.

    pixels   their note is 1 + the references to them that lie in objects; a bitmap that lets go the
             last one recycles them, else they go when a collection finds them dead

Source     ART 11 runtime/gc/space/large_object_space.cc (LargeObjectMapSpace); heap.cc
           (NativeMemoryOverTarget); Android 8 frameworks/base libs/hwui/hwui/Bitmap.cpp
"""

from heapwright.collectors.log import SWEPT_BYTES, SWEPT_OBJECTS
from heapwright.collectors.mutator import GLOBALS, LOCALS, handle, reclaimed
from heapwright.collectors.objects import (
    HEADER_BYTES,
    bytes_of,
    is_marked,
    note,
    reference,
    set_note,
    slot_of,
    unmark,
)
from heapwright.compiler import kernel, unsigned
from heapwright.machine import PAGE_BYTES, mmap, munmap
from heapwright.machine.address_space import BREAK_LIMIT
from heapwright.managers.runtime.art.state import MOST_LARGE, PIXELS, RECYCLED

NEW_DISCOUNT, OLD_DISCOUNT = 2, 65536  # what native bytes weigh beside Java's


@kernel(inline=True)
def large_bytes(need):
    """Whole pages."""
    return (need + PAGE_BYTES - 1) & -PAGE_BYTES


@kernel
def obtain_large(heap, bytes_, native):
    """A mapping for a large object, or pixels, of so many bytes; 0 where there is no room."""
    if not heap.spare_rows and heap.large_rows == MOST_LARGE:
        return 0
    block = mmap(heap.machine, 0, bytes_)
    if not block:
        return 0
    if heap.spare_rows:
        heap.spare_rows -= 1
        row = heap.spare[unsigned(heap.spare_rows)]
    else:
        row = heap.large_rows
        heap.large_rows += 1
    heap.large[unsigned(row)] = block
    if native:
        heap.paths[PIXELS] += 1
        heap.native_bytes += bytes_
    else:
        heap.large_objects += 1
        heap.large_bytes += bytes_
    return block


@kernel
def _unmap(heap, row):
    """The object of a row is gone; whether it was pixels, and its bytes."""
    block = heap.large[unsigned(row)]
    address = block + HEADER_BYTES
    bytes_, native = bytes_of(heap.machine, address), note(heap.machine, address) > 0
    reclaimed(heap.mutator, slot_of(heap.machine, address), address)
    munmap(heap.machine, block, bytes_)
    heap.large[unsigned(row)] = 0
    heap.spare[unsigned(heap.spare_rows)] = row
    heap.spare_rows += 1
    heap.log.totals[SWEPT_OBJECTS] += 1
    heap.log.totals[SWEPT_BYTES] += bytes_
    if native:
        heap.native_bytes -= bytes_
    else:
        heap.large_objects -= 1
        heap.large_bytes -= bytes_
    return native, bytes_


@kernel
def is_over_target(heap):
    """Whether the pixels that came since the last collection make another one due."""
    if heap.native_before > heap.native_bytes:
        heap.native_before = heap.native_bytes
        return False
    fresh = heap.native_bytes - heap.native_before
    weighed = fresh // NEW_DISCOUNT + heap.native_before // OLD_DISCOUNT
    watermark = heap.target // 8 + heap.max_free
    start = heap.concurrent_start if heap.concurrent else heap.target
    allowed = start + watermark * heap.multiplier // 100 // NEW_DISCOUNT
    return heap.allocated + weighed >= allowed


@kernel(inline=True)
def _are_pixels(heap, address):
    """Whether an object is pixels in native memory."""
    return address > BREAK_LIMIT and note(heap.machine, address) > 0


@kernel
def count_pixels(heap, slot, field, target):
    """A reference is about to be written: count those to pixels; the last one that is cut recycles
    them."""
    machine = heap.machine
    old = reference(machine, handle(heap.mutator, slot), field)
    new = handle(heap.mutator, target)
    if _are_pixels(heap, new):
        set_note(machine, new, note(machine, new) + 1)
    if not _are_pixels(heap, old):
        return
    left = note(machine, old) - 1
    set_note(machine, old, left)
    if left == 1 and target < 0 and not _is_rooted(heap.mutator, slot_of(machine, old)):
        for row in range(heap.large_rows):
            if heap.large[unsigned(row)] == old - HEADER_BYTES:
                heap.paths[RECYCLED] += 1
                _unmap(heap, row)
                return


@kernel
def _is_rooted(mutator, slot):
    """Whether the program holds the object of a slot."""
    found = mutator.counts[GLOBALS] > 0 and mutator.position[unsigned(slot)] >= 0
    for index in range(mutator.counts[LOCALS]):
        found |= mutator.locals[unsigned(index)] == slot
    return found


@kernel
def sweep_large(heap):
    """Unmap those that are not marked; (objects, bytes) of those that are no pixels."""
    machine, objects, freed = heap.machine, 0, 0
    for row in range(heap.large_rows):
        block = heap.large[unsigned(row)]
        if not block:
            continue
        address = block + HEADER_BYTES
        if is_marked(machine, address):
            unmark(machine, address)
            continue
        native, bytes_ = _unmap(heap, row)
        if not native:
            objects += 1
            freed += bytes_
    heap.native_before = heap.native_bytes
    return objects, freed


@kernel
def are_counted(heap):
    """Whether they are as many and as large as was counted, and none is marked."""
    objects, bytes_, native = heap.large_objects, heap.large_bytes, heap.native_bytes
    for row in range(heap.large_rows):
        block = heap.large[unsigned(row)]
        if block:
            address = block + HEADER_BYTES
            if is_marked(heap.machine, address):
                return False
            if note(heap.machine, address):
                native -= bytes_of(heap.machine, address)
            else:
                objects -= 1
                bytes_ -= bytes_of(heap.machine, address)
    return objects == 0 and bytes_ == 0 and native == 0


@kernel
def holds(heap, address):
    """Whether a large object lies there."""
    for row in range(heap.large_rows):
        if heap.large[unsigned(row)] == address - HEADER_BYTES:
            return True
    return False
