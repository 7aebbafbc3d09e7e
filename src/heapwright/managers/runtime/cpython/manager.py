"""CPython's objects: reference counts, and the collector of cycles behind them.

    new       count of the young + 1 ─► past threshold0 ─► the oldest generation that is past its
              threshold is collected: in 3.11 before the object is there, from 3.12 on when the
              evaluation loop comes by, with the object held
    write     new target + 1, old target - 1 ─► 0 ─► it dies at once, and takes others along
    all       is collected only once a quarter as many objects wait (pending) as survived the last
              time (total): so the work is linear

Terms      heads.py, blocks.py, counting.py, cycle.py; increments.py of 3.14.0 to 3.14.4
Invariant  the blocks' (check: 11-22); rings are linked both ways (3); a count is no less than the
           references from tracked objects (4); nothing collects between two events (5); handles
           are true (6); weak references' (7)
Source     CPython 3.11 to 3.15, Modules/gcmodule.c, Python/gc.c, Objects/object.c
Omits      pymalloc's order of blocks: they come from pools of its sizes (blocks.py); the moment in
           3.12 and later is the next one at which the loop is asked, where C code may go on for
           thousands of births; sub-interpreters; free-threaded builds; those of weak.py

An object of which no kind is told is a container; Python's 32 bytes of heads are added to it.
"""

from typing import NamedTuple

from heapwright.allocators.frame import cached
from heapwright.collectors.log import ALLOCATED_BYTES, ALLOCATED_OBJECTS
from heapwright.collectors.mutator import handle
from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError
from heapwright.machine import load, store, touch
from heapwright.managers.runtime.cpython.blocks import list_free, list_heads, room_of, take
from heapwright.managers.runtime.cpython.counting import (
    HEAD_BYTES,
    TOLD,
    block_of,
    drop,
    empty_limbo,
)
from heapwright.managers.runtime.cpython.cycle import collect_generation, may_be_tracked
from heapwright.managers.runtime.cpython.heads import (
    ATOMS,
    CONTAINERS,
    DICTS,
    FORM,
    GRANULE_SHIFT,
    MIDDLE,
    OLD,
    PERMANENT,
    TABLE,
    YOUNG,
    append,
    flags_of,
    granules_of,
    increment,
    is_tracked,
    merge,
    remove,
    write_heads,
)
from heapwright.managers.runtime.cpython.increments import (
    collect_all,
    collect_young,
    frozen_space,
    join,
)
from heapwright.managers.runtime.cpython.increments import increment as further
from heapwright.managers.runtime.cpython.invariants import check as check_heap
from heapwright.managers.runtime.cpython.notes import notes
from heapwright.managers.runtime.cpython.state import GENERATIONS, NEW, PATHS, WRITE, heap_of
from heapwright.managers.runtime.cpython.weak import declare
from heapwright.trace.schema import (
    COLLECT,
    COUNT,
    DISABLE,
    ENABLE,
    FREEZE,
    RAN,
    RAN_GENERATION,
    RAN_ITSELF,
    STEER_BITS,
    THRESHOLD,
    UNFREEZE,
)
from heapwright.versions import version_number, version_text

__all__ = ["PATHS", "cached", "declare", "notes"]

OLDEST, WAITS, TWO_THOUSAND = (version_number(each) for each in ("3.11", "3.12", "3.13"))
INCREMENTAL, WHOLE_AGAIN = version_number("3.14"), version_number("3.14.5")
MOST = (1 << 31) - 1  # of a threshold, a C int
AS_IT_COMES = -1


class Config(NamedTuple):
    """Knobs: those of module gc, and what a replay cannot know of the program."""

    version: int = version_number("3.13")
    threshold0: int = AS_IT_COMES  # births less deaths of the young; -1: as the version has it
    threshold1: int = AS_IT_COMES  # collections of the young before the middle one; -1 likewise
    threshold2: int = AS_IT_COMES  # collections of the middle one before all; -1 likewise
    disable: int = 0  # 1: gc.disable() at the start; 0: not
    freeze_at: int = 0  # after so many births the program calls gc.collect(), gc.freeze(); 0 never
    own_objects: int = 0  # tracked objects of the interpreter that the trace does not have


