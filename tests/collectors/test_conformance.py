"""What every manager with a collector owes: the program's graph, whole, and in the end no more.

After every event of random graph programs and of malloc traces the manager's own `check` holds, and
after every few all live objects have blocks of their own and every reference leads where the naive
program's leads; after a full collection what is left is what is reachable, to the
object and the byte. A collector that marks while the program runs is held to it at that time.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.collectors.log import ALLOCATED_OBJECTS, BARRIERS, CYCLES
from heapwright.compiler import INTERPRETED
from heapwright.compiler.bare import CHECKED
from heapwright.managers import contract, managers
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    HOLD,
    MALLOC,
    NEW,
    POP,
    PUSH,
    REALLOC,
    ROOT,
    UNROOT,
    WRITE,
    events,
)
from naive.graph_program import Program, hiding_rows, random_rows
from trial import CollectedTrial, Trial

# Those told of no death.
COLLECTED = [name for name, manager in managers().items() if "graph" in manager.card.serves]


def cases(of):
    """A case for each collected manager and each of the settings that `of` takes from its card."""
    return [
        pytest.param(name, variant, id=name + "".join(f"-{k}={v}" for k, v in variant.items()))
        for name in COLLECTED
        for variant in of(managers()[name].card)
    ]


CASES = cases(lambda card: [{}, *card.variants])
INCREMENTAL = cases(lambda card: card.variants[len(card.variants) - card.incremental :])
LIMITED = [name for name in COLLECTED if managers()[name].card.limit_knob]
EVENTS = 100 if INTERPRETED else 600
TURNS = 60 if INTERPRETED else 250
MOST_REQUESTS = 20 if INTERPRETED else 120
VERIFY_EVERY = 9 if INTERPRETED else 5  # events
SLOTS = 256 if INTERPRETED else 1024
COLLECT_EVERY = 97  # events; a full collection beside those that the manager chooses to make


def batch_of(rows):
    columns = ("op", "slot", "size", "field", "target")
    return events(**dict(zip(columns, np.array(rows).T, strict=True)))


def kept_by_neighbours(name, trial):
    """Bytes of dead objects that live ones may keep: Go's objects of less than 16 share blocks."""
    shared = managers()[name].card.shares_below
    return sum(shared - size for size in trial.sizes.values() if size < shared)


def references(heap, address, count):
    """What the first references of an object hold: words, or compressed as a JVM's are."""
    java = getattr(heap, "java", None)
    if java is None or java.shift == 3:
        return heap.machine.words[address >> 3 : (address >> 3) + count].tolist()
    narrow = java.narrow[address >> 2 : (address >> 2) + count].astype(np.int64)
    return np.where(narrow, int(java.base) + (narrow << 3), 0).tolist()


class GraphTrial(CollectedTrial):
    """Flies a graph trace beside the naive program that it tells of."""

    def __init__(self, name, variant):
        super().__init__(name, variant, SLOTS)
        self.name, self.replayed = name, 0
        self.program = Program()
        self.dead = set()  # that the trace has yet to tell of

    def step(self, op, slot, size=0, field=0, target=-1):
        """One event; all is verified unless deaths are still to come."""
        address = super().step(op, slot, size, field, target)
        if op == FREE:
            self.dead.remove(slot)
        else:
            before = set(self.program.fields)
            self.program.do(op, slot, size, field, target)
            self.dead |= (before | {slot} if op == NEW else before) - set(self.program.fields)
        self.replayed += 1
        if not self.dead and self.replayed % VERIFY_EVERY == 0:
            self.verify()
            self.compare()
        elif not (self.dead or INTERPRETED):
            Trial.verify(self)  # the manager's own invariants
        return address

    def compare(self):
        """Every reference of a live object leads where it should."""
        handles = self.held.handles
        for slot, fields in self.program.fields.items():
            found = references(self.heap, int(handles[slot]), len(fields))
            expected = [int(handles[target]) if target >= 0 else 0 for target in fields]
            assert found == expected, f"references of slot {slot}"

    def collect(self):
        """A full collection leaves what lives and nothing else."""
        self.collect_all()
        self.replay(events())
        self.compare()
        parts = self.decompose()
        assert parts["garbage"] <= kept_by_neighbours(self.name, self)
        assert parts["live"] == sum(self.sizes.values())
        assert set(self.sizes) == self.program.reachable()


