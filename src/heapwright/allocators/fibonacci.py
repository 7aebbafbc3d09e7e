"""Fibonacci buddies: blocks of 1, 2, 3, 5, 8, ... units, each split into the two before it.

    order 6  │                 13 units                │
    order 5  │          8            │                  left part: the larger
    order 4  │      5      │         │        5        │ right part of order 6
    order 3  │  3    │ 2   │   3     │

Terms      order k: F(k) units of 32 bytes, F(0) = F(1) = 1, F(k) = F(k-1) + F(k-2); part: one half
           of a split, LEFT of order k-1 or right of order k-2; inherited: the bit with which a
           part keeps what its parent was, so that a merge can restore it
Invariant  the map's blocks tile the heap                                       (check: 1)
           no two free parts of one split lie side by side                      (check: 2)
           the index holds exactly the free blocks, each with its order         (check: 3)
Source     Hirschberg, "A class of dynamic memory allocation algorithms", CACM 1973; Cranston and
           Thomas, "A simplified recombination scheme for the Fibonacci buddy system", CACM 1975
Omits      deferred merging, giving memory back

A split writes into the left part whether the parent was a right part, and into the right part
what the parent had inherited; a merge reads both back, so no block need know its ancestors. The
heap itself is a left part of a left part without end: it grows by becoming the left part of the
next order. Block facts lie in a map of their own, two bytes for each unit, mapped 1 MiB for each
16 MiB; the index `tree` is the simulator's, as in `allocators/buddy.py`.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.zone_map import UNIT_SHIFT, ZoneMap, of_width, zone_map
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.machine import Machine, brk
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT
from heapwright.structures import ranked_tree
from heapwright.structures.ranked_tree import RankedTree, first_at_least, put

ORDERS = 45  # F(44) units are more than the machine has room for

# A map entry: ORDER + 1, so that 0 means that no block starts there, and flags.
ORDER = 63
FREE = 64
RIGHT = 128  # the block is the right part of its split
INHERITED = 256  # left part: whether the parent was a right one; right part: the parent's own bit
FACTS = RIGHT | INHERITED


@record(
    "root",  # order of the whole heap, -1: empty
    "end",  # address past it
    "mapped",  # address past what is mapped of it
    "growth",  # setting: bytes that brk moves by
)
class Fibonacci(NamedTuple):
    """A heap of Fibonacci buddies at the break."""

    machine: Machine
    tree: RankedTree  # by unit from address 0: order + 1 of the free block that starts there
    zones: ZoneMap  # of the map
    bytes_of: np.ndarray  # int64[order]
    fields: np.ndarray  # int64[word]


def fibonacci(machine, growth_bytes):
    """An empty heap whose break moves by multiples of `growth_bytes`."""
    units = [1, 1]
    while len(units) < ORDERS:
        units.append(units[-1] + units[-2])
    return Fibonacci(
        machine,
        ranked_tree.ranked_tree(BREAK_LIMIT >> UNIT_SHIFT),
        zone_map(),
        np.array(units, np.int64) << UNIT_SHIFT,
        words(Fibonacci, root=-1, end=BREAK_BASE, mapped=BREAK_BASE, growth=growth_bytes),
    )


_entry, _set_map_entry, map_zones, _tables = of_width(1)


@kernel(inline=True)
def entry(heap, address):
    """The map's entry for the unit at `address`."""
    return _entry(heap.machine, heap.zones, address)


@kernel(inline=True)
def _set_entry(heap, address, value):
    """Write the map's entry for the unit at `address`."""
    _set_map_entry(heap.machine, heap.zones, address, value)


@kernel
def order_of(value):
    """The order in a map entry."""
    return (value & ORDER) - 1


@kernel
def order_for(heap, size):
    """Order of the smallest block of at least `size` bytes; ORDERS if there is none."""
    low, high = 1, ORDERS
    while low < high:
        middle = (low + high) >> 1
        if heap.bytes_of[unsigned(middle)] < size:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def set_used(heap, address, order, facts):
    """Note a block in use."""
    _set_entry(heap, address, (order + 1) | facts)


@kernel
def _set_free(heap, address, order, facts):
    """Note a free block."""
    _set_entry(heap, address, (order + 1) | facts | FREE)
    put(heap.tree, address >> UNIT_SHIFT, order + 1)


@kernel
def take_free(heap, address):
    """Take the free block at `address` out of the index; its map entry as it was."""
    value = entry(heap, address)
    put(heap.tree, address >> UNIT_SHIFT, 0)
    return value


@kernel
def lowest(heap, order):
    """Address of the lowest free block with as many bytes as `order` > 0 or more; 0 if none."""
    least = 1 if order == 1 else order + 1  # orders 0 and 1 are both one unit
    return max(first_at_least(heap.tree, 0, least), 0) << UNIT_SHIFT


