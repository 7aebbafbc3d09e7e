"""When Go collects: the heap's goal, the trigger before it, and how much an allocation must mark.

    │ marked │ .................. trigger ....... goal │
             └ program alone ──┘       └ it marks too ┘

    goal     marked + (marked + stacks + globals) x GOGC / 100, at least 4 MiB x GOGC / 100; less
             where the memory limit asks for it
    trigger  goal - runway, within [0.7, 0.95] of the way from marked to goal (or goal - 4 MiB if
             that is more); runway: what the program allocates while the heap is marked

Terms      work: bytes of references scanned; cons/mark: bytes allocated per byte of work at the
           goal's share of a quarter of the processors
Source     Go 1.27 runtime/mgcpacer.go; Knyszek, "GC pacer redesign", proposal 44167
Omits      how the quarter is made up of dedicated, fractional and idle workers; the limiter that
           keeps collection at half of the processors under a memory limit
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel
from heapwright.managers.runtime.go.layout import (
    ALLOCATED_TOTAL,
    FREE,
    FREED_TOTAL,
    IN_USE,
    LIVE,
    MEMORY_LIMIT,
    NEVER,
    OUTSIDE,
    SCAN,
    SCAVENGE_GOAL,
)

HEAP_MINIMUM_BYTES = 4 << 20  # at GOGC=100; runtime: defaultHeapMinimum
SWEEP_DISTANCE_BYTES = 1 << 20  # runtime: sweepMinHeapDistance
MIN_RUNWAY_BYTES = 64 << 10
LIMIT_HEADROOM_BYTES, LIMIT_HEADROOM_PERCENT = 1 << 20, 3
UTILIZATION = 0.25  # share of the processors that marks; runtime: gcGoalUtilization
LEAST_SHARE, MOST_SHARE, SHARES = 45, 61, 64  # of the way to the goal: bounds of the trigger
RETAIN_EXTRA = 10  # the scavenger leaves a tenth over the goal; runtime: retainExtraPercent
LIMIT_SHARE = 0.95  # of the memory limit that the scavenger aims at
OS_PAGE_BYTES = 4096

# Pacer.counts: bytes unless another unit is named
(
    GOGC,  # setting, percent; -1 off
    GLOBALS,  # setting: global variables that may hold references
    STACKS,  # scanned in the last cycle
    MARKED,  # by the last cycle
    PERCENT_GOAL,  # goal without the memory limit, NEVER when GOGC is off
    SWEEP_TRIGGER,  # least trigger that leaves time to sweep, 0 when all is swept
    TRIGGERED,  # LIVE when the current cycle began, NEVER between cycles
    LAST_WORK,  # on the heap, by the last cycle
    HEAP_WORK,  # of the current cycle
    STACK_WORK,
    GLOBALS_WORK,
    RUNWAY,
    LAST_GOAL,  # when the last cycle ended
    LAST_IN_USE,
    NEXT_STACKS,  # setting: what the next cycle will scan of stacks
    COUNTS,
) = range(16)

# Pacer.ratios
WORK_PER_BYTE, CONS_MARK, LAST_CONS_MARKS = range(3)
KEPT_CONS_MARKS = 4


class Pacer(NamedTuple):
    """What the pacer knows. It reads the heap's meters and writes LIVE, SCAN and SCAVENGE_GOAL."""

    counts: np.ndarray  # int64[COUNTS]
    ratios: np.ndarray  # float64[LAST_CONS_MARKS + KEPT_CONS_MARKS]


def pacer(gogc: int, marked_bytes: int, globals_bytes: int, stacks_bytes: int) -> Pacer:
    """Before the first cycle, with so much live. `commit` it before it is asked."""
    counts = np.zeros(COUNTS, np.int64)
    counts[GOGC], counts[MARKED] = gogc, marked_bytes
    counts[GLOBALS], counts[STACKS] = globals_bytes, stacks_bytes
    counts[NEXT_STACKS] = stacks_bytes
    counts[TRIGGERED] = NEVER
    return Pacer(counts, np.zeros(LAST_CONS_MARKS + KEPT_CONS_MARKS, np.float64))


