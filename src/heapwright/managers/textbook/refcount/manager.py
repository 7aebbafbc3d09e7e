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

from heapwright.collectors import pace, swept_heap, swept_space, textbook
from heapwright.collectors.counting import decremented, forget_dead, increment, release
from heapwright.collectors.log import (
    MARKED_BYTES,
    MARKED_OBJECTS,
    SCANNED_ROOTS,
    SWEPT_BYTES,
    SWEPT_OBJECTS,
)
from heapwright.collectors.mark import MarkStack, mark_from_roots, mark_stack
from heapwright.collectors.mutator import handle, root_at, root_count
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
from heapwright.collectors.swept_space import Space, end, following, obtain
from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, load

NEVER, WHEN_FULL = range(2)  # backup

PATHS = ("new", "write", "death", "backup")
NEW, WRITE, DEATH, BACKUP = range(4)

Config = textbook.knobs(
    __name__,
    backup=WHEN_FULL,  # trace for cycles: 0 never, 1 when the heap is full
    storm_objects=100,  # deaths at once that count as a pause
)
Heap = textbook.heap(
    __name__,
    "backup",
    "storm_objects",
    "cycle_objects",  # that backup traces reclaimed
    "cycle_bytes",
    "swept_before",  # bytes: all that had been freed at the last trace's end
    space=Space,
    stack=MarkStack,
)

cached, extent, usable = textbook.cached, textbook.extent, textbook.usable
metadata, vacant = swept_heap.metadata, swept_heap.vacant


def boot(machine, config, mutator):
    """An empty heap; HeapwrightError for a knob without that value."""
    pacing = pace.pace("refcount", config, PAGE_BYTES)
    if config.backup > WHEN_FULL:
        raise HeapwrightError("backup of refcount is 0 or 1.")
    space = swept_space.swept_space(swept_space.SIZE_CLASSES, config.heap_bytes)
    settings = {"backup": config.backup, "storm_objects": config.storm_objects}
    parts = {"space": space, "stack": mark_stack(), **settings}
    return textbook.empty(Heap, PATHS, machine, mutator, pacing, **parts)


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object in a free cell or hole; its count is 0 until a root is counted."""
    heap.paths[NEW] += 1
    need = block_bytes(size)
    space = heap.space
    block = bytes_ = 0
    if space.occupied + need <= heap.pace.goal or heap.backup == NEVER:
        block, bytes_ = obtain(heap.machine, heap.space, heap.mutator, heap.log, need)
    if not block:
        block, bytes_ = _trace_and_obtain(heap, need)
        if not block:
            return 0
    space.occupied += bytes_
    return textbook.born(heap, (block, bytes_), slot, fields)


@kernel
def _trace_and_obtain(heap, need):
    """(block, bytes) after a backup trace; (0, 0) if there is none or it did not help."""
    if heap.backup == NEVER or need > MOST_BYTES or not pace.may_hold(heap.pace, need):
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
        release(heap, old, heap.storm_objects)


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
        release(heap, address, heap.storm_objects)


@kernel
def collect(heap):
    """The backup trace, whatever the setting says."""
    _trace(heap, 0)


@kernel
def _trace(heap, need):
    """Reclaim what only cycles keep, and set the goal for a heap of `need` bytes more."""
    machine, space, totals = heap.machine, heap.space, heap.log.totals
    heap.paths[BACKUP] += 1
    occupied = space.occupied
    textbook.begin(heap, occupied)
    swept = totals[SWEPT_OBJECTS]
    live = mark_from_roots(machine, heap.mutator, heap.stack, heap.log)
    block, page = swept_space.first(machine, space)
    while block < end(space):
        if load(machine, block) >= 0 and load(machine, block + 8) >= 0:
            forget_dead(machine, block + HEADER_BYTES)
        block, page = following(machine, space, block, page)
    swept_space.begin_sweep(machine, space, live)
    swept_space.finish_sweep(machine, space, heap.mutator, heap.log)
    heap.cycle_objects += totals[SWEPT_OBJECTS] - swept
    heap.cycle_bytes += occupied - live
    recovered = totals[SWEPT_BYTES] - heap.swept_before  # by counts as well, since the last
    heap.swept_before = totals[SWEPT_BYTES]
    textbook.end(heap, live, recovered, need)


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
def check(heap):
    """Number of the broken invariant, 0 if none."""
    machine, space = heap.machine, heap.space
    broken = swept_heap.check(heap)
    if broken:
        return broken
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
    objects, bytes_ = int(heap.cycle_objects), int(heap.cycle_bytes)
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
