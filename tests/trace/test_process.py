"""What a process had in memory: kept in a footer, told by events, and put in words."""

import json

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace import schema
from heapwright.trace.notes import UNEXPLAINED, of_kind
from heapwright.trace.process import (
    COLUMNS,
    EVENT,
    NOTHING,
    RSS,
    SAMPLES,
    Mapper,
    Process,
    parsed,
    stored,
    thinned,
)
from heapwright.trace.reconciled import lines, note, reconciled
from heapwright.trace.recorder.process import process
from heapwright.trace.store import Trace, TraceWriter

MIB = 1 << 20
TEXT = f"""77 (a) b (c) S 9 9
@libc 2.36
@sample 20 1500 {30 * MIB} {20 * MIB} {10 * MIB} {2 * MIB} {MIB} {15 * MIB}
@sample 10 1200 {9 * MIB} {4 * MIB} {5 * MIB} {3 * MIB} 0 0
@mapped 4198401 3 {3 * MIB} {MIB} {MIB}
@mapped 99 1 8192 8192 8192
@sample nonsense
00400000-00402000 r-xp 00000000 fe:00 1    /opt/libpython3.11.so.1.0
"""


def test_samples_are_told_by_events():
    found = process(TEXT, [(0, 0), (10, 8), (20, 28)], 1000)
    assert found.samples[:, :3].tolist() == [[8, 200, 9 * MIB], [28, 500, 30 * MIB]]
    assert found.peak is not None and found.peak[EVENT] == 28
    assert [(one.where.partition("+")[0], one.calls, one.bytes) for one in found.mappers] == [
        ("/opt/libpython3.11.so.1.0", 3, 3 * MIB),
        ("0x62", 1, 8192),
    ]
    at = found.at(9)
    assert at is not None and at[EVENT] == 28
    assert process("", [], 0).samples.shape == (0, len(COLUMNS))


def test_what_a_trace_keeps(tmp_path):
    kept = process(TEXT, [(0, 0), (20, 20)], 0)
    with TraceWriter(tmp_path / "t.parquet", program="p") as out:
        out.write(schema.events(op=[schema.MALLOC], slot=[0], size=[9]))
        out.process = kept
    found = Trace.open(tmp_path / "t.parquet").process()
    assert (found.samples == kept.samples).all() and found.mappers == kept.mappers
    assert Trace.open(tmp_path / "t.parquet").events == 1


def test_samples_are_thinned_and_the_largest_stays():
    samples = np.zeros((10 * SAMPLES, len(COLUMNS)), np.int64)
    samples[:, EVENT] = np.arange(len(samples))
    samples[777, RSS] = 5
    few = thinned(samples)
    assert len(few) <= SAMPLES and 777 in few[:, EVENT] and few[-1, EVENT] == samples[-1, EVENT]
    assert len(parsed(stored(Process(samples))).samples) == len(few)


@pytest.mark.parametrize(
    "change",
    [
        {"columns": ["event"]},
        {"samples": [[1, 2]]},
        {"samples": [[-1] * len(COLUMNS)]},
        {"samples": [[0.5] * len(COLUMNS)]},
        {"samples": [[0] * len(COLUMNS)] * (SAMPLES + 1)},
        {"mapped": [{"where": 1}]},
        {"mapped": [{"where": "a", "calls": 1, "bytes": -1, "least": 0, "most": 0}]},
        {"mapped": None},
    ],
)
def test_hostile_entries_are_refused(change):
    sound = json.loads(stored(process(TEXT, [], 0)))
    assert len(parsed(json.dumps(sound).encode()).samples) == 2
    with pytest.raises(ValueError):
        parsed(json.dumps(sound | change).encode())


def test_a_damaged_entry_is_one_sentence(tmp_path):
    with TraceWriter(tmp_path / "t.parquet", program="p") as out:
        out.write(schema.events(op=[schema.MALLOC], slot=[0], size=[9]))
        out.process = Process(np.full((1, len(COLUMNS)), -1))
    with pytest.raises(HeapwrightError, match="what the process had in memory cannot be read"):
        Trace.open(tmp_path / "t.parquet").process()


def mapped_by(where: str, most: int = 8 * MIB) -> Process:
    """20 MiB of 24 mapped past malloc, by a file."""
    sample = [5, 0, 30 * MIB, 24 * MIB, 6 * MIB, MIB, 0, 20 * MIB]
    return Process(np.array([sample]), (Mapper(f"/lib/{where}+0x10", 3, 20 * MIB, MIB, most),))


@pytest.mark.parametrize(
    ("where", "most", "what"),
    [
        ("libpython3.11.so.1.0", MIB, "pymalloc's arenas"),
        ("python3", 1 << 18, "without --no-python"),
        ("libjvm.so", 1 << 30, "the JVM's heap"),
        ("node", 1 << 20, "V8's heap"),
        ("libarrow.so.2600", 1 << 30, "ARROW_DEFAULT_MEMORY_POOL=system"),
        ("libruby-3.1.so", 1 << 20, "Ruby's heap"),
        ("app", 1 << 20, "mapped by app itself, past malloc"),
    ],
)
def test_the_rest_is_named_with_what_to_do(where, most, what):
    (told,) = note(mapped_by(where, most), {})
    assert what in told and "24.0 MiB of anonymous memory" in told and "20.0 MiB mapped" in told
    assert of_kind([told], UNEXPLAINED)


def test_memory_that_nobody_was_seen_to_map():
    (told,) = note(mapped_by("x")._replace(mappers=()), {})
    assert "as Go's runtime and other static code do" in told


@pytest.mark.parametrize(
    ("program", "what"),
    [
        ("/usr/bin/python3.11", "by python3.11: pymalloc's arenas"),
        ("/usr/bin/node", "by node: V8's heap"),
        ("/srv/app", "mapped before the recording began by app"),
    ],
)
def test_what_a_program_mapped_before_it_was_recorded_is_named_by_what_it_is(program, what):
    process = mapped_by("x")._replace(mappers=())
    (told,) = note(process, {"ran_before": program})
    assert what in told and "Go" not in told


def test_what_is_explained_is_said_and_noted_nowhere(tmp_path):
    kept = Process(np.array([[5, 0, 30 * MIB, 24 * MIB, 6 * MIB, 23 * MIB, 0, 0]]))
    assert note(kept, {}) == note(NOTHING, {}) == reconciled(NOTHING, {}) == []
    unseen = np.array([[7] + [0] * 7])  # its first thread has ended
    assert reconciled(Process(unseen), {}) == []
    assert [one.moment for one in reconciled(Process(np.vstack([kept.samples, unseen])), {})] == [
        "peak"
    ]
    with TraceWriter(tmp_path / "t.parquet", program="p") as out:
        out.write(schema.events(op=[schema.MALLOC], slot=[0], size=[9]))
        out.process = kept
        out.facts.origin = {"resident_bytes": str(90 * MIB)}
    (said,) = lines(Trace.open(tmp_path / "t.parquet"))
    assert "23.0 MiB (96 %) lie in the recorded heap" in said
    assert "It had 90.0 MiB resident at most, 30.0 MiB where it was looked at." in said
