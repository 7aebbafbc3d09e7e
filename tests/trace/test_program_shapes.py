"""What the synthetic programs promise of their shape, and what two of them do to a manager."""

from itertools import pairwise

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace import programs
from heapwright.trace.programs import fleet, generations
from heapwright.trace.schema import FREE, MALLOC
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import replay
from trial import Trial


def events_of(name, *columns, **chosen):
    """Columns of all events of a program; op, slot and size by default."""
    module = programs.program(name)
    made = list(module.batches(programs.parameters(name, chosen)))
    columns = columns or ("op", "slot", "size")
    return tuple(np.concatenate([getattr(b, c) for b in made]) for c in columns)


def lifetimes(op, slot):
    """int64[death, 2]: row of birth and events lived, in the order of death."""
    born, lives = {}, []
    for row, (kind, number) in enumerate(zip(op.tolist(), slot.tolist(), strict=True)):
        if kind == FREE:
            birth = born.pop(number)
            lives.append((birth, row - birth))
        else:
            born[number] = row
    return np.array(lives)


def test_generations_differ_in_lifetime_as_their_haste_says():
    op, slot, site = events_of(
        "generations", "op", "slot", "site", events=600_000, live_objects=1_000
    )
    lives = lifetimes(op, slot)
    generation = site[lives[:, 0]]
    births = np.bincount(site[op == MALLOC], minlength=3)
    assert births[0] / births.sum() == pytest.approx(0.9, abs=0.01)
    late = lives[:, 0] > 100_000
    means = [lives[late & (generation == kind), 1].mean() for kind in range(2)]
    assert means[1] / means[0] == pytest.approx(16, rel=0.1)
    live = np.cumsum(np.where(op == FREE, -1, 1))
    assert live[300_000:].mean() == pytest.approx(1_000, rel=0.1)


@pytest.mark.parametrize("young", [1, 50, 90, 99])
def test_birth_weights_of_generations_add_up_to_the_live_objects(young):
    parameters = programs.parameters("generations", {"live_objects": 5_000, "young_percent": young})
    weights = generations.birth_weights(parameters)
    alive = sum(w / haste for w, haste in zip(weights, generations.HASTE, strict=True))
    assert alive == pytest.approx(5_000, rel=0.01)
    assert weights[0] / sum(weights) == pytest.approx(young / 100, abs=0.001)


def test_phases_empty_between_and_have_sizes_of_their_own():
    op, size, site = events_of(
        "phases", "op", "size", "site", events=160_000, live_objects=2_000, phases=4, min_bytes=16,
        max_bytes=4096,
    )  # fmt: skip
    live = np.cumsum(np.where(op == FREE, -1, 1))
    for phase in range(4):
        assert live[40_000 * phase + 29_999] > 1_800
        assert live[40_000 * (phase + 1) - 1] < 150
    ranges = sorted((size[site == phase].min(), size[site == phase].max()) for phase in range(4))
    assert all(above[0] > below[1] for below, above in pairwise(ranges))
    assert ranges[0][0] < 20 and ranges[-1][1] > 3_900


def test_bursts_are_born_in_a_row_and_die_in_the_order_of_birth():
    op, slot, _ = events_of("bursts", events=200_000, live_objects=3_000, burst_objects=50)
    live = np.cumsum(np.where(op == FREE, -1, 1))
    assert live.max() <= 3_000 and live[20_000:].min() > 3_000 - 200
    lives = lifetimes(op, slot)
    runs = np.flatnonzero(np.diff(lives[:, 0]) != 1)
    assert 30 < len(lives) / (len(runs) + 1) < 70, "deaths follow births in runs of a batch"


def test_every_free_of_producers_and_consumers_is_a_remote_one():
    op, slot, thread = events_of(
        "producer-consumer", "op", "slot", "thread", events=50_000, live_objects=300, producers=3
    )
    makers, breakers = set(thread[op == MALLOC].tolist()), set(thread[op == FREE].tolist())
    assert len(makers) == 3 and len(breakers) == 2 and not makers & breakers
    firsts = [int(np.flatnonzero(thread == number)[0]) for number in range(5)]
    assert firsts == sorted(firsts), "threads are numbered by first appearance"
    lives = lifetimes(op, slot)
    assert (np.diff(lives[:, 0]) > 0).all(), "first in, first out"
    live = np.cumsum(np.where(op == FREE, -1, 1))
    assert live[5_000:].mean() == pytest.approx(300, rel=0.1)