@kernel
def split(heap, address, order, old):
    """Split a block whose entry was `old` and which is not in the index down to `order`, always
    keeping the left part, which is used then; the number of splits."""
    have, facts, splits = order_of(old), old & FACTS, 0
    while have > order and have > 1:
        right = address + heap.bytes_of[unsigned(have - 1)]
        _set_free(heap, right, have - 2, RIGHT | (facts & INHERITED))
        facts = INHERITED if facts & RIGHT else 0
        have -= 1
        splits += 1
    set_used(heap, address, have, facts)
    return splits


@kernel
def _parent_facts(left, right):
    """Facts of the block whose parts have the entries `left` and `right`."""
    return (RIGHT if left & INHERITED else 0) | (right & INHERITED)


@kernel
def _is_root(heap, address, order):
    """Whether the block is the whole heap."""
    return address == BREAK_BASE and order == heap.root


@kernel
def release(heap, address):
    """Free a block, merging it with the other part of its split while that is free; the merges."""
    value, merges = entry(heap, address) & ~FREE, 0
    while not _is_root(heap, address, order_of(value)):
        order = order_of(value)
        if value & RIGHT:
            other = address - heap.bytes_of[unsigned(order + 1)]
            wanted = order + 1
        else:
            other = address + heap.bytes_of[unsigned(order)]
            wanted = order - 1
        found = entry(heap, other)
        if not found & FREE or order_of(found) != wanted:
            break
        take_free(heap, other)
        if value & RIGHT:
            _set_entry(heap, address, 0)
            address, value = other, (order + 3) | _parent_facts(found, value)
        else:
            _set_entry(heap, other, 0)
            value = (order + 2) | _parent_facts(value, found)
        merges += 1
    _set_free(heap, address, order_of(value), value & FACTS)
    return merges


@kernel
def absorb(heap, address, order):
    """Grow a used block to `order` by the right parts above it if all of them are free; the merges
    that took, 0 where it could not."""
    for trial in range(2):  # the first round only looks
        value, merges = entry(heap, address), 0
        while order_of(value) < order:
            have = order_of(value)
            if value & RIGHT or _is_root(heap, address, have) or have == 0:
                return 0
            other = address + heap.bytes_of[unsigned(have)]
            found = entry(heap, other)
            if not found & FREE or order_of(found) != have - 1:
                return 0
            if trial == 1:
                take_free(heap, other)
                _set_entry(heap, other, 0)
            value = (have + 2) | _parent_facts(value, found)
            merges += 1
    set_used(heap, address, order_of(value), value & FACTS)
    return merges


@kernel
def back(heap, address, size):
    """Map `address`'s first `size` bytes if they are not yet; whether they are now."""
    if address + size <= heap.mapped:
        return True
    growth = heap.growth
    new = heap.mapped + (address + size - heap.mapped + growth - 1) // growth * growth
    new = min(new, BREAK_LIMIT)
    if new < address + size or brk(heap.machine, new) != new:
        return False
    heap.mapped = new
    return True


@kernel
def grow(heap, order):
    """Let the heap become the left part of the next order until it has a free block of `order`;
    whether it could. Only what is used of it is mapped later."""
    while True:
        part, root = heap.root - 1, heap.root + 1
        if heap.root < 0:
            part, root = order, order
        end = heap.end + heap.bytes_of[unsigned(part)]
        if root >= ORDERS or end > BREAK_LIMIT:
            return False
        if not map_zones(heap.machine, heap.zones, heap.end, end):
            return False
        place = heap.end
        heap.end, heap.root = end, root
        facts = RIGHT if root > part else 0
        set_used(heap, place, part, facts)
        release(heap, place)
        if lowest(heap, order):
            return True


@kernel
def own_memory(heap, blocks):
    """The maps, as rows of `blocks` (start, bytes); their number."""
    return _tables(heap.zones, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    address, end, free = BREAK_BASE, heap.end, 0
    before = 0  # entry of the block below
    while address < end:
        value = entry(heap, address)
        if value & ORDER == 0 or order_of(value) >= ORDERS:
            return 1
        if value & FREE:
            if before & FREE and value & RIGHT and not before & RIGHT:
                if order_of(before) == order_of(value) + 1:
                    return 2
            if ranked_tree.size_at(heap.tree, address >> UNIT_SHIFT) != order_of(value) + 1:
                return 3
            free += 1
        before = value
        address += heap.bytes_of[order_of(value)]
    if address != end:
        return 1
    return 3 if free != ranked_tree.total(heap.tree) else 0
