"""The fixed-size pool against a list."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.managers import named
from naive.slots import NaiveSlots
from trial import FREE, MALLOC, MEMALIGN, REALLOC, Trial

VARIANTS = [{}, {"slot_bytes": 48, "chunk_bytes": 4096}, {"slot_bytes": 4096, "growth_bytes": 0}]


def replay_beside_naive(variant, seed, events, live_limit, largest):
    random = np.random.default_rng(seed)
    trial, naive, held = Trial("slots", variant), NaiveSlots(**variant), {}
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
        assert trial.step(op, chosen, size, align)[0] == expected
    trial.verify()
    trial.decompose()


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=2 if INTERPRETED else 15)
@given(
    seed=st.integers(0, 2**32 - 1),
    live_limit=st.integers(2, 120),
    largest=st.sampled_from([40, 300, 20_000]),
)
def test_addresses(variant, seed, live_limit, largest):
    replay_beside_naive(variant, seed, 40 if INTERPRETED else 200, live_limit, largest)


@pytest.mark.parametrize("variant", VARIANTS)
def test_addresses_of_a_long_trace(variant, effort):
    replay_beside_naive(variant, 2, 150 * effort, 400, 200)


def test_one_size_wastes_nothing_and_reuses_at_once():
    trial = Trial("slots")
    first = [trial.step(MALLOC, slot, 64) for slot in range(1024)]
    assert {usable for _, usable in first} == {64}
    parts = trial.decompose()
    assert parts["live"] == 65536 and sum(parts.values()) == 65536, "one chunk, every byte live"
    trial.step(FREE, 500)
    assert trial.step(MALLOC, 2000, 1)[0] == first[500][0]
    assert "0 did not fit" in named("slots").module.notes(trial.heap)[0]


@pytest.mark.parametrize(
    "knobs", [{"slot_bytes": 0}, {"slot_bytes": 40}, {"chunk_bytes": 100}, {"growth_bytes": -1}]
)
def test_a_senseless_knob_is_refused(knobs):
    manager = named("slots")
    with pytest.raises(HeapwrightError, match=r"multiple of|not negative"):
        manager.module.boot(machine(), manager.configured(knobs))


def test_check_sees_a_damaged_free_list():
    trial = Trial("slots")
    address = trial.step(MALLOC, 0, 10)[0]
    trial.step(MALLOC, 1, 10)
    trial.step(FREE, 0)
    trial.machine.words[address >> 3] = address + 8
    assert trial.broken() == 12
    trial.machine.words[address >> 3] = address + 64
    assert trial.broken() == 11


def test_its_note_counts_what_fitted_and_what_did_not():
    trial = Trial("slots", {"slot_bytes": 48, "chunk_bytes": 4096})
    for slot, size in enumerate([10, 48, 30, 49, 500]):
        trial.step(MALLOC, slot, size)
    (told,) = named("slots").module.notes(trial.heap)
    assert told.startswith("Of 5 requests 2 did not fit a slot of 48 bytes")