def boot(machine, config, mutator):
    """No objects; HeapwrightError for a version before 3.11 and a knob out of range."""
    if config.version < OLDEST:
        raise HeapwrightError(
            f"cpython.version is 3.11 or later, not {version_text(config.version)}."
        )
    for knob in ("threshold0", "threshold1", "threshold2"):
        if not AS_IT_COMES <= getattr(config, knob) <= MOST:
            raise HeapwrightError(
                f"cpython.{knob} is 0 to {MOST:,}, or -1, not {getattr(config, knob):,}."
            )
    if config.disable not in (0, 1) or min(config.freeze_at, config.own_objects) < 0:
        raise HeapwrightError(
            "cpython.disable is 0 or 1, and freeze_at and own_objects are not negative."
        )
    incremental = INCREMENTAL <= config.version < WHOLE_AGAIN
    defaults = (2000 if config.version >= TWO_THOUSAND else 700, 10, 0 if incremental else 10)
    asked = (config.threshold0, config.threshold1, config.threshold2)
    return heap_of(
        machine,
        mutator,
        [one if one >= 0 else other for one, other in zip(asked, defaults, strict=True)],
        weak_late=int(config.version >= INCREMENTAL),
        weak_least=1 if config.version >= TWO_THOUSAND else 2,
        waits=int(config.version >= WAITS),
        incremental=int(incremental),
        follows_dicts=int(config.version >= INCREMENTAL),
        enabled=1 - config.disable,
        freeze_at=config.freeze_at,
        own=config.own_objects,
        total=config.own_objects,
        chosen=int(max(asked) >= 0 or config.disable),
        as_it_comes=int(max(asked) < 0 and not config.disable and not config.freeze_at),
    )


@kernel
def expect(heap, kind):
    """The next object is of this kind."""
    heap.kind = kind


@kernel
def new(heap, thread, slot, size, fields):
    """Address of a new object; 0 when there is no memory. Its count is 0 until it is rooted."""
    heap.paths[NEW] += 1
    if heap.paths[NEW] == heap.freeze_at:
        steer(heap, COLLECT + OLD)
        steer(heap, FREEZE)
    kind, machine = heap.kind, heap.machine
    heap.kind = -1
    if heap.limbo_count:
        empty_limbo(heap)
    if heap.weak.owed:
        heap.due = 1
        if not heap.waits:
            _collect_due(heap)
    told = kind >= 0
    offset = 0 if told else HEAD_BYTES
    granules = max(size + offset + 15, HEAD_BYTES) >> GRANULE_SHIFT
    block = take(machine, heap.blocks, granules)
    if not block:
        return 0
    flags = (kind | TOLD) if told else CONTAINERS
    form = flags & FORM
    if form != ATOMS:
        _count_birth(heap, form)
    elif fields:
        flags |= TABLE
    address = block + offset
    write_heads(heap.heads, address, (slot, fields), granules, flags)
    touch(machine, block, offset + 8 * fields)
    for field in range(fields):
        store(machine, address + 8 * field, 0)
    if form != ATOMS and (form != DICTS or heap.follows_dicts):
        follow(heap, address)
    heap.occupied += granules << GRANULE_SHIFT
    totals = heap.log.totals
    totals[ALLOCATED_OBJECTS] += 1
    totals[ALLOCATED_BYTES] += granules << GRANULE_SHIFT
    heap.mutator.handles[unsigned(slot)] = address
    return address


@kernel
def _count_birth(heap, form):
    """One more of the young, unless it comes from a free list; see that it is collected."""
    if form == DICTS and heap.spare_dicts:
        heap.spare_dicts -= 1
        return
    if heap.reborn >= 0:
        heap.reborn += 1
    if heap.spare:
        heap.spare -= 1
        return
    heap.counts[0] += 1
    heap.heap_size += 1
    if heap.counts[0] > heap.thresholds[0] and heap.thresholds[0] and heap.enabled:
        if heap.waits or (heap.moments and heap.as_it_comes):
            heap.due = 1
        else:
            _collect_due(heap)


@kernel
def follow(heap, address):
    """Track the object, among the young."""
    append(heap.heads, address, YOUNG)
    if heap.incremental:
        join(heap, address)


@kernel
def _collect_due(heap):
    """Collect the oldest generation that is past its threshold, if any; at a recorded moment, or
    one that a tuple brought, the young one was, though deaths may have come since."""
    was_past = heap.moments != 0 or (heap.weak.owed != 0 and not heap.waits)
    heap.due = heap.weak.owed = 0
    if not heap.enabled or heap.collecting:
        return
    if heap.incremental:
        further(heap)
        return
    for younger in range(GENERATIONS):
        generation = OLD - younger
        past = heap.counts[unsigned(generation)] > heap.thresholds[unsigned(generation)]
        if not past and (generation > YOUNG or not was_past):
            continue
        if generation < OLD or heap.pending >= heap.total // 4:
            collect_generation(heap, generation)
            heap.spare = 0 if heap.as_it_comes else heap.kept
            return


