"""TLSF and half fit against dicts and lists, and what the literature promises of them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.managers import named
from naive.good_fit import NaiveGoodFit
from trial import FREE, MALLOC, MEMALIGN, REALLOC, Trial

VARIANTS = [
    ("tlsf", 32, {}),
    ("tlsf", 32, {"growth_bytes": 4096, "trim_bytes": 1}),
    ("tlsf", 16, {"second_level_shift": 4, "growth_bytes": 4096}),
    ("tlsf", 2, {"second_level_shift": 1, "growth_bytes": 8192, "trim_bytes": 6000}),
    ("half-fit", 1, {}),
    ("half-fit", 1, {"growth_bytes": 0, "trim_bytes": 1}),
]


def replay_beside_naive(name, steps, variant, seed, *, events, live_limit, largest):
    """A seeded trace through the twin and the oracle: the same addresses and usable bytes."""
    knobs = {k: v for k, v in variant.items() if k != "second_level_shift"}
    random = np.random.default_rng(seed)
    trial, naive, held = Trial(name, variant), NaiveGoodFit(steps, **knobs), {}
    for slot in range(events):
        size, kind = int(np.exp(random.uniform(0, np.log(largest)))), random.random()
        victim = list(held)[random.integers(len(held))] if held else None
        if held and (kind < 0.45 or len(held) > live_limit):
            naive.free(held.pop(victim))
            trial.step(FREE, victim)
            continue
        align, chosen = 0, slot
        if held and kind < 0.55:
            op, chosen, expected = REALLOC, victim, naive.realloc(held[victim], size)
        elif kind > 0.96:
            align = int(random.integers(5, 12))
            op, expected = MEMALIGN, naive.alloc(size, 1 << align)
        else:
            op, expected = MALLOC, naive.alloc(size)
        held[chosen] = expected
        assert trial.step(op, chosen, size, align) == (expected, naive.usable(expected))
    trial.verify()


@pytest.mark.parametrize(("name", "steps", "variant"), VARIANTS)
@settings(max_examples=2 if INTERPRETED else 15)
@given(
    seed=st.integers(0, 2**32 - 1),
    live_limit=st.integers(2, 80),
    largest=st.sampled_from([100, 1000, 10_000, 200_000]),
)
def test_addresses(name, steps, variant, seed, live_limit, largest):
    events = 40 if INTERPRETED else 200
    replay_beside_naive(
        name, steps, variant, seed, events=events, live_limit=live_limit, largest=largest
    )


@pytest.mark.parametrize(("name", "steps"), [("tlsf", 32), ("half-fit", 1)])
def test_addresses_of_a_long_trace(name, steps, effort):
    replay_beside_naive(name, steps, {}, 5, events=150 * effort, live_limit=400, largest=5000)


def test_half_fit_passes_over_what_tlsf_takes():
    """A hole of 1.5 times the request lies in the request's own list, which half fit skips."""
    for name, reused in (("tlsf", True), ("half-fit", False)):
        trial = Trial(name)
        hole = trial.step(MALLOC, 0, 1500)[0]
        trial.step(MALLOC, 1, 100)
        trial.step(FREE, 0)
        assert (trial.step(MALLOC, 2, 1100)[0] == hole) == reused


def test_tlsf_passes_over_at_most_a_thirty_second():
    trial = Trial("tlsf")
    for slot, size in enumerate(range(600, 60_000, 1111)):
        hole = trial.step(MALLOC, 2 * slot, size)[0]
        trial.step(MALLOC, 2 * slot + 1, 8)
        trial.step(FREE, 2 * slot)
        assert trial.step(MALLOC, 2 * slot, int(size / (1 + 1 / 31)) - 24)[0] == hole
    trial.verify()


def worst_end(most_live, largest, events, seed):
    """Highest end of a block, in blocks of 32 bytes, over a random program of at most `most_live`
    such units, which frees what lies densest: every other block."""
    random = np.random.default_rng(seed)
    naive, held, high = NaiveGoodFit(1, growth_bytes=0), {}, 0
    for _ in range(events):
        units = int(random.integers(1, largest + 1))
        while sum(held.values()) + units > most_live:
            ordered = sorted(held)
            for address in ordered[:: 1 + int(random.integers(2))][: 1 + len(ordered) // 4]:
                naive.free(address)
                del held[address]
        address = naive.alloc(32 * units - 8)
        held[address] = units
        high = max(high, (address - 8 - (1 << 24) - 8) // 32 + units)
    return high


@pytest.mark.parametrize(("most_live", "largest"), [(16, 4), (32, 8), (64, 16)])
def test_half_fit_stays_below_ogasawaras_bound(most_live, largest, effort):
    """2M (1 + ceil(log2 n)) units suffice; a program that scatters its survivors needs over M."""
    high = worst_end(most_live, largest, 60 * effort, seed=most_live)
    assert most_live < high <= 2 * most_live * (1 + math.ceil(math.log2(largest)))


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("tlsf", {"second_level_shift": 6}),
        ("tlsf", {"growth_bytes": -1}),
        ("half-fit", {"trim_bytes": -1}),
    ],
)
def test_a_senseless_knob_is_refused(name, knobs):
    manager = named(name)
    with pytest.raises(HeapwrightError, match="negative"):
        manager.module.boot(machine(), manager.configured(knobs))
