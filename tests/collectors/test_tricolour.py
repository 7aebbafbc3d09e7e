"""The incremental collector: a cycle ends before its goal, in increments of bounded work."""

import numpy as np
import pytest

from heapwright.collectors import barriers
from heapwright.collectors import log as logs
from heapwright.collectors.tricolour import IDLE, MARKING
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.managers.textbook.tri_colour import manager as tri_colour
from heapwright.trace.schema import NEW, POP, PUSH, WRITE, events
from naive.graph_program import Program, random_rows
from trial import CollectedTrial

ROWS = random_rows(3, 400 if INTERPRETED else 4000, 300)
SMALL = {"minimum_bytes": 8192, "growth_percent": 60, "increment_bytes": 256}
COLUMNS = ("op", "slot", "size", "field", "target")


def replayed(rows=ROWS, **settings):
    """A trial that has replayed a program in one batch."""
    trial = CollectedTrial("tri-colour", SMALL | settings)
    trial.replay(events(**dict(zip(COLUMNS, np.array(rows).T, strict=True))))
    assert trial.broken() == 0
    return trial


@pytest.mark.parametrize("kind", range(len(barriers.NAMES)), ids=barriers.NAMES)
def test_a_cycle_ends_before_its_goal(kind):
    trial = CollectedTrial("tri-colour", SMALL | {"barrier": kind})
    heap, phases = trial.heap, set()
    for row in ROWS:
        trial.step(*row)
        phase = int(heap.marking.phase)
        phases.add(phase)
        if phase != IDLE:
            assert heap.objects.occupied <= heap.pace.goal
    assert (MARKING in phases) == (kind != barriers.NONE)
    totals = heap.log.totals
    assert totals[logs.CYCLES] > 1
    assert totals[logs.ALLOCATED_OBJECTS] - totals[logs.SWEPT_OBJECTS] == heap.objects.objects
    assert (totals[logs.BARRIERS] > 0) == (kind != barriers.NONE)


def list_and_garbage():
    """A list of 200 nodes that a local holds, then 400 objects that die at once."""
    program = Program()
    program.do(NEW, 0, 100, 1)
    for slot in range(1, 200):
        program.do(PUSH)
        program.do(NEW, slot, 100, 1)
        program.do(WRITE, slot - 1, 0, 0, slot)
        program.do(POP)
    for _ in range(400):
        program.do(PUSH)
        program.do(NEW, 200, 100, 0)
        program.do(POP)
    return program.rows


def test_increments_bound_the_work_of_a_pause():
    rows = list_and_garbage()

    def most_work(kind):
        """Most bytes marked and swept in one pause."""
        log = replayed(rows, barrier=kind).heap.log
        pauses = log.pauses[: log.totals[logs.PAUSES] * logs.PAUSE_COLUMNS]
        return pauses.reshape(-1, logs.PAUSE_COLUMNS)[:, logs.PAUSE_WORK].max()

    assert most_work(barriers.HYBRID) * 4 < most_work(barriers.NONE)


def test_a_heap_of_fixed_size_takes_no_more():
    trial = replayed(heap_bytes=1 << 18)
    tags = trial.heap.objects.bins.tags.fields
    assert tags[1] - tags[0] <= 1 << 18
    assert trial.heap.paths[tri_colour.LAST_RESORT] == 0


def test_the_last_resort_collects_in_full_or_refuses():
    trial = CollectedTrial("tri-colour", {"heap_bytes": 1 << 14, "start_percent": 100})
    held = []
    with pytest.raises(AssertionError, match="out of memory"):
        for slot in range(40):
            trial.step(NEW, slot, 1000)
            held.append(slot)
    assert len(held) == (1 << 14) // 1040
    assert trial.heap.paths[tri_colour.LAST_RESORT] > 0


@pytest.mark.parametrize("knob", [{"barrier": 5}, {"start_percent": 0}, {"increment_bytes": -1}])
def test_a_knob_out_of_range(knob):
    config = tri_colour.Config()._replace(**knob)
    with pytest.raises(HeapwrightError, match="tri-colour"):
        tri_colour.boot(machine(), config, None)
