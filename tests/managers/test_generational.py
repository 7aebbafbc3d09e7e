"""Generational collection: ages, what is remembered, nepotism, and objects born old."""

import pytest

from heapwright.collectors import log as logs
from heapwright.collectors.nursery import is_young
from heapwright.errors import HeapwrightError
from heapwright.managers import named
from heapwright.trace.schema import FREE, NEW, POP, PUSH, WRITE
from trial import CollectedTrial

KINDS = [{"remembering": remembering, "old": old} for remembering in (0, 1) for old in (0, 1)]
NURSERY = {"nursery_bytes": 16384, "tenure": 2}


def churn(trial, minor_collections):
    """Allocate garbage until there were so many more minor collections."""
    wanted = trial.heap.paths[3] + minor_collections
    while trial.heap.paths[3] < wanted:
        trial.step(PUSH, -1)
        trial.step(NEW, 100, 200, 0)
        trial.step(POP, -1)
        trial.step(FREE, 100)


def young(trial, slot):
    return bool(is_young(trial.heap.nursery, int(trial.held.handles[slot])))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tenure", [0, 1, 3])
def test_an_object_is_promoted_once_it_has_survived_so_many(kind, tenure):
    trial = CollectedTrial("generational", {**NURSERY, **kind, "tenure": tenure})
    trial.step(NEW, 0, 8, 1)
    for _ in range(tenure):
        churn(trial, 1)
        assert young(trial, 0)
    churn(trial, 1)
    assert not young(trial, 0)
    assert trial.heap.log.totals[logs.PROMOTED_OBJECTS] == 1
    assert trial.heap.log.totals[logs.COPIED_OBJECTS] == tenure + 1
    trial.verify()


@pytest.mark.parametrize("kind", KINDS)
def test_an_old_object_keeps_the_young_one_it_refers_to(kind):
    trial = CollectedTrial("generational", {**NURSERY, **kind})
    trial.step(NEW, 0, 8, 1)
    churn(trial, 3)
    trial.step(PUSH, -1)
    trial.step(NEW, 1, 40, 0)
    trial.step(WRITE, 0, 0, 0, 1)
    trial.step(POP, -1)
    assert trial.heap.log.totals[logs.BARRIERS] == 1
    for _ in range(4):
        churn(trial, 1)
        trial.verify()
        address = int(trial.held.handles[1])
        assert trial.machine.words[int(trial.held.handles[0]) >> 3] == address
    assert not young(trial, 1)
    remembered = int(trial.heap.log.totals[logs.REMEMBERED])
    assert remembered == 3, "until the young object was promoted"
    churn(trial, 1)
    assert trial.heap.log.totals[logs.REMEMBERED] == remembered


@pytest.mark.parametrize("kind", KINDS)
def test_nepotism_ends_with_a_full_collection(kind):
    trial = CollectedTrial("generational", {**NURSERY, **kind})
    trial.step(PUSH, -1)
    trial.step(NEW, 0, 8, 1)
    churn(trial, 3)
    trial.step(NEW, 1, 8, 1)
    trial.step(WRITE, 0, 0, 0, 1)
    trial.step(POP, -1)  # both are dead now, and one is old
    trial.step(FREE, 0)
    trial.step(FREE, 1)
    promoted = int(trial.heap.log.totals[logs.PROMOTED_OBJECTS])
    churn(trial, 3)
    assert trial.heap.log.totals[logs.PROMOTED_OBJECTS] == promoted + 1
    assert trial.decompose()["garbage"] >= 48
    trial.collect_all()
    assert trial.decompose()["garbage"] == 0
    assert trial.heap.log.totals[logs.SWEPT_OBJECTS] == 2


def test_large_objects_are_born_old():
    trial = CollectedTrial("generational", NURSERY)
    trial.step(NEW, 0, 20_000, 3)
    assert not young(trial, 0)
    trial.step(NEW, 1, 200, 0)
    assert young(trial, 1)
    trial.step(WRITE, 0, 0, 2, 1)
    churn(trial, 3)
    trial.verify()
    assert not young(trial, 1)


def test_wrong_knobs_are_errors():
    manager = named("generational")
    for settings in (
        {"tenure": 16},
        {"old": 2},
        {"remembering": 2},
        {"survivor_percent": 0},
        {"heap_bytes": 1 << 20, "nursery_bytes": 1 << 20},
        {"heap_bytes": 4096},
    ):
        with pytest.raises(HeapwrightError, match="generational"):
            manager.module.boot(None, manager.configured(settings), None)


def test_an_object_of_no_bytes_at_the_end_of_eden_is_moved():
    """Its address is that of the survivor space behind, whose objects stay when that is filled."""
    trial = CollectedTrial("generational", {"nursery_bytes": 16384, "tenure": 15})
    nursery, handles = trial.heap.nursery, trial.held.handles
    eden = nursery.eden
    trial.step(PUSH, -1)
    trial.step(NEW, 0, 0)
    trial.step(FREE, 0)
    while nursery.to != eden.limit:  # it is filled by every other minor collection
        trial.step(NEW, 0, 0)
        trial.step(FREE, 0)
    trial.step(NEW, 1, 16, 1)
    slot = 10
    while (rest := int(eden.limit - eden.top)) > 16:
        trial.step(NEW, slot, min(1008, rest - 32))
        slot += 1
    trial.step(NEW, 3, 0)
    assert int(handles[3]) == eden.limit
    trial.step(WRITE, 1, 0, 0, 3)
    trial.step(NEW, 4, 16)
    assert trial.machine.words[int(handles[1]) >> 3] == handles[3] != eden.limit
    assert trial.broken() == 0
