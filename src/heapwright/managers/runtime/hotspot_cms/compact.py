"""A full collection of CMS: old, eden, the survivors slide down; then what is free is one chunk.

Source     OpenJDK 11 src/hotspot/share/gc/serial/genMarkSweep.cpp, share/gc/cms/
           compactibleFreeListSpace.cpp: forward; concurrentMarkSweepGeneration.cpp:
           do_compaction_work
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
from heapwright.managers.runtime.hotspot_cms.free_lists import begin_free
from heapwright.managers.runtime.hotspot_cms.state import IDLE, LEAST_WORDS


@kernel
def compact(heap):
    """Mark and slide. A cycle at work is given up."""
    mark(heap)
    if heap.references.entries:
        mark_references(heap)
    heap.fulls += 1
    heap.phase = IDLE
    heap.target_space = OLD
    heap.old_top = heap.old_end  # while it is walked
    empty_tops(heap)
    for space in range(SPACES):
        _forward(heap, start_of(heap, space), top_of(heap, space))
    move_all(heap)
    settle_anew(heap, young_bytes(heap))
    begin_free(heap)


@kernel
def _forward(heap, block, past):
    """Say in each live block of a space where it will lie; a dead run becomes one block."""
    machine = heap.machine
    while block < past:
        if is_marked(machine, block):
            bytes_ = load(machine, block + 8) >> BYTES_SHIFT << 3
            forward(machine, block, _place(heap, bytes_) + HEADER_BYTES, 0)
            block += bytes_
        else:
            block = dead_run(machine, block, past)


@kernel
def _place(heap, bytes_):
    """Where the next live block will lie. In old no rest is too small for a chunk."""
    space = heap.target_space
    room = end_of(heap, space) - heap.tops[unsigned(space)]
    least = LEAST_WORDS << 3 if space == OLD and bytes_ != room else 0
    while bytes_ + least > room:
        space += 1
        least, room = 0, end_of(heap, space) - heap.tops[unsigned(space)]
    heap.target_space = space
    place = heap.tops[unsigned(space)]
    heap.tops[unsigned(space)] += bytes_
    return place
