"""Mark-sweep: what sweeping lazily moves out of the pause, what the layouts make of holes."""

import pytest

from heapwright.collectors import log as logs
from heapwright.errors import HeapwrightError
from heapwright.managers import named
from heapwright.trace.schema import FREE, NEW, POP, PUSH, events
from trial import CollectedTrial

OBJECTS = 402


def after_garbage(**settings):
    """A trial at its first collection: of OBJECTS objects of 112 bytes each 40th lives."""
    settings = {"heap_bytes": 112 * OBJECTS & -4096, "layout": 0} | settings
    trial = CollectedTrial("mark-sweep", settings)
    for slot in range(OBJECTS):
        trial.step(PUSH, -1)
        trial.step(NEW, slot, 96, 0)
        trial.step(POP, slot if slot % 40 == 0 else -1)
        if slot % 40:
            trial.step(FREE, slot)
        if trial.heap.log.totals[logs.CYCLES]:
            return trial
    raise AssertionError("the heap was never full")


def test_an_eager_sweep_is_done_within_the_pause():
    trial = after_garbage(sweeping=0)
    log, space = trial.heap.log, trial.heap.space
    assert space.cursor == space.pending == 0
    assert trial.decompose()["garbage"] == 112, "what was allocated since, and is dead"
    work = log.totals[logs.MARKED_BYTES] + log.totals[logs.SWEPT_BYTES]
    assert log.pauses[logs.PAUSE_WORK] == work
    assert log.totals[logs.SWEPT_BYTES] > 300 * 112


def test_a_lazy_sweep_is_paid_by_the_allocations_that_need_it():
    trial = after_garbage(sweeping=1)
    log, space = trial.heap.log, trial.heap.space
    assert log.pauses[logs.PAUSE_WORK] == log.totals[logs.MARKED_BYTES] == 10 * 112
    assert log.totals[logs.SWEPT_OBJECTS] == 39, "the first run of dead objects"
    assert space.pending > 300 * 112
    assert trial.decompose()["garbage"] >= space.pending
    trial.collect_all()
    assert space.pending == trial.decompose()["garbage"] == 0


@pytest.mark.parametrize(("layout", "fits"), [(0, True), (1, False)])
def test_neighbours_merge_in_a_free_list_and_not_across_size_classes(layout, fits):
    """Every page of cells keeps one object: no hole is left for a large one."""
    trial = CollectedTrial("mark-sweep", {"heap_bytes": 1 << 20, "layout": layout}, 4096)
    rows = []
    for slot in range(4000):
        lives = slot % 50 == 0
        rows += [(PUSH, -1, 0), (NEW, slot, 224), (POP, slot if lives else -1, 0)]
        rows += [] if lives else [(FREE, slot, 0)]
    columns = zip(("op", "slot", "size"), zip(*rows, strict=True), strict=True)
    trial.replay(events(**dict(columns)))
    trial.collect_all()
    holes = [length for _, length in sorted(trial.rows("vacant"))[:-1]]  # the last was never used
    assert (max(holes) > 10_000) == fits
    assert sum(holes) > 700_000


def test_unknown_values_are_errors():
    manager = named("mark-sweep")
    for settings in ({"layout": 2}, {"sweeping": 2}, {"heap_bytes": -1}, {"heap_bytes": 100}):
        with pytest.raises(HeapwrightError, match="mark-sweep"):
            manager.module.boot(None, manager.configured(settings), None)
