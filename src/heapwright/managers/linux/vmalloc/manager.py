"""Linux's vmalloc: areas of whole pages in the kernel's virtual range.

    vmalloc ─► lowest hole for the pages and a guard ─► each page a frame of its own
    vfree   ─► the frames go back at once, the addresses at the next purge

Invariant  the range's (check: 1)
Source     Linux 6.1, mm/vmalloc.c; see `linux/vmalloc.py`, which it is made of
Omits      which frames lie under an area: here they are the machine's
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import cached, counters
from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError
from heapwright.linux import vmalloc
from heapwright.linux.frames import drop_pages, hold_pages
from heapwright.linux.vmalloc import GUARD_PAGES, NONE, Range, range_of
from heapwright.machine import PAGE_BYTES, Machine
from heapwright.machine.address_space import BREAK_LIMIT, FIRST_BREAK, PAGE_SHIFT

__all__ = ["cached"]

PATHS = ("alloc", "free", "refused")
ALLOC, FREE, REFUSED = range(3)


class Config(NamedTuple):
    """Knobs."""

    range_bytes: int = 16 << 30  # of virtual addresses


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    range: Range
    start: np.ndarray  # int64[1]  address of the range's first page
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config):
    """A range without an area; HeapwrightError for one that there is no room for."""
    start = -(-int(machine.meters[FIRST_BREAK]) // (8 << 20)) * (8 << 20)
    if (
        config.range_bytes % PAGE_BYTES
        or not PAGE_BYTES <= config.range_bytes <= BREAK_LIMIT - start
    ):
        raise HeapwrightError(
            f"range_bytes is a multiple of {PAGE_BYTES} up to {BREAK_LIMIT - start}, "
            f"not {config.range_bytes}."
        )
    made = range_of(config.range_bytes >> PAGE_SHIFT)
    return Heap(machine, made, np.array([start], np.int64), counters(PATHS))


@kernel
def alloc(heap, thread, size, align):
    """Address of an area of whole pages; 0 where no hole fits."""
    heap.paths[ALLOC] += 1
    pages = max((size + PAGE_BYTES - 1) >> PAGE_SHIFT, 1)
    first = vmalloc.alloc(heap.range, pages, max(align >> PAGE_SHIFT, 1))
    if first == NONE:
        heap.paths[REFUSED] += 1
        return 0
    address = heap.start[0] + (first << PAGE_SHIFT)
    hold_pages(heap.machine, address, address + (pages << PAGE_SHIFT))
    return address


@kernel
def free(heap, thread, address):
    """The area's frames back, and its addresses in time."""
    heap.paths[FREE] += 1
    drop_pages(heap.machine, address, address + usable(heap, address, 0))
    vmalloc.free(heap.range, (address - heap.start[0]) >> PAGE_SHIFT)


@kernel
def usable(heap, address, size):
    """All of its pages but the guard."""
    first = (address - heap.start[0]) >> PAGE_SHIFT
    return (np.int64(heap.range.area[unsigned(first)]) - GUARD_PAGES) << PAGE_SHIFT


@kernel
def extent(heap, address, size):
    """The area; its guard is no memory."""
    return address, usable(heap, address, size)


@kernel
def metadata(heap, blocks):
    """None in memory: a real area's descriptor is an object of a cache."""
    return 0


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    return vmalloc.check(heap.range)


def listing(heap, caller="heapwright"):
    """The areas as /proc/vmallocinfo lists them: addresses, bytes with the guard, who, pages."""
    late, page = set(), int(heap.range.late)
    while page != NONE:
        late.add(page)
        page = int(heap.range.next[page])
    areas = np.flatnonzero(heap.range.area[: (int(heap.range.pages))])
    told = []
    for first in areas.tolist():
        if first in late:
            continue
        start, pages = int(heap.start[0]) + (first << PAGE_SHIFT), int(heap.range.area[first])
        bytes_ = pages << PAGE_SHIFT
        told.append(
            f"0x{start:016x}-0x{start + bytes_:016x} {bytes_:7d} {caller} "
            f"pages={pages - GUARD_PAGES} vmalloc"
        )
    return told
