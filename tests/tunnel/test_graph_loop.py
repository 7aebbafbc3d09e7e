"""The loop of managers with a collector: roots, deaths, moves, parts of resident memory."""

import numpy as np
import pytest

from heapwright.collectors import log as logs
from heapwright.collectors import mutator as roots
from heapwright.compiler import INTERPRETED
from heapwright.managers import Manager, registry
from heapwright.trace.schema import FREE, MALLOC, NEW, REALLOC, events
from naive.graph_program import Program, random_rows
from trial import CollectedTrial, Trial

EVENTS = 300 if INTERPRETED else 1000


@pytest.fixture(autouse=True)
def smallest(monkeypatch):
    """Registers a copying manager of 24 KiB, and one that is told of each root."""
    known = registry.managers() | {
        "smallest": Manager("smallest", "tunnel.smallest"),
        "told": Manager("told", "tunnel.told_of_roots"),
    }
    monkeypatch.setattr(registry, "managers", lambda: known)


def batch_of(rows):
    names = ("op", "slot", "size", "field", "target")
    return events(**dict(zip(names, np.array(rows).T, strict=True)))


@pytest.mark.parametrize("seed", range(3))
def test_objects_survive_and_parts_sum_after_every_event(seed):
    trial = CollectedTrial("smallest")
    garbage = 0
    for number, row in enumerate(random_rows(seed, EVENTS)):
        trial.step(*row)
        if number % 16 == 0:
            garbage = max(garbage, trial.decompose()["garbage"])
    assert trial.heap.log.totals[logs.CYCLES] > 0
    assert trial.heap.log.totals[logs.COPIED_OBJECTS] > 10
    assert garbage > 1000


def test_what_the_mutator_holds_is_what_the_program_holds():
    program, trial = Program(), CollectedTrial("smallest")
    for number, row in enumerate(random_rows(5, EVENTS)):
        trial.step(*row)
        if row[0] == FREE:
            continue
        program.do(*row)
        held = [slot for frame in program.frames for slot in frame]
        counts = trial.held.counts
        assert trial.held.locals[: counts[roots.LOCALS]].tolist() == held, number
        assert set(trial.held.globals[: counts[roots.GLOBALS]].tolist()) == program.globals
        assert counts[roots.FRAMES] == len(program.frames) - 1
        assert roots.check(trial.held) == 0


def test_one_batch_gives_what_single_events_give():
    rows = random_rows(2, EVENTS)
    stepped, whole, replayed = (CollectedTrial("smallest") for _ in range(3))
    placed = [stepped.step(*row) for row in rows]
    assert whole.replay(batch_of(rows))[:, 0].tolist() == placed
    replayed.loop.replay(replayed.heap, replayed.run, batch_of(rows))
    for other in (whole, replayed):
        assert (other.held.handles == stepped.held.handles).all()
        assert other.heap.paths.tolist() == stepped.heap.paths.tolist()
    whole.sizes = stepped.sizes
    assert whole.decompose() == stepped.decompose()


def test_rows_of_the_log_name_the_event():
    trial = CollectedTrial("smallest", {"heap_bytes": 8192})
    rows = [(MALLOC, 0, 3000, 0, -1), (FREE, 0, 0, 0, -1)] * 3
    trial.replay(batch_of(rows))
    log = trial.heap.log
    assert (log.totals[logs.CYCLES], log.totals[logs.PAUSES]) == (2, 2)
    pauses = log.pauses[: 2 * logs.PAUSE_COLUMNS].reshape(2, -1)
    cycles = log.cycles[: 2 * logs.CYCLE_COLUMNS].reshape(2, -1)
    assert pauses[:, logs.PAUSE_EVENT].tolist() == cycles[:, logs.EVENT].tolist() == [2, 4]


def test_a_malloc_trace_keeps_each_object_until_it_is_freed():
    trial = CollectedTrial("smallest", {"heap_bytes": 16384}, graph=False)
    trial.step(MALLOC, 0, 1000)
    for _ in range(50):
        trial.step(MALLOC, 1, 900)
        trial.decompose()
        trial.step(FREE, 1)
    assert trial.heap.log.totals[logs.CYCLES] >= 5
    trial.collect_all()
    trial.replay(events())
    trial.verify()
    assert trial.sizes == {0: 1000}
    assert trial.heap.fields[2] - trial.heap.fields[0] == 16 + 1008


def test_a_realloc_drops_the_old_object_once_there_is_the_new_one():
    """8 KiB of objects at most: the old one and the new one must both fit, twice they do not."""
    trial = CollectedTrial("smallest", {"heap_bytes": 16384}, graph=False)
    trial.step(MALLOC, 0, 3000)
    for size in (3500, 3000) * 4:
        trial.step(REALLOC, 0, size)
        trial.decompose()
    with pytest.raises(AssertionError, match="out of memory"):
        trial.step(REALLOC, 0, 6000)


def test_a_program_without_room_stops_where_it_died():
    trial = CollectedTrial("smallest", {"heap_bytes": 8192}, graph=False)
    rows = [(MALLOC, slot, 1500, 0, -1) for slot in range(6)]
    trial.loop.replay(trial.heap, trial.run, batch_of(rows))
    assert trial.run.progress[trial.loop.REFUSED] == 1
    assert trial.run.progress[trial.loop.NEXT] == 2


def test_managers_without_a_collector_free_at_the_oracles_word():
    rows = random_rows(3, EVENTS)
    trial = Trial("first-fit")
    for op, slot, size, _, _ in rows:
        trial.step(op, slot, size)
    trial.verify()
    parts = trial.decompose()
    live = {}
    for op, slot, size, *_ in rows:
        if op == FREE:
            del live[slot]
        elif op == NEW:
            live[slot] = size
    assert parts["live"] == sum(live.values())


def counted(trial):
    """Roots of each live object, as a manager was told."""
    words = trial.machine.words
    return {slot: int(words[int(trial.held.handles[slot] - 8) >> 3]) >> 32 for slot in trial.sizes}


def test_a_manager_is_told_of_each_root():
    program, trial = Program(), CollectedTrial("told")
    for row in random_rows(7, EVENTS):
        trial.step(*row)
        if row[0] != FREE:
            program.do(*row)
        if program.rows[-1] == row:  # the deaths that the event caused are replayed
            held = [slot for frame in program.frames for slot in frame] + list(program.globals)
            assert counted(trial) == {slot: held.count(slot) for slot in program.fields}


def test_a_manager_is_told_of_each_object_of_a_malloc_trace():
    trial = CollectedTrial("told", graph=False)
    trial.step(MALLOC, 0, 100)
    first = int(trial.held.handles[0])
    trial.step(REALLOC, 0, 200)
    trial.step(MALLOC, 1, 100)
    second = int(trial.held.handles[1])
    trial.step(FREE, 1)
    assert counted(trial) == {0: 1}
    words = trial.machine.words
    assert [int(words[(address - 8) >> 3]) >> 32 for address in (first, second)] == [0, 0]
