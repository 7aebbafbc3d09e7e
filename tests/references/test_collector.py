"""The real collector of CPython on an object graph, and its twin beside it."""

import ast
import platform
import sys
from pathlib import Path

import pytest

import heapwright as hw
from collector_programs import graph
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.references.cpython import collector
from heapwright.references.cpython.collections import recorded_runs
from heapwright.trace.programs import synthesise
from heapwright.trace.recorder.graph import record_graph
from heapwright.trace.schema import ATOM, NEW, PUSH, events
from heapwright.trace.store import Trace
from heapwright.versions import version_number
from small_traces import churn, write

PROGRAM = """
import gc
seen = []
def told(phase, info):
    if phase == "stop":
        seen.append((info["generation"], info["collected"], info["uncollectable"]))
class Node:
    def __init__(self, value):
        self.value, self.peers, self.named = value, [], {"me": self}
def work(times):
    for i in range(times):
        one, other = Node(i), Node([i, (i, str(i))])
        one.peers.append(other)
        other.peers.append(one)
        if i % 9 == 0:
            kept.append(one)
        del kept[:-100]
kept = []
gc.callbacks.append(told)
work(700)
gc.collect()
gc.set_threshold(*gc.get_threshold())
work(500)
print(seen)
"""
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
    assert said["versions"]["real"] == platform.python_version()
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


@pytest.mark.skipif(INTERPRETED, reason="a real program is long when interpreted")
def test_a_recorded_program_collects_as_it_did(tmp_path: Path, capfd) -> None:
    """What its own gc.callbacks were told is in the recording, and comes out of the replay."""
    script, path = tmp_path / "cycles.py", tmp_path / "t.heap.parquet"
    script.write_text(PROGRAM)
    record_graph([sys.executable, str(script)], path)
    told = ast.literal_eval(capfd.readouterr().out.splitlines()[-1])
    real = recorded_runs(Trace.open(path))[:, 1:].tolist()
    told = [list(row) for row in told]
    starts = [i for i in range(len(real)) if real[i : i + len(told)] == told]
    assert len(told) > 3 and len(starts) == 1  # before are those of the start, behind the last ones
    found = hw.validate("cpython", path)
    assert found.recorded and found.versions[1] == platform.python_version()
    assert {twin == made for twin, made in found.made.values()} == {True}, found.rows()
    assert found.runs.share > 0.8, found.sentences()
    assert abs(found.collected[0] - found.collected[1]) < 0.01 * found.collected[1]
    once = hw.validate("cpython", path, {"threshold0": 100_000})
    asked = once.made["old"]  # by itself, and the interpreter as it ends
    assert once.made["young"][0] == 0 and asked[0] == asked[1] >= 1
    notes = " ".join(hw.replay("cpython", path, {"threshold0": 300}).notes)
    assert "no setting finds it sooner" in notes
