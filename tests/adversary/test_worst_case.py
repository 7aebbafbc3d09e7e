"""The worst case: exact figures of the literature, and a manager's own game against the model."""

import time

import numpy as np
import pytest

from heapwright.adversary import placement_game
from heapwright.adversary import state_search as beam
from heapwright.adversary.subject import Subject, beginnings, unit_of
from heapwright.adversary.worst_case import optimum, sizes_of, worst_case
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import PEAK_MAPPED_BYTES
from heapwright.managers import named
from trial import FREE, MALLOC, Trial

# (manager, M, n, high water)
EXACT = [
    ("optimal", 2, 2, 2),
    ("optimal", 4, 2, 5),
    ("optimal", 6, 2, 8),
    ("optimal", 8, 2, 11),
    ("optimal", 4, 4, 5),
    ("optimal", 6, 4, 9),
    ("optimal", 8, 4, 13),
    ("buddy", 4, 4, 6),
    ("buddy", 6, 4, 12),
    ("buddy", 8, 4, 16),
    ("buddy", 10, 4, 20),
    ("buddy", 8, 8, 16),
    ("buddy", 12, 2, 18),
    ("first-fit", 8, 2, 12),
    ("first-fit", 10, 2, 16),
    ("first-fit", 12, 2, 19),
    ("first-fit", 8, 4, 16),
    ("first-fit", 10, 4, 20),
    ("first-fit", 8, 8, 16),
    ("best-fit", 6, 4, 11),
    ("best-fit", 8, 4, 17),
    ("best-fit", 10, 4, 22),
    ("best-fit", 8, 8, 18),
]
compiled_only = pytest.mark.skipif(INTERPRETED, reason="millions of states")


@pytest.mark.parametrize(
    ("name", "live", "ratio", "high"),
    [row for row in EXACT if not INTERPRETED or row[1:3] in ((2, 2), (4, 2), (4, 4))],
)
def test_exact_figures(name, live, ratio, high):
    found = worst_case(name, live, ratio)
    assert (found.high_water, found.exhaustive) == (high, True)
    if name == "optimal":
        assert found.high_water == found.optimum
    else:
        assert found.high_water >= found.optimum


@pytest.mark.parametrize(("name", "live", "ratio"), [("first-fit", 4, 2), ("buddy", 4, 4)])
def test_a_trial_of_the_manager_takes_what_is_said(name, live, ratio):
    """The sequence, replayed as a trace of its own, puts each block where the result says."""
    found = worst_case(name, live, ratio)
    trial, base, held = Trial(name), None, 0
    for step in found.steps():
        if step["op"] == "free":
            trial.step(FREE, step["slot"])
            held -= step["units"]
            continue
        size = step["units"] * found.unit_bytes - found.overhead_bytes
        trial.step(MALLOC, step["slot"], size)
        start, past = trial.extent_of[step["slot"]]
        base = start if base is None else base
        assert start - base == step["start_units"] * found.unit_bytes
        held += step["units"]
        assert held <= live
    assert past - base == found.high_water * found.unit_bytes  # the last move reaches it
    trial.verify()


@compiled_only
@pytest.mark.parametrize(
    ("name", "live", "ratio"), [("first-fit", 6, 2), ("best-fit", 5, 3), ("buddy", 6, 4)]
)
def test_the_managers_own_game_agrees_with_the_model(name, live, ratio):
    """With a knob set the manager's memory is searched instead; the game is the same."""
    model = worst_case(name, live, ratio)
    searched = worst_case(name, live, ratio, settings={"growth_bytes": 1 << 16}, seconds=60)
    assert searched.exhaustive and searched.states > model.states
    assert searched.high_water == model.high_water


def played(name, live, ratio, seconds):
    """A game on any manager: what is found was measured on it, no less than what must be live."""
    found = worst_case(name, live, ratio, seconds=seconds)
    assert found.high_water >= live
    assert len(found.moves) == len(found.starts)
    assert found.exhaustive or "Not every program" in found.notes[-1]
    return found


@compiled_only
def test_memory_that_is_never_reused_has_no_worst_case():
    found = played("linear", 4, 2, 1)
    assert not found.exhaustive and found.high_water > 8


@compiled_only
def test_a_manager_with_a_rover_can_be_played():
    played("next-fit", 6, 2, 1)


@compiled_only
def test_glibc_wastes_more_than_the_optimum():
    found = played("glibc", 6, 4, 4)
    assert (found.unit_bytes, found.overhead_bytes) == (32, 8)
    assert found.high_water >= 12 > found.optimum


def test_of_a_heap_in_one_run_the_span_counts():
    found = worst_case("first-fit", 4, 2)
    assert not found.areas and found.to_json()["measure"] == "span"
    assert found.taken_bytes == found.first_bytes == 1 << 17  # the least that brk moves


