"""What a collector did, read from its log after a replay.

    log rows in ticks ─► Clock ─► nanoseconds of replay ─► pauses, utilisation, cycles

Terms      minimum mutator utilisation: of all spans of the replay as long as a window, the least
           share in which the program was not stopped (Cheng and Blelloch, PLDI 2001, section 4)
Omits      time the program itself would take: so utilisation is that of a program that does
           nothing but ask for memory and write references, a lower bound of a real one's
"""

import time
from typing import Any

import numpy as np

from heapwright.collectors.log import (
    COPIED_BYTES,
    CYCLE_COLUMNS,
    CYCLE_KINDS,
    CYCLE_ROWS,
    CYCLES,
    END_TICKS,
    EVENT,
    GOAL,
    HEAP_AFTER,
    HEAP_BEFORE,
    KIND,
    MARKED_OBJECTS,
    PAUSE_COLUMNS,
    PAUSE_LENGTH,
    PAUSE_ROWS,
    PAUSE_START,
    PAUSE_TICKS,
    PAUSES,
    START_TICKS,
    TOTALS,
    Log,
)
from heapwright.compiler.clock import now
from heapwright.result import CYCLE, Collecting

CYCLES_SHOWN = 2000  # rows of Collecting.cycles, at most
WINDOWS = 40  # of the curve of minimum mutator utilisation
SHORTEST_WINDOW_NS = 1000
COUNTED = TOTALS[MARKED_OBJECTS:PAUSE_TICKS]  # running totals of work


class Clock:
    """Ticks as nanoseconds of replay: what passes between two batches does not count."""

    def __init__(self) -> None:
        self._ticks: list[int] = []  # a batch began, ended, the next one began, ...
        self._ns: list[int] = []
        self._began = (0, 0)
        self.elapsed_ns = 0

    def start(self) -> None:
        """A batch begins."""
        self._began = time.perf_counter_ns(), int(now())

    def stop(self) -> None:
        """It ended."""
        ns, ticks = time.perf_counter_ns(), int(now())
        self._ticks += [self._began[1], ticks]
        self._ns.append(self.elapsed_ns)
        self.elapsed_ns += ns - self._began[0]
        self._ns.append(self.elapsed_ns)

    def nanoseconds(self, ticks: np.ndarray) -> np.ndarray:
        """float64: when it was, since the replay began."""
        return np.interp(ticks, self._ticks, self._ns)


def collected(twin: Any) -> Collecting | None:
    """What the collector of a manager that has one did in a Replay; if the manager's `aged` tells
    of its generations, they too."""
    if not twin.collected:
        return None
    did = collecting(twin.heap.log, twin.clock)
    if hasattr(twin.module, "aged"):
        did.generations = twin.module.aged(twin.heap)
    return did


def collecting(log: Log, clock: Clock) -> Collecting:
    """What `log` says of the replay that `clock` timed."""
    totals = dict(zip(TOTALS, log.totals.tolist(), strict=True))
    kept = min(int(log.totals[PAUSES]), PAUSE_ROWS)
    rows = log.pauses[: kept * PAUSE_COLUMNS].reshape(kept, PAUSE_COLUMNS)
    begin = clock.nanoseconds(rows[:, PAUSE_START])
    end = clock.nanoseconds(rows[:, PAUSE_START] + rows[:, PAUSE_LENGTH])
    kept = min(int(log.totals[CYCLES]), CYCLE_ROWS)
    cycles = log.cycles[: kept * CYCLE_COLUMNS].reshape(kept, CYCLE_COLUMNS)
    kinds = np.bincount(cycles[:, KIND], minlength=len(CYCLE_KINDS)).tolist()
    lengths = end - begin
    stopped = float(lengths.sum())
    return Collecting(
        collections=dict(zip(CYCLE_KINDS, kinds, strict=True)),
        pauses=totals["pauses"],
        pause_ns=_percentiles(lengths),
        pause_histogram=_histogram(lengths),
        utilisation=1 - stopped / clock.elapsed_ns if clock.elapsed_ns else 1.0,
        minimum_utilisation=_utilisation(begin, end, clock.elapsed_ns),
        totals={name: totals[name] for name in COUNTED},
        survival=_survival(cycles),
        goal_bytes=_goals(cycles),
        cycles=_shown(cycles, clock),
    )


