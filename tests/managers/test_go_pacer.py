"""The pacer's goals by hand, and over simulated programs as Go's own test of it has them.

A program is four figures a cycle: KiB allocated and scanned in a millisecond of a processor, growth
of the live heap, and the share of it that holds references. Go 1.27, runtime/mgcpacer_test.go.
"""

from typing import NamedTuple

import pytest

from heapwright.machine import machine
from heapwright.managers.runtime.go.layout import (
    NEVER,
    go_heap,
)
from heapwright.managers.runtime.go.pacer import (
    UTILIZATION,
    WORK_PER_BYTE,
    commit,
    end_cycle,
    heap_goal,
    pace_scavenger,
    pacer,
    reset_live,
    revise,
    start_cycle,
    trigger,
)

MIB = 1 << 20
PERIOD_MS = 0.5  # between two revisions
FIRST_MARKED = 256 << 10
CYCLES = 50


def paced(gogc, marked, globals_bytes=0, stacks_bytes=0):
    """A committed pacer and a heap without a memory limit."""
    go = go_heap(machine(), 1)
    go.memory_limit = NEVER
    go.live = marked
    made = pacer(gogc, marked, globals_bytes, stacks_bytes)
    commit(made, go, 1)
    return made, go


@pytest.mark.parametrize(
    ("gogc", "marked", "roots", "goal"),
    [
        (100, 0, 0, 4 * MIB),
        (200, 0, 0, 8 * MIB),
        (50, 0, 0, 2 * MIB),
        (0, 0, 0, 0),
        (100, 10 * MIB, 0, 20 * MIB),
        (100, 10 * MIB, 3 * MIB, 23 * MIB),
        (300, 10 * MIB, 2 * MIB, 46 * MIB),
        (0, 10 * MIB, 0, 10 * MIB),
        (-1, 10 * MIB, 0, NEVER),
    ],
)
def test_the_goal(gogc, marked, roots, goal):
    made, go = paced(gogc, marked, roots)
    assert heap_goal(made, go) == (goal, 0)


@pytest.mark.parametrize(
    ("marked", "goal", "begins"),
    [
        (0, 4 * MIB, 4 * MIB // 64 * 61),  # at most 61/64 of the way
        (6 * MIB, 12 * MIB, 6 * MIB + 6 * MIB // 64 * 61),
        (160 * MIB, 320 * MIB, 316 * MIB),  # or 4 MiB before the goal
    ],
)
def test_without_a_runway_a_cycle_begins_late(marked, goal, begins):
    made, go = paced(100, marked)
    assert trigger(made, go) == (begins, goal)


def test_the_memory_limit_lowers_the_goal():
    made, go = paced(-1, 10 * MIB)
    go.memory_limit = 100 * MIB
    go.in_use, go.free, go.outside = 30 * MIB, 5 * MIB, 10 * MIB
    go.allocated_total = 28 * MIB  # 2 MiB of spans hold no object
    assert heap_goal(made, go)[0] == 88 * MIB - 88 * MIB // 100 * 3
    go.outside = 200 * MIB  # over the limit whatever the heap does: what is live
    assert heap_goal(made, go)[0] == 10 * MIB


def test_sweeping_gets_its_distance():
    made, go = paced(100, 2 * MIB)
    go.live = 7 * MIB
    commit(made, go, 0)
    assert heap_goal(made, go) == (8 * MIB, 8 * MIB)


def test_the_scavenger_keeps_a_tenth_over_the_next_goal():
    made, go = paced(100, 10 * MIB)
    made.last_goal, made.last_in_use = 40 * MIB, 44 * MIB
    go.in_use, go.free = 12 * MIB, 30 * MIB
    pace_scavenger(made, go)
    assert abs(int(go.scavenge_goal) - 22 * MIB * 11 // 10) < 4096
    go.free = 2 * MIB
    pace_scavenger(made, go)
    assert go.scavenge_goal == NEVER


class Program(NamedTuple):
    """Functions of the cycle's number."""

    alloc_rate: object  # KiB per processor and ms
    growth: object  # of what survives
    scannable: object = lambda _: 1.0
    stacks: object = lambda _: 8192
    scan_rate: float = 1024.0  # KiB per processor and ms
    globals_bytes: int = 32 << 10
    gogc: int = 100
    cores: int = 8


def doubling(cycle):
    """Growth that falls from 3 to 1 in the first twelve cycles."""
    return 2.0 - min(1.0, (cycle + 1) / 12)


def step(before, after):
    """A figure that jumps in the 26th cycle."""
    return lambda cycle: before if cycle < 25 else after


PROGRAMS = {
    "steady": Program(lambda _: 33.0, doubling),
    "big-stacks": Program(
        lambda _: 132.0, doubling, stacks=lambda c: 2048 + min(1, (c + 1) / 8) * (128 << 20)
    ),
    "big-globals": Program(lambda _: 132.0, doubling, globals_bytes=128 << 20),
    "faster-allocation": Program(step(33.0, 99.0), doubling),
    "more-references": Program(lambda _: 128.0, doubling, scannable=step(0.2, 0.7)),
    "high-gogc": Program(lambda _: 165.0, doubling, gogc=1500),
}


def simulate(program, cycles):
    """[(utilization, peak over goal)] of each cycle."""
    made, go = paced(program.gogc, 0, program.globals_bytes, 0)
    born_black = 0
    results = []
    for cycle in range(cycles):
        alloc, stacks = program.alloc_rate(cycle), int(program.stacks(cycle)) // 2048 * 2048
        survives = FIRST_MARKED
        if cycle:
            survives = int((made.marked - born_black) * program.growth(cycle))
        go.live = max(go.live, trigger(made, go)[0])
        go.scan = int(go.live * program.scannable(cycle))
        made.stacks = max(made.stacks, stacks)
        start_cycle(made, go)
        left = {
            "globals_work": program.globals_bytes,
            "stack_work": stacks,
            "heap_work": int(survives * program.scannable(cycle)),
        }
        assisted = lasted = 0.0
        born_black = 0
        while sum(left.values()):
            ratio = made.ratios[WORK_PER_BYTE]
            share = max(UTILIZATION, ratio * alloc / (ratio * alloc + program.scan_rate))
            budget = int(program.scan_rate * 1024 * PERIOD_MS * program.cores * share)
            done = 0
            for kind, amount in left.items():
                part = min(amount, budget - done)
                left[kind] = amount - part
                setattr(made, kind, getattr(made, kind) + part)
                done += part
            elapsed = PERIOD_MS * done / budget
            allocated = int(alloc * 1024 * elapsed * program.cores * (1 - share))
            go.live += allocated
            go.scan += int(allocated * program.scannable(cycle))
            revise(made, go)
            assisted += elapsed * (share - UTILIZATION)
            lasted += elapsed
            born_black += allocated
        utilization = UTILIZATION + assisted / lasted
        goal = heap_goal(made, go)[0]
        results.append((utilization, go.live / goal))
        end_cycle(made, go, utilization)
        reset_live(made, go, survives + born_black)
        commit(made, go, 1)
    assert made.triggered == NEVER
    assert made.globals_ == program.globals_bytes
    return results


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_heap_settles_at_its_goal_and_a_quarter_of_the_processors(name):
    results = simulate(PROGRAMS[name], CYCLES)
    least = 0.9 if PROGRAMS[name].gogc > 1000 else 0.95
    for utilization, reached in [*results[20:24], *results[-4:]]:
        assert UTILIZATION <= utilization < UTILIZATION * 1.03
        assert least < reached < 1.05
