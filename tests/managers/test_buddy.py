"""The buddy system against "the lowest aligned free place", and figures of the literature."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.allocators import buddy
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.managers import named
from naive.buddy import HEAP_START, NaiveBuddy, place
from trial import FREE, MALLOC, MEMALIGN, REALLOC, Trial


@settings(max_examples=3 if INTERPRETED else 40)
@given(
    seed=st.integers(0, 2**32 - 1),
    live_limit=st.integers(2, 60),
    largest=st.sampled_from([100, 3000, 100_000, 40_000_000]),
)
def test_addresses(seed, live_limit, largest):
    random = np.random.default_rng(seed)
    trial, naive, held = Trial("buddy", {"growth_bytes": 4096}), NaiveBuddy(), {}
    for slot in range(40 if INTERPRETED else 200):
        size, kind = int(np.exp(random.uniform(0, np.log(largest)))), random.random()
        if held and (kind < 0.42 or len(held) > live_limit):
            victim = list(held)[random.integers(len(held))]
            naive.free(held.pop(victim))
            trial.step(FREE, victim)
        elif held and kind < 0.55:
            victim = list(held)[random.integers(len(held))]
            end = int(trial.heap.buddies.end)
            held[victim] = naive.realloc(held[victim], size, end)
            assert trial.step(REALLOC, victim, size)[0] == held[victim]
        elif kind > 0.95:
            align = int(random.integers(5, 16))
            held[slot] = naive.alloc(size, 1 << align)
            assert trial.step(MEMALIGN, slot, size, align)[0] == held[slot]
        else:
            held[slot] = naive.alloc(size)
            assert trial.step(MALLOC, slot, size)[0] == held[slot]
    trial.verify()


def worst_high_water(most_live, largest):
    """Highest end, in units, of any block over all programs with at most `most_live` units live
    and power-of-two sizes up to `largest`: an exhaustive search of the reachable states."""
    seen, todo, worst = {frozenset()}, [frozenset()], 0
    sizes = [1 << i for i in range(largest.bit_length())]
    while todo:
        state = todo.pop()
        used = {HEAP_START + start: size for start, size in state}
        following = [state - {block} for block in state]
        for size in sizes:
            if sum(used.values()) + size <= most_live:
                start = place(used, size) - HEAP_START
                worst = max(worst, start + size)
                following.append(state | {(start, size)})
        for new in following:
            if new not in seen:
                seen.add(new)
                todo.append(new)
    return worst


@pytest.mark.parametrize(
    ("most_live", "largest", "worst"), [(4, 4, 6), (6, 4, 12), (8, 4, 16), (12, 2, 18)]
)
def test_robsons_bound(most_live, largest, worst):
    """Robson 1974: M (1 + log2(n) / 2) - n + 1 units hold any program, up to a multiple of n."""
    robson = most_live * (1 + math.log2(largest) / 2) - largest + 1
    found = worst_high_water(most_live, largest)
    assert found == worst
    assert found <= math.ceil(robson / largest) * largest


def test_robsons_bound_holds_for_the_twin(effort):
    """Random programs of 64 units of 32 bytes, largest 16: below Robson's bound in the twin."""
    most_live, largest = 64, 16
    robson = most_live * (1 + math.log2(largest) / 2) - largest + 1
    random, trial, high = np.random.default_rng(3), Trial("buddy"), 0
    for slot in range(100 * effort):
        units = 1 << int(random.integers(0, 5))
        while sum(live[2] for live in trial.live.values()) + units * 32 > most_live * 32:
            trial.step(FREE, list(trial.live)[random.integers(len(trial.live))])
        address, usable = trial.step(MALLOC, slot, units * 32)
        high = max(high, address + usable - HEAP_START)
    assert high <= math.ceil(robson / largest) * largest * 32


def test_mean_overallocation_of_log_uniform_sizes(effort):
    """Russell 1977: 1 / ln 2 = 1.4427 for the mean ratio, 2 ln 2 = 1.3863 for the sums."""
    random, trial = np.random.default_rng(11), Trial("buddy")
    sizes = np.exp(random.uniform(np.log(64), np.log(65536), 200 * effort)).astype(int)
    usable = np.array([trial.step(MALLOC, slot, int(size))[1] for slot, size in enumerate(sizes)])
    slack = 4 * 0.29 / math.sqrt(len(sizes))  # four standard errors
    assert (usable / sizes).mean() == pytest.approx(1 / math.log(2), abs=slack)
    assert usable.sum() / sizes.sum() == pytest.approx(2 * math.log(2), abs=3 * slack)


def test_all_merges_back_into_whole_blocks():
    trial = Trial("buddy", {"growth_bytes": 1 << 20})
    for slot in range(300):
        trial.step(MALLOC, slot, 1 + slot * 7)
    for slot in range(0, 300, 2):
        trial.step(FREE, slot)
    for slot in range(1, 300, 2):
        trial.step(FREE, slot)
    assert buddy.entry(trial.heap.buddies, HEAP_START) == buddy.FREE | 20
    trial.verify()


@pytest.mark.parametrize("growth", [0, 2048, 5000, 1 << 25])
def test_growth_is_a_power_of_two(growth):
    manager = named("buddy")
    with pytest.raises(HeapwrightError, match="power of two"):
        manager.module.boot(machine(), manager.configured({"growth_bytes": growth}))
