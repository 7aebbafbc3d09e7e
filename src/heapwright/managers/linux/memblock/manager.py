"""Linux's memblock: the boot allocator, ranges from the top of memory down.

    alloc ─► the highest free range that has room, at its end rounded down ─► reserved
    free  ─► out of the reserved ranges; who frees says how many bytes, here a table does

Invariant  the lists' (check: 1)
Source     Linux 6.1, mm/memblock.c; see `linux/memblock.py`, which it is made of
Omits      nodes; what the kernel itself has reserved before
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import cached, counters
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.linux import memblock
from heapwright.linux.memblock import ANYWHERE, SMP_CACHE_BYTES, Memblock, add
from heapwright.machine import Machine, mmap
from heapwright.machine.address_space import LOWEST_MAPPED, MAPPED_TOP

__all__ = ["cached"]

PATHS = ("alloc", "free", "refused")
ALLOC, FREE, REFUSED = range(3)
STEP_BYTES = 1 << 20  # by which the part of memory that is used grows
MOST_BYTES = 16 << 30
SIZE_SHIFT = 6


class Config(NamedTuple):
    """Knobs."""

    memory_bytes: int = 1 << 30  # of the machine
    bottom_up: int = 0  # 1: the lowest free range, as on machines whose memory may be taken out


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    block: Memblock
    size: np.ndarray  # int64[offset / SMP_CACHE_BYTES]  of what is allocated there, bytes
    start: np.ndarray  # int64[1]  address of the memory's first byte
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config):
    """One range of memory, nothing taken."""
    if config.memory_bytes % STEP_BYTES or not STEP_BYTES <= config.memory_bytes <= MOST_BYTES:
        raise HeapwrightError(
            f"memory_bytes is a multiple of {STEP_BYTES} up to {MOST_BYTES}, "
            f"not {config.memory_bytes}."
        )
    block = memblock.memblock(bottom_up=config.bottom_up != 0)
    add(block.memory, 0, config.memory_bytes, 0)
    start = np.array([MAPPED_TOP - config.memory_bytes], np.int64)
    sizes = reserve(config.memory_bytes >> SIZE_SHIFT, np.int64)
    return Heap(machine, block, sizes, start, counters(PATHS))


@kernel
def alloc(heap, thread, size, align):
    """Address of a range; 0 where there is no room."""
    heap.paths[ALLOC] += 1
    size = max(size, 1)
    align = max(align, SMP_CACHE_BYTES)
    place = memblock.alloc_anyhow(heap.block, size, align, (np.int64(0), np.int64(ANYWHERE)))
    if not place:
        heap.paths[REFUSED] += 1
        return 0
    address = heap.start[0] + place
    while heap.machine.meters[LOWEST_MAPPED] > address:  # memory that was not used before
        mmap(heap.machine, 0, STEP_BYTES)
    heap.size[unsigned(place >> SIZE_SHIFT)] = size
    return address


@kernel
def free(heap, thread, address):
    """The range is free again."""
    heap.paths[FREE] += 1
    place = address - heap.start[0]
    memblock.remove(heap.block.reserved, place, heap.size[unsigned(place >> SIZE_SHIFT)])


@kernel
def usable(heap, address, size):
    """What was asked for."""
    return heap.size[unsigned((address - heap.start[0]) >> SIZE_SHIFT)]


@kernel
def extent(heap, address, size):
    """The range."""
    return address, usable(heap, address, size)


@kernel
def metadata(heap, blocks):
    """None in memory: the lists are the kernel's own variables."""
    return 0


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    return memblock.check(heap.block)
