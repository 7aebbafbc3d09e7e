"""Large objects without references: each in a mapping of its own, swept one by one.

Source     ART 11 runtime/gc/space/large_object_space.cc (LargeObjectMapSpace)
"""

from heapwright.collectors.log import SWEPT_BYTES, SWEPT_OBJECTS
from heapwright.collectors.mutator import reclaimed
from heapwright.collectors.objects import HEADER_BYTES, bytes_of, is_marked, slot_of, unmark
from heapwright.compiler import kernel, unsigned
from heapwright.machine import PAGE_BYTES, mmap, munmap
from heapwright.managers.runtime.art.state import MOST_LARGE


@kernel(inline=True)
def large_bytes(need):
    """Whole pages."""
    return (need + PAGE_BYTES - 1) & -PAGE_BYTES


@kernel
def obtain_large(heap, bytes_):
    """A mapping for a large object of so many bytes; 0 where there is no room."""
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
    heap.large_objects += 1
    heap.large_bytes += bytes_
    return block


@kernel
def sweep_large(heap):
    """Unmap those that are not marked; (objects, bytes)."""
    machine, objects, freed = heap.machine, 0, 0
    for row in range(heap.large_rows):
        block = heap.large[unsigned(row)]
        if not block:
            continue
        address = block + HEADER_BYTES
        if is_marked(machine, address):
            unmark(machine, address)
            continue
        bytes_ = bytes_of(machine, address)
        reclaimed(heap.mutator, slot_of(machine, address), address)
        munmap(machine, block, bytes_)
        heap.large[unsigned(row)] = 0
        heap.spare[unsigned(heap.spare_rows)] = row
        heap.spare_rows += 1
        objects += 1
        freed += bytes_
    heap.large_objects -= objects
    heap.large_bytes -= freed
    heap.log.totals[SWEPT_OBJECTS] += objects
    heap.log.totals[SWEPT_BYTES] += freed
    return objects, freed


@kernel
def are_counted(heap):
    """Whether they are as many and as large as was counted, and none is marked."""
    objects, bytes_ = heap.large_objects, heap.large_bytes
    for row in range(heap.large_rows):
        block = heap.large[unsigned(row)]
        if block:
            if is_marked(heap.machine, block + HEADER_BYTES):
                return False
            objects -= 1
            bytes_ -= bytes_of(heap.machine, block + HEADER_BYTES)
    return objects == 0 and bytes_ == 0


@kernel
def holds(heap, address):
    """Whether a large object lies there."""
    for row in range(heap.large_rows):
        if heap.large[unsigned(row)] == address - HEADER_BYTES:
            return True
    return False
