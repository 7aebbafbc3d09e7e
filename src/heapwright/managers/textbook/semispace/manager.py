"""Semispace copying: the live move to the other half, the dead are never looked at.

    current  │ object │ object │ ... ─► top      free     │ limit       new ─► bump
    spare    │ (none, unless keep_pages)                  │             full ─► copy, flip

    copy     roots ─► to-space:  │ scanned, black │ copied, grey │ free │
                                              scan ─►         top ─►       done when they meet

Terms      flip: the space that was copied to becomes the current one; forwarding address: left in
           the old header, so that an object that is met again is not copied twice
Invariant  the objects tile the current space from base to top (check: 1); each reference is null or
           lies among them (2); each handle is 0 or that of an object born in its slot (3); the goal
           is the limit (4)
Source     Cheney, "A nonrecursive list compacting algorithm", CACM 1970; Fenichel and Yochelson,
           "A LISP garbage-collector for virtual-memory computer systems", CACM 1969
Omits      a space of its own for large objects

A collection costs in proportion to what lives and nothing for what is dead; the price is that half
of the heap is empty when it begins.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.linear import BASE, LIMIT, TOP, Region, bump
from heapwright.collectors import pace as paces
from heapwright.collectors.copying import copy_reachable, forget_dead
from heapwright.collectors.log import (
    FULL,
    Log,
    begin_cycle,
    begin_pause,
    end_cycle,
    end_pause,
    log,
)
from heapwright.collectors.mutator import SLOTS, Mutator
from heapwright.collectors.objects import (
    GRANULE_BYTES,
    HEADER_BYTES,
    MOST_BYTES,
    block_bytes,
    bytes_of,
    fields_of,
    reference,
    slot_of,
)
from heapwright.collectors.pace import GOAL, Pace, collected, goal_of, may_hold
from heapwright.collectors.textbook import born, cached, extent, usable, write
from heapwright.compiler import kernel, unsigned
from heapwright.machine import PAGE_BYTES, Machine, mmap, munmap

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


PATHS = ("new", "write", "collect", "map")
NEW, WRITE, COLLECT, MAP = range(4)

# Heap.spaces
END, SPARE, SPARE_BYTES, SPACES = range(4)  # addresses, 0: none; END of the current space's pages


class Config(NamedTuple):
    """Knobs."""

    heap_bytes: int = 0  # both spaces together; 0: grow
    minimum_bytes: int = 4 << 20  # while growing, collect no smaller heap; of one space
    growth_percent: int = 100  # by which occupied bytes may grow over the live ones
    keep_pages: int = 0  # 1: the pages of the emptied space are kept for the next collection


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    pace: Pace  # of one space
    region: Region  # the current space
    spaces: np.ndarray  # int64[SPACES]
    keep_pages: np.ndarray  # int64[1]
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config, mutator):
    """No space yet; HeapwrightError for a negative knob or a heap of less than two pages."""
    pace = paces.pace("semispace", config, 2 * PAGE_BYTES)
    if config.heap_bytes:
        half = config.heap_bytes // 2 & -PAGE_BYTES
        pace.fields[paces.LIMIT] = pace.fields[GOAL] = half
    return Heap(
        machine,
        mutator,
        log(),
        pace,
        Region(np.zeros(3, np.int64)),
        np.zeros(SPACES, np.int64),
        np.array([config.keep_pages], np.int64),
        np.zeros(len(PATHS), np.int64),
    )


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object; a bump while the space has room."""
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
    """Collect so that `need` bytes fit; whether they do."""
    if need > MOST_BYTES or not may_hold(heap.pace, need) or not _collect(heap, need):
        return False
    return heap.region.fields[LIMIT] - heap.region.fields[TOP] >= need


@kernel
def collect(heap):
    """Copy what is reachable to the other space."""
    _collect(heap, 0)


@kernel
def _collect(heap, need):
    """Copy, flip, set the goal for a heap of `need` bytes more; False without a second space."""
    region, machine, pace = heap.region.fields, heap.machine, heap.pace
    base, occupied = region[BASE], region[TOP] - region[BASE]
    begin_pause(heap.log)
    begin_cycle(heap.log, FULL, occupied, pace.fields[GOAL])
    bytes_ = (goal_of(pace, occupied + need) + PAGE_BYTES - 1) & -PAGE_BYTES
    space = _second_space(heap, bytes_)
    if space:
        heap.paths[COLLECT] += 1
        end = heap.spaces[END]
        region[BASE], region[TOP], region[LIMIT] = space, space, space + bytes_
        heap.spaces[END] = space + bytes_
        copy_reachable(machine, heap.mutator, heap.log, heap.region)
        if base:
            forget_dead(heap.mutator, base, end)
            _retire(heap, base, end - base)
        collected(pace, occupied, region[TOP] - space, need)
        _cut(heap)
    end_pause(heap.log)
    end_cycle(heap.log, region[TOP] - region[BASE])
    return space != 0


@kernel
def _second_space(heap, bytes_):
    """Address of an empty space of `bytes_`: the spare, if it is large enough; 0 when refused."""
    spaces = heap.spaces
    spare = spaces[SPARE]
    if spare and spaces[SPARE_BYTES] != bytes_:
        munmap(heap.machine, spare, spaces[SPARE_BYTES])
        spare = 0
    spaces[SPARE] = 0
    if spare:
        return spare
    heap.paths[MAP] += 1
    return mmap(heap.machine, 0, bytes_)


@kernel
def _retire(heap, base, bytes_):
    """Give the pages of an emptied space back, or keep them as the spare."""
    if heap.keep_pages[0]:
        heap.spaces[SPARE], heap.spaces[SPARE_BYTES] = base, bytes_
    else:
        munmap(heap.machine, base, bytes_)


@kernel
def _cut(heap):
    """End the current space where the goal is: it was mapped for the case that nothing dies."""
    region = heap.region.fields
    end = region[BASE] + ((heap.pace.fields[GOAL] + PAGE_BYTES - 1) & -PAGE_BYTES)
    if end < heap.spaces[END]:
        munmap(heap.machine, end, heap.spaces[END] - end)
        heap.spaces[END] = region[LIMIT] = end


@kernel
def metadata(heap, blocks):
    """No memory of its own: grey objects are those between scan and top."""
    return 0


@kernel
def vacant(heap, blocks):
    """What lies above top, and the spare space."""
    region, spaces = heap.region.fields, heap.spaces
    rows = 0
    if spaces[END] > region[TOP]:
        if len(blocks):
            blocks[0, 0], blocks[0, 1] = region[TOP], spaces[END] - region[TOP]
        rows = 1
    if spaces[SPARE]:
        if rows < len(blocks):
            blocks[rows, 0], blocks[rows, 1] = spaces[SPARE], spaces[SPARE_BYTES]
        rows += 1
    return rows


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    machine, region = heap.machine, heap.region.fields
    base, top = region[BASE], region[TOP]
    if not base <= top <= region[LIMIT] <= heap.spaces[END]:
        return 1
    block = base
    while block < top:
        address = block + HEADER_BYTES
        for field in range(fields_of(machine, address)):
            target = reference(machine, address, field)
            if target and not base < target <= top:
                return 2
        if bytes_of(machine, address) == 0:
            return 1
        block += bytes_of(machine, address)
    if block != top:
        return 1
    for slot in range(heap.mutator.counts[SLOTS]):
        address = heap.mutator.handles[unsigned(slot)]
        if address and (not base < address <= top or slot_of(machine, address) != slot):
            return 3
    return 0 if paces.check(heap.pace) else 4


def notes(heap):
    """What its figures mean, in sentences."""
    return paces.thrashing(heap.pace)
