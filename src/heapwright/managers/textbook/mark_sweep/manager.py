"""Mark-sweep: trace what lives, then free the rest where it lies.

    new ─► cell or hole ─none─► sweep on ─done─► grow ─limit─► mark ─► sweep
    mark   roots ─► stack ─► prefetched queue ─► each reachable object once
    sweep  eager: the whole heap within the pause
           lazy:  begun in the pause, gone on with by the allocations that need memory

Invariant  the space's (check: 1-22); the mark stack is empty (31); the goal is the limit (32); each
           handle is 0 or that of an object born in its slot (33)
Source     McCarthy, "Recursive functions of symbolic expressions", CACM 1960; Hughes, "A
           semi-incremental garbage collection algorithm", Software: Practice and Experience 1982;
           Jones, Hosking and Moss, "The Garbage Collection Handbook", 2nd edition, chapter 2
Omits      mark bits beside the heap; returning memory to the system

Nothing moves, so an object costs its header and nothing else, and what the dead leave between the
living is used again only by what fits there.
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors import mark, pace, swept_space
from heapwright.collectors.log import (
    FULL,
    MARKED_BYTES,
    Log,
    begin_cycle,
    begin_pause,
    end_cycle,
    end_pause,
    log,
)
from heapwright.collectors.mark import MarkStack, mark_from_roots, mark_stack
from heapwright.collectors.mutator import Mutator
from heapwright.collectors.objects import (
    MOST_BYTES,
    block_bytes,
)
from heapwright.collectors.pace import GOAL, Pace
from heapwright.collectors.swept_space import (
    OCCUPIED,
    PENDING,
    Space,
    begin_sweep,
    finish_sweep,
    obtain,
)
from heapwright.collectors.textbook import born, cached, extent, handles_are_true, usable, write
from heapwright.compiler import kernel
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, Machine

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


EAGER, LAZY = range(2)

PATHS = ("new", "write", "collect")
NEW, WRITE, COLLECT = range(3)


class Config(NamedTuple):
    """Knobs."""

    heap_bytes: int = 0  # of the heap; 0: grow
    minimum_bytes: int = 4 << 20  # while growing, collect no smaller heap
    growth_percent: int = 100  # by which occupied bytes may grow over the live ones
    sweeping: int = LAZY  # 0: eager, 1: lazy
    layout: int = swept_space.SIZE_CLASSES  # 0: free list; 1: size classes, from 1 MiB on


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    pace: Pace
    space: Space
    stack: MarkStack
    sweeping: np.ndarray  # int64[1]  EAGER or LAZY
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config, mutator):
    """An empty heap; HeapwrightError for a knob without that value."""
    pacing = pace.pace("mark-sweep", config, PAGE_BYTES)
    if config.sweeping > LAZY or config.layout > swept_space.SIZE_CLASSES:
        raise HeapwrightError("sweeping and layout of mark-sweep are 0 or 1.")
    return Heap(
        machine,
        mutator,
        log(),
        pacing,
        swept_space.swept_space(config.layout, config.heap_bytes),
        mark_stack(),
        np.array([config.sweeping], np.int64),
        np.zeros(len(PATHS), np.int64),
    )


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object in a free cell or hole."""
    heap.paths[NEW] += 1
    need = block_bytes(size)
    space = heap.space.fields
    block = bytes_ = 0
    if space[OCCUPIED] - space[PENDING] + need <= heap.pace.fields[GOAL]:
        block, bytes_ = obtain(heap.machine, heap.space, heap.mutator, heap.log, need)
    if not block:
        block, bytes_ = _collect_and_obtain(heap, need)
        if not block:
            return 0
    space[OCCUPIED] += bytes_
    return born(heap, (block, bytes_), slot, fields)


@kernel
def _collect_and_obtain(heap, need):
    """(block, bytes) after a collection; (0, 0) if it did not help."""
    if need > MOST_BYTES or not pace.may_hold(heap.pace, need):
        return 0, 0
    _collect(heap, need)
    return obtain(heap.machine, heap.space, heap.mutator, heap.log, need)


@kernel
def collect(heap):
    """Mark, and sweep the whole heap whatever the setting says."""
    _collect(heap, 0)
    finish_sweep(heap.machine, heap.space, heap.mutator, heap.log)


@kernel
def _collect(heap, need):
    """Mark, begin to sweep, and set the goal for a heap of `need` bytes more."""
    machine, space = heap.machine, heap.space
    heap.paths[COLLECT] += 1
    begin_pause(heap.log)
    finish_sweep(machine, space, heap.mutator, heap.log)
    occupied = space.fields[OCCUPIED]
    begin_cycle(heap.log, FULL, occupied, heap.pace.fields[GOAL])
    marked = heap.log.totals[MARKED_BYTES]
    mark_from_roots(machine, heap.mutator, heap.stack, heap.log)
    live = heap.log.totals[MARKED_BYTES] - marked
    begin_sweep(machine, space, live)
    if heap.sweeping[0] == EAGER:
        finish_sweep(machine, space, heap.mutator, heap.log)
    pace.collected(heap.pace, occupied, live, need)
    end_pause(heap.log)
    end_cycle(heap.log, live)


@kernel
def metadata(heap, blocks):
    """The heads of pages of cells, and a chunk of the mark stack."""
    rows = swept_space.metadata(heap.machine, heap.space, blocks)
    return rows + mark.own_memory(heap.stack, blocks[min(rows, len(blocks)) :])


@kernel
def vacant(heap, blocks):
    """Free cells and holes."""
    return swept_space.vacant(heap.machine, heap.space, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = swept_space.check(heap.machine, heap.space)
    if broken:
        return broken
    if not mark.check(heap.stack):
        return 31
    if not pace.check(heap.pace):
        return 32
    if not handles_are_true(heap):
        return 33
    return 0


def notes(heap):
    """What its figures mean, in sentences."""
    return pace.thrashing(heap.pace)
