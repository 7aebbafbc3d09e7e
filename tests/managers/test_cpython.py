"""CPython's collector against what real versions answered, and by hand."""

import numpy as np
import pytest

from collector_programs import FOLDER, LOW, PROGRAMS, graph, read, weak_graph
from heapwright.collectors.mutator import mutator
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.managers import named
from heapwright.managers.runtime.cpython import heads
from heapwright.managers.runtime.cpython.state import runs_of
from heapwright.managers.runtime.cpython.weak import heard, ordered, sentences
from heapwright.references.cpython.collections import Agreement, lead
from heapwright.trace.schema import (
    ATOM,
    CALLBACK,
    COLLECT,
    CONTAINER,
    COUNT,
    DICT,
    FINALISABLE,
    FREE,
    FREEZE,
    LEGACY,
    NEW,
    POP,
    PUSH,
    REFER,
    REVIVES,
    ROOT,
    SOFT,
    STEER,
    STEER_BITS,
    THRESHOLD,
    TRACK,
    TUPLE,
    UNFREEZE,
    UNROOT,
    WEAK,
    WRITE,
    events,
    ran_size,
)
from heapwright.tunnel.steered import nearest
from heapwright.versions import version_number
from trial import CollectedTrial

KEYS = sorted(path.stem for path in FOLDER.glob("cpython-*.json"))
V311, V313, V314 = (version_number(each) for each in ("3.11", "3.13", "3.14.5"))


def test_there_are_keys_of_every_version_that_is_proven():
    releases = {".".join(key.removeprefix("cpython-").split(".")[:2]) for key in KEYS}
    assert releases == {"3.11", "3.12", "3.13", "3.14", "3.15"}


@pytest.mark.parametrize("key", KEYS[::3] if INTERPRETED else KEYS)
@pytest.mark.parametrize("name", list(PROGRAMS)[:1] if INTERPRETED else list(PROGRAMS))
def test_every_collection_is_the_real_ones(key, name):
    """By the same event, of the same generation, as many collected and uncollectable."""
    real = read(FOLDER / f"{key}.json")[name]
    batches, slots = graph(name)
    knobs = {"version": nearest(named("cpython"), real.version), **PROGRAMS[name][2]}
    twin = CollectedTrial("cpython", knobs, slots, roots=4 * slots)
    lead(twin.heap, real)
    for batch in batches:
        twin.replay(batch)
    assert twin.broken() == 0
    assert runs_of(twin.heap).tolist() == real.runs.tolist() and len(real.runs) > 0
    assert tuple(twin.heap.counts.tolist()) == real.end


@pytest.mark.parametrize("key", sorted(path.name for path in FOLDER.glob("weakrefs-*.json")))
def test_weak_references_are_cleared_and_called_back_as_the_real_ones(key):
    """Which, and by which event; and what was collected."""
    real = read(FOLDER / key)["weak"]
    batches, slots = weak_graph()
    references = sum(int((batch.op == REFER).sum()) for batch in batches)
    knobs = {"version": nearest(named("cpython"), real.version), **LOW}
    twin = CollectedTrial("cpython", knobs, slots, roots=4 * slots, references=references)
    lead(twin.heap, real)
    for batch in batches:
        twin.replay(batch)
    assert twin.broken() == 0
    assert runs_of(twin.heap).tolist() == real.runs.tolist()
    told = heard(twin.heap.weak).tolist()
    assert told == ordered(real.heard).tolist() and sum(row[1] for row in told) > 5


def test_a_difference_is_seen():
    found = Agreement(3, ("3.11", "3.11.7"), counts=((1, 0, 0), (1, 0, 0)))
    found.enter(np.array([[5, 0, 2, 0]]), np.array([[5, 0, 2, 0], [9, 0, 0, 0]]))
    assert not found.agrees and found.first_difference == {"twin": [], "real": [9, 0, 0, 0]}
    assert (found.runs.compared, found.runs.equal, found.made["young"]) == (2, 1, (1, 2))
    assert "no further one (twin)" in found.sentences()[-1]


