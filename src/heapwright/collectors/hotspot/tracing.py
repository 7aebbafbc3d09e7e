"""What every full collection of HotSpot's stop-the-world collectors does alike.

    mark       all that the table and marked objects refer to; a dead run becomes one block
    forward    the collector's own: each marked block gets the address where it will lie
    redirect   the table and every reference of a marked object: to the new addresses
    slide      a marked block moves there, is not marked any more, and is of the age it was given

Source     OpenJDK 17 src/hotspot/share/gc/serial/markSweep.cpp, genMarkSweep.cpp,
           share/gc/shared/space.cpp; share/gc/parallel/psParallelCompact.cpp
Omits      several markers; classes; reference objects: what is found here is found strongly
"""

from heapwright.collectors.hotspot.layout import (
    ADDRESS_MASK,
    AGE_SHIFT,
    BYTES_SHIFT,
    FIELDS_MASK,
    HEADER_BYTES,
    INSTANCE,
    KEPT_AGE_SHIFT,
    MARKED,
    copy_object,
    entry_of,
    fill,
    is_marked,
    moved_to,
    refer,
    reference,
)
from heapwright.collectors.log import (
    COPIED_BYTES,
    COPIED_OBJECTS,
    MARKED_BYTES,
    MARKED_OBJECTS,
    SCANNED_ROOTS,
)
from heapwright.collectors.mark import is_empty, pop, push
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store


@kernel
def mark(heap):
    """Mark what is reachable. `heap` has machine, mutator, java, stack and log."""
    machine, handles = heap.machine, heap.mutator.handles
    for slot in range(heap.java.slots):
        if handles[unsigned(slot)]:
            find(heap, handles[unsigned(slot)])
            while not is_empty(machine, heap.stack):
                trace(heap, pop(machine, heap.stack))
    heap.log.totals[SCANNED_ROOTS] += heap.java.slots


@kernel(inline=True)
def find(heap, address):
    """Mark an object, and remember it if it has references."""
    machine = heap.machine
    word = load(machine, address - HEADER_BYTES)
    if word & MARKED == MARKED:
        return
    store(machine, address - HEADER_BYTES, word | MARKED)
    shape = load(machine, address - 8)
    heap.log.totals[MARKED_OBJECTS] += 1
    heap.log.totals[MARKED_BYTES] += shape >> BYTES_SHIFT << 3
    if shape & FIELDS_MASK:
        push(machine, heap.stack, address)


@kernel
def trace(heap, address):
    """Mark what a marked object refers to, but for the target of a reference object."""
    shape = load(heap.machine, address - 8)
    first = 1 if shape & INSTANCE and entry_of(heap.java, address) else 0
    for field in range(first, shape & FIELDS_MASK):
        target = reference(heap.java, heap.machine, address, field)
        if target:
            find(heap, target)


@kernel
def redirect_table(heap):
    """Let each handle be the new address."""
    handles = heap.mutator.handles
    for slot in range(heap.java.slots):
        if handles[unsigned(slot)]:
            handles[unsigned(slot)] = moved_to(heap.machine, handles[unsigned(slot)])


@kernel
def redirect(heap, block, past):
    """Let each reference of the marked blocks of [block, past) be the new address."""
    machine, java = heap.machine, heap.java
    while block < past:
        shape = load(machine, block + 8)
        if shape & FIELDS_MASK and load(machine, block) & MARKED == MARKED:
            address = block + HEADER_BYTES
            for field in range(shape & FIELDS_MASK):
                target = reference(java, machine, address, field)
                if target:
                    refer(java, machine, address, field, moved_to(machine, target))
        block += shape >> BYTES_SHIFT << 3


@kernel
def slide(heap, block, past):
    """Move the marked blocks of [block, past), lowest first."""
    machine, totals = heap.machine, heap.log.totals
    while block < past:
        word, bytes_ = load(machine, block), load(machine, block + 8) >> BYTES_SHIFT << 3
        if word & MARKED == MARKED:
            target = (word & ADDRESS_MASK) - HEADER_BYTES
            if target != block:
                copy_object(heap.java, machine, block, target, bytes_)
                totals[COPIED_OBJECTS] += 1
                totals[COPIED_BYTES] += bytes_
            store(machine, target, word >> KEPT_AGE_SHIFT << AGE_SHIFT)
        block += bytes_


@kernel
def dead_run(machine, block, past):
    """Let the unmarked blocks from `block` on, up to `past` at most, be one; where they end."""
    end = block
    while end < past and not is_marked(machine, end):
        end += load(machine, end + 8) >> BYTES_SHIFT << 3
    fill(machine, block, end - block)
    return end
