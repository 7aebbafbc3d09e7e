"""How many blocks of each size a trace asks for, holds at its peak, and holds on average.

Rows       row r holds the sizes 8r - 7 to 8r, row 0 the size 0; the last row what is larger: every
           size class of a real allocator is a multiple of 8, so all sizes of a row round alike
Weights    REQUESTS: each request once; PEAK: alive when most bytes are; LIFETIME: each once for
           every event of its life
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.schema import FREE, MEMALIGN, NEW, REALLOC

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

ROW_SHIFT = 3
REQUESTS, PEAK, LIFETIME = range(3)
COUNT, BYTES = range(2)
SUM_BITS = 61

# SizeCensus.totals
(
    NEXT,  # events counted
    LIVE_BYTES,
    PEAK_BYTES,  # the most that are ever alive, known before
    PEAK_SEEN,
    ALIGNED,  # requests that ask for an alignment
    LIFE_SHIFT,  # lives are counted in so many events together, lest their sums overflow
    TOTALS,
) = range(7)


class SizeCensus(NamedTuple):
    """The tallies, which grow with every batch."""

    size: np.ndarray  # int64[slot], bytes; -1 while no object has the slot
    birth: np.ndarray  # int64[slot], event of its last request
    totals: np.ndarray  # int64[TOTALS]
    live: np.ndarray  # int64[row, 2], blocks alive and their bytes
    weights: np.ndarray  # int64[weight, row, 2]


def size_census(trace: "Trace", largest: int) -> SizeCensus:
    """Empty tallies for sizes up to `largest` bytes, a multiple of 8."""
    rows = (largest >> ROW_SHIFT) + 2
    totals = np.zeros(TOTALS, np.int64)
    totals[PEAK_BYTES] = trace.peak_live_bytes
    whole = trace.events * max(trace.peak_live_bytes, largest * trace.peak_live_objects)
    totals[LIFE_SHIFT] = max(0, whole.bit_length() - SUM_BITS)
    return SizeCensus(
        np.full(trace.slots, -1, np.int64),
        np.zeros(trace.slots, np.int64),
        totals,
        np.zeros((rows, 2), np.int64),
        np.zeros((3, rows, 2), np.int64),
    )


@kernel
def row_of(census, size):
    """The row of a size."""
    return min((size + 7) >> ROW_SHIFT, len(census.live) - 1)


@kernel
def count(census, events):
    """Count a batch; what is alive is kept when its bytes reach PEAK_BYTES for the first time."""
    totals = census.totals
    for row in range(len(events.op)):
        i = unsigned(row)
        op, slot = np.int64(events.op[i]), np.int64(events.slot[i])
        now = totals[NEXT]
        totals[NEXT] += 1
        if slot < 0 or op > NEW:
            continue
        s = unsigned(slot)
        if op in (FREE, REALLOC):
            leave(census, s, now)
        if op == FREE:
            census.size[s] = -1
            continue
        size = events.size[i]
        r = unsigned(row_of(census, size))
        totals[ALIGNED] += op == MEMALIGN
        census.size[s], census.birth[s] = size, now
        totals[LIVE_BYTES] += size
        census.live[r, COUNT] += 1
        census.live[r, BYTES] += size
        census.weights[REQUESTS, r, COUNT] += 1
        census.weights[REQUESTS, r, BYTES] += size
        if totals[LIVE_BYTES] == totals[PEAK_BYTES] and totals[PEAK_SEEN] == 0:
            totals[PEAK_SEEN] = 1
            for each in range(len(census.live)):
                census.weights[PEAK, unsigned(each), COUNT] = census.live[unsigned(each), COUNT]
                census.weights[PEAK, unsigned(each), BYTES] = census.live[unsigned(each), BYTES]


@kernel
def leave(census, slot, now):
    """A block ends, by a free or a resize."""
    size = census.size[slot]
    if size < 0:
        return
    r = unsigned(row_of(census, size))
    life = (now - census.birth[slot]) >> census.totals[LIFE_SHIFT]
    census.totals[LIVE_BYTES] -= size
    census.live[r, COUNT] -= 1
    census.live[r, BYTES] -= size
    census.weights[LIFETIME, r, COUNT] += life
    census.weights[LIFETIME, r, BYTES] += life * size


@kernel
def finish(census):
    """Count the lives of what is never freed."""
    for slot in range(len(census.size)):
        if census.size[unsigned(slot)] >= 0:
            leave(census, unsigned(slot), census.totals[NEXT])
