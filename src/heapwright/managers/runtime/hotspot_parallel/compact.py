"""A full collection of the parallel collector: everything slides into old, as far as it has room.

    old ─► old     eden, survivors, spare: each into old if all of what lives there fits; else the
                   first that does not takes what follows, when that fits

    Of an eden that does not fit, the regions of 512 KiB at its start that do fit go to old still.
    At the bottom of old stays what dense_prefix.py says.

Source     OpenJDK 17 src/hotspot/share/gc/parallel/psParallelCompact.cpp: summary_phase
Omits      several threads
"""

from heapwright.collectors.hotspot.generations import young_bytes
from heapwright.collectors.hotspot.layout import (
    AGE_SHIFT,
    BYTES_SHIFT,
    HEADER_BYTES,
    MOST_AGE,
    forward,
    is_marked,
)
from heapwright.collectors.hotspot.referring import mark_references
from heapwright.collectors.hotspot.sliding import (
    EDEN,
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
from heapwright.managers.runtime.hotspot_parallel.dense_prefix import (
    REGION_BYTES,
    close,
    leave,
    prefix_end,
)


@kernel
def compact(heap):
    """Mark and slide."""
    mark(heap)
    if heap.references.entries:
        mark_references(heap)
    heap.fulls += 1
    empty_tops(heap)
    heap.target = OLD
    prefix = prefix_end(heap, heap.whole != 0 or not _fits_old(heap))
    heap.whole = 0
    _forward(heap, leave(heap, prefix), heap.old_top, OLD)
    for space in range(EDEN, SPACES):
        _forward_space(heap, space)
    move_all(heap)
    close(heap)
    settle_anew(heap, young_bytes(heap) + heap.spare_top - heap.spare)


@kernel
def _fits_old(heap):
    """Whether old has room for all that lives."""
    live = heap.objects - heap.old
    for space in range(SPACES):
        live += _live_bytes(heap, start_of(heap, space), top_of(heap, space))
    return live <= heap.old_end - heap.old


@kernel
def _forward_space(heap, space):
    """Say where what lives in a space of young will lie."""
    block, past, target = start_of(heap, space), top_of(heap, space), heap.target
    live = _live_bytes(heap, block, past)
    if heap.tops[unsigned(target)] + live <= end_of(heap, target):
        _forward(heap, block, past, target)
        return
    heap.target = space
    if space == EDEN:  # regions at its start still go to old
        while block < past:
            end = _region_end(heap, block, past)
            live = _live_bytes(heap, block, end)
            if heap.tops[unsigned(OLD)] + live > heap.old_end:
                break
            _forward(heap, block, end, OLD)
            block = end
    _forward(heap, block, past, space)


@kernel
def _region_end(heap, block, past):
    """The first block that does not begin in the region that `block` begins in."""
    machine = heap.machine
    limit = heap.eden + ((block - heap.eden) // REGION_BYTES + 1) * REGION_BYTES
    while block < past and block < limit:
        block += load(machine, block + 8) >> BYTES_SHIFT << 3
    return block


@kernel
def _live_bytes(heap, block, past):
    """Bytes of the marked blocks in [block, past)."""
    machine, live = heap.machine, 0
    while block < past:
        bytes_ = load(machine, block + 8) >> BYTES_SHIFT << 3
        if is_marked(machine, block):
            live += bytes_
        block += bytes_
    return live


@kernel
def _forward(heap, block, past, target):
    """Say in each marked block of [block, past) where in the space `target` it will lie."""
    machine, top = heap.machine, heap.tops[unsigned(target)]
    while block < past:
        if is_marked(machine, block):
            bytes_ = load(machine, block + 8) >> BYTES_SHIFT << 3
            age = (load(machine, block) >> AGE_SHIFT) & MOST_AGE
            forward(machine, block, top + HEADER_BYTES, age)
            top += bytes_
            block += bytes_
            continue
        block = dead_run(machine, block, past)
    heap.tops[unsigned(target)] = top
