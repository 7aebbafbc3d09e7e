"""Sliding mark-compact (Lisp2): allocation is a bump, and the living close ranks.

    base │ object │ object │ ... ─► top        free        │ limit ... goal        break
    new ─► bump ─limit─► move the break ─goal─► mark ─► place ─► redirect ─► slide

Invariant  the objects tile the heap from base to top (check: 1); each reference is null or leads
           to an address among them (2); each handle is 0 or that of an object born in its slot (3);
           no object is marked (4); the mark stack is empty (5); the goal is the limit (6)
Source     Knuth, The Art of Computer Programming 1, section 2.5, exercise 33; Jones, Hosking and
           Moss, "The Garbage Collection Handbook", 2nd edition, chapter 3
Omits      a dense prefix that stays where it is

The heap needs no reserve to copy to, allocation order is kept, and nothing is lost between objects.
The price is three walks over the heap after marking.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.linear import BASE, LIMIT, TOP, Region, bump
from heapwright.collectors import mark
from heapwright.collectors import pace as paces
from heapwright.collectors.compacting import compact
from heapwright.collectors.log import (
    FULL,
    Log,
    begin_cycle,
    begin_pause,
    end_cycle,
    end_pause,
    log,
)
from heapwright.collectors.mark import MarkStack, mark_from_roots, mark_stack
from heapwright.collectors.mutator import SLOTS, Mutator
from heapwright.collectors.objects import (
    GRANULE_BYTES,
    HEADER_BYTES,
    MOST_BYTES,
    block_bytes,
    bytes_of,
    fields_of,
    is_marked,
    reference,
    slot_of,
)
from heapwright.collectors.pace import GOAL, Pace, collected, may_hold
from heapwright.collectors.textbook import born, cached, extent, usable, write
from heapwright.compiler import kernel, unsigned
from heapwright.machine import PAGE_BYTES, Machine, brk
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT

__all__ = [
    "PATHS",
    "Config",
    "Heap",
    "boot",
    "cached",
    "check",
    "collect",
    "extent",
    "metadata",
    "new",
    "notes",
    "usable",
    "vacant",
    "write",
]

GROWTH_BYTES = 1 << 20  # by which the break moves at a time, as far as the goal allows

PATHS = ("new", "write", "collect", "grow")
NEW, WRITE, COLLECT, GROW = range(4)


class Config(NamedTuple):
    """Knobs."""

    heap_bytes: int = 0  # of the heap; 0: grow
    minimum_bytes: int = 4 << 20  # while growing, collect no smaller heap
    growth_percent: int = 100  # by which occupied bytes may grow over the live ones
    keep_pages: int = 0  # 1: the pages above the objects are kept after a collection


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    pace: Pace
    region: Region
    stack: MarkStack
    keep_pages: np.ndarray  # int64[1]
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config, mutator):
    """An empty heap at the break; HeapwrightError for a negative knob or less than a page."""
    pace = paces.pace("mark-compact", config, PAGE_BYTES)
    return Heap(
        machine,
        mutator,
        log(),
        pace,
        Region(np.full(3, BREAK_BASE, np.int64)),
        mark_stack(),
        np.array([config.keep_pages], np.int64),
        np.zeros(len(PATHS), np.int64),
    )


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object; a bump while there is room."""
    heap.paths[NEW] += 1
    need = block_bytes(size)
    block = bump(heap.region, need, GRANULE_BYTES)
    if not block:
        if not _make_room(heap, need):
            return 0
        block = bump(heap.region, need, GRANULE_BYTES)
    return born(heap, (block, need), slot, fields)


@kernel
def _make_room(heap, need):
    """Grow, or collect and grow, so that `need` bytes fit; whether they do."""
    if need > MOST_BYTES:
        return False
    if _grow(heap, need):
        return True
    if not may_hold(heap.pace, need):
        return False
    _collect(heap, need)
    region = heap.region.fields
    return region[LIMIT] - region[TOP] >= need or _grow(heap, need)


@kernel
def _grow(heap, need):
    """Move the break up so that `need` bytes fit below the goal; whether they do."""
    region = heap.region.fields
    most = region[BASE] + heap.pace.fields[GOAL]
    if heap.pace.fields[paces.LIMIT]:
        most &= -PAGE_BYTES
    end = region[TOP] + need
    if end > most:
        return False
    end = (max(end, min(region[LIMIT] + GROWTH_BYTES, most)) + PAGE_BYTES - 1) & -PAGE_BYTES
    if end > BREAK_LIMIT or brk(heap.machine, end) != end:
        return False
    heap.paths[GROW] += 1
    region[LIMIT] = end
    return True


@kernel
def collect(heap):
    """Mark and compact."""
    _collect(heap, 0)


@kernel
def _collect(heap, need):
    """Mark, compact, and set the goal for a heap of `need` bytes more."""
    region, machine = heap.region.fields, heap.machine
    heap.paths[COLLECT] += 1
    begin_pause(heap.log)
    occupied = region[TOP] - region[BASE]
    begin_cycle(heap.log, FULL, occupied, heap.pace.fields[GOAL])
    mark_from_roots(machine, heap.mutator, heap.stack, heap.log)
    compact(machine, heap.mutator, heap.log, heap.region)
    live = region[TOP] - region[BASE]
    collected(heap.pace, occupied, live, need)
    end = (region[TOP] + PAGE_BYTES - 1) & -PAGE_BYTES
    if not heap.keep_pages[0] and end < region[LIMIT]:
        region[LIMIT] = brk(machine, end)
    end_pause(heap.log)
    end_cycle(heap.log, live)


@kernel
def metadata(heap, blocks):
    """A chunk of the mark stack."""
    return mark.own_memory(heap.stack, blocks)


@kernel
def vacant(heap, blocks):
    """What lies above top."""
    region = heap.region.fields
    if region[LIMIT] == region[TOP]:
        return 0
    if len(blocks):
        blocks[0, 0], blocks[0, 1] = region[TOP], region[LIMIT] - region[TOP]
    return 1


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    machine, region = heap.machine, heap.region.fields
    base, top = region[BASE], region[TOP]
    block = base
    while block < top:
        address = block + HEADER_BYTES
        if bytes_of(machine, address) == 0:
            return 1
        if is_marked(machine, address):
            return 4
        for field in range(fields_of(machine, address)):
            target = reference(machine, address, field)
            if target and not base < target <= top:
                return 2
        block += bytes_of(machine, address)
    if block != top or top > region[LIMIT]:
        return 1
    for slot in range(heap.mutator.counts[SLOTS]):
        address = heap.mutator.handles[unsigned(slot)]
        if address and (not base < address <= top or slot_of(machine, address) != slot):
            return 3
    if not mark.check(heap.stack):
        return 5
    return 0 if paces.check(heap.pace) else 6


def notes(heap):
    """What its figures mean, in sentences."""
    return paces.thrashing(heap.pace)