@compiled_only
def test_of_blocks_in_areas_of_their_own_what_was_taken_counts():
    """Chunks of a page: four slots of 1 KiB fill one, and a heap beneath takes the rest."""
    knobs = {"slot_bytes": 2048, "chunk_bytes": 4096, "growth_bytes": 0}
    found = worst_case("slots", 6, 1, settings=knobs, seconds=2)
    said = found.to_json()
    assert found.areas and said["measure"] == "taken"
    assert said["first_bytes"] == 4096
    pages = -(-6 * found.unit_bytes // 4096) if found.unit_bytes == 2048 else 1
    assert said["taken_bytes"] >= 4096 * pages
    trial = Trial("slots", knobs)
    for step in found.steps():
        size = int(step["units"]) * found.unit_bytes - found.overhead_bytes
        op = MALLOC if step["op"] == "malloc" else FREE
        trial.step(op, step["slot"], size if op == MALLOC else 0)
    assert int(trial.machine.meters[PEAK_MAPPED_BYTES]) == said["taken_bytes"]


def test_a_manager_over_another_is_played_too():
    with pytest.raises(HeapwrightError, match="does not stand on semispace"):
        worst_case("first-fit over semispace", 4, 2)


def test_a_manager_is_set_back_without_a_trace():
    """After any play, back at boot, the same moves give the same blocks."""
    sizes, unit = [1, 2, 3, 4], (32, 8)
    low = beginnings(named("glibc"), {}, unit, sizes)
    subject = Subject(named("glibc"), {}, (6, sizes), unit)
    subject.learn(low)
    moves = [4, 1, -1, 1, 2, -2, 3]
    first = subject.play(moves)
    subject.play([-1, 2, -1 - 2])
    subject.watch()
    assert (subject.play(moves) == first).all()
    subject.watch()
    del subject  # whose memory the next one might be given, cleared and so in physical memory
    fresh = Subject(named("glibc"), {}, (6, sizes), unit)
    assert (fresh.play(moves) == first).all()
    assert sum(len(words) for _, words in fresh._resident()) < 1 << 18, "of millions; each is read"


@compiled_only
def test_a_beam_finds_what_it_has_no_time_to_exhaust():
    sizes, unit = [1, 2], (32, 8)
    subject = Subject(named("first-fit"), {}, (8, sizes), unit)
    subject.learn(beginnings(named("first-fit"), {}, unit, sizes))
    beam._compile(subject)
    run = beam._Run(subject, None)
    assert not run.layers(time.monotonic() + 3, 500)
    assert run.worst()[0] >= 10  # 12 is the worst there is


def test_units():
    assert unit_of(named("first-fit"), {}, [1, 2, 3]) == (32, 8)
    assert unit_of(named("buddy"), {}, [1, 2, 4]) == (32, 0)
    assert unit_of(named("buddy"), {}, [1, 2, 3]) is None


def test_optimum():
    assert [optimum(8, 4), optimum(8, 5), optimum(8, 1), optimum(5, 2)] == [13, 13, 8, 6.5]


@pytest.mark.parametrize(
    ("occupied", "size", "first", "best", "aligned"),
    [(0, 2, 0, 0, 0), (0b1000011, 1, 2, 2, 2), (0b1011000111, 1, 3, 8, 3), (0b101, 2, 3, 3, 4)],
)
def test_placement(occupied, size, first, best, aligned):
    policies = (
        placement_game.FIRST_FIT,
        placement_game.BEST_FIT,
        placement_game.LOWEST_ALIGNED,
    )
    assert [placement_game.place(p, occupied, size) for p in policies] == [first, best, aligned]


def test_a_full_table_is_not_exhaustive():
    table = placement_game.table(16)
    while placement_game.explore(table, placement_game.FIRST_FIT, 6, np.array([1, 2]), 100):
        pass
    assert table.fields[placement_game.CUT] == 1
    assert table.fields[placement_game.COUNT] == 16


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("first-fit", 4, 8), {}, "ratio 1 to live"),
        (("first-fit", 65, 2), {}, "live is 1 to 64"),
        (("no-fit", 4, 2), {}, "no manager is named 'no-fit'.*optimal"),
        (("first-fit", 4, 2), {"sizes": "odd"}, "all or powers"),
        (("first-fit", 4, 2), {"settings": {"colour": 1}}, "no knob named 'colour'"),
        (("first-fit", 4, 2), {"seconds": 0}, "more than 0"),
        (("optimal", 4, 2), {"settings": {"order": 1}}, "no knobs"),
    ],
)
def test_mistakes(arguments, options, said):
    with pytest.raises(HeapwrightError, match=said):
        worst_case(*arguments, **options)


def test_sizes():
    assert sizes_of("all", 5) == [1, 2, 3, 4, 5]
    assert sizes_of("powers", 5) == [1, 2, 4]


@compiled_only
def test_a_heap_that_grows_downwards():
    found = played("stack", 6, 2, 1)
    assert min(start for start in found.starts if start >= 0) == 0
