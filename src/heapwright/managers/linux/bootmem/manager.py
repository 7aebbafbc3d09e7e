"""Linux's bootmem: the boot allocator until 4.19, a bit for each frame.

    alloc ─► first run of free frames from the hint on; small ones share the page of the last one
    free  ─► the frames that lie wholly within; who frees says how many bytes, here a table does

Invariant  the frames of what is allocated are taken: no two share more than a page (conformance)
Source     Linux 4.19, mm/bootmem.c; see `linux/bootmem.py`, which it is made of
Omits      more than one node. A page that two have shared never comes back, as in the real one
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import cached, counters
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.linux import bootmem
from heapwright.linux.bootmem import Bootmem
from heapwright.linux.frames import raise_break
from heapwright.machine import PAGE_BYTES, Machine
from heapwright.machine.address_space import BREAK, FIRST_BREAK

__all__ = ["cached"]

PATHS = ("alloc", "free", "refused")
ALLOC, FREE, REFUSED = range(3)
MOST_BYTES = 16 << 30
SIZE_SHIFT = 4


class Config(NamedTuple):
    """Knobs."""

    memory_bytes: int = 1 << 30  # of the machine


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    node: Bootmem
    size: np.ndarray  # int64[offset / 16]  of what is allocated there, bytes
    start: np.ndarray  # int64[1]  address of the memory's first byte
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config):
    """One node, all of it free."""
    if config.memory_bytes % PAGE_BYTES or not PAGE_BYTES <= config.memory_bytes <= MOST_BYTES:
        raise HeapwrightError(
            f"memory_bytes is a multiple of {PAGE_BYTES} up to {MOST_BYTES}, "
            f"not {config.memory_bytes}."
        )
    node = bootmem.bootmem(config.memory_bytes // PAGE_BYTES)
    node.map[:] = 0
    start = -(-int(machine.meters[FIRST_BREAK]) // (4 << 20)) * (4 << 20)
    sizes = reserve(config.memory_bytes >> SIZE_SHIFT, np.int64)
    return Heap(machine, node, sizes, np.array([start], np.int64), counters(PATHS))


@kernel
def alloc(heap, thread, size, align):
    """Address of a place; 0 where there is no room."""
    heap.paths[ALLOC] += 1
    size = max(size, 1)
    place = bootmem.alloc(heap.node, size, align, np.int64(0), np.int64(0))
    if place < 0:
        heap.paths[REFUSED] += 1
        return 0
    address = heap.start[0] + place
    if address + size > heap.machine.meters[BREAK]:
        raise_break(heap.machine, address + size)
    heap.size[unsigned(place >> SIZE_SHIFT)] = size
    return address


@kernel
def free(heap, thread, address):
    """Its whole frames are free again."""
    heap.paths[FREE] += 1
    place = address - heap.start[0]
    bootmem.free(heap.node, place, heap.size[unsigned(place >> SIZE_SHIFT)])


@kernel
def usable(heap, address, size):
    """What was asked for."""
    return heap.size[unsigned((address - heap.start[0]) >> SIZE_SHIFT)]


@kernel
def extent(heap, address, size):
    """The place."""
    return address, usable(heap, address, size)


@kernel
def metadata(heap, blocks):
    """None in memory: the map is the kernel's own variable."""
    return 0


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none: here none can be seen from the map alone."""
    return 1 if heap.node.hint < 0 else 0
