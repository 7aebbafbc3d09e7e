"""mimalloc's segments: 32 MiB at multiples of 32 MiB, cut into slices; free spans by length.

    take span ─► first that is long enough of the thread's queues, shortest bin first; rest pushed
    free span ─► merged with the one above, then below; pushed. A segment without a page ─► cache
    segment   ─► lowest used slot of the cache ─► the system, where the last one ended

Invariant  see `invariants.py` (check: 1, 2)
Source     mimalloc 2.0.9 src/segment.c, segment-cache.c, os.c (mi_os_get_aligned_hint)
Omits      huge OS pages, arenas, NUMA
"""

import numpy as np

from heapwright.allocators.mimalloc.classes import good_size
from heapwright.allocators.mimalloc.words import (
    COUNT,
    HEAP,
    NEXT,
    PREVIOUS,
    SIZE,
    SLICE_SHIFT,
    get,
    heap_word,
    put,
    set_heap_word,
)
from heapwright.compiler import kernel, unsigned
from heapwright.machine import mmap, munmap, touch
from heapwright.machine.address_space import BREAK_LIMIT, MAPPED_TOP
from heapwright.managers.malloc.mimalloc import state
from heapwright.managers.malloc.mimalloc.purging import (
    CACHED_MS,
    COMMITTED,
    clock_ms,
    commit,
    decommit_waiting,
    open_marks,
    perhaps_decommit,
    purge_cache,
)
from heapwright.managers.malloc.mimalloc.state import (
    ABANDONED,
    CACHE_SLOTS,
    DUE,
    LENGTH,
    MOST_SPAN_BIN,
    PAGES,
    SEGMENT_BYTES,
    SEGMENT_SHIFT,
    SEGMENT_SLICES,
    SEGMENTS,
    SPANS,
    VISITS,
    segment_of,
    span_bin,
)

TOP = MAPPED_TOP & -SEGMENT_BYTES  # here segments go down from it; there up, from 2 TiB and more
HINTED_BYTES = 1 << 30  # what is longer lies where the system puts it
RECORD_BYTES = 80  # sizeof(mi_slice_t), in the segment's first slice
RECORDS = 264  # where they begin
MOST_OFFSETS = 16 << 20 >> SLICE_SHIFT  # slices of a page that a block can be asked about from


@kernel
def write_records(heap, segment, index, count):
    """The records of so many slices are written: their pages are there. A segment has 513 records,
    however long it is."""
    index = min(index, SEGMENT_SLICES)
    record = (segment << SLICE_SHIFT) + RECORDS + index * RECORD_BYTES
    touch(heap.machine, record, min(count, SEGMENT_SLICES + 1 - index) * RECORD_BYTES)


@kernel
def system_segment(heap, bytes_):
    """Address of a mapping at a multiple of a segment; 0 where refused."""
    machine = heap.machine
    bytes_ = good_size(bytes_)
    rounded = (bytes_ + SEGMENT_BYTES - 1) & -SEGMENT_BYTES
    area = TOP - heap.hint - rounded
    if rounded <= HINTED_BYTES and area >= BREAK_LIMIT:
        area = mmap(machine, area, bytes_)
        if area == TOP - heap.hint - rounded:
            for part in range(0, rounded, SEGMENT_BYTES):
                place = unsigned((area + part) >> SEGMENT_SHIFT)
                heap.places[place] = heap.hint + part
        heap.hint += rounded
    else:
        area = mmap(machine, 0, bytes_)
    if not area or not area & (SEGMENT_BYTES - 1):
        return area
    munmap(machine, area, bytes_)
    area = mmap(machine, 0, bytes_ + SEGMENT_BYTES)
    if not area:
        return 0
    start = (area + SEGMENT_BYTES - 1) & -SEGMENT_BYTES
    if start > area:
        munmap(machine, area, start - area)
    if area + SEGMENT_BYTES > start:
        munmap(machine, start + bytes_, area + SEGMENT_BYTES - start)
    return start


@kernel
def open_segment(heap, row, address, slices, fresh):
    """The words of a segment at a mapping. A `fresh` one is known to hold zeros and its records are
    not cleared, unless several threads have heaps and it is its thread's first, which is committed
    late (eager_commit_delay)."""
    segment = address >> SLICE_SHIFT
    count = heap_word(heap, row, SEGMENTS)
    late = count == 0 and heap.threads > 1
    if fresh and slices == SEGMENT_SLICES:
        open_marks(heap, segment, not late)
    put(heap, segment, DUE, 0)
    heap.marks[unsigned(segment)] |= COMMITTED
    if not fresh or late:
        write_records(heap, segment, 0, SEGMENT_SLICES + 1)
    set_heap_word(heap, row, SEGMENTS, count + 1)
    put(heap, segment, COUNT, 1)
    put(heap, segment, SIZE, 1)
    put(heap, segment, PAGES, 0)
    put(heap, segment, ABANDONED, 0)
    put(heap, segment, VISITS, 0)
    put(heap, segment, LENGTH, slices)
    put(heap, segment, HEAP, row if slices == SEGMENT_SLICES else 0)
    heap.owner[unsigned(segment)] = segment
    touch(heap.machine, address, RECORDS)
    write_records(heap, segment, 0, 1)
    return segment


