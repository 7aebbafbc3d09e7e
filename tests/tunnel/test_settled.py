"""What stays: mean, end and exit of programs whose figures are known, one of them really run."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED
from heapwright.result import TIMELINE
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import replay
from recorded import compiled, run

PAGE = 4096
RESIDENT = TIMELINE.index("resident_bytes")


def written(path, rows, **columns):
    """A trace of (op, slot, size) rows."""
    op, slot, size = (np.array(column) for column in zip(*rows, strict=True))
    with TraceWriter(path, program="rows", kind="synthetic") as out:
        out.write(events(op=op, slot=slot, size=size, **columns))
    return Trace.open(path)


def taken(slots, size):
    return [(MALLOC, slot, size) for slot in slots]


def freed(slots):
    return [(FREE, slot, 0) for slot in slots]


IDLE = (taken([0], 100) + freed([0])) * 40
LOAD = 1 << 20


def test_a_load_that_is_freed_stays_with_who_keeps_it_only(tmp_path):
    """Blocks that glibc maps and unmaps one by one; the linear manager gives nothing back."""
    rows = taken(range(20), LOAD) + freed(range(20)) + IDLE
    trace = written(tmp_path / "t", rows)
    glibc, linear = replay("glibc", trace), replay("linear", trace)
    assert glibc.held_bytes > 20 * LOAD and linear.held_bytes > 20 * LOAD
    assert glibc.end_resident_bytes < LOAD // 4
    assert linear.end_resident_bytes > 20 * LOAD
    assert glibc.exit_resident_bytes < LOAD // 4


def test_a_service_keeps_its_cache(tmp_path):
    request = taken(range(5, 15), LOAD) + freed(range(5, 15))
    result = replay("glibc", written(tmp_path / "t", taken(range(5), LOAD) + request * 8))
    kept = 5 * (LOAD + PAGE)
    assert result.held_bytes >= 15 * LOAD
    assert result.end_resident_bytes < kept + LOAD
    assert result.end["live_bytes"] == 5 * LOAD


def test_a_program_that_frees_everything_at_exit_is_judged_before(tmp_path):
    rows = taken(range(1, 21), LOAD) + IDLE + freed(range(1, 21))
    result = replay("glibc", written(tmp_path / "t", rows))
    assert result.end["live_bytes"] >= 20 * LOAD
    assert result.exit_resident_bytes < LOAD // 4
    assert any("taken for the program's exit" in note for note in result.notes)


def test_a_program_that_ends_at_its_peak(tmp_path):
    result = replay("glibc", written(tmp_path / "t", taken(range(40), LOAD)))
    assert result.end_resident_bytes == result.exit_resident_bytes == result.held_bytes
    assert result.end_event == 39


def test_the_mean_is_of_events_or_of_time_where_it_is_known(tmp_path):
    """A page, then two: the first for nine seconds, the second for one."""
    rows = taken([0], 4000) + taken([1], 4000) + taken([2], 10)
    by_events = replay("linear", written(tmp_path / "t", rows))
    pages = by_events.timeline[:, RESIDENT]
    assert by_events.mean_resident_bytes == round(pages.mean())
    assert by_events.program_seconds is None and by_events.clock_ns is None
    clock = np.array([0, 9_000_000_000, 10_000_000_000])
    by_time = replay("linear", written(tmp_path / "u", rows, time_ns=clock))
    assert by_time.mean_resident_bytes == round((9 * pages[0] + pages[1]) / 10)
    assert by_time.program_seconds == 10
    assert by_time.clock_ns.tolist() == clock.tolist()
    said = by_time.to_json()
    assert said["mean_resident_bytes"] == by_time.mean_resident_bytes
    assert said["program_seconds"] == 10
    assert said["end"]["resident_bytes"] == said["end_resident_bytes"] == pages[-1]
    assert by_time.to_arrow()["time_ns"].to_pylist() == clock.tolist()
    assert by_events.to_arrow()["time_ns"].null_count == 3


def test_a_pause_counts_with_what_is_held_in_it(tmp_path):
    """Few samples, and a pause between two of them: one is taken just before it."""
    rows = (taken([0], 100) + freed([0])) * 300 + taken([0], LOAD) + freed([0])
    clock = np.arange(len(rows))
    clock[601:] += 1_000_000_000  # it sleeps holding the block
    trace = written(tmp_path / "t", rows, time_ns=clock)
    result = replay("glibc", trace, samples=16)
    assert result.mean_resident_bytes > 0.99 * LOAD


def test_an_empty_trace_leaves_nothing_and_says_so(tmp_path):
    with TraceWriter(tmp_path / "t", program="rows", kind="synthetic"):
        pass
    result = replay("linear", Trace.open(tmp_path / "t"))
    assert (result.end, result.end_resident_bytes, result.mean_resident_bytes) == ({}, None, None)


TRIM = 65536


@pytest.mark.skipif(INTERPRETED, reason="replays a recording")
def test_what_a_trim_threshold_leaves_is_what_it_really_leaves(tmp_path, capfd):
    """Peaks alike, ends far apart. How far the end is from the peak depends on the threads' order,
    so the twin is held to the run that was recorded."""
    program = compiled(tmp_path, Path(__file__).with_name("retaining.c"))

    def really(**settings):
        done = subprocess.run(
            [program], env={**os.environ, **settings}, capture_output=True, text=True, check=True
        )
        before, after = map(int, re.findall(r"\d+", done.stdout))
        return after - before

    _, trace = run(tmp_path, program)
    before, after = map(int, re.findall(r"\d+", capfd.readouterr().out))
    plain = replay("glibc", trace)
    trimmed = replay("glibc", trace, {"trim_threshold": TRIM})
    assert plain.end["live_bytes"] < 1 << 16
    mib = 1 << 20
    assert trimmed.end_resident_bytes < 6 * mib < plain.end_resident_bytes // 2
    assert abs(trimmed.end_resident_bytes - really(MALLOC_TRIM_THRESHOLD_=str(TRIM))) < mib
    assert abs(plain.end_resident_bytes - (after - before)) < 0.1 * (after - before)
    assert trimmed.held_bytes > 0.6 * plain.held_bytes