def test_which_weak_references_are_cleared_and_heard_is_as_the_version_has_it():
    """A revived target, a reference that is unreachable itself, and what Python does not have."""
    for version, unheard_stays in ((V313, False), (V314, True)):
        program = Program(threshold0=0, version=version, references=5)
        program.replay((PUSH, -1)).new(0, 2, CONTAINER + REVIVES).new(1)
        for slot, kind, target in ((2, WEAK, 0), (3, WEAK + CALLBACK, 0), (4, WEAK + CALLBACK, 1)):
            program.new(slot, 1, -1).replay((REFER, slot, kind, 0, target))
        program.replay((ROOT, 2), (ROOT, 3), (WRITE, 0, 0, 0, 0), (WRITE, 0, 0, 1, 4))
        program.replay((WRITE, 1, 0, 0, 1), (POP, -1))
        assert program.collect() == (1, 0) and program.alive(0) and not program.alive(1)
        weak = program.trial.heap.weak
        told = [row[1:] for row in heard(weak).tolist()]
        assert told == ([] if unheard_stays else [[0, 2]]) + [[0, 3], [0, 4], [1, 3]]
        program.new(5, 1, -1).replay((REFER, 5, SOFT, 0, 2))
        program.new(6).replay((REFER, 6, FINALISABLE))
        words = f"Of 3 weak references {2 if unheard_stays else 3} were cleared, and 1 callbacks"
        assert words in sentences(weak)[0]
        assert "1 of the trace keep" in sentences(weak)[1] and "of 1 objects" in sentences(weak)[2]


class Program:
    """Events by hand; `alive(slot)` asks the twin."""

    def __init__(self, references=0, **knobs):
        self.trial = CollectedTrial("cpython", knobs, references=references)
        self.replay((PUSH, -1))

    def replay(self, *rows):
        for row in rows:
            op, slot, size, field, target = (*row, *(-1, 0, 0, -1)[len(row) - 1 :])
            columns = {"op": op, "slot": slot, "size": size, "field": field, "target": target}
            batch = events(**{name: [value] for name, value in columns.items()})
            self.trial.replay(batch)
        assert self.trial.broken() == 0
        return self

    def new(self, slot, fields=1, kind=CONTAINER):
        return self.replay((NEW, slot, 64 + 8 * fields, fields, kind))

    def cycle(self, slot, kind=CONTAINER):
        """An object that refers to itself, and that nothing else does."""
        self.replay((PUSH, -1))
        self.new(slot, 1, kind)
        return self.replay((WRITE, slot, 0, 0, slot), (POP, -1))

    def tracked(self, slot):
        return bool(heads.is_tracked(self.trial.heap.heads, int(self.trial.held.handles[slot])))

    def alive(self, slot):
        return bool(self.trial.held.handles[slot])

    def collect(self, generation=2):
        """(collected, uncollectable) of gc.collect(generation)."""
        self.replay((STEER, -1, COLLECT + generation))
        return tuple(runs_of(self.trial.heap)[-1, 2:].tolist())


def test_a_count_of_0_frees_at_once_and_takes_others_along():
    program = Program()
    program.replay((PUSH, -1)).new(0).new(1, 0, ATOM).replay((WRITE, 0, 0, 0, 1), (POP, -1))
    assert not program.alive(0) and not program.alive(1)
    assert program.trial.heap.occupied == 0 and not len(runs_of(program.trial.heap))


def test_a_cycle_waits_for_the_collector_and_ages_when_it_lives():
    program = Program(threshold0=0)
    program.cycle(0)
    assert program.alive(0) and program.collect(0) == (1, 0) and not program.alive(0)
    program.new(1).replay((WRITE, 1, 0, 0, 1), (ROOT, 1), (POP, -1), (PUSH, -1))
    assert program.collect(0) == (0, 0)
    program.replay((UNROOT, 1))
    assert program.collect(0) == (0, 0) and program.alive(1)  # it is of the middle generation now
    assert program.collect(1) == (1, 0) and not program.alive(1)


def test_all_is_collected_only_when_a_quarter_as_many_wait():
    program = Program(version=V311, threshold0=1, threshold1=0, threshold2=0, own_objects=400)
    for slot in range(300):
        program.new(slot)
    generations = runs_of(program.trial.heap)[:, 1].tolist()
    first = generations.index(2)
    assert set(generations[:first]) <= {0, 1} and generations[:first].count(1) >= 2
    assert program.trial.heap.total >= 400


def test_from_3_12_on_a_collection_waits_until_the_object_is_held():
    for version, collected in ((V311, 1), (V313, 2)):
        program = Program(version=version, threshold0=1)
        program.cycle(0)
        program.replay((PUSH, -1))
        program.trial.heap.enabled = 0
        program.new(1).replay((WRITE, 1, 0, 0, 1), (POP, -1))
        program.trial.heap.enabled = 1
        program.replay((NEW, 2, 64, 0, CONTAINER))
        young = program.trial.heap
        assert runs_of(young)[:, 2].tolist() == [2]
        ring = heads.MIDDLE if collected == 2 else heads.YOUNG  # looked through, or not yet there
        assert heads.size(young.heads, ring) == 1


