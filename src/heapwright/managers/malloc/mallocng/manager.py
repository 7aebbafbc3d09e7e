"""musl's mallocng 1.2.3, whole: its blocks lie where the real one's do.

    malloc ─► class's first group: lowest slot that is avail ─none─► the ring's next, a new group
               └ from 131,052 bytes on a mapping of its own
    free   ─► the slot's bit of freed; the first that a group has free enters it in its ring, the
              last one gives the group back, to the system or to the slot that it lies in

Terms      group: up to 32 slots of one class and a record; ring: groups of a class with a free
           slot; unit: 16 bytes; class: 48 of them, four to a doubling, of 1 to 8,191 units
Invariant  records and their groups name each other, no slot is avail and freed (check: 1); usage is
           the sum of a class's slots (2); a group with a free slot is in its ring, which is linked
           both ways, and no other but its first (3); a nested group lies in a taken slot (4)
Source     musl 1.2.3 src/malloc/mallocng/; parts in the files beside
Omits      what the program writes into its blocks: a block of a nested group begins where bytes say
           that the program may have written, see blocks.py; memory that a dynamic loader gives
           malloc, so this is a program that is linked statically; one lock serves all threads,
           as in the real one, and no cache is a thread's own
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import cached, counters
from heapwright.compiler import kernel, likely, unsigned
from heapwright.compiler.bits import trailing_zeros
from heapwright.compiler.record import words
from heapwright.machine import PAGE_BYTES, load, mmap, mremap, munmap, read, store, touch
from heapwright.machine import clear as clear_pages
from heapwright.machine import copy as copy_pages
from heapwright.machine.address_space import BREAK_LIMIT
from heapwright.managers.malloc.mallocng import state
from heapwright.managers.malloc.mallocng.blocks import (
    FAR_SHIFT,
    MOVED_ON,
    SLOT_MASK,
    SPARE_SHIFT,
    clear_heads,
    copy_heads,
    enframe,
    follow,
    forget,
    nominal,
    record_at,
    set_size,
    slot_byte,
    slot_start,
    write_byte,
    write_head,
)
from heapwright.managers.malloc.mallocng.freeing import free
from heapwright.managers.malloc.mallocng.groups import FREEABLE, new_record, take_slot
from heapwright.managers.malloc.mallocng.invariants import check, metadata
from heapwright.managers.malloc.mallocng.state import (
    BOUNCING,
    CLASS_SHIFT,
    CLASSES,
    GROUP,
    IN_BAND,
    MAPPED_BYTES,
    MOST_BYTES,
    NESTED,
    OWN_CLASS,
    PAGES_SHIFT,
    PATHS,
    SHAPE,
    SLOT_UNITS,
    SMALL_COUNTS,
    UNIT,
    Heap,
    alone,
    avail,
    class_in,
    class_of,
    freed,
    pages_of,
    set_masks,
    step,
    stride,
)
from heapwright.versions import version_number

ZONE_START = (
    BREAK_LIMIT  # offsets count from here: blocks lie in the mapped zone, from its end down
)

__all__ = [
    "PATHS",
    "ZONE_START",
    "Config",
    "Heap",
    "alloc",
    "boot",
    "cached",
    "calloc",
    "check",
    "extent",
    "free",
    "metadata",
    "realloc",
    "usable",
]

FEW_SLOTS = 12  # a class with no more takes a further group's
COARSE = 3  # slots that such a group would add
LEAST_COARSE, MOST_COARSE, NEVER_COARSE = 4, 32, 6


class Config(NamedTuple):
    """It has no settings."""

    version: int = version_number("1.2.3")


def boot(machine, config):
    """No group and no record yet."""
    return Heap(
        machine,
        np.array(SLOT_UNITS, np.int64),
        np.array(SMALL_COUNTS, np.int64).reshape(-1),
        np.zeros(CLASSES, np.int64),
        np.zeros(CLASSES, np.int64),
        np.zeros(BOUNCING, np.int64),
        np.zeros(BOUNCING, np.int64),
        np.zeros(NESTED << 2, np.int64),
        words(Heap),
        counters(PATHS),
    )


@kernel(inline=True)
def alloc(heap, thread, size, align):
    """malloc, or aligned_alloc where `align` exceeds 16."""
    if align > UNIT:
        return _alloc_aligned(heap, size, align)
    return _alloc(heap, size)


@kernel
def _alloc(heap, size):
    """malloc; 0 if refused."""
    heap.paths[state.ALLOC] += 1
    if unsigned(size) >= unsigned(MAPPED_BYTES):
        return _alloc_mapped(heap, size)
    class_ = class_of(heap, size)
    record = heap.active[unsigned(class_)]
    if not record:
        class_ = _coarser(heap, class_)
        record = heap.active[unsigned(class_)]
    if likely(record != 0):
        mask = avail(heap, record)
        if likely(mask != 0):
            slot = mask & -mask
            set_masks(heap, record, mask - slot, freed(heap, record))
            return enframe(heap, record, trailing_zeros(slot), size)
    number = take_slot(heap, class_, size)
    if number < 0:
        return 0
    return enframe(heap, heap.active[unsigned(class_)], number, size)


@kernel
def _coarser(heap, class_):
    """The class that a request is served from while its own has no group: the odd one above an even
    one, if that is little used."""
    if class_ & 1 or not LEAST_COARSE <= class_ < MOST_COARSE or class_ == NEVER_COARSE:
        return class_
    if heap.usage[unsigned(class_)]:
        return class_
    usage, record = heap.usage[unsigned(class_ + 1)], heap.active[unsigned(class_ + 1)]
    if not record or not (avail(heap, record) | freed(heap, record)):
        usage += COARSE
    return class_ + 1 if usage <= FEW_SLOTS else class_


@kernel
def _alloc_mapped(heap, size):
    """A block that is mapped on its own."""
    if unsigned(size) > unsigned(MOST_BYTES):
        return 0
    machine, bytes_ = heap.machine, (size + IN_BAND + UNIT + PAGE_BYTES - 1) & -PAGE_BYTES
    group = mmap(machine, 0, bytes_)
    if not group:
        return 0
    step(heap)
    record = new_record(heap)
    if not record:
        munmap(machine, group, bytes_)
        return 0
    heap.paths[state.MAPPED] += 1
    touch(machine, group, UNIT)
    store(machine, group, record)
    store(machine, record + GROUP, group)
    shape = FREEABLE | (OWN_CLASS << CLASS_SHIFT) | ((bytes_ // PAGE_BYTES) << PAGES_SHIFT)
    store(machine, record + SHAPE, shape)
    set_masks(heap, record, 0, 0)
    heap.mappings += 1
    return enframe(heap, record, 0, size)


@kernel(cold=True)
def _alloc_aligned(heap, size, align):
    """aligned_alloc: within a block that is larger by the alignment less a unit."""
    if unsigned(size) > unsigned(MOST_BYTES) or unsigned(align) > unsigned(MOST_BYTES):
        return 0
    machine, first = heap.machine, _alloc(heap, size + align - UNIT)
    if not first:
        return 0
    record, slot = record_at(machine, first), slot_byte(machine, first) & SLOT_MASK
    start = slot_start(heap, record, first)
    end = start + stride(heap, record) - IN_BAND
    block = (first + align - 1) & -align
    if block != first:
        units = (block - load(machine, record + GROUP) - UNIT) // UNIT
        touch(machine, block - 8, 8)
        if units < 1 << 16:
            write_head(machine, block, slot, units)
        else:  # too far for two bytes: four before them
            store(machine, block - 8, units | (1 << FAR_SHIFT))
            write_byte(machine, block - 3, slot)
    set_size(machine, block, end, size)
    if block != first:
        touch(machine, start - IN_BAND, IN_BAND)
        moved = ((block - start) // UNIT) & 0xFFFF
        byte = (load(machine, start - 8) >> FAR_SHIFT) & 255
        write_head(machine, start, MOVED_ON << SPARE_SHIFT, moved)
        if byte:
            write_byte(machine, start - 4, byte)
    return block


@kernel
def calloc(heap, thread, size):
    """A cleared block: of pages that hold zeros already only the ends are written."""
    block = _alloc(heap, size)
    if not block or alone(heap, record_at(heap.machine, block)):
        return block
    machine = heap.machine
    clear_heads(machine, block, size)
    if size < PAGE_BYTES:
        clear_pages(machine, block, size)
        return block
    past = block + size
    rest = past & (PAGE_BYTES - 1)
    clear_pages(machine, past - rest, rest)
    past -= rest
    while past - block >= PAGE_BYTES:
        past -= PAGE_BYTES
        read(machine, past, PAGE_BYTES)
    clear_pages(machine, block, past - block)
    return block


@kernel
def realloc(heap, thread, address, size):
    """The block itself where it has room and its class is not far from the size's; a mapping that
    grows or shrinks; else moved."""
    machine = heap.machine
    record = record_at(machine, address)
    start = slot_start(heap, record, address)
    end = start + stride(heap, record) - IN_BAND
    read(machine, end, 1)
    old = nominal(machine, address, end)
    if size <= end - address and size < MAPPED_BYTES:
        if class_of(heap, size) + 1 >= class_in(heap, record):
            heap.paths[state.IN_PLACE] += 1
            set_size(machine, address, end, size)
            return address
    if class_in(heap, record) >= CLASSES and size >= MAPPED_BYTES:
        block = _remap(heap, record, address - start, size)
        if block:
            return block
    block = _alloc(heap, size)
    if block:
        heap.paths[state.MOVED] += 1
        copy_heads(machine, block, address, min(old, size))
        copy_pages(machine, block, address, min(old, size))
        free(heap, thread, address)
    return block


@kernel
def _remap(heap, record, before, size):
    """A mapped block with `size` bytes, `before` after its slot's start; 0: refused."""
    if unsigned(size) > unsigned(MOST_BYTES):
        return 0
    machine, group = heap.machine, load(heap.machine, record + GROUP)
    old = pages_of(heap, record) * PAGE_BYTES
    bytes_ = (size + before + UNIT + IN_BAND + PAGE_BYTES - 1) & -PAGE_BYTES
    moved = group
    if bytes_ != old:
        heap.paths[state.REMAPPED] += 1
        if bytes_ < old:
            forget(machine, group + bytes_, old - bytes_)
        moved = mremap(machine, group, old, bytes_)
        if not moved:
            return 0
        if moved != group:
            follow(machine, group, moved, old)
        store(machine, record + GROUP, moved)
        shape = load(machine, record + SHAPE) & (PAGE_BYTES - 1)
        store(machine, record + SHAPE, shape | ((bytes_ // PAGE_BYTES) << PAGES_SHIFT))
    end = moved + bytes_ - IN_BAND
    write_byte(machine, end, 0)
    block = moved + UNIT + before
    set_size(machine, block, end, size)
    return block


@kernel
def usable(heap, address, size):
    """What was asked for, to the byte; it looks at the slot's end."""
    machine = heap.machine
    record = record_at(machine, address)
    end = slot_start(heap, record, address) + stride(heap, record) - IN_BAND
    read(machine, end, 1)
    return nominal(machine, address, end)


@kernel
def extent(heap, address, size):
    """The whole slot with its head; what is spare of it counts as a header."""
    record = record_at(heap.machine, address)
    return slot_start(heap, record, address) - IN_BAND, stride(heap, record)
