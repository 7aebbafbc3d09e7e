"""Synthetic programs: reproducible, sound, and of the shape that their headers promise."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.errors import HeapwrightError
from heapwright.trace import programs
from heapwright.trace.programs.draws import (
    POINT_BITS,
    SIZE_BITS,
    draws,
    log_uniform_curve,
    size_drawn,
)
from heapwright.trace.schema import FREE, MALLOC
from heapwright.trace.store import Trace

# The events of 20,000-event runs, as digests: they change only with the program's definition.
GOLDEN = {
    "log-uniform": "5282d4a488f4854d",
    "ramp": "157e093ec66f3dd1",
    "generations": "10d63cc23e466de6",
    "phases": "0e2e8a93d1e6b88a",
    "bursts": "af32ea8806591cbf",
    "producer-consumer": "27d6d773aa42db63",
    "recursion": "8f9fc4ae8b3398c2",
    "fleet": "72b378ebf725c8c6",
    "robson": "b98b2c335b69f6d7",
}
SHORTER = {"events": 4000, "live_objects": 500}


def events_of(name, columns=("op", "slot", "size"), **chosen):
    """All events of a program: op, slot, size."""
    module = programs.program(name)
    made = list(module.batches(programs.parameters(name, chosen)))
    return tuple(np.concatenate([getattr(b, c) for b in made]) for c in columns)


def digest(name, **chosen):
    chosen = {"events": 20_000, **chosen}
    columns = events_of(name, ("op", "slot", "size", "thread"), seed=7, **chosen)
    return hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()[:16]


@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_the_same_seed_gives_the_same_events_on_every_machine(name):
    assert digest(name) == GOLDEN[name]


def test_interpreted_and_compiled_agree():
    """Each program on a shorter run, in one process: most of the time was nine that started."""
    run = subprocess.run(
        [sys.executable, __file__, *programs.PROGRAMS],
        env={**os.environ, "HEAPWRIGHT_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    interpreted = dict(line.split() for line in run.stdout.splitlines())
    assert interpreted == {name: digest(name, **SHORTER) for name in programs.PROGRAMS}


@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_another_seed_gives_other_events(name):
    first, second = (events_of(name, events=1000, seed=seed, live_objects=100) for seed in (1, 2))
    assert any(not np.array_equal(*columns) for columns in zip(first, second, strict=True))


@pytest.mark.parametrize("name", programs.PROGRAMS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(events=st.integers(1, 3000), seed=st.integers(0, 2**63 - 1), live=st.integers(1, 500))
def test_every_free_is_of_a_live_object_and_slots_are_dense(name, events, seed, live):
    op, slot, size = events_of(name, events=events, seed=seed, live_objects=live)
    assert len(op) == events
    alive = set()
    for kind, number, length in zip(op.tolist(), slot.tolist(), size.tolist(), strict=True):
        if kind == FREE:
            alive.remove(number)
            assert length == 0
        else:
            assert kind == MALLOC and number not in alive and length > 0
            alive.add(number)
    assert set(slot.tolist()) == set(range(slot.max() + 1))


def test_log_uniform_fills_up_to_its_live_objects_and_every_octave_alike():
    op, _, size = events_of(
        "log-uniform", events=200_000, live_objects=2_000, min_bytes=16, max_bytes=4095
    )
    live = np.cumsum(np.where(op == FREE, -1, 1))
    assert abs(live[100_000:].mean() - 2_000) < 60
    sizes = size[op == MALLOC]
    assert sizes.min() >= 16 and sizes.max() <= 4095
    octaves = np.bincount(np.log2(sizes).astype(int))[4:]
    assert len(octaves) == 8 and octaves.min() > 0.95 * octaves.mean()


def test_log_uniform_lifetimes_have_no_memory():
    op, slot, _ = events_of("log-uniform", events=300_000, live_objects=500)
    born, lives = {}, []
    for row, (kind, number) in enumerate(zip(op.tolist(), slot.tolist(), strict=True)):
        if kind == FREE:
            lives.append(row - born.pop(number))
        else:
            born[number] = row
    lives = np.array(lives)
    mean = lives.mean()
    assert abs(mean - 1000) < 30  # two events for each of the 500 others, on average
    for multiple in (0.5, 1, 2, 3):
        assert abs((lives > multiple * mean).mean() - np.exp(-multiple)) < 0.01


def test_ramp_climbs_changes_phase_and_keeps_survivors():
    op, slot, size = events_of("ramp", events=200_000, live_objects=10_000, survivors_percent=10)
    live = np.cumsum(np.where(op == FREE, -1, 1))
    assert abs(live[99_999] - 10_000) <= 1 and abs(live[50_000] - 5_000) <= 2
    asked = size[op == MALLOC]
    births = np.flatnonzero(op == MALLOC)
    assert asked[births < 100_000].max() <= 256 and asked[births >= 100_000].min() >= 300
    held = np.zeros(slot.max() + 1, int)
    for kind, number, length in zip(op.tolist(), slot.tolist(), size.tolist(), strict=True):
        held[number] = 0 if kind == FREE else length
    assert ((held > 0) & (held <= 256)).sum() == 1_000


@settings(max_examples=50, derandomize=True)
@given(
    lowest=st.integers(1, 1 << 32),
    factor=st.integers(1, 1 << 20),
    draw=st.integers(0, (1 << 63) - 1),
)
def test_a_drawn_size_lies_within_its_limits(lowest, factor, draw):
    highest = min(lowest * factor, 1 << 32)
    curve = log_uniform_curve(lowest, highest)
    assert (np.diff(curve) >= 0).all() and curve[0] == lowest << POINT_BITS
    for chosen in (0, draw, (1 << SIZE_BITS) - 1):
        assert lowest <= size_drawn(curve, chosen) <= highest


def test_draws_do_not_depend_on_the_batches_they_come_in():
    whole = np.concatenate(list(draws(3, (1 << 20) + 5)))
    assert len(whole) == (1 << 20) + 5 and whole.min() >= 0
    assert np.array_equal(whole[:100], next(draws(3, 100)))


def test_a_written_trace_states_its_origin(tmp_path):
    heard = []
    path = tmp_path / "ramp.parquet"
    programs.synthesise("ramp", path, {"events": 5000, "seed": 3}, heard.append)
    trace = Trace.open(path)
    assert (trace.kind, trace.events, sum(heard)) == ("synthetic", 5000, 5000)
    assert "seed=3" in trace.program and trace.sites() == [
        "ramp: first phase",
        "ramp: second phase",
    ]


@pytest.mark.parametrize(
    ("name", "chosen", "sentence"),
    [
        ("rump", {}, "known: log-uniform, ramp"),
        ("generations", {"min_bytes": 9, "max_bytes": 8}, "min_bytes is larger"),
        ("phases", {"min_bytes": 9, "max_bytes": 8}, "min_bytes is larger"),
        ("bursts", {"min_bytes": 9, "max_bytes": 8}, "min_bytes is larger"),
        ("producer-consumer", {"min_bytes": 9, "max_bytes": 8}, "min_bytes is larger"),
        ("recursion", {"min_bytes": 9, "max_bytes": 8}, "min_bytes is larger"),
        ("fleet", {"profile": 10}, "outside 0 to 9"),
        ("robson", {"unit_bytes": 8}, "header_bytes is not smaller"),
        ("ramp", {"speed": 1}, "no parameter 'speed'"),
        ("ramp", {"survivors_percent": 101}, "outside 0 to 100"),
        ("ramp", {"first_min_bytes": 9, "first_max_bytes": 8}, "first_min_bytes is larger"),
        ("log-uniform", {"min_bytes": 9, "max_bytes": 8}, "min_bytes is larger"),
        ("log-uniform", {"events": 0}, "events is 0"),
    ],
)
def test_a_mistake_is_a_sentence_and_no_file(name, chosen, sentence, tmp_path):
    with pytest.raises(HeapwrightError, match=sentence):
        programs.synthesise(name, tmp_path / "t.parquet", chosen)
    assert not list(tmp_path.iterdir())


if __name__ == "__main__":  # for the interpreted run
    for each in sys.argv[1:]:
        print(each, digest(each, **SHORTER))