@pytest.mark.parametrize("name", COLLECTED)
def test_contract(name):
    """A manager has the contract's names, and its module explains itself."""
    module = managers()[name].module
    assert contract.faults(managers()[name].card, module) == []
    assert "Invariant" in module.__doc__ and "Source" in module.__doc__


@pytest.mark.parametrize(("name", "variant"), CASES)
@pytest.mark.parametrize("most_bytes", [100, 20_000])
def test_replays_graph_traces(name, variant, most_bytes):
    """Small objects whose graph changes much, and large ones that fill the heap; one batch does
    what single events do."""
    rows = random_rows(1, EVENTS, most_bytes)
    trial, collected, placed = GraphTrial(name, variant), [], []
    for number, row in enumerate(rows):
        placed.append(trial.step(*row))
        if not trial.dead and number >= COLLECT_EVERY * (len(collected) + 1):
            collected.append(number)
            trial.decompose()
            trial.collect()
    totals = trial.heap.log.totals
    assert totals[CYCLES] >= len(collected)
    assert totals[ALLOCATED_OBJECTS] == sum(row[0] == NEW for row in rows)
    again, first = CollectedTrial(name, variant, SLOTS), collected[0] + 1
    assert again.replay(batch_of(rows))[:first, 0].tolist() == placed[:first]
    if CHECKED:  # a loop more to compile, which interpreted runs hold to this one
        return
    replayed = CollectedTrial(name, variant, SLOTS)
    replayed.loop.replay(replayed.heap, replayed.run, batch_of(rows))
    assert (replayed.held.handles == again.held.handles).all()
    assert replayed.heap.paths.tolist() == again.heap.paths.tolist()


@pytest.mark.parametrize(("name", "variant"), INCREMENTAL)
@pytest.mark.parametrize("seed", [1] if INTERPRETED else [1, 2, 3])
def test_keeps_a_graph_that_changes_while_it_is_marked(name, variant, seed):
    """References are loaded and cut behind the collector's back; most writes meet a cycle."""
    rows = hiding_rows(seed, TURNS)
    trial = GraphTrial(name, variant)
    for row in rows:
        trial.step(*row)
    totals = trial.heap.log.totals
    assert totals[CYCLES] > TURNS / 20
    assert totals[BARRIERS] > sum(row[0] == WRITE for row in rows) / 10
    trial.collect()


VERBS = [NEW] * 5 + [WRITE] * 6 + [HOLD, ROOT, ROOT, UNROOT, PUSH, POP, FREE]  # FREE: collect
SIZES = [0, 1, 40, 500, 3000]
REQUEST_BYTES = 5  # verb, two picks, size, fields; drawing them as numbers took half of the test
REQUESTS = st.binary(
    min_size=REQUEST_BYTES * MOST_REQUESTS // 2, max_size=REQUEST_BYTES * MOST_REQUESTS
)


def told(requests):
    """The requests that bytes tell: (verb, one, other, size, fields) each."""
    for start in range(0, len(requests) - REQUEST_BYTES + 1, REQUEST_BYTES):
        verb, one, other, size, fields = requests[start : start + REQUEST_BYTES]
        yield VERBS[verb % len(VERBS)], one, other, SIZES[size % len(SIZES)], fields % 5


@pytest.mark.parametrize(("name", "variant"), CASES)
@settings(max_examples=2 if INTERPRETED else 8)
@given(requests=REQUESTS)
def test_keeps_a_graph_made_to_break_it(name, variant, requests):
    trial = GraphTrial(name, variant)
    trial.step(PUSH, -1)
    for verb, one, other, size, fields in told(requests):
        row = concrete(trial.program, verb, (one, other), (size, fields))
        if verb == FREE:
            trial.collect()
        elif row:
            trial.step(*row)
            for dead in sorted(trial.dead):
                trial.step(FREE, dead)
    trial.collect()


