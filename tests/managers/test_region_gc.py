"""Region-based collection: which regions are emptied, what never moves, and the last resort."""

import pytest

from heapwright.collectors import log as logs
from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import BREAK_BASE, MAPPED_BYTES
from heapwright.managers import named
from heapwright.trace.schema import FREE, MALLOC, NEW, POP, PUSH, ROOT, WRITE, events
from trial import CollectedTrial

REGION = 1 << 14
EACH = REGION // 1024  # objects of 1,008 bytes that fill a region
EVACUATED, LAST_RESORT = 4, 5  # paths


def regions_with(live, **settings):
    """A trial with one region after another, of which so many objects live."""
    settings = {"region_bytes": REGION} | settings
    trial = CollectedTrial("region-gc", settings, graph=False)
    slots = range(EACH * len(live))
    for slot in slots:
        trial.step(MALLOC, slot, 1008)
    for slot in slots:
        if slot % EACH >= live[slot // EACH]:
            trial.step(FREE, slot)
    return trial


def region_of(trial, slot):
    return (int(trial.held.handles[slot]) - BREAK_BASE) // REGION


def test_regions_of_which_little_lives_are_emptied_and_free_ones_used_again():
    live = [EACH, 2, EACH - 1, 0, 4]
    trial = regions_with(live, evacuate_percent=50)
    trial.collect_all()
    where = [region_of(trial, EACH * region) if count else -1 for region, count in enumerate(live)]
    assert where == [0, 3, 2, -1, 3], "1 and 4 moved together into 3, which was free"
    assert trial.heap.paths[EVACUATED] == 2
    assert trial.heap.log.totals[logs.COPIED_OBJECTS] == 6
    assert trial.heap.log.totals[logs.SWEPT_OBJECTS] == len(live) * EACH - sum(live)
    trial.replay(events())
    assert trial.decompose()["garbage"] == 0


@pytest.mark.parametrize(("percent", "emptied"), [(0, 0), (20, 1), (50, 2), (100, 3)])
def test_the_most_that_may_live_of_an_emptied_region(percent, emptied):
    trial = regions_with([EACH, 2, EACH - 1, 6, 0], evacuate_percent=percent)
    trial.collect_all()
    trial.verify()
    assert trial.heap.paths[EVACUATED] == emptied


def test_a_large_object_never_moves():
    trial = CollectedTrial("region-gc", {"region_bytes": REGION}, graph=False)
    trial.step(MALLOC, 0, 100)
    trial.step(MALLOC, 1, 3 * REGION)
    trial.step(MALLOC, 2, REGION - 16)
    places = trial.held.handles[1:3].tolist()
    trial.step(FREE, 0)
    for _ in range(3):
        trial.collect_all()
        trial.verify()
    assert trial.held.handles[1:3].tolist() == places
    trial.step(FREE, 1)
    trial.collect_all()
    trial.step(MALLOC, 3, 2 * REGION)
    assert int(trial.held.handles[3]) < places[1], "its regions are used again"


def test_the_last_resort_empties_every_region_with_a_hole():
    """Each region of a full heap is three quarters live: only emptying them all makes room."""
    trial = regions_with([EACH * 3 // 4] * 14, heap_bytes=16 * REGION, evacuate_percent=10)
    slots = range(EACH * 14, EACH * 14 + 40)
    for slot in slots:
        trial.step(MALLOC, slot, 1008)
        trial.verify()
    assert trial.heap.paths[LAST_RESORT] > 0 and trial.heap.paths[EVACUATED] >= 8
    assert trial.machine.meters[MAPPED_BYTES] <= 17 * REGION + 32768, (
        "at most a borrowed region and the stack"
    )


def test_wrong_knobs_are_errors():
    manager = named("region-gc")
    for settings in (
        {"region_bytes": 5000},
        {"region_bytes": 1 << 30},
        {"evacuate_percent": 101},
        {"reserve_percent": 60},
        {"heap_bytes": 1 << 15},
    ):
        with pytest.raises(HeapwrightError, match="region-gc"):
            manager.module.boot(None, manager.configured(settings), None)


def test_an_object_of_no_bytes_at_the_end_of_a_region_lies_in_that_region():
    """Its address is that of the next region, which is not moved when its own is."""
    trial = CollectedTrial("region-gc", {"region_bytes": REGION, "evacuate_percent": 50})
    trial.step(PUSH, -1)
    trial.step(NEW, 0, 16, 1)  # a block of 32 bytes
    for slot in range(1, 511):
        trial.step(NEW, slot, 16)
    trial.step(NEW, 511, 0)  # 16 bytes short of the region's end
    trial.step(NEW, 512, 0)
    trial.step(WRITE, 0, 0, 0, 512)
    for slot in (0, 511, 512):
        trial.step(ROOT, slot)
    assert int(trial.held.handles[512]) == BREAK_BASE + REGION
    for slot in range(513, 605):  # the next regions live
        trial.step(NEW, slot, 1008 - 16 * (slot == 513), 0)
        trial.step(ROOT, slot)
    trial.step(POP, -1)
    for slot in range(1, 511):
        trial.step(FREE, slot)
    assert trial.broken() == 0
    trial.collect_all()
    assert trial.heap.paths[EVACUATED] == 1 and region_of(trial, 0) > 0
    first = int(trial.held.handles[0]) >> 3
    assert trial.machine.words[first] == trial.held.handles[512] != BREAK_BASE + REGION
    assert trial.broken() == 0
