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
from heapwright.compiler.record import record, words
from heapwright.managers.runtime.go.layout import (
    NEVER,
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

# Pacer.ratios
WORK_PER_BYTE, CONS_MARK, LAST_CONS_MARKS = range(3)
KEPT_CONS_MARKS = 4


# Bytes unless another unit is named.
@record(
    "gogc",  # setting, percent; -1 off
    "globals_",  # setting: global variables that may hold references
    "stacks",  # scanned in the last cycle
    "marked",  # by the last cycle
    "percent_goal",  # goal without the memory limit, NEVER when GOGC is off
    "sweep_trigger",  # least trigger that leaves time to sweep, 0 when all is swept
    "triggered",  # LIVE when the current cycle began, NEVER between cycles
    "last_work",  # on the heap, by the last cycle
    "heap_work",  # of the current cycle
    "stack_work",
    "globals_work",
    "runway",
    "last_goal",  # when the last cycle ended
    "last_in_use",
    "next_stacks",  # setting: what the next cycle will scan of stacks
    array="counts",
)
class Pacer(NamedTuple):
    """What the pacer knows. It reads the heap's meters and writes live, scan and scavenge_goal."""

    counts: np.ndarray  # int64[word]
    ratios: np.ndarray  # float64[LAST_CONS_MARKS + KEPT_CONS_MARKS]


def pacer(gogc: int, marked_bytes: int, globals_bytes: int, stacks_bytes: int) -> Pacer:
    """Before the first cycle, with so much live. `commit` it before it is asked."""
    counts = words(
        Pacer,
        gogc=gogc,
        marked=marked_bytes,
        globals_=globals_bytes,
        stacks=stacks_bytes,
        next_stacks=stacks_bytes,
        triggered=NEVER,
    )
    return Pacer(counts, np.zeros(LAST_CONS_MARKS + KEPT_CONS_MARKS, np.float64))


@kernel
def commit(pacer, go, is_swept):
    """Set goals for the next cycle, from what the last one left."""
    pacer.sweep_trigger = 0 if is_swept else go.live + SWEEP_DISTANCE_BYTES
    roots = pacer.stacks + pacer.globals_
    goal = NEVER
    if pacer.gogc >= 0:
        goal = pacer.marked + (pacer.marked + roots) * pacer.gogc // 100
        goal = max(goal, HEAP_MINIMUM_BYTES * pacer.gogc // 100)
    pacer.percent_goal = goal
    program_for_each_marker = (1 - UTILIZATION) / UTILIZATION
    work = pacer.last_work + roots
    pacer.runway = int(pacer.ratios[CONS_MARK] * program_for_each_marker * work)


@kernel
def _limit_goal(pacer, go):
    """The heap that the memory limit leaves room for; NEVER when there is no limit."""
    limit = go.memory_limit
    if limit == NEVER:
        return NEVER
    objects = go.allocated_total - go.freed_total
    ready = go.in_use + go.free + go.outside
    taken = ready - go.free - objects + max(0, ready - limit)
    if taken >= limit:
        return pacer.marked
    goal = limit - taken
    headroom = max(goal // 100 * LIMIT_HEADROOM_PERCENT, LIMIT_HEADROOM_BYTES)
    return max(goal - headroom, headroom, pacer.marked)


@kernel
def heap_goal(pacer, go):
    """(LIVE at which the next cycle, or this one, should be over, least trigger)."""
    limited = _limit_goal(pacer, go)
    if limited < pacer.percent_goal:
        return limited, 0
    goal = max(pacer.percent_goal, pacer.sweep_trigger)
    if pacer.triggered != NEVER:
        goal = max(goal, pacer.triggered + MIN_RUNWAY_BYTES)
    return goal, pacer.sweep_trigger


@kernel
def trigger(pacer, go):
    """(LIVE at which the next cycle begins, its goal)."""
    goal, least = heap_goal(pacer, go)
    marked = pacer.marked
    if marked >= goal:
        return goal, goal
    share = (goal - marked) // SHARES
    least = max(least, marked + share * LEAST_SHARE)
    most = marked + share * MOST_SHARE
    if goal > HEAP_MINIMUM_BYTES:
        most = max(most, goal - HEAP_MINIMUM_BYTES)
    wanted = least if pacer.runway > goal else goal - pacer.runway
    return min(max(wanted, least), max(most, least)), goal


@kernel
def start_cycle(pacer, go):
    """A cycle begins now."""
    pacer.heap_work = pacer.stack_work = pacer.globals_work = 0
    pacer.triggered = go.live
    revise(pacer, go)


@kernel
def revise(pacer, go):
    """Set anew how much work each allocated byte must pay for, so that marking ends at the goal."""
    work = pacer.heap_work + pacer.stack_work + pacer.globals_work
    roots = pacer.stacks + pacer.globals_
    goal, _ = heap_goal(pacer, go)
    expected = pacer.last_work + roots
    most_work = go.scan + roots
    if work > expected:  # the heap has grown: go on as far beyond the goal as worst-case work needs
        triggered = pacer.triggered
        stretch = (goal - triggered) / max(expected, 1)
        gogc = pacer.gogc if pacer.gogc >= 0 else 100000
        goal = min(int(stretch * most_work) + triggered, int((1.0 + gogc / 100.0) * goal))
        expected = most_work
    if go.live > goal:
        goal = int(goal * 1.1)
        expected = most_work
    pacer.ratios[WORK_PER_BYTE] = max(expected - work, 1000) / max(goal - go.live, 1)


@kernel
def end_cycle(pacer, go, utilization):
    """Marking is over and took this share of the processors' time: estimate cons/mark."""
    ratios = pacer.ratios
    pacer.last_goal, _ = heap_goal(pacer, go)
    work = pacer.heap_work + pacer.stack_work + pacer.globals_work
    if go.live <= pacer.triggered or not work:
        return
    measured = (go.live - pacer.triggered) * utilization / (work * (1 - utilization))
    ratios[CONS_MARK] = measured
    for i in range(LAST_CONS_MARKS, LAST_CONS_MARKS + KEPT_CONS_MARKS):
        ratios[CONS_MARK] = max(ratios[CONS_MARK], ratios[i])
    for i in range(LAST_CONS_MARKS, LAST_CONS_MARKS + KEPT_CONS_MARKS - 1):
        ratios[i] = ratios[i + 1]
    ratios[LAST_CONS_MARKS + KEPT_CONS_MARKS - 1] = measured


@kernel
def reset_live(pacer, go, marked_bytes):
    """The cycle marked so much: that is the live heap now."""
    pacer.marked = go.live = marked_bytes
    pacer.last_work = go.scan = pacer.heap_work
    pacer.stacks = pacer.stack_work
    pacer.triggered = NEVER


@kernel
def pace_scavenger(pacer, go):
    """Set how much free memory is kept: what the next goal needs, and a tenth."""
    kept = go.in_use + go.free
    goal = NEVER
    if pacer.last_goal:
        next_goal, _ = heap_goal(pacer, go)
        goal = int(pacer.last_in_use * (next_goal / pacer.last_goal))
        goal += goal // RETAIN_EXTRA
        goal = (goal + OS_PAGE_BYTES - 1) & ~(OS_PAGE_BYTES - 1)
        if kept - goal < OS_PAGE_BYTES:
            goal = NEVER
    limit = go.memory_limit
    if limit != NEVER and kept + go.outside > int(limit * LIMIT_SHARE):
        goal = min(goal, int(limit * LIMIT_SHARE) - go.outside)
    go.scavenge_goal = goal
