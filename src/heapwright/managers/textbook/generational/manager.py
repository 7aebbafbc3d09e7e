"""Generational: a nursery that is copied often, and an old generation that is collected seldom.

    new ─► bump in eden ─full─► minor collection ─► survivors, or promoted by age
             │ large ─► old                └ old has no room for all of the nursery:
             ▼                               full collection
    write ─► reference; old object to young one ─► remembered set or card table

    full     the nursery is emptied into the old generation, then that is marked, and swept or slid

Invariant  the old generation's (check: 1-31); the nursery's (41-42); an old object that refers to a
           young one is remembered (51); each handle is 0 or that of an object born in its slot
           (52); the goal is the limit (53); nothing is grey (54)
Source     Lieberman and Hewitt, "A real-time garbage collector based on the lifetimes of objects",
           CACM 1983; Ungar, "Generation scavenging", 1984; Jones, Hosking and Moss, "The Garbage
           Collection Handbook", 2nd edition, chapter 9
Omits      a nursery that changes its size; more than two generations

A dead old object keeps what it refers to until the next full collection ("nepotism").
"""

from heapwright.allocators.linear import bump
from heapwright.collectors import mark, nursery, old_generation, pace, remembered, textbook
from heapwright.collectors.log import (
    BARRIERS,
    MINOR,
    begin_cycle,
    begin_pause,
    end_cycle,
    end_pause,
)
from heapwright.collectors.mutator import handle
from heapwright.collectors.nursery import Nursery, is_young
from heapwright.collectors.objects import (
    GRANULE_BYTES,
    HEADER_BYTES,
    MOST_BYTES,
    block_bytes,
    fields_of,
    refer,
    reference,
)
from heapwright.collectors.old_generation import Old, occupied
from heapwright.collectors.remembered import Remembered, is_remembered, remember
from heapwright.compiler import kernel
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, load

LEAST_PAGES = 16  # of a heap

PATHS = ("new", "new_old", "write", "minor", "full")
NEW, NEW_OLD, WRITE, MINOR_COLLECTION, FULL_COLLECTION = range(5)


Config = textbook.knobs(  # heap_bytes: of both generations; minimum and growth: of the old one
    __name__,
    nursery_bytes=0,  # of eden and both survivor spaces; 0: a quarter of heap or minimum
    survivor_percent=12,  # of the nursery, each survivor space
    tenure=2,  # minor collections that an object survives before it is promoted
    remembering=remembered.OBJECTS,  # 0: set of objects, 1: card table
    old=old_generation.MARK_SWEEP,  # 0: mark-sweep, 1: mark-compact
)
Heap = textbook.heap(  # pace: of the old generation
    __name__, nursery=Nursery, old=Old, remembered=Remembered
)

cached, extent, usable = textbook.cached, textbook.extent, textbook.usable
notes = textbook.notes