@kernel
def new_segment(heap, row):
    """A segment of one free span for a thread; whether there was one."""
    fresh = heap.cached == 0
    if not fresh:
        slot = 0
        while not heap.cache[unsigned(slot)]:
            slot += 1
        address = heap.cache[unsigned(slot)]
        heap.cache[unsigned(slot)] = heap.cache_due[unsigned(slot)] = 0
        heap.cached -= 1
        heap.paths[state.SEGMENT_REUSED] += 1
    else:
        address = system_segment(heap, SEGMENT_BYTES)
        if not address:
            return False
        heap.paths[state.SEGMENT] += 1
    segment = open_segment(heap, row, address, SEGMENT_SLICES, fresh)
    write_records(heap, segment, SEGMENT_SLICES, 1)  # one more, which ends the others
    free_span(heap, row, segment + 1, SEGMENT_SLICES - 1)
    return True


@kernel
def _end_segment(heap, segment):
    """A segment without a page: into the lowest free slot of the cache, or back to the system."""
    address = segment << SLICE_SHIFT
    put(heap, segment, HEAP, 0)
    purge_cache(heap, False)
    if heap.cached == CACHE_SLOTS:
        put(heap, segment, COUNT, 0)
        munmap(heap.machine, address, SEGMENT_BYTES)
        return
    slot = 0
    while heap.cache[unsigned(slot)]:
        slot += 1
    heap.cache[unsigned(slot)] = address
    heap.cache_due[unsigned(slot)] = clock_ms(heap) + CACHED_MS
    heap.cached += 1
    heap.paths[state.SEGMENT_CACHED] += 1


@kernel
def count_segment(heap, row, more):
    """A thread has one more or less."""
    set_heap_word(heap, row, SEGMENTS, heap_word(heap, row, SEGMENTS) + more)


@kernel
def end_if_unused(heap, row, segment):
    """Give a segment of a thread up if it has no page; whether it had none."""
    if get(heap, segment, PAGES):
        return False
    pull_span(heap, row, segment + 1)
    count_segment(heap, row, -1)
    _end_segment(heap, segment)
    return True


@kernel
def write_span(heap, first, slices):
    """Enter a free span, which is in no queue."""
    put(heap, first, COUNT, slices)
    put(heap, first, SIZE, 0)
    put(heap, first, NEXT, 0)
    put(heap, first, PREVIOUS, 0)
    heap.owner[unsigned(first)] = first
    heap.owner[unsigned(first + slices - 1)] = first
    segment = segment_of(first)
    write_records(heap, segment, first - segment, 1)
    write_records(heap, segment, first - segment + slices - 1, 1)


@kernel
def free_span(heap, row, first, slices):
    """A free span of a thread; or, of row 0, of nobody's (mi_segment_span_free)."""
    write_span(heap, first, slices)
    if not row:
        return
    word = SPANS + span_bin(slices)
    after = heap_word(heap, row, word)
    put(heap, first, NEXT, after)
    if after:
        put(heap, after, PREVIOUS, first)
    set_heap_word(heap, row, word, first)


@kernel
def pull_span(heap, row, first):
    """Take a free span out of its queue, if it is in one; its slices."""
    slices = get(heap, first, COUNT)
    after, before = get(heap, first, NEXT), get(heap, first, PREVIOUS)
    word = SPANS + span_bin(slices)
    if before:
        put(heap, before, NEXT, after)
    elif heap_word(heap, row, word) == first:
        set_heap_word(heap, row, word, after)
    if after:
        put(heap, after, PREVIOUS, before)
    put(heap, first, NEXT, 0)
    put(heap, first, PREVIOUS, 0)
    return slices


@kernel
def merge_span(heap, row, first, slices):
    """Free slices of a segment of a thread, or of nobody's; the first slice of the span that they
    are now in (mi_segment_span_free_coalesce)."""
    segment = segment_of(first)
    above = first + slices
    if above < segment + SEGMENT_SLICES and get(heap, above, SIZE) == 0:
        slices += pull_span(heap, row, above) if row else get(heap, above, COUNT)
    below = 0
    if first > segment + 1:
        below = np.int64(heap.owner[unsigned(first - 1)])
        if get(heap, below, SIZE) == 0:
            slices += pull_span(heap, row, below) if row else get(heap, below, COUNT)
            first = below
    free_span(heap, row, first, slices)
    perhaps_decommit(heap, first, slices)
    return first


@kernel
def take_span(heap, row, slices):
    """The first slice of a run of a thread's segments; 0 if there is none so long."""
    for bin_ in range(span_bin(slices), MOST_SPAN_BIN + 1):
        first = heap_word(heap, row, SPANS + bin_)
        while first:
            if get(heap, first, COUNT) >= slices:
                have = pull_span(heap, row, first)
                if have > slices:
                    free_span(heap, row, first + slices, have - slices)
                segment = segment_of(first)
                put(heap, segment, PAGES, get(heap, segment, PAGES) + 1)
                commit(heap, first, slices)
                decommit_waiting(heap, segment, False)
                return first
            first = get(heap, first, NEXT)
    return 0


@kernel
def name_slices(heap, first, slices):
    """Every slice of a page from which a block can be asked about says which page it is of."""
    put(heap, first, COUNT, slices)
    for slice_ in range(first, first + min(slices, MOST_OFFSETS + 1)):
        heap.owner[unsigned(slice_)] = first
    heap.owner[unsigned(first + slices - 1)] = first
