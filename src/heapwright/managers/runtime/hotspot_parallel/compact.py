"""A full collection of the parallel collector: everything slides into old, as far as it has room.

    old ─► old     eden, survivors, spare: each into old if all of what lives there fits; else the
                   first that does not takes what follows, when that fits

    Of an eden that does not fit, the regions of 512 KiB at its start that do fit go to old still.

Source     OpenJDK 17 src/hotspot/share/gc/parallel/psParallelCompact.cpp: summary_phase
Omits      the dense prefix, dead objects left at the bottom of old but for each
           HeapMaximumCompactionInterval-th time: each is as if that were 0; several threads
"""

from heapwright.collectors.hotspot.cards import mark_all, settle
from heapwright.collectors.hotspot.layout import (
    AGE_SHIFT,
    BYTES_SHIFT,
    HEADER_BYTES,
    MOST_AGE,
    fill,
    forward,
    is_marked,
)
from heapwright.collectors.hotspot.tracing import mark, redirect, redirect_table, slide
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load
from heapwright.managers.runtime.hotspot_parallel.state import young_bytes

REGION_BYTES = 512 << 10
OLD, EDEN, SURVIVORS, SPARE = range(4)


@kernel
def compact(heap):
    """Mark and slide."""
    mark(heap)
    heap.fulls += 1
    for space in range(SPARE + 1):
        heap.tops[unsigned(space)] = _start(heap, space)
    heap.target = OLD
    _forward(heap, heap.objects, heap.old_top, OLD)
    for space in range(EDEN, SPARE + 1):
        _forward_space(heap, space)
    redirect_table(heap)
    for space in range(SPARE + 1):
        redirect(heap, _start(heap, space), _top(heap, space))
    for space in range(SPARE + 1):
        slide(heap, _start(heap, space), _top(heap, space))
    heap.old_top, heap.eden_top = heap.tops[unsigned(OLD)], heap.tops[unsigned(EDEN)]
    heap.survivors_top = heap.tops[unsigned(SURVIVORS)]
    heap.spare_top = heap.tops[unsigned(SPARE)]
    _settle_anew(heap)


@kernel
def _forward_space(heap, space):
    """Say where what lives in a space of young will lie."""
    block, past, target = _start(heap, space), _top(heap, space), heap.target
    live = _live_bytes(heap, block, past)
    if heap.tops[unsigned(target)] + live <= _end(heap, target):
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
        end = block
        while end < past and not is_marked(machine, end):
            end += load(machine, end + 8) >> BYTES_SHIFT << 3
        fill(machine, block, end - block)
        block = end
    heap.tops[unsigned(target)] = top


@kernel
def _start(heap, space):
    """Where a space's objects begin."""
    if space == OLD:
        return heap.objects
    if space == EDEN:
        return heap.eden
    return heap.survivors if space == SURVIVORS else heap.spare


@kernel
def _top(heap, space):
    """Its first free byte, before this collection."""
    if space == OLD:
        return heap.old_top
    if space == EDEN:
        return heap.eden_top
    return heap.survivors_top if space == SURVIVORS else heap.spare_top


@kernel
def _end(heap, space):
    """Where a space ends."""
    if space == OLD:
        return heap.old_end
    return heap.eden_end if space == EDEN else _start(heap, space) + heap.survivor_bytes


@kernel
def _settle_anew(heap):
    """Which object covers which card; all cards are dirty if young has objects, else clean."""
    block, past = heap.objects, heap.old_top
    while block < past:
        bytes_ = load(heap.machine, block + 8) >> BYTES_SHIFT << 3
        settle(heap.java, block, bytes_)
        block += bytes_
    mark_all(heap.java, heap.old, heap.old_end, 0)
    if young_bytes(heap) + heap.spare_top - heap.spare:
        mark_all(heap.java, heap.old, past, 1)