def boot(machine, config, mutator):
    """An empty heap; HeapwrightError for a knob without that value or generations without room."""
    least = LEAST_PAGES * PAGE_BYTES
    pacing = pace.pace("generational", config, least)
    young = config.nursery_bytes or (config.heap_bytes or config.minimum_bytes) // 4
    young = max(young, 4 * PAGE_BYTES) & -PAGE_BYTES
    if config.heap_bytes and young + PAGE_BYTES > config.heap_bytes:
        raise HeapwrightError(
            f"generational.nursery_bytes is {young:,} of a heap of {config.heap_bytes:,}; an old "
            "generation needs room as well."
        )
    if not 0 < config.survivor_percent <= 40 or config.tenure > 15:
        raise HeapwrightError(
            "generational.survivor_percent is 1 to 40 and its tenure at most 15 collections."
        )
    if config.remembering > remembered.CARDS or config.old > old_generation.MARK_COMPACT:
        raise HeapwrightError("remembering and old of generational are 0 or 1.")
    most = 0
    if config.heap_bytes:
        most = config.heap_bytes - young
        pacing.limit = pacing.goal = most
    survivor_bytes = max(PAGE_BYTES, young * config.survivor_percent // 100)
    parts = {
        "nursery": nursery.nursery(young, survivor_bytes, config.tenure),
        "old": old_generation.old_generation(config.old, most),
        "remembered": remembered.remembered(config.remembering),
    }
    return textbook.empty(Heap, PATHS, machine, mutator, pacing, **parts)


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object; a bump while eden has room."""
    heap.paths[NEW] += 1
    need = block_bytes(size)
    block = bump(heap.nursery.eden, need, GRANULE_BYTES)
    if not block:
        block, need = _obtain(heap, need)
        if not block:
            return 0
    return textbook.born(heap, (block, need), slot, fields)


@kernel
def _obtain(heap, need):
    """(block, bytes) where eden is full: after a collection, or in the old generation; (0, 0) if
    there is no room."""
    young = heap.nursery
    if need > MOST_BYTES or (not young.end and not nursery.open_(heap.machine, heap.nursery)):
        return 0, 0
    if need > young.eden_bytes // 2:
        return _obtain_old(heap, need)
    block = bump(heap.nursery.eden, need, GRANULE_BYTES)
    if block:
        return block, need
    if occupied(heap.old) + nursery.occupied(heap.nursery) <= heap.pace.goal:
        _collect_young(heap)
    elif not pace.may_hold(heap.pace, need) or not _collect(heap, 0):
        return 0, 0
    return bump(heap.nursery.eden, need, GRANULE_BYTES), need


@kernel
def _obtain_old(heap, need):
    """(block, bytes) in the old generation, after a full collection where it has no room."""
    heap.paths[NEW_OLD] += 1
    machine, old, request = heap.machine, heap.old, (need, False)
    block = bytes_ = 0
    if occupied(old) + need <= heap.pace.goal:
        block, bytes_ = old_generation.alloc(machine, old, heap.mutator, heap.log, request)
    if not block and pace.may_hold(heap.pace, need) and _collect(heap, need):
        block, bytes_ = old_generation.alloc(machine, old, heap.mutator, heap.log, request)
    if block:
        remembered.settle(heap.remembered, block)
    return block, bytes_


@kernel(inline=True)
def write(heap, slot, field, target):
    """The reference, and the barrier: an old object that refers to a young one is remembered."""
    heap.paths[WRITE] += 1
    address, referred = handle(heap.mutator, slot), handle(heap.mutator, target)
    refer(heap.machine, address, field, referred)
    if is_young(heap.nursery, referred) and not is_young(heap.nursery, address):
        heap.log.totals[BARRIERS] += 1
        remember(heap.machine, heap.remembered, address)


@kernel
def collect(heap):
    """A full collection."""
    _collect(heap, 0)


@kernel
def _both(heap):
    """Bytes of the objects of both generations."""
    return occupied(heap.old) + nursery.occupied(heap.nursery)


@kernel
def _collect_young(heap):
    """A minor collection."""
    heap.paths[MINOR_COLLECTION] += 1
    begin_pause(heap.log)
    begin_cycle(heap.log, MINOR, _both(heap), heap.pace.goal)
    nursery.collect_young(heap, heap.nursery.tenure)
    end_pause(heap.log)
    end_cycle(heap.log, _both(heap))


@kernel
def _collect(heap, need):
    """Empty the nursery into the old generation, collect that, and set its goal for `need` bytes
    more; False where what lives is more than its limit."""
    heap.paths[FULL_COLLECTION] += 1
    machine, old = heap.machine, heap.old
    before = _both(heap)
    textbook.begin(heap, before)
    nursery.collect_young(heap, 0)
    past = old_generation.end(old)
    old_generation.collect(machine, old, heap.mutator, heap.log)
    _settle_anew(heap, past)
    live = occupied(old)
    textbook.end(heap, live, before - live, need)
    limit = heap.pace.limit
    return limit == 0 or live <= limit


@kernel
def _settle_anew(heap, past):
    """Tell the card table where the old generation's objects begin; it ended at `past` before."""
    if heap.remembered.kind != remembered.CARDS:
        return
    machine, old = heap.machine, heap.old
    remembered.forget_starts(heap.remembered, past)
    block, page = old_generation.first(machine, old)
    while block < old_generation.end(old):
        if load(machine, block) >= 0:
            remembered.settle(heap.remembered, block)
        block, page = old_generation.following(machine, old, block, page)


@kernel
def metadata(heap, blocks):
    """Heads of pages, and chunks of the mark stack, of the grey objects and of the remembered."""
    rows = old_generation.metadata(heap.machine, heap.old, blocks)
    rows += mark.chunks(heap.machine, heap.nursery.grey, blocks[min(rows, len(blocks)) :])
    rest = blocks[min(rows, len(blocks)) :]
    return rows + mark.chunks(heap.machine, heap.remembered.objects, rest)


@kernel
def vacant(heap, blocks):
    """Free memory of both generations."""
    rows = old_generation.vacant(heap.machine, heap.old, blocks)
    return rows + nursery.vacant(heap.nursery, blocks[min(rows, len(blocks)) :])


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    machine, old = heap.machine, heap.old
    broken = old_generation.check(machine, old)
    if broken:
        return broken
    broken = nursery.check(machine, heap.nursery)
    if broken:
        return broken
    block, page = old_generation.first(machine, old)
    while block < old_generation.end(old):
        if load(machine, block) >= 0 and not _is_safe(heap, block + HEADER_BYTES):
            return 51
        block, page = old_generation.following(machine, old, block, page)
    if not textbook.handles_are_true(heap):
        return 52
    if not pace.check(heap.pace):
        return 53
    return 0 if mark.is_empty(machine, heap.nursery.grey) else 54


@kernel
def _is_safe(heap, address):
    """Whether the old object is remembered or refers to no young one."""
    for field in range(fields_of(heap.machine, address)):
        if is_young(heap.nursery, reference(heap.machine, address, field)):
            return is_remembered(heap.machine, heap.remembered, address)
    return True