def concrete(program, verb, picks, shape):
    """The event that a request means for the program as it is; None if it can mean nothing."""
    live, (one, other), (size, fields) = sorted(program.fields), picks, shape
    if verb == NEW:
        return NEW, program.fresh(), size + 8 * fields, fields, -1
    if verb == PUSH:
        return PUSH, -1
    if verb == POP and len(program.frames) > 2:
        return POP, live[one % len(live)] if live and other % 3 == 0 else -1
    owners = [slot for slot in live if program.fields[slot]]
    if verb == WRITE and owners:
        owner, target = owners[one % len(owners)], [-1, *live][other % (len(live) + 1)]
        return WRITE, owner, 0, other % len(program.fields[owner]), target
    if verb == HOLD and live:
        return HOLD, live[one % len(live)]
    unrooted = [slot for slot in live if slot not in program.globals]
    if verb == ROOT and unrooted:
        return ROOT, unrooted[one % len(unrooted)]
    if verb == UNROOT and program.globals:
        return UNROOT, sorted(program.globals)[one % len(program.globals)]
    return None


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_replays_malloc_traces(name, variant):
    """Each object is a root from its allocation to its free."""
    draw = np.random.default_rng(4)
    trial = CollectedTrial(name, variant, SLOTS, graph=False)
    for number in range(EVENTS):
        live = list(trial.sizes)
        size = int(2 ** draw.uniform(0, 15))
        verb = draw.random()
        if live and (verb < 0.4 or len(live) > 40):
            trial.step(FREE, live[draw.integers(len(live))])
        elif live and verb < 0.5:
            trial.step(REALLOC, live[draw.integers(len(live))], size)
        else:
            slot = next(slot for slot in range(4096) if slot not in trial.sizes)
            trial.step(MALLOC if verb < 0.9 else CALLOC, slot, size)
        if number % VERIFY_EVERY == 0:
            trial.verify()
        if number % 31 == 0:
            trial.decompose()
    trial.collect_all()
    trial.replay(events())
    assert trial.decompose()["garbage"] <= kept_by_neighbours(name, trial)


@pytest.mark.parametrize("name", COLLECTED)
def test_refuses_what_is_larger_than_memory(name):
    trial = CollectedTrial(name, None, SLOTS, graph=False)
    trial.step(MALLOC, 0, 100)
    for size in ((1 << 48) - 1, 1 << 47, 1 << 37):
        row = [(MALLOC, 1, size, 0, -1)]
        trial.replay(batch_of(row))
        assert trial.run.progress[trial.loop.REFUSED] == 1
        assert trial.broken() == 0
        trial.run.progress[trial.loop.REFUSED] = 0


OF_FIXED_SIZE = [
    name for name in COLLECTED if "heap_bytes" in managers()[name].module.Config._fields
]


@pytest.mark.parametrize("name", OF_FIXED_SIZE)
def test_no_collection_is_made_for_what_none_could_make_room_for(name):
    trial = CollectedTrial(name, {"heap_bytes": 1 << 16}, SLOTS, graph=False)
    trial.step(MALLOC, 0, 100)
    before = int(trial.heap.log.totals[CYCLES])  # one, where the first space is made by it
    trial.replay(batch_of([(MALLOC, 1, 1 << 17, 0, -1)]))
    assert trial.run.progress[trial.loop.REFUSED] == 1
    assert trial.heap.log.totals[CYCLES] == before


NAMING = [case for case in CASES if managers()[case.values[0]].card.names_slots]


@pytest.mark.parametrize(("name", "variant"), NAMING)
def test_the_handle_of_a_reclaimed_object_is_cleared(name, variant):
    """A trace that hides a death names the object later: the loop must see that it is gone."""
    trial = CollectedTrial(name, variant, SLOTS)
    hidden = [(PUSH, -1, 0, 0, -1), *((NEW, slot, 16 * slot, 0, -1) for slot in range(9))]
    trial.replay(batch_of([*hidden, (POP, -1, 0, 0, -1)]))
    churn = [(PUSH, -1, 0, 0, -1), (NEW, 9, 1000, 1, -1), (POP, -1, 0, 0, -1), (FREE, 9, 0, 0, -1)]
    for _ in range(120):
        trial.replay(batch_of(churn))
    trial.collect_all()
    assert not trial.held.handles.any()
    trial.replay(batch_of([(WRITE, 3, 0, 0, -1)]))
    assert trial.run.progress[trial.loop.REFUSED] == trial.loop.UNSOUND


@pytest.mark.parametrize("name", LIMITED)
def test_a_full_heap_ends_the_program_and_not_the_replay(name):
    """With a limit, objects that all live are refused in the end; what was granted stays whole."""
    knob = managers()[name].card.limit_knob
    trial = CollectedTrial(name, {knob: 1 << 22}, graph=False)
    rows = [(MALLOC, slot, 8000, 0, -1) for slot in range(600)]
    trial.replay(batch_of(rows))
    assert trial.run.progress[trial.loop.REFUSED] == 1
    granted = int(trial.run.progress[trial.loop.NEXT])
    assert 150 < granted < (1 << 22) // 8000
    assert trial.broken() == 0
    assert np.count_nonzero(trial.held.handles) == granted
