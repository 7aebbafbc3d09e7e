"""How much of its spaces Dalvik may take: the limits, and what a collection makes of them.

    after a collection   target = live / utilization, at least live + min free, at most + max free
                         clamped to the growth limit; above the footprint: the space may grow to it
                                                      below: no growth, and a soft limit
    an allocation        ─► soft limit, footprint's limit ─► collection ─► grow ─► ...

Source     Android 4.4 dalvik/vm/alloc/HeapSource.cpp: dvmHeapSourceAlloc,
           dvmHeapSourceAllocAndGrow, setSoftLimit, setIdealFootprint, getUtilizationTarget,
           addNewHeap
"""

from heapwright.allocators.dlmalloc.chunk import STATE_BYTES, TREES, Space
from heapwright.allocators.dlmalloc.requests import obtain
from heapwright.allocators.dlmalloc.system import give_memory, trim
from heapwright.collectors.android.history import note
from heapwright.compiler import kernel, unsigned
from heapwright.machine import PAGE_BYTES, clear
from heapwright.machine.address_space import BREAK
from heapwright.managers.runtime.dalvik.state import (
    CLAMP,
    FORK,
    NONE,
    SOFT,
    chunk_bytes,
)

FULL = 1024  # of utilization
CONCURRENT_START = 128 << 10  # bytes before the limit at which a collection begins,
CONCURRENT_MIN_FREE = 256 << 10  # if the limit is at least this
OWN_BYTES = STATE_BYTES[4]
WORDS = len(Space.WORDS)  # type: ignore[attr-defined]


@kernel
def set_footprint_limit(space, bytes_):
    """mspace_set_footprint_limit: whole granules, at least one."""
    space.limit = (max(bytes_, 1) + space.granularity - 1) & -space.granularity


@kernel
def open_space(heap, limit):
    """The active space begins in a page at the break; whether there is room."""
    if not give_memory(heap.active, PAGE_BYTES, OWN_BYTES):
        return False
    set_footprint_limit(heap.active, limit)
    return True


@kernel
def allocate(heap, need):
    """A block of `need` zeros without growing beyond the limits; 0 if there is none."""
    if heap.bytes + need > heap.soft:
        heap.paths[SOFT] += 1
        return 0
    block = obtain(heap.active, need)
    if not block:
        return 0
    clear(heap.machine, block, need)
    heap.bytes += chunk_bytes(heap.active, block)
    heap.objects += 1
    if heap.concurrent and heap.bytes > heap.concurrent_start:
        heap.wanted = 1
    return block


@kernel
def allocate_and_grow(heap, need):
    """The same, and the space may grow as far as its maximum."""
    block = allocate(heap, need)
    if block:
        return block
    ideal = heap.ideal
    if heap.soft <= ideal:
        heap.soft = NONE
        block = allocate(heap, need)
        if block:
            _snap(heap)
            return block
    set_footprint_limit(heap.active, heap.maximum)
    block = allocate(heap, need)
    set_footprint_limit(heap.active, heap.active.footprint)
    if block:
        _snap(heap)
    else:
        set_ideal(heap, ideal)
    return block


@kernel
def _snap(heap):
    """The ideal is what is in use."""
    set_ideal(heap, heap.zygote.footprint + heap.bytes)


@kernel
def set_ideal(heap, most):
    """The size of all spaces that is aimed at; clamped to the growth limit."""
    if most > heap.growth_limit:
        note(heap, CLAMP, (most, heap.growth_limit, 0, 0, 0, 0))
        most = heap.growth_limit
    soft = max(most - heap.zygote.footprint, 0)
    if soft < heap.active.footprint:
        set_footprint_limit(heap.active, heap.active.footprint)
        heap.soft = soft
    else:
        set_footprint_limit(heap.active, soft)
        heap.soft = NONE
    heap.ideal = most


@kernel
def grow_for_utilization(heap):
    """What a collection makes of what is live in the active space."""
    live = heap.bytes
    target = live // heap.utilization * FULL
    if target > live + heap.max_free:
        target = live + heap.max_free
    elif target < live + heap.min_free:
        target = live + heap.min_free
    set_ideal(heap, target + heap.zygote.footprint)
    limit = heap.soft if heap.soft <= heap.ideal else heap.active.limit
    heap.concurrent_start = NONE
    if limit >= CONCURRENT_MIN_FREE:
        heap.concurrent_start = limit - CONCURRENT_START


@kernel
def fork(heap):
    """The zygote is done: what there is becomes its space, and the active one begins behind it."""
    heap.forked, heap.fork_at = 1, 0
    active, zygote = heap.active, heap.zygote
    trim(active, 0)
    overhead = heap.machine.meters[BREAK] - active.base
    if overhead + heap.min_free >= heap.most:
        return
    heap.paths[FORK] += 1
    for word in range(WORDS):
        zygote.fields[unsigned(word)] = active.fields[unsigned(word)]
    for tree in range(TREES):
        zygote.root[unsigned(tree)] = active.root[unsigned(tree)]
        zygote.first[unsigned(tree)] = active.first[unsigned(tree)]
        active.root[unsigned(tree)] = active.first[unsigned(tree)] = 0
    set_footprint_limit(zygote, overhead)
    heap.zygote_bytes, heap.zygote_objects = heap.bytes, heap.objects
    heap.bytes = heap.objects = 0
    active.small = active.large = active.dv = active.dv_bytes = 0
    active.top = active.top_bytes = active.older = 0
    active.limit = 0
    heap.maximum = heap.growth_limit - overhead
    heap.concurrent_start = heap.min_free - CONCURRENT_START
    open_space(heap, heap.min_free)
