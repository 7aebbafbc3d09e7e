"""The Fibonacci buddy system, lowest address first, on a heap that grows by brk.

    alloc ─► round up to F(k) units ─► lowest free block as large ─► split, keeping the left part
                                        miss ─► the heap becomes the left part of the next order
    free  ─► merge with the other part of the split while that is free

Invariant  the buddies'                                                      (check: 1-3)
Source     Hirschberg 1973; Cranston & Thomas 1975; Russell, "Internal fragmentation in a class of
           buddy systems", SIAM J. Computing 1977; see `allocators/fibonacci.py`
Omits      threads: one heap, one lock; giving memory back

Sizes grow by 1.618 instead of 2, so less is lost to rounding: 1.26 bytes are held for a byte asked
for instead of 1.39, when sizes are log-uniform. Blocks do not lie at multiples of their size: an
alignment above a unit is made by asking for more and pointing into the block.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import fibonacci
from heapwright.allocators.fibonacci import ORDERS, UNIT_SHIFT, Fibonacci, entry, order_of
from heapwright.allocators.frame import cached, counters, moving
from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, Machine

__all__ = ["cached"]

UNIT_BYTES = 1 << UNIT_SHIFT

PATHS = ("alloc", "free", "split", "merge", "grow", "in_place")
ALLOC, FREE, SPLIT, MERGE, GROW, IN_PLACE = range(6)


class Config(NamedTuple):
    """Knobs."""

    growth_bytes: int = 1 << 17  # the break moves by multiples of this


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    buddies: Fibonacci
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config):
    """An empty heap at the break; HeapwrightError unless growth_bytes is in whole pages."""
    growth = config.growth_bytes
    if growth < PAGE_BYTES or growth > 1 << 30 or growth % PAGE_BYTES:
        raise HeapwrightError(
            f"growth_bytes is a multiple of {PAGE_BYTES} up to {1 << 30}, not {growth}."
        )
    return Heap(machine, fibonacci.fibonacci(machine, growth), counters(PATHS))


@kernel
def _start(heap, address):
    """The block that `address` points into; its start, but for an alignment above a unit."""
    while not entry(heap.buddies, address):
        address -= UNIT_BYTES
    return address


@kernel
def alloc(heap, thread, size, align):
    """Address of a block of at least `size` bytes. About 50 ns."""
    heap.paths[ALLOC] += 1
    buddies = heap.buddies
    if align > UNIT_BYTES:
        size += align - UNIT_BYTES
    order = fibonacci.order_for(buddies, size)
    if order >= ORDERS:
        return 0
    block = fibonacci.lowest(buddies, order)
    if not block:
        if not fibonacci.grow(buddies, order):
            return 0
        heap.paths[GROW] += 1
        block = fibonacci.lowest(buddies, order)
    if not fibonacci.back(buddies, block, buddies.bytes_of[unsigned(order)]):
        return 0
    old = fibonacci.take_free(buddies, block)
    heap.paths[SPLIT] += fibonacci.split(buddies, block, order, old)
    return (block + align - 1) & ~(align - 1)


@kernel
def free(heap, thread, address):
    """Give the block back. About 50 ns."""
    heap.paths[FREE] += 1
    heap.paths[MERGE] += fibonacci.release(heap.buddies, _start(heap, address))


@kernel
def _resize(heap, block, need):
    """Split the used block or let it absorb free parts until it fits `need` bytes; whether it
    could."""
    buddies = heap.buddies
    value, order = entry(buddies, block), fibonacci.order_for(buddies, need)
    if order >= ORDERS:
        return False
    if buddies.bytes_of[unsigned(order_of(value))] < need:
        merges = fibonacci.absorb(buddies, block, order)
        heap.paths[MERGE] += merges
        return merges > 0 and fibonacci.back(buddies, block, buddies.bytes_of[unsigned(order)])
    if order_of(value) > order:
        heap.paths[SPLIT] += fibonacci.split(buddies, block, order, value)
    return True


@kernel
def resize_in_place(heap, address, size):
    """The same of the block around `address`, counted."""
    block = _start(heap, address)
    fits = _resize(heap, block, address - block + size)
    heap.paths[IN_PLACE] += fits
    return fits


@kernel
def usable(heap, address, size):
    """The rest of the block: it has no header."""
    block = _start(heap, address)
    return block + heap.buddies.bytes_of[order_of(entry(heap.buddies, block))] - address


realloc = moving(alloc, free, usable, resize_in_place)


@kernel
def extent(heap, address, size):
    """The block."""
    block = _start(heap, address)
    return block, heap.buddies.bytes_of[order_of(entry(heap.buddies, block))]


@kernel
def metadata(heap, blocks):
    """The maps."""
    return fibonacci.own_memory(heap.buddies, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    return fibonacci.check(heap.buddies)
