"""Semispace and mark-compact: where objects lie afterwards, and whose pages are kept."""

from itertools import pairwise

import pytest

from heapwright.collectors import log as logs
from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import BREAK_BASE, PAGE_BYTES, RESIDENT_PAGES
from heapwright.managers import named
from heapwright.trace.schema import FREE, MALLOC, NEW, POP, PUSH, WRITE
from trial import CollectedTrial


def tree(name, settings=None):
    """Slots 0 to 6 hold a complete binary tree, made depth first with a dead object after each."""
    trial = CollectedTrial(name, settings)
    trial.step(PUSH, -1)
    for slot in (0, 1, 3, 4, 2, 5, 6):
        trial.step(PUSH, -1)
        trial.step(NEW, slot, 16, 2)
        trial.step(NEW, 10 + slot, 80, 0)
        if slot:
            trial.step(WRITE, (slot - 1) // 2, 0, (slot - 1) % 2, slot)
        trial.step(POP, 0 if slot == 0 else -1)
        trial.step(FREE, 10 + slot)
    return trial


def order(trial):
    """Live slots in order of address; they lie end to end."""
    places = sorted((int(trial.held.handles[slot]), slot) for slot in trial.sizes)
    addresses = [address for address, _ in places]
    assert {b - a for a, b in pairwise(addresses)} == {32}
    return [slot for _, slot in places]


def test_copying_is_breadth_first():
    trial = tree("semispace")
    trial.collect_all()
    assert order(trial) == [0, 1, 2, 3, 4, 5, 6]
    assert trial.heap.log.totals[logs.COPIED_OBJECTS] == 7


def test_sliding_keeps_the_order_of_allocation():
    trial = tree("mark-compact")
    first = int(trial.held.handles[0])
    trial.collect_all()
    assert order(trial) == [0, 1, 3, 4, 2, 5, 6]
    assert trial.held.handles[0] == first == BREAK_BASE + 16
    totals = trial.heap.log.totals
    assert (totals[logs.COPIED_OBJECTS], totals[logs.SWEPT_OBJECTS]) == (6, 7)


@pytest.mark.parametrize("name", ["semispace", "mark-compact"])
@pytest.mark.parametrize("keep", [0, 1])
def test_emptied_pages_go_back_or_are_kept(name, keep):
    settings = {"heap_bytes": 1 << 18, "keep_pages": keep}
    trial = CollectedTrial(name, settings, graph=False)
    for slot in range(100):
        trial.step(MALLOC, slot, 1000)
    for slot in range(1, 100):
        trial.step(FREE, slot)
    before = int(trial.machine.meters[RESIDENT_PAGES])
    trial.collect_all()
    after = int(trial.machine.meters[RESIDENT_PAGES])
    assert before >= 100_000 // PAGE_BYTES
    assert (after >= before) == bool(keep)
    assert keep or after <= 10


@pytest.mark.parametrize(("name", "spaces"), [("semispace", 2), ("mark-compact", 1)])
def test_what_a_heap_of_128_kib_holds(name, spaces):
    """Copying holds half of it, to the last block."""
    trial = CollectedTrial(name, {"heap_bytes": 1 << 17}, graph=False)
    held = 0
    with pytest.raises(AssertionError, match="out of memory"):
        for slot in range(200):
            trial.step(MALLOC, slot, 1008)
            held += 1
    assert held == (1 << 17) // spaces // 1024


@pytest.mark.parametrize("name", ["semispace", "mark-compact"])
def test_a_heap_without_a_page_is_an_error(name):
    manager = named(name)
    for settings in ({"heap_bytes": 4095}, {"growth_percent": -1}):
        with pytest.raises(HeapwrightError, match=name):
            manager.module.boot(None, manager.configured(settings), None)
