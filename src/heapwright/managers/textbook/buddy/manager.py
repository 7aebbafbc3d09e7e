"""The binary buddy system, lowest address first, on a heap that grows by brk.

    alloc ─► round up to 2^order ─► lowest free block of the order or more ─► halve it, use the
             low end ─miss─► brk
    free  ─► merge with the buddy (address xor size) while that is free

Invariant  the buddies'                                                      (check: 1-3)
Source     Knowlton 1965; Knuth 2.5; Robson 1974 for "lowest address first"; see
           `allocators/buddy.py`
Omits      threads: one heap, one lock; giving memory back
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import buddy
from heapwright.allocators.buddy import MIN_ORDER, ORDER, Buddies
from heapwright.allocators.frame import ALIGN_BYTES, cached, counters, moving
from heapwright.compiler import kernel
from heapwright.compiler.bits import bit_length
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, Machine
from heapwright.machine.ground import PAST

__all__ = ["cached"]

PATHS = ("alloc", "free", "split", "merge", "grow", "in_place")
ALLOC, FREE, SPLIT, MERGE, GROW, IN_PLACE = range(6)


class Config(NamedTuple):
    """Knobs."""

    growth_bytes: int = 1 << 17  # the break stays a multiple of this power of two


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    buddies: Buddies
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config):
    """An empty heap at the break; HeapwrightError unless growth_bytes is a fit power of two."""
    growth = config.growth_bytes
    if growth < PAGE_BYTES or growth > 1 << 24 or growth & (growth - 1):
        raise HeapwrightError(
            f"growth_bytes is a power of two from {PAGE_BYTES} to {1 << 24}, not {growth}."
        )
    return Heap(machine, buddy.buddies(machine, growth), counters(PATHS))


@kernel
def _order_of(size, align):
    """Order of the block for `size` bytes at a multiple of `align`."""
    return max(MIN_ORDER, bit_length(max(size, align) - 1))


@kernel
def alloc(heap, thread, size, align):
    """Address of a block of at least `size` bytes. About 40 ns."""
    heap.paths[ALLOC] += 1
    order = _order_of(size, align)
    if (1 << order) > PAST:
        return 0
    address = buddy.lowest(heap.buddies, order)
    if not address:
        if not buddy.grow(heap.buddies, order):
            return 0
        heap.paths[GROW] += 1
        address = buddy.lowest(heap.buddies, order)
    old = buddy.entry(heap.buddies, address)
    buddy.put(heap.buddies.tree, address >> MIN_ORDER, 0)
    heap.paths[SPLIT] += buddy.split(heap.buddies, address, order, old & ORDER)
    return address


@kernel
def free(heap, thread, address):
    """Give the block back. About 40 ns."""
    heap.paths[FREE] += 1
    order = buddy.entry(heap.buddies, address)
    heap.paths[MERGE] += buddy.release(heap.buddies, address, order)


@kernel
def _absorb(heap, address, old, order):
    """Grow a block by the buddies above it if all of them are free; whether it could."""
    if address & ((1 << order) - 1):
        return False
    for half in range(old, order):
        above = address + (1 << half)
        if not buddy.has_buddy(heap.buddies, address, half):
            return False
        if buddy.entry(heap.buddies, above) != half | buddy.FREE:
            return False
    for half in range(old, order):
        buddy.take_free(heap.buddies, address + (1 << half))
        heap.paths[MERGE] += 1
    buddy.set_used(heap.buddies, address, order)
    return True


@kernel
def resize_in_place(heap, address, size):
    """Halve the block or let it absorb free buddies; whether it could."""
    old, order = buddy.entry(heap.buddies, address), _order_of(size, ALIGN_BYTES)
    if order > old and not ((1 << order) <= PAST and _absorb(heap, address, old, order)):
        return False
    heap.paths[IN_PLACE] += 1
    if order < old:
        heap.paths[SPLIT] += buddy.split(heap.buddies, address, order, old)
    return True


@kernel
def usable(heap, address, size):
    """The whole block: it has no header."""
    return 1 << buddy.entry(heap.buddies, address)


realloc = moving(alloc, free, usable, resize_in_place)


@kernel
def extent(heap, address, size):
    """The block."""
    return address, 1 << buddy.entry(heap.buddies, address)


@kernel
def metadata(heap, blocks):
    """The order maps."""
    return buddy.own_memory(heap.buddies, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    return buddy.check(heap.buddies)
