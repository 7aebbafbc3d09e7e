"""The stack against a list; overflow ends the replay with a sentence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.managers import named
from heapwright.trace.schema import events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import addresses, replay
from naive.stack import NaiveStack
from trial import FREE, MALLOC, MEMALIGN, REALLOC, Trial

THREADS = 3


def replay_beside_naive(seed, event_count, live_limit, largest):
    limit = 1 << 20
    random = np.random.default_rng(seed)
    trial, held = Trial("stack", {"limit_bytes": limit}), {}
    stacks = [NaiveStack(limit, thread) for thread in range(THREADS)]
    for slot in range(event_count):
        size, kind = int(np.exp(random.uniform(0, np.log(largest)))), random.random()
        thread = int(random.integers(THREADS))
        victim = list(held)[-1 - int(random.integers(min(4, len(held))))] if held else None
        if held and (kind < 0.47 or len(held) > live_limit):
            owner, address = held.pop(victim)
            stacks[owner].free(address)
            trial.step(FREE, victim, thread=thread)
            continue
        align, chosen, op, old = 0, slot, MALLOC, None
        if held and kind < 0.55:
            op, chosen, old = REALLOC, victim, held.pop(victim)
        elif kind > 0.96:
            op, align = MEMALIGN, int(random.integers(5, 12))
        expected = stacks[thread].alloc(size, max(16, 1 << align))
        assert expected is not None
        if old:
            stacks[old[0]].free(old[1])
        held[chosen] = thread, expected
        assert trial.step(op, chosen, size, align, thread)[0] == expected
    trial.verify()
    trial.decompose()


@settings(max_examples=2 if INTERPRETED else 25)
@given(
    seed=st.integers(0, 2**32 - 1),
    live_limit=st.integers(2, 60),
    largest=st.sampled_from([40, 300, 4000]),
)
def test_addresses(seed, live_limit, largest):
    replay_beside_naive(seed, 40 if INTERPRETED else 200, live_limit, largest)


def test_addresses_of_a_long_trace(effort):
    replay_beside_naive(4, 150 * effort, 300, 300)


def test_a_dead_block_is_given_back_when_all_above_it_are():
    trial = Trial("stack")
    places = [trial.step(MALLOC, slot, 100)[0] for slot in range(4)]
    assert np.diff(places).tolist() == [-112] * 3
    trial.step(FREE, 1)
    trial.step(FREE, 2)
    assert trial.step(MALLOC, 4, 100)[0] == places[3] - 112, "two dead blocks lie under a live one"
    trial.step(FREE, 4)
    trial.step(FREE, 3)
    assert trial.step(MALLOC, 5, 100)[0] == places[1]
    assert "5 frees" not in named("stack").module.notes(trial.heap)[0]
    assert "Of 4 frees 2 were" in named("stack").module.notes(trial.heap)[0]


def written(path, sizes, threads=0):
    count = len(sizes)
    with TraceWriter(path, program="t", kind="synthetic") as out:
        thread = np.arange(count) if threads else np.zeros(count)
        out.write(
            events(op=np.full(count, MALLOC), slot=np.arange(count), size=sizes, thread=thread)
        )
    return Trace.open(path)


def test_overflow_ends_the_flight_with_a_sentence(tmp_path):
    trace = written(tmp_path / "deep.parquet", [40_000, 20_000, 8_000])
    sentence = (
        r"stack overflow at request 3: 8,000 bytes asked for with 60,000 of 65,536 bytes in use"
    )
    with pytest.raises(HeapwrightError, match=sentence):
        replay("stack", trace, {"limit_bytes": 65536})
    with pytest.raises(HeapwrightError, match="stack overflow"):
        list(addresses("stack", trace, {"limit_bytes": 65536}))
    result = replay("stack", trace, {"limit_bytes": 131072})
    assert result.refused == 0 and result.peak["live_bytes"] == 68_000


def test_more_threads_than_stacks_is_an_overflow(tmp_path):
    trace = written(tmp_path / "wide.parquet", [100, 100, 100], threads=3)
    assert replay("stack", trace, {"limit_bytes": 1 << 33}).refused == 0
    with pytest.raises(HeapwrightError, match=r"request 2: 100 bytes.*0 of.*thread 1"):
        replay("stack", trace, {"limit_bytes": 1 << 34})


@pytest.mark.parametrize("limit", [0, 1 << 15, 100_000, 1 << 40])
def test_the_limit_is_a_power_of_two(limit):
    manager = named("stack")
    with pytest.raises(HeapwrightError, match="power of two"):
        manager.module.boot(machine(), manager.configured({"limit_bytes": limit}))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_check_sees_damage(number):
    trial = Trial("stack")
    trial.step(MALLOC, 0, 100)
    address = trial.step(MALLOC, 1, 100)[0]
    row = (address - (1 << 35)) >> 4
    if number == 1:
        trial.heap.top[0] += 1 << 30
    elif number == 2:
        trial.heap.below[row] += 8 << 1
    else:
        trial.heap.below[row] |= 1
    assert trial.broken() == number
