"""Segregated fit against dicts and lists, and its parts' promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.managers import named
from naive.segregated_fit import NaiveSegregatedFit
from trial import FREE, MALLOC, MEMALIGN, REALLOC, Trial

VARIANTS = [
    {},
    {"quick_blocks": 0, "growth_bytes": 4096},
    {"quick_blocks": 3, "refill_bytes": 0, "growth_bytes": 8192, "trim_bytes": 6000},
    {"quick_blocks": 5, "refill_bytes": 700, "growth_bytes": 4096, "trim_bytes": 1},
]


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=2 if INTERPRETED else 25)
@given(
    seed=st.integers(0, 2**32 - 1),
    live_limit=st.integers(2, 80),
    largest=st.sampled_from([100, 1000, 10_000, 200_000]),
)
def test_addresses(variant, seed, live_limit, largest):
    random = np.random.default_rng(seed)
    trial, naive, held = Trial("segregated-fit", variant), NaiveSegregatedFit(**variant), {}
    for number in range(40 if INTERPRETED else 250):
        size, kind = int(np.exp(random.uniform(0, np.log(largest)))), random.random()
        victim = list(held)[random.integers(len(held))] if held else None
        if held and (kind < 0.45 or len(held) > live_limit):
            naive.free(held.pop(victim))
            trial.step(FREE, victim)
            continue
        align, slot = 0, number
        if held and kind < 0.55:
            slot = victim
            op, expected = REALLOC, naive.realloc(held[slot], size)
        elif kind > 0.96:
            align = int(random.integers(5, 12))
            op, expected = MEMALIGN, naive.alloc(size, 1 << align)
        else:
            op, expected = MALLOC, naive.alloc(size)
        held[slot] = expected
        given_, usable = trial.step(op, slot, size, align)
        assert (given_, usable) == (expected, naive.usable(expected))
    trial.verify()
    cached = trial.rows("cached")
    expected_cached = [[b, naive.used[b]] for blocks in naive.quick.values() for b in blocks]
    assert sorted(cached) == sorted(expected_cached)


def test_rounding_is_at_most_an_eighth_above_the_head():
    trial = Trial("segregated-fit")
    for slot, size in enumerate(range(1025, 32_000, 97)):
        usable = trial.step(MALLOC, slot, size)[1]
        assert usable <= (size + 8) * 1.125 + 16 + 32


def test_a_freed_block_comes_back_at_once_and_merges_only_when_needed():
    trial = Trial("segregated-fit", {"refill_bytes": 0})
    first = [trial.step(MALLOC, slot, 100)[0] for slot in range(10)]
    for slot in range(10):
        trial.step(FREE, slot)
    assert [trial.step(MALLOC, slot, 100)[0] for slot in range(10)] == first[::-1]
    for slot in range(10):
        trial.step(FREE, slot)
    merged = trial.step(MALLOC, 10, (1 << 17) - 100)[0]
    assert merged == min(first), "a large request flushes the quick lists before the heap grows"


def test_a_negative_knob_is_refused():
    manager = named("segregated-fit")
    with pytest.raises(HeapwrightError, match="negative"):
        manager.module.boot(machine(), manager.configured({"refill_bytes": -1}))
