"""`heapwright maps`."""

import json
import os
import sys

import pytest
from typer.testing import CliRunner

from heapwright.cli import app
from small_traces import churn, write


@pytest.fixture
def run(tmp_path):
    trace = write(tmp_path / "t.heap.parquet", churn(500)).path
    return lambda *options: CliRunner().invoke(
        app, ["maps", *[str(trace) if each == "TRACE" else each for each in options]]
    )


def test_the_forms_and_the_table(run):
    told = run("TRACE", "--manager", "glibc")
    assert told.exit_code == 0, told.output
    assert "Address           Kbytes     RSS   Dirty Mode  Mapping" in told.output
    assert "[ heap ]" in told.output
    assert "glibc heap" in told.output
    assert "Private_Dirty:" in run("TRACE", "--manager", "glibc", "--form", "smaps").output
    found = json.loads(run("TRACE", "--set", "glibc.arena_max=1", "--json").output)
    (space,) = found["spaces"]
    assert space["totals"]["heap"]["bytes"] == sum(
        area["bytes"] for area in space["areas"] if area["kind"] == "heap"
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_a_process_beside_the_twin(run):
    found = json.loads(run("TRACE", "--pid", str(os.getpid()), "--json").output)
    assert [space["event"] is None for space in found["spaces"]] == [False, True]


def test_mistakes_are_sentences(run):
    assert "give a trace, or --pid" in run().output
    assert "--form is pmap or smaps" in run("TRACE", "--form", "x").output
    assert "an event's number" in run("TRACE", "--at", "noon").output


def test_what_is_asked_of_a_twin_needs_a_trace(run):
    for asked in (("--manager", "glibc"), ("--at", "5"), ("--set", "glibc.arena_max=1")):
        told = run("--pid", str(os.getpid()), *asked)
        assert told.exit_code == 1 and "are of a twin: give a trace" in told.output
    assert "there is no process 0" in run("--pid", "0").output
