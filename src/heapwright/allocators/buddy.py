"""Binary buddies: blocks of 2^order bytes at multiples of their size, split and merged in halves.

    order 7  │              128 B              │
    order 6  │      64 B      │   buddies at a and a xor 64
    order 5  │  32 B │  32 B  │

Terms      order: log2 of a block's bytes; order map: one byte for each 32 bytes of the heap, the
           order of the block that starts there | FREE, and 0 where none starts
Invariant  the map's blocks tile the heap, each at a multiple of its size      (check: 1)
           no free block's buddy is free and of its order                      (check: 2)
           the index holds exactly the free blocks, each with its order        (check: 3)
Source     Knowlton 1965; Knuth 2.5, algorithms R and S; placement as in Robson 1974
Omits      deferred merging, giving memory back

User blocks carry no header: the order map is memory of its own, mapped 512 KiB for each 16 MiB.
The index `tree` is the simulator's: by address the order of each free block, so that the lowest
free block of an order or more is found at once where a real system would keep sorted lists.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import trailing_zeros
from heapwright.machine import Machine, brk, load, mmap, store, touch
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT
from heapwright.structures import ranked_tree
from heapwright.structures.ranked_tree import RankedTree, first_at_least, put

MIN_ORDER = 5  # 32 bytes
ZONE_SHIFT = 24  # a zone of 16 MiB has a map of its own
MAP_BYTES = 1 << (ZONE_SHIFT - MIN_ORDER)
FREE = 64  # flag of a map entry
ORDER = 63

END, GROWTH, FIELDS = range(3)


class Buddies(NamedTuple):
    """A heap of buddies at the break."""

    machine: Machine
    tree: RankedTree  # by address >> MIN_ORDER: order of the free block that starts there
    zone_map: np.ndarray  # int64[address >> ZONE_SHIFT]  address of the zone's order map, or 0
    fields: np.ndarray  # int64[FIELDS]  END: the break; GROWTH: bytes, a power of two


def buddies(machine, growth_bytes):
    """An empty heap whose break stays a multiple of `growth_bytes`, a power of two >= a page."""
    return Buddies(
        machine,
        ranked_tree.ranked_tree(BREAK_LIMIT >> MIN_ORDER),
        np.zeros((BREAK_LIMIT >> ZONE_SHIFT) + 1, np.int64),
        np.array([BREAK_BASE, growth_bytes], np.int64),
    )


@kernel
def entry(heap, address):
    """The order map's byte for the 32 bytes at `address`."""
    byte = heap.zone_map[unsigned(address >> ZONE_SHIFT)]
    byte += (address & ((1 << ZONE_SHIFT) - 1)) >> MIN_ORDER
    return (load(heap.machine, byte & ~7) >> ((byte & 7) << 3)) & 255


@kernel
def _set_entry(heap, address, value):
    """Write the order map's byte for the 32 bytes at `address`."""
    byte = heap.zone_map[unsigned(address >> ZONE_SHIFT)]
    byte += (address & ((1 << ZONE_SHIFT) - 1)) >> MIN_ORDER
    shift = (byte & 7) << 3
    touch(heap.machine, byte, 1)
    others = load(heap.machine, byte & ~7) & ~(255 << shift)
    store(heap.machine, byte & ~7, others | (value << shift))


@kernel
def set_used(heap, address, order):
    """Note a block in use."""
    _set_entry(heap, address, order)


@kernel
def set_free(heap, address, order):
    """Note a free block."""
    _set_entry(heap, address, order | FREE)
    put(heap.tree, address >> MIN_ORDER, order)


@kernel
def take_free(heap, address):
    """Take the free block at `address` out of the index and the map."""
    _set_entry(heap, address, 0)
    put(heap.tree, address >> MIN_ORDER, 0)


@kernel
def lowest(heap, order):
    """Address of the lowest free block of `order` or more; 0 if none."""
    return max(first_at_least(heap.tree, 0, order), 0) << MIN_ORDER


@kernel
def split(heap, address, order, old):
    """Halve a block of order `old`, which is not in the index, down to `order`: its low end is in
    use, the upper halves are free. Returns the number of splits."""
    set_used(heap, address, order)
    for half in range(order, old):
        set_free(heap, address + (1 << half), half)
    return old - order


@kernel
def release(heap, address, order):
    """Free a block, merging it with its buddy while that is free; the number of merges."""
    merges = 0
    while True:
        buddy = address ^ (1 << order)
        if buddy < BREAK_BASE or buddy >= heap.fields[END]:
            break
        if entry(heap, buddy) != order | FREE:
            break
        take_free(heap, buddy)
        if buddy < address:
            _set_entry(heap, address, 0)
            address = buddy
        order += 1
        merges += 1
    set_free(heap, address, order)
    return merges


@kernel
def grow(heap, order):
    """Move the break so that a free block of `order` exists at the lowest place; whether it could.

    That place may begin in free blocks at the heap's end.
    """
    old, size = heap.fields[END], 1 << order
    place = old & ~(size - 1)
    free_from = place
    while BREAK_BASE <= free_from < old and entry(heap, free_from) & FREE:
        free_from += 1 << (entry(heap, free_from) & ORDER)
    if free_from != old:
        place += size
    growth = heap.fields[GROWTH]
    new = (place + size + growth - 1) & ~(growth - 1)
    if new > BREAK_LIMIT:
        return False
    for zone in range(old >> ZONE_SHIFT, ((new - 1) >> ZONE_SHIFT) + 1):
        if heap.zone_map[zone] == 0:
            heap.zone_map[zone] = mmap(heap.machine, 0, MAP_BYTES)
            if heap.zone_map[zone] == 0:
                return False
    if brk(heap.machine, new) != new:
        return False
    heap.fields[END] = new
    while old < new:
        step = trailing_zeros(old)
        while old + (1 << step) > new:
            step -= 1
        release(heap, old, step)
        old += 1 << step
    return True


@kernel
def own_memory(heap, blocks):
    """The order maps, as rows of `blocks` (start, bytes); their number."""
    rows = 0
    for zone in range((BREAK_LIMIT >> ZONE_SHIFT) + 1):
        if heap.zone_map[zone]:
            if rows < len(blocks):
                blocks[rows, 0], blocks[rows, 1] = heap.zone_map[zone], MAP_BYTES
            rows += 1
    return rows


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    address, end, free = BREAK_BASE, heap.fields[END], 0
    while address < end:
        value = entry(heap, address)
        order = value & ORDER
        if order < MIN_ORDER or address & ((1 << order) - 1):
            return 1
        if value & FREE:
            buddy = address ^ (1 << order)
            if BREAK_BASE <= buddy < end and entry(heap, buddy) == value:
                return 2
            if ranked_tree.size_at(heap.tree, address >> MIN_ORDER) != order:
                return 3
            free += 1
        address += 1 << order
    if address != end:
        return 1
    if free != ranked_tree.total(heap.tree) or ranked_tree.check(heap.tree, end >> MIN_ORDER):
        return 3
    return 0
