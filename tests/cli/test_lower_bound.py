"""`heapwright lower-bound`, as typed."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from heapwright.cli import app
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import TraceWriter


@pytest.fixture
def trace_path(tmp_path):
    """A hundred blocks of which nine are alive at once."""
    op = np.where(np.arange(200) % 2 == 0, MALLOC, FREE)
    path = tmp_path / "t.heap.parquet"
    with TraceWriter(path, program="t", kind="synthetic") as out:
        out.write(events(op=op, slot=np.repeat(np.arange(100) % 9, 2), size=64 * (op == MALLOC)))
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["lower-bound", *(str(argument) for argument in arguments)])


def test_json(trace_path):
    said = json.loads(run(trace_path, "--json").stdout)
    assert said["lower_bound_bytes"] == said["packing_bytes"] == said["peak_live_bytes"] == 64
    assert (said["proven"], said["blocks"], said["method"]) == (True, 100, "greedy")


def test_text(trace_path):
    said = run(trace_path).stdout
    assert "most bytes alive   64 bytes (64 B)" in said
    assert "64 bytes (64 B), the optimum, greedy, 100 blocks" in said


def test_no_trace(tmp_path):
    assert run(tmp_path / "none.parquet").exit_code == 1