@kernel
def write(heap, slot, field, target):
    """Count the new target up, then the old one down; a dictionary may have to be tracked now."""
    heap.paths[WRITE] += 1
    heads, machine = heap.heads, heap.machine
    address, referred = handle(heap.mutator, slot), handle(heap.mutator, target)
    place = address + 8 * field
    old = load(machine, place)
    if referred:
        increment(heads, referred)
        if flags_of(heads, address) & FORM == DICTS and not is_tracked(heads, address):
            if may_be_tracked(heap, referred):
                follow(heap, address)
    store(machine, place, referred)
    if old:
        drop(heap, old)
        if heap.weak.owed and not heap.waits:
            _collect_due(heap)


@kernel
def rooted(heap, slot):
    """One more root refers to the object; what waits for the evaluation loop runs."""
    increment(heap.heads, heap.mutator.handles[unsigned(slot)])
    if heap.due and not (heap.moments and heap.as_it_comes):
        _collect_due(heap)


@kernel
def unrooted(heap, slot):
    """One root less refers to the object."""
    drop(heap, heap.mutator.handles[unsigned(slot)])
    if heap.weak.owed and not heap.waits:
        _collect_due(heap)


@kernel
def track(heap, slot, on):
    """The recorded interpreter followed the object from now on, in a generation, or no longer."""
    address = heap.mutator.handles[unsigned(slot)]
    if is_tracked(heap.heads, address):
        remove(heap.heads, address)
    if on > 0 and flags_of(heap.heads, address) & FORM != ATOMS:
        append(heap.heads, address, min(on - 1, OLD) if heap.moments else YOUNG)
        if heap.incremental:
            join(heap, address)


@kernel
def _collect(heap, generation):
    if heap.incremental:
        if generation == YOUNG:
            return collect_young(heap)
        return collect_all(heap) if generation == OLD else further(heap)
    return collect_generation(heap, generation)


@kernel
def _run_as_recorded(heap, operand):
    """The recorded collector runs now: of itself, which is this one's moment if it is due and no
    knob changes that; or as the program asked for, which it does in any case."""
    heap.ran += 1
    heap.reborn = 0
    if not operand >> RAN_ITSELF & 1:
        _collect(heap, operand >> RAN_GENERATION & 3)
    elif heap.as_it_comes:
        heap.missed += not heap.due
        _collect_due(heap)


@kernel
def steer(heap, operand):
    """What the program asks of module gc."""
    request = operand & ((1 << STEER_BITS) - 1)
    if request < FREEZE:
        _collect(heap, request - COLLECT)
    elif request == FREEZE:
        if heap.incremental:
            frozen_space(heap)
        for generation in range(GENERATIONS):
            merge(heap.heads, generation, PERMANENT)
            heap.counts[unsigned(generation)] = 0
        heap.own_frozen += heap.own
        heap.own = 0
    elif request == UNFREEZE:
        merge(heap.heads, PERMANENT, MIDDLE + heap.visited if heap.incremental else OLD)
        heap.own += heap.own_frozen
        heap.own_frozen = 0
    elif request in (ENABLE, DISABLE):
        heap.enabled = 1 if request == ENABLE else 0
    elif request == RAN:
        _run_as_recorded(heap, operand)
    elif request >= COUNT:
        heap.moments = 1
        if heap.reborn >= 0:
            heap.kept, heap.reborn = heap.reborn, -1
        if heap.as_it_comes or not heap.ran:  # else they are those of another course
            heap.counts[unsigned(request - COUNT)] = operand >> STEER_BITS
    elif not heap.chosen or not heap.moments:  # else a knob stands against it
        heap.thresholds[unsigned(request - THRESHOLD)] = operand >> STEER_BITS


@kernel
def collect(heap):
    """gc.collect(), until it finds nothing: what a finaliser brought back is gone then, too."""
    empty_limbo(heap)
    while _collect(heap, OLD):
        empty_limbo(heap)


@kernel
def extent(heap, address, size):
    """The block."""
    block, granules = block_of(heap.heads, address), granules_of(heap.heads, address)
    return room_of(heap.blocks, block, granules)[:2]


@kernel
def usable(heap, address, size):
    """To the end of the block."""
    block, granules = block_of(heap.heads, address), granules_of(heap.heads, address)
    return room_of(heap.blocks, block, granules)[2] - address


@kernel
def metadata(heap, blocks):
    """Heads of pools, and what boundary tags keep."""
    return list_heads(heap.blocks, blocks)


@kernel
def vacant(heap, blocks):
    """Free blocks and what was never used of pools."""
    return list_free(heap.machine, heap.blocks, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    return check_heap(heap)
