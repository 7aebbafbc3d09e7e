"""First, next, best and worst fit against a list that is really walked, and known figures."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.allocators import free_list, list_order
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.managers import named
from naive.free_list import NaiveFreeList
from trial import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, Trial

POLICIES = ("first-fit", "next-fit", "best-fit", "worst-fit")
VARIANTS = [
    {"order": order, "coalescing": coalescing, "growth_bytes": growth, "trim_bytes": trim}
    for order, coalescing, (growth, trim) in itertools.product(
        range(3), range(2), [(8192, 0), (4096, 5000)]
    )
]


def compare(policy, variant, rows):
    """Replay rows (op, slot, size, align) through both; addresses and search lengths agree."""
    trial, naive = Trial(policy, variant), NaiveFreeList(policy, **variant)
    held = {}
    for number, (op, slot, size, align) in enumerate(rows):
        given_, usable = trial.step(op, slot, size, align)
        if op == FREE:
            naive.free(held.pop(slot))
            expected = 0
        elif op == REALLOC:
            held[slot] = expected = naive.realloc(held[slot], size)
        else:
            held[slot] = expected = naive.alloc(size, 1 << max(4, align))
        assert given_ == expected, f"event {number}"
        assert not expected or usable == naive.usable(expected), f"event {number}"
        assert trial.heap.paths[free_list.EXAMINED] == naive.examined, f"event {number}"
    trial.verify()
    assert int(free_list.ranked_tree.total(trial.heap.tree)) == len(naive.list)


def random_rows(seed, count, live_limit, largest):
    random = np.random.default_rng(seed)
    live, rows = [], []
    for slot in range(count):
        kind = random.random()
        size = int(np.exp(random.uniform(0, np.log(largest))))
        if live and (kind < 0.45 or len(live) >= live_limit):
            rows.append((FREE, live.pop(random.integers(len(live))), 0, 0))
        elif live and kind < 0.55:
            rows.append((REALLOC, live[random.integers(len(live))], size, 0))
        else:
            align = int(random.integers(5, 10)) if kind > 0.96 else 0
            rows.append((MEMALIGN if align else MALLOC, slot, size, align))
            live.append(slot)
    return rows


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=3 if INTERPRETED else 60)
@given(
    variant=st.sampled_from(VARIANTS),
    seed=st.integers(0, 2**32 - 1),
    live=st.integers(2, 40),
    largest=st.sampled_from([100, 1000, 10_000]),
)
def test_addresses_and_search_lengths(policy, variant, seed, live, largest):
    compare(policy, variant, random_rows(seed, 30 if INTERPRETED else 150, live, largest))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("order", range(3))
def test_addresses_on_a_longer_trace(policy, order, effort):
    variant = {"order": order, "coalescing": order % 2, "growth_bytes": 65536, "trim_bytes": 0}
    compare(policy, variant, random_rows(order, 150 * effort, 400, 3000))


@pytest.mark.parametrize("policy", ("next-fit", "best-fit"))
@pytest.mark.parametrize("order", (1, 2))
def test_the_serials_of_a_list_are_renewed(policy, order, monkeypatch):
    monkeypatch.setattr(list_order, "FEWEST_SERIALS", 16)
    variant = {"order": order, "coalescing": 0, "growth_bytes": 4096, "trim_bytes": 0}
    compare(policy, variant, random_rows(7, 60 if INTERPRETED else 600, 60, 500))


def test_calloc_takes_the_same_block_as_malloc():
    a, b = Trial("first-fit"), Trial("first-fit")
    assert a.step(CALLOC, 0, 5000) == b.step(MALLOC, 0, 5000)


def test_first_fit_takes_the_lowest_hole_and_best_fit_the_tightest():
    """Holes of 1000, 200 and 300 bytes, in this order: where does 190 go?"""
    where = {}
    for policy in POLICIES:
        trial = Trial(policy)
        holes = []
        for slot, size in enumerate((1000, 40, 200, 40, 300, 40)):
            holes.append(trial.step(MALLOC, slot, size)[0])
        for slot in (0, 2, 4):
            trial.step(FREE, slot)
        address, _ = trial.step(MALLOC, 9, 190)
        where[policy] = holes.index(address) if address in holes else "end of the heap"
    assert where == {
        "first-fit": 0,
        "next-fit": "end of the heap",
        "best-fit": 2,
        "worst-fit": "end of the heap",
    }


def test_knuths_fifty_percent_rule(effort):
    """In equilibrium free blocks number about half of p times the used ones (Knuth 2.5)."""
    random = np.random.default_rng(5)
    trial, live = Trial("first-fit"), []
    for slot in range(200 * effort):
        if len(live) >= 25 * effort:
            trial.step(FREE, live.pop(random.integers(len(live))))
        trial.step(MALLOC, slot, int(random.integers(100, 2000)))
        live.append(slot)
    free = int(free_list.ranked_tree.total(trial.heap.tree))
    splits, allocs = (int(trial.heap.paths[i]) for i in (free_list.SPLIT, free_list.ALLOC))
    p = splits / allocs  # an inexact fit leaves a rest
    assert 0.6 * p * len(live) / 2 < free < 1.4 * p * len(live) / 2


@pytest.mark.parametrize("knob", [{"order": 3}, {"coalescing": -1}, {"trim_bytes": -1}])
def test_a_setting_without_meaning_is_refused(knob):
    manager = named("first-fit")
    with pytest.raises(HeapwrightError, match="not"):
        manager.module.boot(machine(), manager.configured(knob))
