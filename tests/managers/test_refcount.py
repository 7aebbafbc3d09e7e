"""Reference counting: immediate death, cascades, storms, and the leak of cycles."""

import pytest

from heapwright.collectors import log as logs
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.managers import named
from heapwright.trace.schema import NEW, POP, PUSH, WRITE
from trial import CollectedTrial

OBJECTS = 200 if INTERPRETED else 4000


def holding_a_list(objects, settings=None):
    """A trial whose top frame holds a list of so many objects, each by the one before it."""
    trial = CollectedTrial("refcount", settings, slots=objects)
    trial.step(PUSH, -1)
    trial.step(NEW, 0, 8, 1)
    for slot in range(1, objects):
        trial.step(PUSH, -1)
        trial.step(NEW, slot, 8, 1)
        trial.step(WRITE, slot - 1, 0, 0, slot)
        trial.step(POP, -1)
    return trial


def test_a_list_dies_at_once_without_recursion_and_the_storm_is_a_pause():
    trial = holding_a_list(OBJECTS)
    totals = trial.heap.log.totals
    assert (totals[logs.SWEPT_OBJECTS], totals[logs.PAUSES]) == (0, 0)
    trial.step(POP, -1)
    assert totals[logs.SWEPT_OBJECTS] == OBJECTS
    assert totals[logs.SWEPT_BYTES] == 32 * OBJECTS
    assert (totals[logs.PAUSES], totals[logs.CYCLES]) == (1, 0)
    assert trial.heap.log.pauses[logs.PAUSE_WORK] == 32 * OBJECTS
    assert not trial.held.handles.any()


def test_a_few_deaths_are_no_pause():
    trial = holding_a_list(99)
    trial.step(POP, -1)
    assert trial.heap.log.totals[logs.SWEPT_OBJECTS] == 99
    assert trial.heap.log.totals[logs.PAUSES] == 0


def leaking(settings=None):
    """A trial in which two objects that refer to each other, and what one holds, are dropped."""
    trial = CollectedTrial("refcount", settings)
    trial.step(PUSH, -1)
    for slot in range(3):
        trial.step(NEW, slot, 24, 2)
    trial.step(WRITE, 0, 0, 0, 1)
    trial.step(WRITE, 1, 0, 0, 0)
    trial.step(WRITE, 1, 0, 1, 2)
    trial.step(POP, -1)
    return trial


def test_a_cycle_leaks_until_the_backup_trace():
    trial = leaking()
    assert trial.heap.log.totals[logs.SWEPT_OBJECTS] == 0
    assert trial.module.notes(trial.heap) == [
        "At the end 144 bytes were kept by nothing but cycles."
    ]
    assert trial.broken() == 0, "notes change nothing"
    trial.collect_all()
    assert trial.heap.log.totals[logs.SWEPT_OBJECTS] == 3
    assert trial.module.notes(trial.heap) == [
        "Its backup traces reclaimed 3 objects of 144 bytes that only cycles kept."
    ]


def test_what_a_dead_cycle_refers_to_keeps_a_true_count():
    trial = CollectedTrial("refcount")
    trial.step(PUSH, -1)
    trial.step(NEW, 9, 8, 1)
    trial.step(PUSH, -1)
    trial.step(NEW, 0, 16, 2)
    trial.step(WRITE, 0, 0, 0, 0)
    trial.step(WRITE, 0, 0, 1, 9)
    trial.step(POP, -1)
    trial.collect_all()
    assert trial.broken() == 0
    trial.step(POP, -1)
    assert trial.heap.log.totals[logs.SWEPT_OBJECTS] == 2


@pytest.mark.parametrize("churned", [False, True])
def test_traces_are_in_vain_only_if_counts_freed_nothing_either(churned):
    trial = CollectedTrial("refcount", {"heap_bytes": 1 << 16})
    poor = []
    for _ in range(9):
        if churned:
            trial.step(PUSH, -1)
            trial.step(NEW, 0, 2000, 0)
            trial.step(POP, -1)
        trial.collect_all()
        poor.append(int(trial.heap.pace.poor))
    assert poor == ([0] * 9 if churned else list(range(1, 10)))


def test_without_a_backup_only_a_full_heap_ends_a_leak():
    trial = leaking({"backup": 0, "minimum_bytes": 4096})
    for slot in range(3, 203):
        trial.step(NEW, slot, 48, 0)
    assert trial.heap.log.totals[logs.CYCLES] == 0


def test_an_unknown_backup_is_an_error():
    with pytest.raises(HeapwrightError, match="backup"):
        named("refcount").module.boot(None, named("refcount").configured({"backup": 2}), None)
