"""Is a run of events sound, and what does it add up to? One pass each, run as events stream by.

    audit   every op, slot, size and alignment in range; a freed slot was live, a filled one dead
    tally   counts, and the peaks of live bytes and objects

Graph traces have an audit of their own (`graph_audit.py`).

Invariant  after `audit` returned -1, live[slot] is 0 exactly for the slots that hold no object; 1
           for a small one, for a large one the bits of its size: none is touched far beyond it
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length
from heapwright.trace import graph_audit
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    GET,
    KINDS,
    LARGE_BYTES,
    MALLOPT,
    NEW,
    OBJECT,
    POP,
    REALLOC,
    SIZE_LIMIT,
    THREAD_EXIT,
    TOUCH,
    Events,
)

ALIGN_LIMIT = 48  # log2 of the largest alignment + 1

# What `audit` can find wrong with an event, in words for a person.
WRONG = (
    "an unknown operation",
    "a slot out of range",
    "a free of an object that is not live",
    "a realloc of an object that is not live",
    "an allocation into a slot that is still live",
    "a size out of range",
    "an alignment out of range",
    "a touch of an object that is not live, or of more than it has",
)

# Rows of `totals`
(
    LIVE_BYTES,
    LIVE_OBJECTS,
    PEAK_BYTES,
    PEAK_OBJECTS,
    ALLOCATIONS,
    REALLOCATIONS,
    FREES,
    REFUSED,
    TOUCHES,
    WRITTEN_BYTES,  # of live objects: small ones whole, of large ones what was touched
    PEAK_WRITTEN,
    BEYOND,  # touches of more than their object has
    TOTALS,
) = range(13)


def first_unsound(
    events: Events,
    live: np.ndarray,
    slots: int,
    threads: int,
    books: graph_audit.Books | None = None,
) -> tuple[int, str] | None:
    """Row of an unsound event and what it has, in words; None when all are sound.

    `live` as for `audit`, or `books` of a graph trace; columns may be empty, and without `op` or
    `slot` only ranges are checked.
    """
    together = len(events.op) > 0 and len(events.slot) > 0
    if together:
        fault = (
            _unsound(events, live, slots)
            if books is None
            else graph_audit.first_unsound(events, books)
        )
        if fault:
            return fault
    ranges = {"thread": (0, threads - 1), "site": (-1, None), "time_ns": (0, None)}
    ranges |= {"address": (0, None), "slack": (-1, None)}
    ranges |= {"field": (0, None), "target": (-1, slots - 1), "domain": (0, OBJECT)}
    if books is not None:
        ranges |= {"thread": (0, 0), "align": (0, 0), "target": (-1, max(slots, KINDS) - 1)}
    if not together:
        last = TOUCH if books is None else GET
        ranges |= {"op": (0, last), "slot": (-1, slots - 1), "size": (0, SIZE_LIMIT - 1)}
        ranges |= {"align": (0, ALIGN_LIMIT - 1)}
    for name, (low, high) in ranges.items():
        column = getattr(events, name)
        if len(column) and (column.min() < low or (high is not None and column.max() > high)):
            beyond = (column < low) if high is None else (column < low) | (column > high)
            return int(beyond.argmax()), f"a {name} out of range"
    return None


def _unsound(events: Events, live: np.ndarray, slots: int) -> tuple[int, str] | None:
    """The same for events of the malloc family."""
    wrong = np.array([0, slots])
    row = int(audit(events, live, wrong))
    if row < 0:
        return None
    if wrong[0] == 0 and events.op[row] <= POP:
        return row, "an operation of graph traces, after others"
    return row, WRONG[wrong[0]]


@kernel(inline=True)
def _size_bits(size):
    """1 of a small block, of a large one the bits of its size, at most 63."""
    return bit_length(size) if size >= LARGE_BYTES else 1


@kernel
def audit(events, live, wrong):
    """Row of the first unsound event, with its number of `WRONG` in wrong[0]; -1 if all are sound.

    `live` uint8[slots] is carried from batch to batch. Without an entry (len 0) the past is not
    known and only ranges are checked, against wrong[1], the number of slots. Columns `size` and
    `align` may be empty. About 2 ns an event while `live` fits the cache.
    """
    slots = wrong[1]
    followed = len(live) > 0
    sized, aligned = len(events.size) > 0, len(events.align) > 0
    for row in range(len(events.op)):
        i = unsigned(row)
        op, slot = np.int64(events.op[i]), np.int64(events.slot[i])
        fault = -1
        if (op > THREAD_EXIT and op < MALLOPT) or op > TOUCH:
            fault = 0
        elif slot < -1 or slot >= slots or (slot < 0 and op in (FREE, REALLOC)):
            fault = 1
        elif op == TOUCH:
            if slot < 0:
                fault = 1
            elif followed:
                bits = np.int64(live[unsigned(slot)])
                if bits == 0 or (sized and (bits == 1 or events.size[i] >> bits)):
                    fault = 7
        elif op >= THREAD_EXIT:
            if slot >= 0:
                fault = 1
        elif slot >= 0 and followed:
            alive = np.int64(live[unsigned(slot)])
            if op == FREE:
                if not alive:
                    fault = 2
                live[unsigned(slot)] = 0
            elif op == REALLOC:
                if not alive:
                    fault = 3
                live[unsigned(slot)] = _size_bits(events.size[i]) if sized else 1
            else:
                if alive:
                    fault = 4
                live[unsigned(slot)] = _size_bits(events.size[i]) if sized else 1
        if sized and (events.size[i] < 0 or events.size[i] >= SIZE_LIMIT):
            fault = 5
        if aligned and np.int64(events.align[i]) >= ALIGN_LIMIT:
            fault = 6
        if fault >= 0:
            wrong[0] = fault
            return row
    return -1


@kernel
def tally(events, sizes, written, totals):
    """Add sound events to `totals` int64[TOTALS]; int64[slot] `sizes` holds the live sizes, and
    `written` what of them is written: all of small ones, but for fresh calloc memory."""
    live_bytes, live_objects = totals[LIVE_BYTES], totals[LIVE_OBJECTS]
    for row in range(len(events.op)):
        i = unsigned(row)
        op, slot, size = np.int64(events.op[i]), np.int64(events.slot[i]), events.size[i]
        if op == THREAD_EXIT or op > NEW:
            if op == TOUCH:
                totals[TOUCHES] += 1
                totals[BEYOND] += size > sizes[unsigned(slot)]
                totals[WRITTEN_BYTES] += max(size - written[unsigned(slot)], 0)
                written[unsigned(slot)] = max(size, written[unsigned(slot)])
                totals[PEAK_WRITTEN] = max(totals[PEAK_WRITTEN], totals[WRITTEN_BYTES])
            continue
        if slot < 0:
            totals[REFUSED] += 1
            continue
        if op == FREE:
            totals[FREES] += 1
            live_objects -= 1
            live_bytes -= sizes[unsigned(slot)]
            totals[WRITTEN_BYTES] -= written[unsigned(slot)]
            written[unsigned(slot)] = 0
            continue
        if op == REALLOC:
            totals[REALLOCATIONS] += 1
            live_bytes -= sizes[unsigned(slot)]
        else:
            totals[ALLOCATIONS] += 1
            live_objects += 1
        sizes[unsigned(slot)] = size
        live_bytes += size
        now = min(written[unsigned(slot)], size)  # a realloc keeps it
        if size < LARGE_BYTES and op != CALLOC:
            now = size
        totals[WRITTEN_BYTES] += now - written[unsigned(slot)]
        written[unsigned(slot)] = now
        totals[PEAK_WRITTEN] = max(totals[PEAK_WRITTEN], totals[WRITTEN_BYTES])
        totals[PEAK_BYTES] = max(totals[PEAK_BYTES], live_bytes)
        totals[PEAK_OBJECTS] = max(totals[PEAK_OBJECTS], live_objects)
    totals[LIVE_BYTES], totals[LIVE_OBJECTS] = live_bytes, live_objects
