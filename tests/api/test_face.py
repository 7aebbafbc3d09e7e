"""The public face: what `import heapwright as hw` offers, and how quickly."""

import doctest
import importlib
import json
import subprocess
import sys

import numpy as np
import pytest

import heapwright as hw
from heapwright.compiler import INTERPRETED
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import TraceWriter

IMPORT_SECONDS = 0.05


@pytest.fixture
def trace(tmp_path):
    """A hundred blocks of 1,000 to 1,099 bytes, every other one freed."""
    path = tmp_path / "t.heap.parquet"
    with TraceWriter(path, program="t", kind="synthetic") as out:
        ones = np.arange(100)
        out.write(events(op=np.full(100, MALLOC), slot=ones, size=1000 + ones))
        out.write(events(op=np.full(50, FREE), slot=ones[::2], size=np.zeros(50, int)))
    return hw.open(path)


def test_importing_takes_a_moment_and_nothing_heavy():
    check = (
        "import time, sys; start = time.process_time(); import heapwright as hw\n"
        "took = time.process_time() - start\n"
        "heavy = {'numpy', 'numba', 'pyarrow', 'pandas', 'rich', 'typer'} & set(sys.modules)\n"
        "print(took, sorted(heavy))"
    )
    runs = []
    for _ in range(5):
        said = subprocess.run(
            [sys.executable, "-c", check], capture_output=True, text=True, check=True
        )
        seconds, heavy = said.stdout.split(maxsplit=1)
        assert heavy.strip() == "[]"
        runs.append(float(seconds))
    assert min(runs) < IMPORT_SECONDS


def test_every_name_is_there_and_told():
    for name in hw.__all__:
        found = getattr(hw, name)
        assert found is not None
        if name != "__version__":
            assert found.__doc__, name
    assert set(dir(hw)) == set(hw.__all__)
    with pytest.raises(AttributeError, match="no attribute 'frob'"):
        hw.frob  # noqa: B018


def test_a_comparison_turns_into_everything(trace, tmp_path):
    seen = []
    found = hw.compare(
        trace,
        ["linear", "first-fit"],
        {"linear": {"growth_bytes": 8192}},
        jobs=1,
        progress=lambda lanes: seen.append([lane.state for lane in lanes]),
    )
    assert {result.manager for result in found.results} == {"linear", "first-fit"}
    assert found.failures == [] and seen
    assert "first-fit" in found.verdict.headline or "linear" in found.verdict.headline
    rows = found.to_arrow().to_pylist()
    said = found.to_json()["results"]
    for row, result in zip(rows, said, strict=True):
        assert row["manager"] == result["manager"]
        assert row["resident_bytes"] == result["peak"]["resident_bytes"]
        assert row["page_faults"] == result["page_faults"]
        for name in ("peak", "mean", "end", "exit"):
            assert row[f"{name}_resident_bytes"] == result[f"{name}_resident_bytes"] > 0
        assert row["program_seconds"] == result["program_seconds"]
        assert json.loads(row["settings"]) == result["settings"]
    assert found.to_pandas()["resident_bytes"].tolist() == [row["resident_bytes"] for row in rows]
    assert "first-fit" in found._repr_html_()
    assert "first-fit" in found.write_html(tmp_path / "page.html").read_text()


def test_a_replay_is_the_row_of_a_comparison(trace):
    alone = hw.replay("linear", trace.path)
    (row,) = hw.compare([trace], "linear", jobs=1, maps=False).results
    assert alone.peak == row.peak and alone.page_faults == row.page_faults
    assert alone.to_pandas()["resident_bytes"].max() == alone.peak["resident_bytes"]
    assert "linear" in alone._repr_html_()


def test_info_and_a_trace_in_a_notebook(trace):
    assert hw.info(trace)["events"] == trace.events == 150
    assert "150" in trace._repr_html_()
    shown = hw.info(trace)._repr_html_()
    assert "<td>150</td>" in shown and "<td>synthetic</td>" in shown


def test_mistakes_are_sentences(trace, tmp_path):
    with pytest.raises(hw.HeapwrightError, match="no manager is named 'frob'"):
        hw.replay("frob", trace)
    for none in ([], ""):
        with pytest.raises(hw.HeapwrightError, match="no manager is named"):
            hw.compare(trace, none)
    with pytest.raises(hw.HeapwrightError, match="buddy has no real counterpart"):
        hw.validate("buddy", trace)
    with pytest.raises(hw.HeapwrightError, match="nowhere"):
        hw.open(tmp_path / "nowhere")


@pytest.mark.skipif(INTERPRETED, reason="the examples replay a million events")
@pytest.mark.parametrize("name", ["comparing", "replaying", "recording", "traces", "flying"])
def test_examples_hold(name, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"heapwright.api.{name}")
    assert doctest.testmod(module).failed == 0
