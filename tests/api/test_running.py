"""Proof by running: which rows are run, with which environment, and what follows."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import heapwright as hw
from heapwright.api.running import _judged, environment, few_of, overruled, steady
from heapwright.insight.advice import Advised, Candidate, Measured, Row, headline
from heapwright.insight.proven import other_load, reorder
from heapwright.insight.standing import Standing
from heapwright.managers.deploying import Deployment, trimming
from heapwright.references.program import run
from heapwright.result import Footprint
from recorded import compiled

MIB = 1 << 20


class Told:
    """Of a trace what is asked of it."""

    def __init__(self):
        self.settings, self.origin = {"arena_max": 3}, {}


def row(name, figure, **environment_):
    held = Footprint(figure * MIB, figure * MIB, figure * MIB, 0, 1.0)
    return Row(Candidate(name, {}, Deployment(environment_ or {"X": "1"})), held)


def measured(figure, seconds=1.0, statuses=()):
    return Measured(figure * MIB, figure * MIB, figure * MIB, seconds, 3, {}, statuses)


def test_the_best_are_run_and_of_another_manager_the_best():
    rows = [row("a", 10), row("a", 11), row("a", 12), row("b", 20)]
    assert [one.candidate.manager for one in few_of(rows, 3)] == ["a", "a", "b"]
    assert [one.candidate.manager for one in few_of(rows, 1)] == ["a"]
    for one in rows:
        one.level = True
    assert len(few_of(rows, 3)) == 2
    silent = Row(Candidate("a", {}, Deployment({}, code="a call")), rows[0].predicted)
    assert few_of([silent], 3) == []


def test_the_environment_is_that_of_the_lines_over_the_recordings(monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "/lib/mine.so:/lib/libjemalloc.so.2")
    present = row("jemalloc", 10, LD_PRELOAD="libjemalloc.so.2")
    advice = Advised(Told(), present, [], Standing())
    told = environment(row("mimalloc", 5, LD_PRELOAD="libmimalloc.so.2"), advice)
    assert told["LD_PRELOAD"] == "libmimalloc.so.2:/lib/mine.so"
    assert told["MALLOC_ARENA_MAX"] == "3"
    told = environment(row("glibc", 5, MALLOC_ARENA_MAX="1"), advice)
    assert told["MALLOC_ARENA_MAX"] == "1"


def test_what_stays_is_judged_in_the_middle_of_the_time_in_which_it_does():
    assert _judged(0.95, 1.0) == 1.0  # no rest: as it ends
    end = _judged(0.4, 0.9)
    assert end - 0.06 < 0.65 < end - 0.03  # the window before `end` holds the middle


def test_what_was_measured_decides():
    present, one, two = row("now", 100), row("one", 50), row("two", 60)
    advice = Advised(Told(), present, [one, two], Standing())
    present.measured, one.measured, two.measured = measured(100), measured(99), measured(70)
    reorder(advice)
    assert advice.best is two
    assert advice.headline.endswith("measured in the program.")
    assert "70.0 MiB stay instead of 100 MiB" in advice.headline


def test_a_run_without_the_load_proves_nothing():
    """A server that nobody asks anything: 17 MiB each time, of 100."""
    present, one, two = row("now", 100), row("one", 50), row("two", 60)
    advice = Advised(Told(), present, [one, two], Standing())
    present.measured, one.measured = measured(17), measured(17)
    assert "had another load, so the runs prove nothing" in (other_load(advice) or "")
    assert headline(advice.rows, present).startswith("X=1: 50.0 MiB stay instead of 100 MiB")
    present.measured, present.other_load = measured(90), False
    assert other_load(advice) is None


def test_what_a_run_has_shown_stands_above_what_the_parts_allow():
    present, one = row("now", 100), row("one", 50)
    advice = Advised(Told(), present, [one], Standing(["All of it is live."], at_most=10 * MIB))
    assert "a setting can save 10.0 MiB at most" in advice.sentences[0]
    present.measured, one.measured = measured(100), measured(95)
    assert "a setting can save 10.0 MiB at most" in advice.sentences[0]
    one.measured = measured(60)
    assert advice.sentences[0] == (
        "All of it is live. Run for real, one leaves 60.0 MiB instead of 100 MiB, which is more "
        "than the parts of the replay allow."
    )


def test_thresholds_that_the_program_sets_itself_are_told():
    rows = [row("now", 100), row("rarely", 90), row("never", 90), row("alike", 90)]
    for one, foreseen, seen in zip(rows, (200, 20, 0, 180), (95, 95, 10, 95), strict=True):
        one.predicted.collections = foreseen
        one.measured = replace(measured(100), collections=seen)
    (told,) = overruled(rows)
    assert told.startswith("Run with rarely it collected 95 times, as often as it does now")


def test_what_fails_or_takes_its_time_is_no_advice():
    present, one, two = row("now", 100), row("one", 50), row("two", 60)
    one.level = two.level = True
    advice = Advised(Told(), present, [one, two], Standing())
    present.measured = measured(100)
    one.measured, two.measured = measured(50, statuses=(1,)), measured(60, seconds=2.0)
    reorder(advice)
    assert advice.best is None
    assert advice.headline.startswith("Nothing to change: run for real")


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_a_call_in_the_program_is_made_by_a_thread_of_it():
    """A Python frees 40 MB below a block that stays; what is trimmed does not stay."""
    code = (
        "import ctypes, time; c = ctypes.CDLL(None); c.malloc.restype = ctypes.c_void_p;"
        "c.mallopt(-3, 1 << 30); c.mallopt(-1, 1 << 30);"
        "p = [c.malloc(100000) for _ in range(400)]; [ctypes.memset(b, 1, 100000) for b in p];"
        "kept = c.malloc(100000); c.free.argtypes = [ctypes.c_void_p]; [c.free(b) for b in p];"
        "time.sleep(0.5)"
    )
    advice = Advised(Told(), row("glibc", 10), [], Standing())
    trimmed = Row(Candidate("glibc", {}, trimming(0.1), "twin", 0.1), advice.present.predicted)
    with_call = environment(trimmed, advice)
    one = run([sys.executable, "-c", code], with_call | {"MALLOC_ARENA_MAX": "1"})
    assert one.status == 0
    assert int(one.anonymous.max()) - int(one.anonymous[-3]) > 36 * MIB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux ends it with us")
def test_a_program_that_is_run_ends_when_we_are_killed(tmp_path):
    told = tmp_path / "pid"
    inner = f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    outer = (
        "import os, sys; from heapwright.references.program import run;"
        f"run([sys.executable, '-c', {inner!r}], dict(os.environ))"
    )
    process = subprocess.Popen([sys.executable, "-c", outer])
    deadline = time.monotonic() + 60
    while not (told.exists() and told.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    for _ in range(250):
        try:
            os.kill(int(told.read_text()), 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail("it runs on")


PINNED = """
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    static void *p[400];
    for (int i = 0; i < 400; i++) memset(p[i] = malloc(100000), 1, 100000);
    void *kept = malloc(100000);
    memset(kept, 1, 100000);
    usleep(50000);
    for (int i = 0; i < 400; i++) free(p[i]);
    usleep(400000);
    return kept == 0;
}
"""


@pytest.mark.timeout(300)
def test_the_advised_line_holds_in_the_program(tmp_path: Path):
    """400 blocks of 100 kB freed below one that stays: 38 MiB stay with glibc, next to nothing
    with a threshold of 64 KiB; as predicted, and as measured."""
    (tmp_path / "pinned.c").write_text(PINNED)
    program = compiled(tmp_path, tmp_path / "pinned.c")
    (trace,) = hw.record([program], tmp_path / "pinned.heap.parquet")
    found = hw.advise(trace, "glibc", run=[program], few=1, rounds=1, jobs=1)
    best = found.best
    assert best is not None and best.candidate.settings["mmap_threshold"] == 65536
    now, then = found.present.measured, best.measured
    assert now.end_resident_bytes == pytest.approx(38.2 * MIB, rel=0.05)
    assert now.end_resident_bytes == pytest.approx(
        found.present.predicted.end_resident_bytes, rel=0.05
    )
    assert then.end_resident_bytes < MIB
    assert then.peak_resident_bytes == pytest.approx(best.predicted.peak_resident_bytes, rel=0.05)


def test_what_one_look_alone_saw_outside_of_the_heap_is_left_out():
    assert steady(np.array([2, 2, 9, 2, 2, 5, 5])).tolist() == [2, 2, 2, 2, 2, 5, 5]
    assert steady(np.array([9, 2])).tolist() == [9, 2]
