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
Omits      deferred merging, lowering the break

A heap of the machine is one run, whose break rises. On any other ground it is arenas, each a block
of its ground at a multiple of its own size, a power of two; an arena that is free as a whole goes
back unless it is the only one.

User blocks carry no header: the order map is memory of its own, mapped 512 KiB for each 16 MiB.
The index `tree` is the simulator's: by address the order of each free block, so that the lowest
free block of an order or more is found at once where a real system would keep sorted lists.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.zone_map import UNIT_SHIFT, ZoneMap, of_width, zone_map
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import trailing_zeros
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.machine import Machine
from heapwright.machine.address_space import PAGE_SHIFT
from heapwright.machine.ground import CONTINUES, LOWEST, PAST, area, areas, give_back, more
from heapwright.structures import ranked_tree
from heapwright.structures.ranked_tree import RankedTree, first_at_least, put

MIN_ORDER = UNIT_SHIFT  # 32 bytes
FREE = 64  # flag of a map entry
ORDER = 63


@record(
    "end",  # address past the run
    "growth",  # setting: bytes, a power of two
    "arenas",  # held
)
class Buddies(NamedTuple):
    """A heap of buddies."""

    machine: Machine
    tree: RankedTree  # by address >> MIN_ORDER: order of the free block that starts there
    zones: ZoneMap  # of the order map
    arena: np.ndarray  # uint8[address >> PAGE_SHIFT]  order of the arena; unused of one run
    fields: np.ndarray  # int64[word]


def buddies(machine, growth_bytes):
    """An empty heap that grows by multiples of `growth_bytes`, a power of two >= a page."""
    return Buddies(
        machine,
        ranked_tree.ranked_tree(PAST >> MIN_ORDER),
        zone_map(),
        reserve(1 if CONTINUES else PAST >> PAGE_SHIFT, np.uint8),
        words(Buddies, end=LOWEST, growth=growth_bytes),
    )


_entry, _set_map_entry, map_zones, _tables = of_width(0)


@kernel(inline=True)
def entry(heap, address):
    """The order map's byte for the 32 bytes at `address`."""
    return _entry(heap.machine, heap.zones, address)


@kernel(inline=True)
def _set_entry(heap, address, value):
    """Write the order map's byte for the 32 bytes at `address`."""
    _set_map_entry(heap.machine, heap.zones, address, value)


@kernel(inline=True)
def has_buddy(heap, address, order):
    """Whether the buddy of the block of `order` at `address` lies in the heap."""
    if CONTINUES:
        return LOWEST <= address ^ (1 << order) < heap.end
    return order < np.int64(heap.arena[unsigned(address >> PAGE_SHIFT)])


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
        if not has_buddy(heap, address, order) or entry(heap, buddy) != order | FREE:
            break
        take_free(heap, buddy)
        if buddy < address:
            _set_entry(heap, address, 0)
            address = buddy
        order += 1
        merges += 1
    if CONTINUES or heap.arenas == 1 or has_buddy(heap, address, order):
        set_free(heap, address, order)
    else:
        _set_entry(heap, address, 0)
        _mark_arena(heap, address, order, 0)
        give_back(heap.machine, 0, address, 1 << order)
    return merges


@kernel
def _mark_arena(heap, address, order, mark):
    """Note the order of an arena for each of its pages; 0 of one that is none any longer."""
    heap.arenas += 1 if mark else -1
    for page in range(address >> PAGE_SHIFT, (address + (1 << order)) >> PAGE_SHIFT):
        heap.arena[unsigned(page)] = mark


@kernel
def grow(heap, order):
    """More memory, so that a free block of `order` exists; whether it could."""
    return _raise_end(heap, order) if CONTINUES else _add_arena(heap, order)


@kernel
def _add_arena(heap, order):
    """A block of the ground that is one free block of `order` or more."""
    bytes_ = max(1 << order, heap.growth)
    if bytes_ > PAST:
        return False
    start = more(heap.machine, 0, bytes_, bytes_)
    if not start:
        return False
    if not map_zones(heap.machine, heap.zones, start, start + bytes_):
        give_back(heap.machine, 0, start, bytes_)
        return False
    _mark_arena(heap, start, trailing_zeros(bytes_), trailing_zeros(bytes_))
    set_free(heap, start, trailing_zeros(bytes_))
    return True


@kernel
def _raise_end(heap, order):
    """Move the break so that the block lies at the lowest place, which may begin in free blocks at
    the heap's end."""
    old, size = heap.end, 1 << order
    place = old & ~(size - 1)
    free_from = place
    while LOWEST <= free_from < old and entry(heap, free_from) & FREE:
        free_from += 1 << (entry(heap, free_from) & ORDER)
    if free_from != old:
        place += size
    growth = heap.growth
    new = (place + size + growth - 1) & ~(growth - 1)
    if new > PAST or not map_zones(heap.machine, heap.zones, old, new):
        return False
    if not more(heap.machine, old, new - old, 0):
        return False
    heap.end = new
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
    return _tables(heap.zones, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    free = 0
    for row in range(areas(heap.machine)):
        address, bytes_ = area(heap.machine, row, heap.end)
        if not CONTINUES and not heap.arena[unsigned(address >> PAGE_SHIFT)]:
            continue  # a table of the map
        first, end = address, address + bytes_
        while address < end:
            value = entry(heap, address)
            order = value & ORDER
            if order < MIN_ORDER or address & ((1 << order) - 1):
                return 1
            if value & FREE:
                if has_buddy(heap, address, order) and entry(heap, address ^ (1 << order)) == value:
                    return 2
                if ranked_tree.size_at(heap.tree, address >> MIN_ORDER) != order:
                    return 3
                free += 1
            address += 1 << order
        if address != end:
            return 1
        if ranked_tree.check(heap.tree, end >> MIN_ORDER, first >> MIN_ORDER):
            return 3
    return 3 if free != ranked_tree.total(heap.tree) else 0
