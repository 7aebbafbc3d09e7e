"""The real collector of CPython on an object graph, and its twin beside it."""

from pathlib import Path

import pytest

import heapwright as hw
from collector_programs import graph
from heapwright.errors import HeapwrightError
from heapwright.references.cpython import collector
from heapwright.trace.programs import synthesise
from heapwright.trace.schema import ATOM, NEW, PUSH, events
from heapwright.versions import version_number
from small_traces import churn, write

MISSING = collector.missing()
installed = pytest.mark.skipif(bool(MISSING), reason=MISSING or "is here")


@installed
def test_the_twin_agrees_with_the_python_that_is_here(tmp_path: Path) -> None:
    trace = tmp_path / "t.heap.parquet"
    synthesise("python-service", trace, {"objects": 4_000, "sessions": 30, "collect_every": 200})
    found = hw.validate("cpython", trace, {"threshold0": 100, "threshold1": 2, "threshold2": 1})
    assert found.agrees, found.sentences()
    said = found.to_json()
    assert said["collections"]["compared"] > 5 and said["collected"]["real"] > 100
    assert said["versions"]["real"].startswith(said["versions"]["twin"])
    other = hw.validate("cpython", trace, {"threshold0": 100, "version": version_number("3.15")})
    assert not other.agrees and "First difference" in other.sentences()[-1]


def test_what_cannot_be_driven_is_a_sentence(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(HeapwrightError, match="has no references, and so no cycles"):
        hw.validate("cpython", write(tmp_path / "m.heap.parquet", churn(200)))
    table = events(op=[PUSH, NEW], slot=[-1, 0], size=[0, 64], field=[0, 8], target=[-1, ATOM])
    if not MISSING:
        with pytest.raises(HeapwrightError, match="blocks that are no objects"):
            collector.drive([table], 1)
        with pytest.raises(HeapwrightError, match="has no knob 'freeze_at'"):
            collector.drive(*graph("map"), {"freeze_at": 3})
        monkeypatch.setenv(collector.VARIABLE, "/nowhere/python3")
        with pytest.raises(HeapwrightError, match="cannot start /nowhere/python3"):
            collector.drive(*graph("map"))
        monkeypatch.setenv(collector.VARIABLE, "false")
        with pytest.raises(HeapwrightError, match="ended with 1: no message"):
            collector.drive(*graph("map"))