def _percentiles(lengths: np.ndarray) -> dict[str, int]:
    """Of the pauses, in nanoseconds; all 0 without one."""
    points = {"median": 50, "p90": 90, "p99": 99, "longest": 100}
    found = np.percentile(lengths, list(points.values())) if len(lengths) else np.zeros(len(points))
    named = dict(zip(points, np.rint(found).astype(np.int64).tolist(), strict=True))
    return named | {"total": int(lengths.sum())}


def _histogram(lengths: np.ndarray) -> list[int]:
    """Pauses of less than 1, 2, 4, ... nanoseconds, each counted once."""
    powers = np.frexp(lengths)[1]
    return np.bincount(np.maximum(powers, 0)).tolist() if len(lengths) else []


def _utilisation(begin: np.ndarray, end: np.ndarray, elapsed_ns: int) -> list[tuple[int, float]]:
    """(window in nanoseconds, minimum utilisation), windows ascending.

    A span with least utilisation can be slid until it begins with a pause or ends with one.
    """
    if not len(begin) or elapsed_ns <= SHORTEST_WINDOW_NS:
        return []
    edges = np.column_stack((begin, end)).ravel()
    stopped = np.cumsum(np.column_stack((np.zeros(len(begin)), end - begin)).ravel())

    def stopped_before(moment: np.ndarray) -> np.ndarray:
        return np.interp(moment, edges, stopped)

    curve = []
    shortest = max(SHORTEST_WINDOW_NS, (end - begin).max() / 4)  # none in any up to the longest
    for window in np.geomspace(min(shortest, elapsed_ns), elapsed_ns, WINDOWS):
        starts = np.clip(np.concatenate((begin, end - window)), 0, elapsed_ns - window)
        most = (stopped_before(starts + window) - stopped_before(starts)).max()
        curve.append((round(window), round(float(1 - most / window), 6)))
    return curve


def _survived(cycles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64[cycle] twice: the bytes that survived, and those that the collection looked at.

    A minor collection looks at the young generation: what it copied survived, and what the heap
    shrank by did not.
    """
    copied = np.diff(cycles[:, COPIED_BYTES], prepend=0)
    minor = cycles[:, KIND] == CYCLE_KINDS.index("minor")
    survived = np.where(minor, copied, cycles[:, HEAP_AFTER])
    return survived, survived + np.maximum(cycles[:, HEAP_BEFORE] - cycles[:, HEAP_AFTER], 0)


def _survival(cycles: np.ndarray) -> dict[str, float]:
    """By kind of collection, of the bytes that it looked at the share that survived."""
    found = {}
    survived, looked_at = _survived(cycles)
    for number, kind in enumerate(CYCLE_KINDS):
        chosen = cycles[:, KIND] == number
        if looked_at[chosen].sum() > 0:
            found[kind] = float(survived[chosen].sum() / looked_at[chosen].sum())
    return found


def _goals(cycles: np.ndarray) -> dict[str, int]:
    """The goals that were set, in bytes; nothing where none was."""
    goals = cycles[:, GOAL][cycles[:, GOAL] > 0]
    if not len(goals):
        return {}
    return {"least": int(goals.min()), "median": int(np.median(goals)), "most": int(goals.max())}


def _shown(cycles: np.ndarray, clock: Clock) -> np.ndarray:
    """int64[cycle, len(CYCLE)]: CYCLES_SHOWN of them at most, evenly chosen."""
    survived, _ = _survived(cycles)
    chosen = np.arange(len(cycles))
    if len(cycles) > CYCLES_SHOWN:
        chosen = np.linspace(0, len(cycles) - 1, CYCLES_SHOWN).astype(np.int64)
    cycles = cycles[chosen]
    columns: dict[str, Any] = {
        "event": cycles[:, EVENT],
        "kind": cycles[:, KIND],
        "begin_ns": np.rint(clock.nanoseconds(cycles[:, START_TICKS])),
        "end_ns": np.rint(clock.nanoseconds(cycles[:, END_TICKS])),
        "before_bytes": cycles[:, HEAP_BEFORE],
        "after_bytes": cycles[:, HEAP_AFTER],
        "goal_bytes": cycles[:, GOAL],
        "survived_bytes": survived[chosen],
    }
    return np.column_stack([columns[name] for name in CYCLE]).astype(np.int64)
