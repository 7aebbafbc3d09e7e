"""A full collection: everything slides down, old, eden, the survivors, in this order.

    old │ dead run kept │ objects ─► ... ─► │   then eden's objects into old, and where that is
                                            full into eden, the survivors, the spare space

    Marks are not kept, so that all are of age 0. Dead runs at the bottom stay as they are, up to
    MarkSweepDeadRatio of old, so that little is moved; each MarkSweepAlwaysCompactCount-th
    collection leaves none.

Source     OpenJDK 17 src/hotspot/share/gc/serial/genMarkSweep.cpp, share/gc/shared/space.cpp:
           DeadSpacer
"""

from heapwright.collectors.hotspot.cards import mark_all, settle
from heapwright.collectors.hotspot.layout import BYTES_SHIFT, HEADER_BYTES, fill, forward, is_marked
from heapwright.collectors.hotspot.tracing import mark, redirect, redirect_table, slide
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load
from heapwright.managers.runtime.hotspot_serial.state import young_bytes

OLD, EDEN, SURVIVORS, SPARE = range(4)  # target spaces, in the order they are filled


@kernel
def compact(heap, always):
    """Mark and slide; with `always` no dead run is kept."""
    mark(heap)
    heap.fulls += 1
    heap.allowed_dead = -1
    if not always and heap.fulls % heap.always_compact:
        heap.allowed_dead = ((heap.old_end - heap.old) * heap.dead_percent // 100) & ~7
    heap.target_space = OLD
    heap.tops[unsigned(OLD)] = heap.objects
    for space in range(EDEN, SPARE + 1):
        heap.tops[unsigned(space)] = _start(heap, space)
    _forward(heap, heap.objects, heap.old_top)
    heap.allowed_dead = -1
    _forward(heap, heap.eden, heap.eden_top)
    _forward(heap, heap.survivors, heap.survivors_top)
    _forward(heap, heap.spare, heap.spare_top)
    redirect_table(heap)
    for step in range(2):
        _walk(heap, heap.objects, heap.old_top, step)
        _walk(heap, heap.eden, heap.eden_top, step)
        _walk(heap, heap.survivors, heap.survivors_top, step)
        _walk(heap, heap.spare, heap.spare_top, step)
    heap.old_top, heap.eden_top = heap.tops[unsigned(OLD)], heap.tops[unsigned(EDEN)]
    heap.survivors_top = heap.tops[unsigned(SURVIVORS)]
    heap.spare_top = heap.tops[unsigned(SPARE)]
    _settle_anew(heap)


@kernel
def _walk(heap, block, past, step):
    """Redirect the references of a space's objects, and then slide them."""
    if step == 0:
        redirect(heap, block, past)
    else:
        slide(heap, block, past)


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
        end = block
        while end < past and not is_marked(machine, end):
            end += load(machine, end + 8) >> BYTES_SHIFT << 3
        fill(machine, block, end - block)
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
    while heap.tops[unsigned(heap.target_space)] + bytes_ > _end(heap, heap.target_space):
        heap.target_space += 1
    place = heap.tops[unsigned(heap.target_space)]
    heap.tops[unsigned(heap.target_space)] += bytes_
    return place


@kernel
def _start(heap, space):
    """Where a space begins."""
    if space == EDEN:
        return heap.eden
    return heap.survivors if space == SURVIVORS else heap.spare


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
    if young_bytes(heap):
        mark_all(heap.java, heap.old, past, 1)
