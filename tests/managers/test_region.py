"""nginx's pool against lists, its end of life, and what a malloc trace means to it."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.allocators import pool
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.managers import named
from naive.pool import NaivePool
from trial import FREE, MALLOC, MEMALIGN, REALLOC, Trial


def replay_beside_naive(variant, seed, events, live_limit, largest):
    random = np.random.default_rng(seed)
    trial, held = Trial("region", variant), {}
    naive = NaivePool(**{k: v for k, v in variant.items() if k != "destroy"})
    end_of_life = naive.destroy if variant.get("destroy") else naive.reset
    for slot in range(events):
        size, kind = int(np.exp(random.uniform(0, np.log(largest)))), random.random()
        victim = list(held)[random.integers(len(held))] if held else None
        if held and (kind < 0.45 or len(held) > live_limit):
            naive.free(held.pop(victim))
            trial.step(FREE, victim)
            if not held:
                end_of_life()
            continue
        align, chosen = 0, slot
        if held and kind < 0.52:
            op, chosen, old = REALLOC, victim, held[victim]
        elif kind > 0.96:
            op, align, old = MEMALIGN, int(random.integers(5, 12)), 0
        else:
            op, old = MALLOC, 0
        held[chosen] = naive.alloc(size, max(16, 1 << align))
        if old:
            naive.free(old)
        assert trial.step(op, chosen, size, align)[0] == held[chosen]
    trial.verify()
    trial.decompose()


VARIANTS = [
    {},
    {"pool_bytes": 160, "growth_bytes": 4096},
    {"pool_bytes": 4096, "destroy": 1, "growth_bytes": 0},
]


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=2 if INTERPRETED else 15)
@given(
    seed=st.integers(0, 2**32 - 1),
    live_limit=st.sampled_from([1, 3, 20, 100]),
    largest=st.sampled_from([100, 3000, 20_000, 200_000]),
)
def test_addresses(variant, seed, live_limit, largest):
    replay_beside_naive(variant, seed, 40 if INTERPRETED else 200, live_limit, largest)


@pytest.mark.parametrize("variant", VARIANTS)
def test_addresses_of_a_long_trace(variant, effort):
    replay_beside_naive(variant, 8, 150 * effort, 60, 10_000)


def test_only_large_blocks_are_freed_one_by_one():
    trial = Trial("region")
    small = trial.step(MALLOC, 0, 4095)[0]
    large = trial.step(MALLOC, 1, 4096)[0]
    trial.step(FREE, 0)
    trial.step(FREE, 1)
    # the pool is empty now, and was rewound: both come back where they were
    assert (trial.step(MALLOC, 0, 4095)[0], trial.step(MALLOC, 1, 4096)[0]) == (small, large)
    trial.step(FREE, 0)
    assert trial.step(MALLOC, 2, 4095)[0] != small, "a small block waits for the last to die"
    assert "2 frees" in named("region").module.notes(trial.heap)[0]


def test_destroy_runs_the_cleanups_newest_first_and_gives_all_back():
    ran = []
    handler = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(
        lambda data, _: ran.append(data) or 0
    )
    address = ctypes.cast(handler, ctypes.c_void_p).value
    made = pool.pool(machine(), 1024, 4096)
    pool.small(made, 100)
    for data in (1, 2, 3):
        assert pool.add_cleanup(made, address, data)
    pool.large(made, 5000, 16)
    rows = np.zeros((20, 2), np.int64)
    assert [n for n in rows[: pool.own_memory(made, rows), 1] if n == 24] == [
        pool.CLEANUP_BYTES
    ] * 3
    assert pool.check(made) == 0
    pool.destroy(made)
    assert ran == [3, 2, 1]
    assert pool.check(made) == 0 and made.blocks == 0
    assert made.beneath.paths[0] == made.beneath.paths[1], "every block was given back"


@pytest.mark.parametrize(
    "knobs", [{"pool_bytes": 100}, {"destroy": 2}, {"growth_bytes": -1}, {"pool_bytes": 1 << 40}]
)
def test_a_senseless_knob_is_refused(knobs):
    manager = named("region")
    with pytest.raises(HeapwrightError, match=r"is between|not negative"):
        manager.module.boot(machine(), manager.configured(knobs))


@pytest.mark.parametrize(("damage", "number"), [("last", 11), ("current", 12), ("record", 13)])
def test_check_sees_damage(damage, number):
    trial = Trial("region")
    trial.step(MALLOC, 0, 10)
    large = trial.step(MALLOC, 1, 5000)[0]
    inner = trial.heap.pool
    first = int(inner.first)
    if damage == "last":
        trial.machine.words[first >> 3] = inner.first + (1 << 20)
    elif damage == "current":
        inner.current += 16
    else:
        inner.record[large >> 4] = 0
    assert trial.broken() == number