def test_recursion_is_replayed_on_a_stack_without_waste(tmp_path):
    """Beside malloc on the same program: the stack holds live bytes and rounding to 16, no more."""
    path = tmp_path / "recursion.parquet"
    programs.synthesise("recursion", path, {"events": 60_000, "live_objects": 3_000})
    trace = Trace.open(path)
    on_stack = replay("stack", trace)
    assert on_stack.paths["buried"] == on_stack.paths["uncovered"] == 0
    peak = on_stack.peak
    assert peak["header_bytes"] == peak["cached_bytes"] == 0
    waste = peak["resident_bytes"] - peak["live_bytes"] - peak["rounding_bytes"]
    with_malloc = replay("segregated-fit", trace).peak
    assert peak["resident_bytes"] < with_malloc["resident_bytes"]
    # what is left is the part of the stack above the present top that was once in use
    deepest = trace.peak_live_bytes + 16 * trace.peak_live_objects
    assert peak["live_bytes"] + peak["rounding_bytes"] + waste <= deepest + 2 * 4096


def test_recursion_overflows_a_small_stack_with_a_sentence(tmp_path):
    path = tmp_path / "recursion.parquet"
    programs.synthesise("recursion", path, {"events": 60_000, "live_objects": 3_000})
    with pytest.raises(HeapwrightError, match="stack overflow at request"):
        replay("stack", Trace.open(path), {"limit_bytes": 1 << 16})


@pytest.mark.parametrize("profile", range(fleet.PROFILES))
def test_the_fleet_asks_and_holds_as_published(profile):
    rows = fleet.published(profile)
    assert len(rows) > 900 and (rows > 0).all()
    rows = rows[rows[:, 0] <= 16 << 20]
    op, slot, size = events_of("fleet", events=300_000, live_objects=5_000, profile=profile)
    asked = size[5_000:][op[5_000:] == MALLOC]
    rate = rows[:, 1] / rows[:, 1].sum()
    for least in (64, 512, 4096):
        expected = rate[rows[:, 0] >= least].sum()
        slack = 5 * np.sqrt(expected / len(asked)) + 1e-3
        assert (asked >= least).mean() == pytest.approx(expected, abs=slack)
    live = np.cumsum(np.where(op == FREE, -1, 1))
    assert live[4_999] == 5_000, "it fills up first"
    assert live[5_000:].mean() == pytest.approx(5_000, rel=0.05)
    held = np.zeros(slot.max() + 1, np.int64)
    for kind, number, length in zip(op.tolist(), slot.tolist(), size.tolist(), strict=True):
        held[number] = 0 if kind == FREE else length
    held = held[held > 0]
    share = rows[:, 2] / rows[:, 2].sum()
    for least in (64, 512):
        expected = share[rows[:, 0] >= least].sum()
        assert (held >= least).mean() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("live", "doublings"), [(64, 4), (300, 5)])
def test_robson_forces_his_bound_on_first_fit(live, doublings):
    """The twin of first fit places every block where the program foresaw it, and needs at least
    M (1 + log2(n) / 2) - n + 1 units (Robson 1971)."""
    trial, high = Trial("first-fit", {"growth_bytes": 0}), 0
    batches = programs.program("robson").batches(
        programs.parameters("robson", {"events": 40 * live, "live_objects": live,
                                       "doublings": doublings})
    )  # fmt: skip
    for batch in batches:
        for op, slot, size in zip(*(column.tolist() for column in batch[:3]), strict=True):
            address, _ = trial.step(op, slot, size)
            if op == MALLOC:
                unit, rest = divmod(address - 16 - (1 << 24), 64)
                assert rest == 0
                high = max(high, unit + (size + 8) // 64)
    assert high >= live * (1 + doublings / 2) - (1 << doublings) + 1
    assert high <= live * (1 + doublings), "first fit never needs more than M (1 + log2 n)"
