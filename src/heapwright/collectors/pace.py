"""When to collect: a fixed heap is full, a growing one has reached its goal.

    fixed      goal = limit
    growing    goal = max(minimum, live after the last collection x (1 + growth_percent / 100))

Terms      limit: most bytes of the heap, 0: it grows; goal: occupied bytes at which a cycle begins;
           poor: a full collection that recovered less than 1 / POOR_PART of a fixed heap
Invariant  goal = limit while there is a limit                                       (check)
Source     Jones, Hosking and Moss, "The Garbage Collection Handbook", 2nd edition, section 1.4; the
           end of patience is HotSpot's (GCHeapFreeLimit and GCTimeLimit: "GC overhead limit")
Omits      time: patience is counted in collections, so that a replay repeats
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel
from heapwright.compiler.record import record, words
from heapwright.errors import HeapwrightError

POOR_PART = 64
PATIENCE = 8  # poor collections in a row after which the heap counts as too small


@record(
    "limit",  # bytes of the heap, 0: it grows
    "minimum",  # bytes; of a heap that grows, the least goal
    "growth_percent",
    "goal",  # bytes
    "poor",  # collections in a row
)
class Pace(NamedTuple):
    """The next goal."""

    fields: np.ndarray  # int64[word]


def pace(manager_name, config, least_bytes):
    """The pace that `config` asks for by `heap_bytes`, `minimum_bytes` and `growth_percent`.

    HeapwrightError for a negative knob, or a heap of fewer than `least_bytes`.
    """
    for knob, value in config._asdict().items():
        if value < 0:
            raise HeapwrightError(f"{manager_name}.{knob} is {value}; no knob is negative.")
    if 0 < config.heap_bytes < least_bytes:
        raise HeapwrightError(
            f"{manager_name}.heap_bytes is {config.heap_bytes:,}; it is 0, for a heap that grows, "
            f"or at least {least_bytes:,}."
        )
    goal = config.heap_bytes or max(config.minimum_bytes, least_bytes)
    return Pace(
        words(
            Pace,
            limit=config.heap_bytes,
            minimum=goal,
            growth_percent=config.growth_percent,
            goal=goal,
        )
    )


@kernel
def goal_of(pace, live):
    """The goal after a collection that leaves `live` bytes."""
    if pace.limit:
        return pace.limit
    return max(pace.minimum, live + live * pace.growth_percent // 100)


@kernel
def collected(pace, before, after, need):
    """Set the next goal: a full collection at `before` occupied bytes left `after`, and `need` more
    are wanted. Counts whether it was poor."""
    pace.goal = goal_of(pace, after + need)
    pace.poor = pace.poor + 1 if (before - after) * POOR_PART < pace.limit else 0


@kernel
def may_hold(pace, need):
    """Whether a collection could make room for `need` bytes, and is worth its time."""
    limit = pace.limit
    return (limit == 0 or need <= limit) and pace.poor < PATIENCE


def thrashing(pace):
    """A sentence if the heap was given up as too small, as notes of a manager's figures."""
    if pace.poor < PATIENCE:
        return []
    return [
        f"Refused an object after {PATIENCE} full collections in a row that each recovered less "
        f"than 1/{POOR_PART} of heap_bytes: the heap is too small for the program."
    ]


@kernel
def check(pace):
    """Whether the goal is the limit, if there is one."""
    return pace.limit in (0, pace.goal)
