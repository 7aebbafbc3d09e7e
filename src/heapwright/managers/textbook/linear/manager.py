"""A linear (bump) allocator: the floor of what allocation can cost, the ceiling of memory.

    alloc ─► bump ─limit─► brk, a megabyte at a time            free ─► nothing

Invariant  base <= top <= limit; limit is the break                          (check: 1)
Source     Wilson et al. 1995, section 2
Omits      reuse of freed memory, threads
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import ALIGN_BYTES, cached, counters, metadata
from heapwright.allocators.linear import Region, bump
from heapwright.compiler import kernel
from heapwright.machine import Machine, copy
from heapwright.machine.ground import LOWEST, more, until

__all__ = ["cached", "metadata"]

HEADERLESS = True  # a block does not tell its size

PATHS = ("bump", "grow")
BUMP, GROW = range(2)


class Config(NamedTuple):
    """Knobs."""

    growth_bytes: int = 1 << 20  # how far brk moves at a time


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    region: Region
    growth: np.ndarray  # int64[1]  bytes
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config):
    """An empty heap."""
    region = Region(np.full(3, LOWEST, np.int64))
    return Heap(machine, region, np.array([config.growth_bytes], np.int64), counters(PATHS))


@kernel(inline=True)
def alloc(heap, thread, size, align):
    """Address of a block of `size` bytes. About 2 ns."""
    heap.paths[BUMP] += 1
    size = max(size, 1)  # a pointer of its own even for 0 bytes
    address = bump(heap.region, size, align)
    if address:
        return address
    if not _grow(heap, size + align):
        return 0
    return bump(heap.region, size, align)


@kernel
def _grow(heap, need):
    """More memory, so that `need` bytes fit; whether it could."""
    heap.paths[GROW] += 1
    bytes_ = need + heap.growth[0]
    start = more(heap.machine, heap.region.top, bytes_, ALIGN_BYTES)
    if start:
        if start != heap.region.top:  # another piece: what was left of the last one is lost
            heap.region.base = heap.region.top = start
        heap.region.limit = start + bytes_
    return start != 0


@kernel(inline=True)
def free(heap, thread, address):
    """Forget the block; its bytes stay where they are."""


@kernel
def realloc(heap, thread, address, size):
    """A new block; without a header nobody knows how long the old one is, but it lies below."""
    moved = alloc(heap, thread, size, ALIGN_BYTES)
    if moved:
        past = until(heap.machine, address)
        past = min(past, moved) if moved > address else past
        copy(heap.machine, moved, address, min(past - address, size))
    return moved


@kernel
def usable(heap, address, size):
    """Bytes that the owner may use: those that were asked for."""
    return size


@kernel
def extent(heap, address, size):
    """The block, which has no header."""
    return address, max(size, 1)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    base, top, limit = heap.region.base, heap.region.top, heap.region.limit
    return 0 if base <= top <= limit else 1
