"""A process records itself, several times: each trace holds its block, and nothing else."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from heapwright.compiler import INTERPRETED

pytestmark = [
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or platform.machine() != "x86_64",
        reason="a process is recorded by itself on x86-64 Linux only",
    ),
    pytest.mark.skipif(INTERPRETED, reason="the recorder is C"),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    program = Path(__file__).with_name("here_program.py")
    folder = tmp_path_factory.mktemp("here")
    done = subprocess.run(
        [sys.executable, program, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("turn", range(3))
def test_each_block_has_its_own_requests_with_lines(told, turn):
    trace = told[f"turn {turn}"]
    beside = (0, 200, 300)[turn]
    assert sum(count for _, count in trace["lines"]) == 1000 + turn + beside
    assert all(label.startswith("grow") for label, _ in trace["lines"])
    # A thread of PyArrow's pool may end its work for the trace before in this one.
    assert trace["threads"] >= (2 if beside else 1)
    assert trace["python"].startswith("3.")
    assert 1_000_000 < trace["live"] < 3_000_000


def test_a_thread_that_was_in_a_long_recording_is_whole_in_the_next(told):
    assert sum(count for _, count in told["after a long one"]["lines"]) == 300


def test_what_came_before_is_said_to_be_left_out(told):
    for turn in range(3):
        notes = " ".join(told[f"turn {turn}"]["notes"])
        assert "ran before the recording began" in notes
        assert "ends before the program does, when the block did" in notes


def test_a_block_that_raises_has_a_trace(told):
    assert sum(count for _, count in told["raised"]["lines"]) == 10


def test_a_block_in_a_block_is_refused_and_leaves_nothing(told):
    assert told["nested"] == "cannot record this process: it is being recorded already"
    names = told["left behind"]
    assert not any("recording-" in name for name in names)
    assert "inner" not in names


def test_hooks_of_others_that_stay_over_ours_do_no_harm(told):
    for name in ("after tracemalloc", "at last"):
        trace = told[name]
        assert sum(count for _, count in trace["lines"]) == 10
        assert all(label.startswith("grow") for label, _ in trace["lines"])
        assert trace["python"]
