"""Lanes in parallel processes: the same results as here, failures told, nothing left over."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.managers import registry
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.compare import Lane, compare, twin_lanes
from heapwright.tunnel.replay import replay


@pytest.fixture
def trace_path(tmp_path):
    sizes = np.random.default_rng(3).integers(1, 5000, 400)
    slots = np.arange(400) % 40
    op = np.where(np.arange(800) % 2 == 0, MALLOC, FREE)
    with TraceWriter(tmp_path / "t.heap.parquet", program="t", kind="synthetic") as out:
        out.write(
            events(op=op, slot=np.repeat(slots, 2), size=np.repeat(sizes, 2) * (op == MALLOC))
        )
    return tmp_path / "t.heap.parquet"


def result(trace_path):
    return replay("linear", Trace.open(trace_path))


def test_parallel_equals_serial(trace_path):
    def lanes():
        found = twin_lanes(trace_path, ["linear"])
        return [Lane(f"{lane.name}-{n}", lane.steps, lane.run) for n in range(3) for lane in found]

    alone = result(trace_path)
    for jobs in (1, 2):
        together = compare(lanes(), jobs=jobs)
        assert not together.failures
        assert len(together.results) == 3
        for other in together.results:
            assert other.peak == alone.peak
            assert (other.timeline == alone.timeline).all()
            assert other.page_faults == alone.page_faults


def test_settings_reach_their_manager(trace_path):
    variants = [{"growth_bytes": 1 << 24}, {"growth_bytes": 1 << 25}]
    lanes = twin_lanes(trace_path, ["linear"], {"linear": variants})
    assert [lane.name for lane in lanes] == [
        "linear growth_bytes=16777216",
        "linear growth_bytes=33554432",
    ]
    less, more = compare(lanes).results
    assert [less.settings, more.settings] == variants
    assert result(trace_path).mapped_bytes_peak < less.mapped_bytes_peak < more.mapped_bytes_peak


def test_failures_are_sentences_and_the_others_land(trace_path):
    def refuses(progress):
        raise HeapwrightError("the machine refused.")

    def breaks(progress):
        raise ValueError("seven")

    def dies(progress):
        os.kill(os.getpid(), signal.SIGTERM)

    (good,) = twin_lanes(trace_path, ["linear"])
    lanes = [Lane(r.__name__, 1, r) for r in (refuses, breaks, dies)]
    found = compare([*lanes, good], jobs=2)
    assert [r.manager for r in found.results] == ["linear"]
    assert found.failures[0] == "refuses: the machine refused."
    assert found.failures[1].startswith("breaks: a bug, ValueError at test_compare.py:")
    assert found.failures[2] == "dies: its process was killed by SIGTERM."
    assert [lane.state for lane in lanes] == ["failed"] * 3


def test_a_manager_that_cannot_be_imported_fails_alone(trace_path, monkeypatch):
    known = registry.managers() | {"broken": registry.Manager("broken", "no_such_package.broken")}
    monkeypatch.setattr(registry, "managers", lambda: known)
    found = compare(twin_lanes(trace_path, ["broken", "linear"]))
    assert [r.manager for r in found.results] == ["linear"]
    assert found.failures[0].startswith(
        "broken: cannot be imported (No module named 'no_such_package'"
    )


def test_progress_sees_the_counters(trace_path):
    lanes = twin_lanes(trace_path, ["linear"])
    seen = []
    compare(lanes, progress=lambda lanes: seen.append((lanes[0].state, lanes[0].done)))
    assert seen[-1] == ("done", 2 * 800)


def test_an_interrupt_kills_workers_and_what_they_started(tmp_path):
    born = tmp_path / "pid"

    def starts_a_child(progress):
        child = subprocess.Popen(["sleep", "600"])
        born.write_text(f"{os.getpid()} {child.pid}")
        child.wait()

    def interrupt(lanes):
        if born.exists() and len(born.read_text().split()) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare([Lane("slow", 1, starts_a_child)], progress=interrupt)
    worker, child = (int(pid) for pid in born.read_text().split())
    deadline = time.monotonic() + 10
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(worker)
    assert not _runs(child)


def _runs(pid):
    """Whether the process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("managers", "settings", "sentence"),
    [
        (["linear", "no-such"], {}, "no manager is named 'no-such'"),
        (["linear"], {"glibc": [{"arena_max": 1}]}, "not among the managers compared"),
        (["linear"], {"linear": [{"no_such": 1}]}, "no knob named 'no_such'"),
    ],
)
def test_mistakes_are_sentences_before_anything_flies(trace_path, managers, settings, sentence):
    with pytest.raises(HeapwrightError, match=sentence):
        twin_lanes(trace_path, managers, settings)
