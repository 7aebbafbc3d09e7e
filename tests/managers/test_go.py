"""Go's heap under random programs: sizes, life and death, and when it collects."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from go_trial import COLLECT, DROP, NEW, ROOT, SLOTS, SPOIL, UNROOT, WRITE, Trial
from heapwright.collectors import log as logs
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import RESIDENT
from heapwright.managers.runtime.go import manager as go
from heapwright.managers.runtime.go.layout import (
    span_of,
)
from heapwright.managers.runtime.go.vacancies import beside_of

STOPPED = {"gcstoptheworld": 2, "gomaxprocs": 1}
SETTINGS = [
    STOPPED,
    {"gcstoptheworld": 1, "gomaxprocs": 2},
    {"gomaxprocs": 2},
    {"gomaxprocs": 1, "gogc": 20, "workers_work": 1},
    {"gomaxprocs": 1, "workers_work": 0},
]


@pytest.mark.parametrize(
    ("size", "fields", "block"),
    [
        (16, 0, 16),
        (17, 0, 24),
        (8, 1, 8),
        (512, 1, 512),  # its references are in the bitmap
        (512, 64, 512),
        (513, 1, 576),  # a header comes on top
        (569, 1, 640),
        (569, 0, 576),
        (32760, 0, 32768),
        (32760, 1, 32768),
        (32761, 1, 32768),  # a span of its own: no header
        (32769, 0, 40960),
        (100_000, 5, 106_496),
    ],
)
def test_block_sizes(size, fields, block):
    trial = Trial(**STOPPED)
    address = trial.new(0, size, fields)
    assert trial.size(address) == block
    start, length = go.extent(trial.heap, address, size)
    assert length == block
    header = 8 if fields and 512 < size <= 32760 else 0
    assert address - start == header
    assert go.usable(trial.heap, address, size) == block - header


def test_tiny_objects_share_a_block_that_dies_with_the_last():
    trial = Trial(**STOPPED)
    first, second, third = (trial.new(slot, size) for slot, size in enumerate((5, 4, 8)))
    assert second - first == 8, "four bytes are aligned to four, behind five"
    assert trial.block_of(third) != first, "eight more do not fit"
    assert go.extent(trial.heap, second, 4) == (second, 4)
    trial.take((DROP, 0), (DROP, 2), (COLLECT,), (COLLECT,))
    assert trial.blocks() == {first}
    trial.take((DROP, 1), (COLLECT,))
    assert trial.blocks() == set()


def test_a_tiny_block_stays_for_the_one_that_has_more_room():
    trial = Trial(**STOPPED)
    block = trial.new(0, 5)
    assert trial.block_of(trial.new(1, 12)) != block, "twelve do not fit, and leave less room"
    assert trial.new(2, 3) == block + 5
    assert [trial.new(slot, size) - block for slot, size in ((3, 4), (4, 2))] == [8, 12]
    assert trial.new(5, 8) == trial.new(6, 8) - 8, "what is aligned stays where it is"


def test_an_object_without_bytes_takes_none():
    trial = Trial(**STOPPED)
    assert trial.new(0, 0) == trial.new(1, 0) != 0
    trial.take((COLLECT,))
    assert trial.meter("in_use") == 0


def test_absurd_sizes_are_refused_and_the_heap_goes_on():
    trial = Trial(**STOPPED)
    before = trial.new(0, 100)
    assert [trial.new(1, size) for size in (1 << 47, 1 << 36, 40 << 30)] == [0, 0, 0]
    assert trial.take((COLLECT,), (NEW, 2, 100))[1]
    assert before in trial.blocks()


def test_arenas_follow_each_other_upwards():
    trial = Trial(gogc=-1, **STOPPED)
    addresses = [trial.new(slot, 40 << 20) for slot in range(4)]
    assert addresses == sorted(addresses)
    assert addresses[0] % (64 << 20) == 0
    assert addresses[3] - addresses[0] == 3 * (40 << 20), "objects lie across arenas"


SIZES = st.one_of(
    st.integers(0, 64), st.integers(8, 700), st.integers(400, 40_000), st.just(300_000)
)
CHOICES = st.tuples(st.sampled_from("nnnnnndwwwwgc"), st.integers(0, 1 << 20), SIZES)
MOST_STEPS = 30 if INTERPRETED else 200


def program_steps(choices, graph):
    """Steps of a program, and what it holds in the end: {slot: [target or None]}, global roots."""
    held, roots, spare, steps = {}, set(), list(range(SLOTS)), []
    sizes = {}
    for verb, pick, size in choices:
        live = sorted(held)
        slot = live[pick % len(live)] if live else None
        if verb == "n" and spare:
            slot = spare.pop(pick % len(spare))
            fields = min(size // 8, pick % 70) if graph else 0
            held[slot], sizes[slot] = [None] * fields, size
            roots.add(slot)
            steps += [(NEW, slot, size, fields), *([(ROOT, slot)] if graph else [])]
        elif slot is None or verb == "c":
            steps.append((COLLECT,))
        elif verb == "w" and graph and held[slot]:
            target = live[(pick >> 8) % len(live)] if pick & 128 else None
            number = pick % len(held[slot])
            held[slot][number] = target
            steps.append((WRITE, slot, number, -1 if target is None else target))
        elif verb == "g" and graph:
            steps.append((UNROOT if slot in roots else ROOT, slot))
            roots ^= {slot}
        elif verb == "d":
            steps += [(UNROOT, slot)] if graph and slot in roots else []
            roots -= {slot}
        reached, pending = set(), list(roots)
        while pending:
            found = pending.pop()
            if found not in reached:
                reached.add(found)
                pending += [target for target in held[found] if target is not None]
        for dead in set(held) - reached:
            del held[dead]
            steps.append((DROP, dead))
            spare.append(dead)
    return steps, {slot: sizes[slot] for slot in held}


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("knobs", SETTINGS)
@settings(max_examples=4 if INTERPRETED else 25, deadline=None)
@given(choices=st.lists(CHOICES, max_size=MOST_STEPS))
def test_what_is_reached_stays_and_nothing_else(graph, knobs, choices):
    steps, held = program_steps(choices, graph)
    trial = Trial(graph=graph, **knobs)
    trial.take(*steps)
    handles = trial.mutator.handles
    assert {slot for slot in range(SLOTS) if handles[slot]} == set(held)
    kept = {trial.block_of(int(handles[slot])) for slot, size in held.items() if size}
    assert kept <= trial.blocks()
    trial.take((COLLECT,), (COLLECT,))
    assert trial.blocks() == kept
    assert trial.meter("live") == sum(trial.size(block) for block in kept)
    assert trial.total(logs.ALLOCATED_BYTES) - trial.meter("freed_total") == trial.meter("live")


@pytest.mark.parametrize("knobs", SETTINGS)
def test_a_long_chain_survives_cycles_that_begin_while_it_is_rebuilt(knobs):
    """A list whose head moves on: each link is held by a field only, and fields change hands."""
    trial = Trial(graph=True, **knobs)
    steps = [(NEW, 0, 64, 8), (ROOT, 0), (NEW, 1, 64, 8), (WRITE, 0, 0, 1)]
    for turn in range(300 if INTERPRETED else 6000):
        spare, link = 2 + turn % 2, 1 if turn == 0 else 2 + (turn - 1) % 2
        steps += [(NEW, spare, 2048, 8), (WRITE, 0, 1, spare), (WRITE, spare, 0, link)]
        steps += [(WRITE, 0, 0, spare), (WRITE, 0, 1, -1), (WRITE, spare, 0, -1), (DROP, link)]
    trial.take(*steps)
    head, link = int(trial.mutator.handles[0]), int(trial.mutator.handles[spare])
    assert trial.heap.machine.words[head >> 3] == link
    assert {head, trial.block_of(link)} <= trial.blocks()
    if not INTERPRETED:
        assert trial.total(logs.CYCLES) > 1
        assert (trial.total(logs.BARRIERS) > 0) == ("gcstoptheworld" not in knobs)


@pytest.mark.parametrize(
    "word", [1, -1, 1 << 62, -(1 << 63), (1 << 36) - 8, 1 << 35, (1 << 36) - (1 << 30) + 12345]
)
def test_words_that_are_no_references_do_no_harm(word):
    trial = Trial(graph=True, **STOPPED)
    trial.new(0, 64, 8)
    trial.take((ROOT, 0), (SPOIL, 0, 3, word), (COLLECT,), (COLLECT,))
    assert trial.blocks() == {int(trial.mutator.handles[0])}


def test_every_byte_of_the_heap_is_one_thing():
    trial = Trial(gomaxprocs=2)
    random = np.random.default_rng(3)
    for turn in range(40 if INTERPRETED else 400):
        slot = int(random.integers(SLOTS))
        trial.take((DROP, slot), (NEW, slot, int(random.choice([5, 30, 200, 3000, 50_000])), 0))
        if turn % 50 == 49:
            trial.take((COLLECT,))
    rows = sorted(row for which in range(3) for row in trial.rows(which))
    blocks = [[block, trial.size(block)] for block in trial.blocks()]
    everything = sorted(rows + blocks)
    for (start, length), (after, _) in pairwise(everything):
        assert start + length == after, "bytes that are two things, or none"
    covered = sum(length for _, length in everything)
    assert covered == sum(trial.meter(name) for name in ("in_use", "free", "released"))


def test_collections_come_when_the_heap_has_doubled():
    trial = Trial(**STOPPED)
    trial.take(*[(NEW, slot, 1 << 20) for slot in range(10)])
    assert trial.total(logs.CYCLES) == 2, "at 4 MiB and, as all was live, at 8"
    trial.take((COLLECT,))
    trial.take(*[step for slot in range(10) for step in ((DROP, slot), (NEW, slot, 1 << 20))] * 3)
    assert trial.total(logs.CYCLES) == 3 + 3, "whenever 10 MiB more were allocated"
    goals = trial.heap.log.cycles[logs.GOAL :: logs.CYCLE_COLUMNS][:6] >> 20
    assert goals.tolist() == [4, 8, 16, 20, 20, 20]


def test_gogc_off_collects_only_when_told():
    trial = Trial(gogc=-1, **STOPPED)
    trial.take(*[(NEW, slot, 1 << 20) for slot in range(10)] * 5)
    assert trial.total(logs.CYCLES) == 0
    trial.take((COLLECT,))
    assert trial.total(logs.CYCLES) == 1
    assert trial.meter("live") == 10 << 20


def test_the_memory_limit_is_kept_by_collecting_and_giving_pages_back():
    limit = 24 << 20
    trial = Trial(gogc=-1, gomemlimit=limit, **STOPPED)
    sizes = [9 << 17, 5 << 18, 7 << 18]
    steps = [(NEW, turn % 6, sizes[turn % 3] + 8192 * (turn % 17), 0) for turn in range(200)]
    kept = []
    for given_step in steps:
        trial.take(given_step)
        kept.append(trial.meter("in_use") + trial.meter("free"))
    assert max(kept) <= limit
    assert trial.total(logs.CYCLES) > 5
    assert trial.meter("scavenged") > 0


def test_pages_that_the_heap_no_longer_needs_go_back_in_the_background():
    trial = Trial(**STOPPED)
    trial.take(*[(NEW, slot, 1 << 20) for slot in range(60)])
    trial.take(*[(DROP, slot) for slot in range(60)], (COLLECT,), (COLLECT,))
    kept = trial.meter("free")
    trial.take(*[(NEW, 0, 64 << 10)] * (100 if INTERPRETED else 2000))
    assert trial.meter("free") < kept
    assert trial.meter("scavenged") > 0
    machine, pages = trial.heap.machine, trial.heap.go.pages
    without = (pages.free & pages.gone).astype("<i8").view(np.uint8)
    without = np.flatnonzero(np.unpackbits(without, bitorder="little"))
    flags = machine.pages.reshape(-1, 2)[without]  # Go's pages are two of the machine's
    assert not (flags & RESIDENT).any(), "what is given back holds no memory"


def test_used_memory_is_cleared_and_fresh_memory_is_not():
    trial = Trial(gogc=-1, **STOPPED)
    trial.take(*[(NEW, 0, 1000)] * 20)
    assert trial.heap.paths[go.ZEROED] == 0
    trial.take((COLLECT,), *[(NEW, 0, 1000)] * 20)
    assert trial.heap.paths[go.ZEROED] > 0


def test_threads_run_on_processors_of_their_own():
    trial = Trial(gogc=-1, gomaxprocs=2)
    first, second, third = trial.take(*[(NEW, slot, 100) for slot in range(3)])
    assert trial.heap.go.processor_count == 2
    assert third - first == 112, "thread 2 goes on where thread 0 was"
    assert abs(second - first) >= 8192


def test_marking_proceeds_in_steps_and_allocation_assists_it():
    trial = Trial(graph=True, gomaxprocs=1, gogc=20, workers_work=0)
    trial.take(*[step for slot in range(60) for step in ((NEW, slot, 65536, 8000), (ROOT, slot))])
    trial.take((COLLECT,))
    seen = 0
    for _ in range(60 if INTERPRETED else 400):
        trial.take((NEW, 61, 30_000, 0), (DROP, 61))
        seen += trial.meter("marking")
    assert seen
    assert trial.total(logs.ASSIST_BYTES) > 0
    assert trial.meter("generation") == 2 * trial.total(logs.CYCLES)


@pytest.fixture
def marking():
    """A heap whose cycle has begun: its roots are shaded, nothing is marked. The object of slot 0
    is a root and refers to that of 1, that of 2 is a root too, that of 3 is neither."""
    trial = Trial(graph=True, gomaxprocs=1, workers_work=0)
    trial.take(*[(NEW, slot, 64, 2) for slot in range(4)], (ROOT, 0), (ROOT, 2), (WRITE, 0, 0, 1))
    while not trial.meter("marking"):
        trial.take((NEW, 9, 60_000, 0), (DROP, 9))
    return trial


@pytest.mark.parametrize(
    ("field", "target", "shaded"),
    [(0, 2, [1, 2]), (0, -1, [1]), (1, 2, [2]), (1, -1, [])],
    ids=["both", "old", "new", "none"],
)
def test_the_barrier_shades_the_old_and_the_new_referent(marking, field, target, shaded):
    handles, marker = marking.mutator.handles, marking.heap.marker
    before = int(marker.top)
    marking.take((WRITE, 0, field, target))
    found = marker.stack[before : marker.top].tolist()
    assert found == [int(handles[slot]) for slot in shaded]
    assert marking.total(logs.BARRIERS) == 1


def test_what_is_cut_while_marking_survives_the_cycle_and_not_the_next(marking):
    cut = int(marking.mutator.handles[1])
    marking.take((WRITE, 0, 0, -1))
    while marking.meter("marking"):
        marking.take((NEW, 9, 60_000, 0), (DROP, 9))
    assert cut in marking.blocks(), "the program's black stack may have loaded it before"
    marking.take((DROP, 1), (COLLECT,))
    assert cut not in marking.blocks()


def test_a_write_past_the_barrier_breaks_the_strong_invariant(marking):
    """What is born black refers to a white object: `check` must say so, and does not otherwise."""
    marking.take((NEW, 4, 64, 2), (WRITE, 4, 0, 3))
    assert not go.check(marking.heap)
    handles = marking.mutator.handles
    marking.heap.marker.top -= 1  # as if it had not been shaded
    assert go.check(marking.heap) == 10
    marking.heap.machine.words[int(handles[4]) >> 3] = handles[
        2
    ]  # grey: a root, shaded at the start
    assert not go.check(marking.heap)


def test_inline_bits_lie_at_the_ends_of_spans():
    trial = Trial(**STOPPED)
    noscan, scan, headed = trial.new(0, 64), trial.new(1, 64, 1), trial.new(2, 1000, 1)
    sizes = [
        int(beside_of(trial.heap.go, span_of(trial.heap.go, a))) for a in (noscan, scan, headed)
    ]
    assert sizes == [128, 256, 0]


@pytest.mark.parametrize(
    ("knob", "value"),
    [("gogc", -2), ("gcstoptheworld", 3), ("gomaxprocs", -1), ("own_bytes", -1)],
)
def test_knobs_out_of_range(knob, value):
    with pytest.raises(HeapwrightError, match=knob):
        Trial(**{knob: value})
