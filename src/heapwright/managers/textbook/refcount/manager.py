"""Reference counting over size classes, with a trace behind it for what cycles keep.

    write     new target + 1, old target - 1 ─► 0 ─► cascade: free at once
    rooted    + 1      unrooted  - 1 ─► 0 ─► cascade
    new ─► free cell or hole ─none─► grow ─limit─► backup trace: mark, take the dead ones'
                                                   references off the counts, sweep

Invariant  the space's (check: 1-22); the worklist is empty (31); the goal is the limit (32); each
           handle is 0 or that of an object born in its slot (33); all counts together are the
           references from fields and roots (34)
Source     Collins, "A method for overlapping and erasure of lists", CACM 1960; Jones, Hosking and
           Moss, "The Garbage Collection Handbook", 2nd edition, chapter 5, section 5.5 for the
           trace behind it
Omits      deferred counts of roots; a trace of suspected cycles only (Bacon and Rajan 2001)

Memory is free the moment it is dead, but each write of a reference costs two counts, and a cycle is
never found: the notes say what the backup trace reclaimed and what cycles keep at the end.
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors import mark, pace, swept_space
from heapwright.collectors.counting import decremented, forget_dead, increment, release
from heapwright.collectors.log import (
    FULL,
    MARKED_BYTES,
    MARKED_OBJECTS,
    SCANNED_ROOTS,
    SWEPT_BYTES,
    SWEPT_OBJECTS,
    Log,
    begin_cycle,
    begin_pause,
    end_cycle,
    end_pause,
    log,
)
from heapwright.collectors.mark import MarkStack, mark_from_roots, mark_stack
from heapwright.collectors.mutator import Mutator, handle, root_at, root_count
from heapwright.collectors.objects import (
    HEADER_BYTES,
    MOST_BYTES,
    block_bytes,
    bytes_of,
    fields_of,
    is_marked,
    note,
    refer,
    reference,
    unmark,
)
from heapwright.collectors.pace import GOAL, Pace
from heapwright.collectors.swept_space import (
    OCCUPIED,
    Space,
    begin_sweep,
    end,
    finish_sweep,
    following,
    obtain,
)
from heapwright.collectors.textbook import born, cached, extent, handles_are_true, usable
from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, Machine, load

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
    "rooted",
    "unrooted",
    "usable",
    "vacant",
    "write",
]


NEVER, WHEN_FULL = range(2)  # backup

PATHS = ("new", "write", "death", "backup")
NEW, WRITE, DEATH, BACKUP = range(4)

# Heap.fields
(
    WHEN,  # setting
    STORM,  # setting
    CYCLE_OBJECTS,  # that backup traces reclaimed
    CYCLE_BYTES,
    SWEPT_BEFORE,  # bytes: all that had been freed at the last trace's end
    FIELDS,
) = range(6)


class Config(NamedTuple):
    """Knobs."""

    heap_bytes: int = 0  # of the heap; 0: grow
    minimum_bytes: int = 4 << 20  # while growing, trace no smaller heap
    growth_percent: int = 100  # by which occupied bytes may grow over the live ones
    backup: int = WHEN_FULL  # trace for cycles: 0 never, 1 when the heap is full
    storm_objects: int = 100  # deaths at once that count as a pause


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    pace: Pace
    space: Space
    stack: MarkStack
    fields: np.ndarray  # int64[FIELDS]  WHEN, STORM: settings; CYCLE_: reclaimed by traces
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config, mutator):
    """An empty heap; HeapwrightError for a knob without that value."""
    pacing = pace.pace("refcount", config, PAGE_BYTES)
    if config.backup > WHEN_FULL:
        raise HeapwrightError("backup of refcount is 0 or 1.")
    return Heap(
        machine,
        mutator,
        log(),
        pacing,
        swept_space.swept_space(swept_space.SIZE_CLASSES, config.heap_bytes),
        mark_stack(),
        np.array([config.backup, config.storm_objects, 0, 0, 0], np.int64),
        np.zeros(len(PATHS), np.int64),
    )


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object in a free cell or hole; its count is 0 until a root is counted."""
    heap.paths[NEW] += 1
    need = block_bytes(size)
    space = heap.space.fields
    block = bytes_ = 0
    if space[OCCUPIED] + need <= heap.pace.fields[GOAL] or heap.fields[WHEN] == NEVER:
        block, bytes_ = obtain(heap.machine, heap.space, heap.mutator, heap.log, need)
    if not block:
        block, bytes_ = _trace_and_obtain(heap, need)
        if not block:
            return 0
    space[OCCUPIED] += bytes_
    return born(heap, (block, bytes_), slot, fields)


@kernel
def _trace_and_obtain(heap, need):
    """(block, bytes) after a backup trace; (0, 0) if there is none or it did not help."""
    if heap.fields[WHEN] == NEVER or need > MOST_BYTES or not pace.may_hold(heap.pace, need):
        return 0, 0
    _trace(heap, need)
    return obtain(heap.machine, heap.space, heap.mutator, heap.log, need)