@kernel
def commit(pacer, meters, is_swept):
    """Set goals for the next cycle, from what the last one left."""
    counts = pacer.counts
    counts[SWEEP_TRIGGER] = 0 if is_swept else meters[LIVE] + SWEEP_DISTANCE_BYTES
    roots = counts[STACKS] + counts[GLOBALS]
    goal = NEVER
    if counts[GOGC] >= 0:
        goal = counts[MARKED] + (counts[MARKED] + roots) * counts[GOGC] // 100
        goal = max(goal, HEAP_MINIMUM_BYTES * counts[GOGC] // 100)
    counts[PERCENT_GOAL] = goal
    program_for_each_marker = (1 - UTILIZATION) / UTILIZATION
    work = counts[LAST_WORK] + roots
    counts[RUNWAY] = int(pacer.ratios[CONS_MARK] * program_for_each_marker * work)


@kernel
def _limit_goal(pacer, meters):
    """The heap that the memory limit leaves room for; NEVER when there is no limit."""
    limit = meters[MEMORY_LIMIT]
    if limit == NEVER:
        return NEVER
    objects = meters[ALLOCATED_TOTAL] - meters[FREED_TOTAL]
    ready = meters[IN_USE] + meters[FREE] + meters[OUTSIDE]
    taken = ready - meters[FREE] - objects + max(0, ready - limit)
    if taken >= limit:
        return pacer.counts[MARKED]
    goal = limit - taken
    headroom = max(goal // 100 * LIMIT_HEADROOM_PERCENT, LIMIT_HEADROOM_BYTES)
    return max(goal - headroom, headroom, pacer.counts[MARKED])


@kernel
def heap_goal(pacer, meters):
    """(LIVE at which the next cycle, or this one, should be over, least trigger)."""
    counts = pacer.counts
    limited = _limit_goal(pacer, meters)
    if limited < counts[PERCENT_GOAL]:
        return limited, 0
    goal = max(counts[PERCENT_GOAL], counts[SWEEP_TRIGGER])
    if counts[TRIGGERED] != NEVER:
        goal = max(goal, counts[TRIGGERED] + MIN_RUNWAY_BYTES)
    return goal, counts[SWEEP_TRIGGER]


@kernel
def trigger(pacer, meters):
    """(LIVE at which the next cycle begins, its goal)."""
    counts = pacer.counts
    goal, least = heap_goal(pacer, meters)
    marked = counts[MARKED]
    if marked >= goal:
        return goal, goal
    share = (goal - marked) // SHARES
    least = max(least, marked + share * LEAST_SHARE)
    most = marked + share * MOST_SHARE
    if goal > HEAP_MINIMUM_BYTES:
        most = max(most, goal - HEAP_MINIMUM_BYTES)
    wanted = least if counts[RUNWAY] > goal else goal - counts[RUNWAY]
    return min(max(wanted, least), max(most, least)), goal


@kernel
def start_cycle(pacer, meters):
    """A cycle begins now."""
    counts = pacer.counts
    counts[HEAP_WORK] = counts[STACK_WORK] = counts[GLOBALS_WORK] = 0
    counts[TRIGGERED] = meters[LIVE]
    revise(pacer, meters)


@kernel
def revise(pacer, meters):
    """Set anew how much work each allocated byte must pay for, so that marking ends at the goal."""
    counts = pacer.counts
    work = counts[HEAP_WORK] + counts[STACK_WORK] + counts[GLOBALS_WORK]
    roots = counts[STACKS] + counts[GLOBALS]
    goal, _ = heap_goal(pacer, meters)
    expected = counts[LAST_WORK] + roots
    most_work = meters[SCAN] + roots
    if work > expected:  # the heap has grown: go on as far beyond the goal as worst-case work needs
        triggered = counts[TRIGGERED]
        stretch = (goal - triggered) / max(expected, 1)
        gogc = counts[GOGC] if counts[GOGC] >= 0 else 100000
        goal = min(int(stretch * most_work) + triggered, int((1.0 + gogc / 100.0) * goal))
        expected = most_work
    if meters[LIVE] > goal:
        goal = int(goal * 1.1)
        expected = most_work
    pacer.ratios[WORK_PER_BYTE] = max(expected - work, 1000) / max(goal - meters[LIVE], 1)


@kernel
def end_cycle(pacer, meters, utilization):
    """Marking is over and took this share of the processors' time: estimate cons/mark."""
    counts, ratios = pacer.counts, pacer.ratios
    counts[LAST_GOAL], _ = heap_goal(pacer, meters)
    work = counts[HEAP_WORK] + counts[STACK_WORK] + counts[GLOBALS_WORK]
    if meters[LIVE] <= counts[TRIGGERED] or not work:
        return
    measured = (meters[LIVE] - counts[TRIGGERED]) * utilization / (work * (1 - utilization))
    ratios[CONS_MARK] = measured
    for i in range(LAST_CONS_MARKS, LAST_CONS_MARKS + KEPT_CONS_MARKS):
        ratios[CONS_MARK] = max(ratios[CONS_MARK], ratios[i])
    for i in range(LAST_CONS_MARKS, LAST_CONS_MARKS + KEPT_CONS_MARKS - 1):
        ratios[i] = ratios[i + 1]
    ratios[LAST_CONS_MARKS + KEPT_CONS_MARKS - 1] = measured


@kernel
def reset_live(pacer, meters, marked_bytes):
    """The cycle marked so much: that is the live heap now."""
    counts = pacer.counts
    counts[MARKED] = meters[LIVE] = marked_bytes
    counts[LAST_WORK] = meters[SCAN] = counts[HEAP_WORK]
    counts[STACKS] = counts[STACK_WORK]
    counts[TRIGGERED] = NEVER


@kernel
def pace_scavenger(pacer, meters):
    """Set how much free memory is kept: what the next goal needs, and a tenth."""
    counts = pacer.counts
    kept = meters[IN_USE] + meters[FREE]
    goal = NEVER
    if counts[LAST_GOAL]:
        next_goal, _ = heap_goal(pacer, meters)
        goal = int(counts[LAST_IN_USE] * (next_goal / counts[LAST_GOAL]))
        goal += goal // RETAIN_EXTRA
        goal = (goal + OS_PAGE_BYTES - 1) & ~(OS_PAGE_BYTES - 1)
        if kept - goal < OS_PAGE_BYTES:
            goal = NEVER
    limit = meters[MEMORY_LIMIT]
    if limit != NEVER and kept + meters[OUTSIDE] > int(limit * LIMIT_SHARE):
        goal = min(goal, int(limit * LIMIT_SHARE) - meters[OUTSIDE])
    meters[SCAVENGE_GOAL] = goal
