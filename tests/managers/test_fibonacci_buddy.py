"""The Fibonacci buddy system against a tree of splits, and Russell's figures."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.allocators import fibonacci
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.managers import named
from naive.fibonacci import HEAP_START, UNITS, NaiveFibonacci
from trial import FREE, MALLOC, MEMALIGN, REALLOC, Trial


def replay_beside_naive(variant, seed, event_count, live_limit, largest):
    random = np.random.default_rng(seed)
    trial, naive, held = Trial("fibonacci-buddy", variant), NaiveFibonacci(), {}
    for slot in range(event_count):
        size, kind = int(np.exp(random.uniform(0, np.log(largest)))), random.random()
        victim = list(held)[random.integers(len(held))] if held else None
        if held and (kind < 0.42 or len(held) > live_limit):
            naive.free(held.pop(victim))
            trial.step(FREE, victim)
            continue
        align, chosen = 0, slot
        if held and kind < 0.57:
            op, chosen, expected = REALLOC, victim, naive.realloc(held[victim], size)
        elif kind > 0.95:
            align = int(random.integers(5, 16))
            op, expected = MEMALIGN, naive.alloc(size, 1 << align)
        else:
            op, expected = MALLOC, naive.alloc(size)
        held[chosen] = expected
        assert trial.step(op, chosen, size, align) == (expected, naive.usable(expected))
    trial.verify()
    return trial


@settings(max_examples=3 if INTERPRETED else 40)
@given(
    seed=st.integers(0, 2**32 - 1),
    live_limit=st.integers(2, 60),
    largest=st.sampled_from([100, 3000, 100_000, 40_000_000]),
)
def test_addresses(seed, live_limit, largest):
    variant = {"growth_bytes": 4096}
    replay_beside_naive(variant, seed, 40 if INTERPRETED else 150, live_limit, largest)


def test_addresses_of_a_long_trace(effort):
    replay_beside_naive({}, 6, 75 * effort, 120, 2000).decompose()


def test_all_merges_back_into_the_whole_heap():
    trial = Trial("fibonacci-buddy")
    for slot in range(300):
        trial.step(MALLOC, slot, 1 + slot * 7)
    for slot in [*range(0, 300, 2), *range(1, 300, 2)]:
        trial.step(FREE, slot)
    buddies = trial.heap.buddies
    root = int(buddies.root)
    assert fibonacci.entry(buddies, HEAP_START) == fibonacci.FREE | (root + 1)
    splits, merges = (trial.heap.paths[trial.module.PATHS.index(n)] for n in ("split", "merge"))
    first_root = 1  # the first request was of one byte
    assert merges == splits + root - first_root, "each step of growth is undone like a split"
    trial.verify()


def test_mean_overallocation_of_log_uniform_sizes(effort):
    """Russell 1977, x = 1.618: (x - 1) / ln x = 1.2843 for the mean ratio, x ln x / (x - 1) =
    1.2598 for the sums. Sizes span whole steps of the sequence, from 13 units on."""
    random, trial = np.random.default_rng(11), Trial("fibonacci-buddy")
    low, high = math.log(32 * UNITS[6]), math.log(32 * UNITS[16])
    sizes = np.exp(random.uniform(low, high, 100 * effort)).astype(int)
    usable = np.array([trial.step(MALLOC, slot, int(size))[1] for slot, size in enumerate(sizes)])
    slack = 4 * 0.18 / math.sqrt(len(sizes))  # four standard errors
    assert (usable / sizes).mean() == pytest.approx(1.2843, abs=slack)
    assert usable.sum() / sizes.sum() == pytest.approx(1.2598, abs=3 * slack)


def test_mean_overallocation_of_uniform_sizes(effort):
    """Russell 1977: between 1.2361 and 1.3090, as the largest size moves between two steps."""
    ratios = []
    for largest in (32 * UNITS[12], 32 * UNITS[12] * 5 // 4, 32 * UNITS[13] - 1):
        random, trial = np.random.default_rng(3), Trial("fibonacci-buddy")
        sizes = random.integers(1, largest + 1, 50 * effort)
        usable = [trial.step(MALLOC, slot, int(size))[1] for slot, size in enumerate(sizes)]
        ratios.append(sum(usable) / sizes.sum())
    assert all(1.2361 - 0.06 < ratio < 1.3090 + 0.06 for ratio in ratios), ratios


@pytest.mark.parametrize("growth", [0, 2048, 5000, 1 << 31])
def test_growth_is_in_whole_pages(growth):
    manager = named("fibonacci-buddy")
    with pytest.raises(HeapwrightError, match="multiple of 4096"):
        manager.module.boot(machine(), manager.configured({"growth_bytes": growth}))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_check_sees_damage(number):
    trial = Trial("fibonacci-buddy")
    address = trial.step(MALLOC, 0, 1000)[0]
    trial.step(MALLOC, 1, 100)
    trial.step(FREE, 1)
    buddies = trial.heap.buddies
    value = int(fibonacci.entry(buddies, address))
    if number == 1:
        fibonacci._set_entry(buddies, address, 0)
    elif number == 2:
        order = fibonacci.order_of(value)
        fibonacci._set_free(buddies, address, order, value & fibonacci.FACTS)
    else:
        fibonacci.take_free(buddies, address + int(buddies.bytes_of[fibonacci.order_of(value)]))
    assert trial.broken() == number