def test_a_finaliser_brings_back_once_and_an_old_one_for_ever():
    program = Program(threshold0=0)
    program.cycle(0, CONTAINER + REVIVES)
    assert program.collect() == (0, 0) and program.alive(0)
    program.new(5, 0)
    assert program.collect() == (1, 0) and not program.alive(0)
    program.cycle(1, CONTAINER + LEGACY)
    assert program.collect() == (0, 1) and program.collect() == (0, 0) and program.alive(1)
    program.replay((PUSH, -1)).new(2, 0, CONTAINER + REVIVES).replay((POP, -1))
    assert program.alive(2)  # brought back from a death by its count
    program.new(6, 0)
    assert not program.alive(2)


def test_tuples_and_dictionaries_of_what_is_not_followed_are_not_followed():
    program = Program(version=V313, threshold0=0)
    program.new(0, 1, TUPLE).new(1, 1, DICT).new(2, 0, ATOM).new(3, 1, TUPLE).new(4)
    program.replay((WRITE, 0, 0, 0, 2), (WRITE, 1, 0, 0, 2), (WRITE, 3, 0, 0, 0))
    assert program.tracked(0) and not program.tracked(1) and program.tracked(3)
    program.collect(0)
    assert not program.tracked(0) and not program.tracked(3)
    program.replay((WRITE, 1, 0, 0, 4))
    assert program.tracked(1)
    program.replay((WRITE, 1, 0, 0, -1))
    program.collect(0)
    assert program.tracked(1)
    program.collect()
    assert not program.tracked(1)
    program.replay((TRACK, 1, 1))
    assert program.tracked(1)
    program.replay((TRACK, 1, 0))
    assert not program.tracked(1)
    assert Program(version=V314).new(0, 1, DICT).tracked(0)


def test_a_table_is_followed_and_never_counted():
    program = Program(threshold0=0)
    program.replay((PUSH, -1)).new(0).new(1, 1, ATOM)
    program.replay((WRITE, 0, 0, 0, 1), (WRITE, 1, 0, 0, 0), (POP, -1))
    assert program.trial.heap.counts[0] == 1
    assert program.collect() == (1, 0) and not program.alive(0) and not program.alive(1)


def test_what_is_frozen_is_not_looked_at():
    program = Program(threshold0=0)
    program.cycle(0).replay((STEER, -1, FREEZE))
    assert program.collect() == (0, 0) and program.alive(0)
    program.replay((STEER, -1, UNFREEZE))
    assert program.collect() == (1, 0)
    program = Program(threshold0=2, freeze_at=3)
    for slot in range(4):
        program.new(slot, 0)
    assert heads.size(program.trial.heap.heads, heads.PERMANENT) == 2


def test_what_free_lists_kept_is_no_birth_of_another_course_either():
    """A recorded collection is followed by two births of what it left in free lists: so are those
    that the twin makes at a threshold of its own."""
    program, made = Program(threshold0=6, version=V311), []
    program.replay((STEER, -1, COUNT))
    for slot in range(16):
        program.new(slot, 0)
        if slot == 2:
            program.replay((STEER, -1, ran_size(0, 1, 0, 0)))
        if slot == 4:
            program.replay((STEER, -1, COUNT))
        made.append(len(runs_of(program.trial.heap)))
    assert made == [0] * 6 + [1] * 9 + [2]  # 7 births, and then 2 and 7 more


def test_thresholds_and_disable():
    program = Program(threshold0=3, disable=1)
    for slot in range(9):
        program.new(slot, 0)
    assert not len(runs_of(program.trial.heap))
    program = Program(threshold0=3)
    program.replay((STEER, -1, THRESHOLD | 100 << STEER_BITS))
    for slot in range(9):
        program.new(slot, 0)
    assert not len(runs_of(program.trial.heap))


def test_increments_find_old_garbage_bit_by_bit():
    """3.14.0 to 3.14.4: no collection of all is made, and cycles of the old generation go."""
    program = Program(version=version_number("3.14"), threshold0=20, threshold1=2)
    program.replay((STEER, -1, COLLECT + 2))
    for turn in range(400):
        program.cycle(turn % 100)
        program.replay((FREE, turn % 100))
    runs = runs_of(program.trial.heap)
    assert set(runs[1:, 1].tolist()) == {1} and 250 < runs[:, 2].sum() <= 400
    assert program.trial.heap.heap_size < 130


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"version": version_number("3.10")}, "3.11"),
        ({"threshold0": -2}, "threshold0 is 0 to"),
        ({"disable": 2}, "disable is 0 or 1"),
        ({"freeze_at": -1}, "not negative"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs, sentence):
    module = named("cpython").module
    with pytest.raises(HeapwrightError, match=sentence):
        module.boot(machine(), module.Config()._replace(**knobs), mutator(8, 8))
