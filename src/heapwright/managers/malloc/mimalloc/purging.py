"""mimalloc gives free slices back by the clock: a segment's after decommit_delay, those of a cached
segment after half a second.

    free span ─► its slices wait; the first one sets the segment's time, each further one is 1 ms
                 more; past it they go, when a page is taken from the segment or a span freed
    page      ─► its slices, and the MiB around them, wait no longer
    cached segment ─► goes when another one is put there and one of 16 slots looked at is it

Source     mimalloc 2.0.9 src/segment.c (mi_segment_commitx, mi_segment_perhaps_decommit,
           mi_segment_delayed_decommit), src/segment-cache.c (mi_segment_cache_purge), src/random.c
           (_mi_random_shuffle)
"""

from heapwright.allocators.mimalloc.words import SLICE_SHIFT, get, put
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.compiled import INTERPRETED
from heapwright.machine import ADVISE_DONTNEED, madvise, now
from heapwright.managers.malloc.mimalloc import state
from heapwright.managers.malloc.mimalloc.state import (
    CACHE_SLOTS,
    DUE,
    SEGMENT_SLICES,
    WAITING,
    segment_of,
)

EXTEND_MS = 1  # decommit_extend_delay
CACHED_MS = 500  # segment_decommit_delay
BEGIN_MS = 1_000_000  # of the clock, in the tunnel: see references/malloc/clock.c
MS_NS = 1_000_000
COMMIT_SLICES = 16  # MI_MINIMAL_COMMIT_SIZE
LOOKS, MOST_PURGED = 16, 4  # slots of the cache when a segment is put there
COMMITTED, PENDING = 1, 2  # of a slice
FIRST_FACTOR, SECOND_FACTOR = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
WORD = 1 << 64

if INTERPRETED:

    def shuffled(value: int) -> int:
        """A number that is random enough; its lowest bits."""
        x = int(value)
        x = ((x ^ (x >> 30)) * FIRST_FACTOR) % WORD
        x = ((x ^ (x >> 27)) * SECOND_FACTOR) % WORD
        return (x ^ (x >> 31)) & (CACHE_SLOTS - 1)
else:
    import numpy as np

    @kernel
    def shuffled(value):
        """A number that is random enough; its lowest bits."""
        x = np.uint64(value)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(FIRST_FACTOR)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(SECOND_FACTOR)
        return np.int64((x ^ (x >> np.uint64(31))) & np.uint64(CACHE_SLOTS - 1))


@kernel
def clock_ms(heap):
    """The time, as the real one counts it."""
    return BEGIN_MS + now(heap.machine) // MS_NS


@kernel
def open_marks(heap, segment, whole):
    """A fresh segment: all its slices are there at once, or its first one."""
    for slice_ in range(segment, segment + SEGMENT_SLICES):
        heap.marks[unsigned(slice_)] = COMMITTED if whole or slice_ == segment else 0
    put(heap, segment, WAITING, 0)


@kernel
def commit(heap, first, slices):
    """Slices are in use: what is around them waits no longer."""
    segment = segment_of(first)
    start = max(segment + 1, (first & -COMMIT_SLICES))
    past = (first + slices + COMMIT_SLICES - 1) & -COMMIT_SLICES
    waited = 0
    for slice_ in range(start, min(past, segment + SEGMENT_SLICES)):
        waited += heap.marks[unsigned(slice_)] >> 1
        heap.marks[unsigned(slice_)] = COMMITTED
    if waited:
        put(heap, segment, WAITING, get(heap, segment, WAITING) - waited)
        put(heap, segment, DUE, clock_ms(heap) + heap.delay_ms)


@kernel
def _decommit(heap, first, past):
    """Give a run of slices back, if any of it is there."""
    there = False
    for slice_ in range(first, past):
        there = there or heap.marks[unsigned(slice_)] & COMMITTED != 0
        heap.marks[unsigned(slice_)] = 0
    if there:
        heap.paths[state.DECOMMIT] += 1
        bytes_ = (past - first) << SLICE_SHIFT
        madvise(heap.machine, first << SLICE_SHIFT, bytes_, ADVISE_DONTNEED)


@kernel
def perhaps_decommit(heap, first, slices):
    """The slices of a span that was freed go, or wait to."""
    segment = segment_of(first)
    if not heap.delay_ms:
        _decommit(heap, first, first + slices)
        return
    for slice_ in range(first, first + slices):
        if heap.marks[unsigned(slice_)] == COMMITTED:
            heap.marks[unsigned(slice_)] |= PENDING
            put(heap, segment, WAITING, get(heap, segment, WAITING) + 1)
    due, time = get(heap, segment, DUE), clock_ms(heap)
    if not due:
        put(heap, segment, DUE, time + heap.delay_ms)
    elif due > time:
        put(heap, segment, DUE, due + EXTEND_MS)
    elif due + EXTEND_MS <= time:
        decommit_waiting(heap, segment, True)
    else:
        put(heap, segment, DUE, time + EXTEND_MS)


@kernel
def decommit_waiting(heap, segment, force):
    """What waits in a segment goes, if it is time or must be."""
    if not get(heap, segment, WAITING) or (not force and clock_ms(heap) < get(heap, segment, DUE)):
        return
    put(heap, segment, DUE, 0)
    put(heap, segment, WAITING, 0)
    _decommit_runs(heap, segment, PENDING)


@kernel
def _decommit_runs(heap, segment, mark):
    """Give back each run of slices that are marked so."""
    slice_, past = segment, segment + SEGMENT_SLICES
    while slice_ < past:
        first = slice_
        while slice_ < past and heap.marks[unsigned(slice_)] & mark:
            slice_ += 1
        if slice_ > first:
            _decommit(heap, first, slice_)
        else:
            slice_ += 1


@kernel
def purge_cache(heap, everywhere):
    """Cached segments whose time has come go: in every slot, or in a few at random."""
    time = clock_ms(heap)
    slot = 0 if everywhere else shuffled(time)
    purged = 0
    for _ in range(CACHE_SLOTS if everywhere else LOOKS):
        due = heap.cache_due[unsigned(slot)]
        if due and time >= due:
            purged += 1
            heap.cache_due[unsigned(slot)] = 0
            segment = heap.cache[unsigned(slot)] >> SLICE_SHIFT
            put(heap, segment, WAITING, 0)
            _decommit_runs(heap, segment, COMMITTED)
            if not everywhere and purged > MOST_PURGED:
                return
        slot = (slot + 1) & (CACHE_SLOTS - 1)
