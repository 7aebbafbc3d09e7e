"""What a collector did: each pause, each cycle, and running totals.

    begin_pause ─► work ─► end_pause      a row of `pauses`: when, how long, how much work
    end_cycle                             a row of `cycles`: all totals as they stand now

A collector adds to the totals where it works and says nothing else; what one cycle marked is the
difference of two rows. Rows beyond the room are counted and not kept; totals stay exact.

Invariant  totals[PAUSE_TICKS] = sum of the lengths of all pauses, kept or not

Times are in ticks of `kernel.clock`: those of the replay, in which the program itself takes no
time between its events.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.clock import ticks
from heapwright.compiler.reserve import reserve

PAUSE_ROWS = 1 << 20
CYCLE_ROWS = 1 << 18

# Log.totals, and the columns of a cycle.
TOTALS = (
    "event",  # that is being replayed, written by the replay loop
    "kind",  # of the cycle: one of CYCLE_KINDS
    "start_ticks",  # of the cycle's first pause
    "end_ticks",
    "heap_before_bytes",  # occupied by objects, dead or alive, when the cycle began
    "heap_after_bytes",  # the same when it ended
    "goal_bytes",  # heap size at which the cycle was to be over, or at which it was begun
    "marked_objects",  # running totals from here on
    "marked_bytes",
    "copied_objects",  # copied, evacuated or slid
    "copied_bytes",
    "promoted_objects",  # of the copied, those that changed their generation
    "promoted_bytes",
    "swept_objects",  # found dead and reclaimed
    "swept_bytes",
    "scanned_roots",
    "remembered",  # old objects or cards visited for references to young ones
    "barriers",  # writes that took the slow path of the write barrier
    "allocated_objects",
    "allocated_bytes",
    "assist_bytes",  # marked by allocating threads
    "pause_ticks",
    "cycles",
    "pauses",
    "pause_began_ticks",
)
(
    EVENT,
    KIND,
    START_TICKS,
    END_TICKS,
    HEAP_BEFORE,
    HEAP_AFTER,
    GOAL,
    MARKED_OBJECTS,
    MARKED_BYTES,
    COPIED_OBJECTS,
    COPIED_BYTES,
    PROMOTED_OBJECTS,
    PROMOTED_BYTES,
    SWEPT_OBJECTS,
    SWEPT_BYTES,
    SCANNED_ROOTS,
    REMEMBERED,
    BARRIERS,
    ALLOCATED_OBJECTS,
    ALLOCATED_BYTES,
    ASSIST_BYTES,
    PAUSE_TICKS,
    CYCLES,
    PAUSES,
    PAUSE_BEGAN,
) = range(len(TOTALS))
CYCLE_COLUMNS = len(TOTALS)
CYCLE_KINDS = ("full", "minor")
FULL, MINOR = range(2)

# A pause's columns
PAUSE_EVENT, PAUSE_START, PAUSE_LENGTH, PAUSE_WORK, PAUSE_COLUMNS = range(5)


class Log(NamedTuple):
    """Pages of `pauses` and `cycles` cost memory when written."""

    pauses: np.ndarray  # int64[PAUSE_ROWS * PAUSE_COLUMNS], flat; ticks, and bytes of work
    cycles: np.ndarray  # int64[CYCLE_ROWS * CYCLE_COLUMNS], flat; `totals` at each cycle's end
    totals: np.ndarray  # int64[len(TOTALS)]


def log() -> Log:
    """An empty log."""
    return Log(
        pauses=reserve(PAUSE_ROWS * PAUSE_COLUMNS, np.int64),
        cycles=reserve(CYCLE_ROWS * CYCLE_COLUMNS, np.int64),
        totals=np.zeros(len(TOTALS), np.int64),
    )


@kernel(inline=True)
def _work_bytes(totals):
    return totals[MARKED_BYTES] + totals[COPIED_BYTES] + totals[SWEPT_BYTES]


@kernel
def begin_pause(log):
    """The program stands still from now on."""
    totals = log.totals
    if totals[PAUSES] < PAUSE_ROWS:
        row = totals[PAUSES] * PAUSE_COLUMNS
        log.pauses[unsigned(row + PAUSE_WORK)] = -_work_bytes(totals)
    totals[PAUSE_BEGAN] = ticks()


@kernel
def end_pause(log):
    """The program goes on."""
    totals = log.totals
    length = ticks() - totals[PAUSE_BEGAN]
    if totals[PAUSES] < PAUSE_ROWS:
        row = totals[PAUSES] * PAUSE_COLUMNS
        log.pauses[unsigned(row + PAUSE_EVENT)] = totals[EVENT]
        log.pauses[unsigned(row + PAUSE_START)] = totals[PAUSE_BEGAN]
        log.pauses[unsigned(row + PAUSE_LENGTH)] = length
        log.pauses[unsigned(row + PAUSE_WORK)] += _work_bytes(totals)
    totals[PAUSE_TICKS] += length
    totals[PAUSES] += 1


@kernel
def begin_cycle(log, kind, heap_bytes, goal_bytes):
    """A collection of `kind` begins at a heap of `heap_bytes`."""
    log.totals[KIND] = kind
    log.totals[START_TICKS] = ticks()
    log.totals[HEAP_BEFORE] = heap_bytes
    log.totals[GOAL] = goal_bytes


@kernel
def end_cycle(log, heap_bytes):
    """The collection is over and left `heap_bytes`."""
    totals = log.totals
    totals[HEAP_AFTER] = heap_bytes
    totals[END_TICKS] = ticks()
    if totals[CYCLES] < CYCLE_ROWS:
        row = totals[CYCLES] * CYCLE_COLUMNS
        for column in range(CYCLE_COLUMNS):
            log.cycles[unsigned(row + column)] = totals[unsigned(column)]
    totals[CYCLES] += 1
