"""The real allocators in the twins' loop, and as lanes of a comparison."""

import os
from pathlib import Path

import pytest

from heapwright.errors import HeapwrightError
from heapwright.managers.registry import Manager
from heapwright.references import malloc
from heapwright.references.malloc import called, systems
from heapwright.references.malloc.measure import installed
from heapwright.references.malloc.measured import measured, measured_lanes
from heapwright.references.malloc.rates import rates
from heapwright.trace.programs import synthesise
from heapwright.trace.schema import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.bind import bound_loop
from heapwright.tunnel.compare import compare
from heapwright.tunnel.replay import Conditions, replay
from heapwright.words import full_title


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Twenty thousand events of a synthetic program."""
    path = tmp_path_factory.mktemp("measured") / "t.parquet"
    synthesise("log-uniform", path, {"events": 20_000, "seed": 7})
    return Trace.open(path)


def test_the_loop_calls_the_real_functions() -> None:
    """Through this process's own malloc: what the loop says is what malloc did."""
    heap = called.boot(called.load(systems.named("glibc"), None))
    loop = bound_loop(Manager("called", "heapwright.references.malloc.called"))
    run = loop.start(heap, 3)
    opened = events(
        op=[MALLOC, CALLOC, MEMALIGN, REALLOC],
        slot=[0, 1, 2, 0],
        size=[100, 50, 70, 5000],
        align=[0, 0, 12, 0],
    )
    loop.replay(heap, run, opened)
    addresses = run.objects.address.tolist()
    assert len(set(addresses)) == 3
    assert addresses[2] % 4096 == 0
    assert called.usable(heap, addresses[0], 0) >= 5000
    assert 50 <= called.usable(heap, addresses[1], 0) < 100
    loop.replay(heap, run, events(op=[FREE] * 3, slot=[0, 1, 2], size=[0] * 3))
    assert not run.objects.address.any()
    assert run.progress[loop.REFUSED] == 0


def test_every_installed_allocator_has_a_rate(trace: Trace) -> None:
    seconds = rates(trace, installed(), runs=2)
    assert list(seconds) == installed()
    for name, each in seconds.items():
        assert 1e3 < trace.events / each < 1e9, name


def test_lanes_land_beside_each_other(trace: Trace) -> None:
    lanes = measured_lanes(trace.path)
    comparison = compare(lanes, jobs=1)
    assert comparison.failures == []
    assert [result.manager for result in comparison.results] == installed()
    for lane, result in zip(lanes, comparison.results, strict=True):
        assert result.kind == "measured"
        assert result.events == trace.events
        assert result.seconds > 0
        peak = dict(result.peak)
        assert peak.pop("resident_bytes") == sum(peak.values())
        assert lane.done == lane.steps


def test_an_untouched_replay_holds_less(trace: Trace) -> None:
    resident = {}
    for touch in ("all", "none"):
        comparison = compare(measured_lanes(trace.path, ["glibc"], Conditions(touch)), jobs=1)
        (result,) = comparison.results
        resident[touch] = result.peak["resident_bytes"]
    assert resident["none"] < resident["all"]
    assert any("wrote nothing" in note for note in result.notes)


def test_what_is_not_installed_fails_before_anything_is_driven(
    trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems, "_find", lambda soname: None)
    with pytest.raises(HeapwrightError, match="apt install libmimalloc2"):
        measured_lanes(trace.path, ["mimalloc"])
    assert [lane.name for lane in measured_lanes(trace.path)] == ["real glibc"]


def test_a_library_that_cannot_be_loaded_is_a_sentence(
    trace: Trace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = systems.named("mimalloc").soname
    (tmp_path / name).write_text("not a library")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}{os.pathsep}")
    with pytest.raises(HeapwrightError, match=r"timing the real mimalloc failed: .*file too short"):
        rates(trace, ["mimalloc"])


def test_a_graph_trace_is_measured_as_its_twin_replays_it(tmp_path: Path) -> None:
    """Each object allocated when it is made and freed when nothing refers to it."""
    synthesise("binary-trees", tmp_path / "t.parquet", {"objects": 20_000})
    trace = Trace.open(tmp_path / "t.parquet")
    real = measured("glibc", trace)
    twin = replay("glibc", trace)
    assert real.events == twin.events == trace.events
    assert real.peak["live_bytes"] == twin.peak["live_bytes"]
    assert abs(real.peak["resident_bytes"] - twin.peak["resident_bytes"]) <= 16 * 4096


def test_what_the_real_system_cannot_set_makes_no_second_row(trace: Trace) -> None:
    variants = [{}, {"not_its_own": 4}, {"arena_max": 1}, {"arena_max": 1, "not_its_own": 4}]
    found = malloc.lanes("glibc", trace.path, Conditions(), variants)
    assert len(found) == 2


def test_the_real_one_is_set_as_recorded(tmp_path: Path) -> None:
    """What the recorded environment set holds for glibc, and for no other."""
    columns = events(op=[MALLOC] * 20, slot=range(20), size=[20_000] * 20)
    with TraceWriter(tmp_path / "t.parquet", program="made", kind="synthetic") as out:
        out.write(columns)
        out.facts.settings = {"mmap_threshold": 4096, "hugetlb": 1}
    trace = Trace.open(tmp_path / "t.parquet")
    real, other = measured("glibc", trace), measured("glibc", trace, settings={"top_pad": 0})
    assert (real.settings, real.recorded) == ({}, {"mmap_threshold": 4096})
    assert full_title(other) == "real glibc (as recorded, top_pad=0)"
    twin = replay("glibc", trace)
    assert real.mapped_bytes_peak == twin.mapped_bytes_peak
    assert real.page_faults == twin.page_faults
    for name in set(installed()) - {"glibc"}:
        assert measured(name, trace).recorded == {}