@kernel
def write(heap, slot, field, target):
    """Count the new target up, then the old one down, so that one and the same survives."""
    heap.paths[WRITE] += 1
    machine = heap.machine
    address, referred = handle(heap.mutator, slot), handle(heap.mutator, target)
    old = reference(machine, address, field)
    if referred:
        increment(machine, referred)
    refer(machine, address, field, referred)
    if old and decremented(machine, old):
        heap.paths[DEATH] += 1
        release(heap, old, heap.fields[STORM])


@kernel
def rooted(heap, slot):
    """One more root refers to the object."""
    increment(heap.machine, heap.mutator.handles[unsigned(slot)])


@kernel
def unrooted(heap, slot):
    """One root less refers to the object."""
    address = heap.mutator.handles[unsigned(slot)]
    if decremented(heap.machine, address):
        heap.paths[DEATH] += 1
        release(heap, address, heap.fields[STORM])


@kernel
def collect(heap):
    """The backup trace, whatever the setting says."""
    _trace(heap, 0)


@kernel
def _trace(heap, need):
    """Reclaim what only cycles keep, and set the goal for a heap of `need` bytes more."""
    machine, space, totals = heap.machine, heap.space, heap.log.totals
    heap.paths[BACKUP] += 1
    begin_pause(heap.log)
    occupied = space.fields[OCCUPIED]
    begin_cycle(heap.log, FULL, occupied, heap.pace.fields[GOAL])
    marked, swept = totals[MARKED_BYTES], totals[SWEPT_OBJECTS]
    mark_from_roots(machine, heap.mutator, heap.stack, heap.log)
    live = totals[MARKED_BYTES] - marked
    block, page = swept_space.first(machine, space)
    while block < end(space):
        if load(machine, block) >= 0 and load(machine, block + 8) >= 0:
            forget_dead(machine, block + HEADER_BYTES)
        block, page = following(machine, space, block, page)
    begin_sweep(machine, space, live)
    finish_sweep(machine, space, heap.mutator, heap.log)
    heap.fields[CYCLE_OBJECTS] += totals[SWEPT_OBJECTS] - swept
    heap.fields[CYCLE_BYTES] += occupied - live
    recovered = totals[SWEPT_BYTES] - heap.fields[SWEPT_BEFORE]  # by counts as well, since the last
    heap.fields[SWEPT_BEFORE] = totals[SWEPT_BYTES]
    pace.collected(heap.pace, live + recovered, live, need)
    end_pause(heap.log)
    end_cycle(heap.log, live)


@kernel
def cyclic_bytes(heap):
    """Bytes that are reachable from no root: what only cycles keep. Changes nothing."""
    machine, space, totals = heap.machine, heap.space, heap.log.totals
    marked, bytes_, roots = totals[MARKED_OBJECTS], totals[MARKED_BYTES], totals[SCANNED_ROOTS]
    mark_from_roots(machine, heap.mutator, heap.stack, heap.log)
    totals[MARKED_OBJECTS], totals[MARKED_BYTES], totals[SCANNED_ROOTS] = marked, bytes_, roots
    bytes_ = 0
    block, page = swept_space.first(machine, space)
    while block < end(space):
        if load(machine, block) >= 0:
            address = block + HEADER_BYTES
            if is_marked(machine, address):
                unmark(machine, address)
            else:
                bytes_ += bytes_of(machine, address)
        block, page = following(machine, space, block, page)
    return bytes_


@kernel
def metadata(heap, blocks):
    """The heads of pages of cells, and a chunk of the worklist."""
    rows = swept_space.metadata(heap.machine, heap.space, blocks)
    return rows + mark.own_memory(heap.stack, blocks[min(rows, len(blocks)) :])


@kernel
def vacant(heap, blocks):
    """Free cells and holes."""
    return swept_space.vacant(heap.machine, heap.space, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    machine, space = heap.machine, heap.space
    broken = swept_space.check(machine, space)
    if broken:
        return broken
    if not mark.check(heap.stack):
        return 31
    if not pace.check(heap.pace):
        return 32
    if not handles_are_true(heap):
        return 33
    counted = referred = 0
    block, page = swept_space.first(machine, space)
    while block < end(space):
        if load(machine, block) >= 0:
            address = block + HEADER_BYTES
            counted += note(machine, address)
            for field in range(fields_of(machine, address)):
                referred += reference(machine, address, field) != 0
        block, page = following(machine, space, block, page)
    return 0 if counted == referred + references_from_roots(heap.mutator) else 34


@kernel
def references_from_roots(mutator):
    """How many roots refer to an object."""
    count = 0
    for index in range(root_count(mutator)):
        count += root_at(mutator, index) != 0
    return count


def notes(heap):
    """What its figures mean, in sentences."""
    objects, bytes_ = int(heap.fields[CYCLE_OBJECTS]), int(heap.fields[CYCLE_BYTES])
    left = int(cyclic_bytes(heap))
    sentences = pace.thrashing(heap.pace)
    if objects:
        sentences.append(
            f"Its backup traces reclaimed {objects:,} objects of {bytes_:,} bytes that only "
            "cycles kept."
        )
    if left:
        sentences.append(f"At the end {left:,} bytes were kept by nothing but cycles.")
    return sentences
