"""A full collection: everything slides down, old, eden, the survivors, in this order.

    old │ dead run kept │ objects ─► ... ─► │   then eden's objects into old, and where that is
                                            full into eden, the survivors, the spare space

    Marks are not kept, so that all are of age 0. Dead runs at the bottom stay as they are, up to
    MarkSweepDeadRatio of old, so that little is moved; each MarkSweepAlwaysCompactCount-th
    collection leaves none.

Source     OpenJDK 17 src/hotspot/share/gc/serial/genMarkSweep.cpp, share/gc/shared/space.cpp:
           DeadSpacer
"""

from heapwright.collectors.hotspot.generations import young_bytes
from heapwright.collectors.hotspot.layout import BYTES_SHIFT, HEADER_BYTES, forward, is_marked
from heapwright.collectors.hotspot.referring import mark_references
from heapwright.collectors.hotspot.sliding import (
    OLD,
    SPACES,
    empty_tops,
    end_of,
    move_all,
    settle_anew,
    start_of,
    top_of,
)
from heapwright.collectors.hotspot.tracing import dead_run, mark
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load


@kernel
def compact(heap, always):
    """Mark and slide; with `always` no dead run is kept."""
    mark(heap)
    if heap.references.entries:
        mark_references(heap)
    heap.fulls += 1
    heap.allowed_dead = -1
    if not always and heap.fulls % heap.always_compact:
        heap.allowed_dead = ((heap.old_end - heap.old) * heap.dead_percent // 100) & ~7
    heap.target_space = OLD
    empty_tops(heap)
    for space in range(SPACES):
        _forward(heap, start_of(heap, space), top_of(heap, space))
        heap.allowed_dead = -1
    move_all(heap)
    settle_anew(heap, young_bytes(heap))


@kernel
def _forward(heap, block, past):
    """Say in each live block of a space where it will lie; a dead run becomes one block."""
    machine = heap.machine
    while block < past:
        if is_marked(machine, block):
            bytes_ = load(machine, block + 8) >> BYTES_SHIFT << 3
            forward(machine, block, _place(heap, bytes_) + HEADER_BYTES, 0)
            block += bytes_
            continue
        end = dead_run(machine, block, past)
        if heap.allowed_dead >= 0:
            if block == heap.tops[unsigned(OLD)] and end - block <= heap.allowed_dead:
                heap.allowed_dead -= end - block
                heap.tops[unsigned(OLD)] = end
                forward(machine, block, block + HEADER_BYTES, 0)
            elif block == heap.tops[unsigned(OLD)]:
                heap.allowed_dead = -1
        block = end


@kernel
def _place(heap, bytes_):
    """Where the next live block will lie. What lived before has room."""
    while heap.tops[unsigned(heap.target_space)] + bytes_ > end_of(heap, heap.target_space):
        heap.target_space += 1
    place = heap.tops[unsigned(heap.target_space)]
    heap.tops[unsigned(heap.target_space)] += bytes_
    return place
