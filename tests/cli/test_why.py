"""`heapwright why`: the verdict first, then what it rests on; JSON as it is promised."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pairs_of_python import recorded_pairs
from planted import PLANTED, Program

HEAPWRIGHT = [sys.executable, "-m", "heapwright"]


def run(*words, columns=80):
    return subprocess.run(
        [*HEAPWRIGHT, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": str(columns)},
    )


@pytest.fixture(scope="module")
def leak(tmp_path_factory):
    program = Program()
    PLANTED["leak behind a wrapper"][0](program)
    return program.write(tmp_path_factory.mktemp("t") / "leak.parquet").path


def test_the_verdict_stands_first_and_the_tables_fit(leak):
    done = run("why", leak)
    assert done.returncode == 0, done.stderr
    verdict, mend, *rest = done.stdout.splitlines()
    assert verdict.startswith("A leak: 351 KiB of the 416 KiB that stay once it has settled (84 %)")
    assert mend == (
        "Free what session makes, or bound it: no allocator and no setting mends a leak."
    )
    tables = done.stdout[done.stdout.index("where the bytes are") :].partition("note: ")[0]
    assert all(len(line) <= 80 for line in tables.splitlines())
    assert "  xmalloc\n  session\n  serve\n  main\n" in done.stdout
    assert any(line.startswith("resident       416 KiB 100 %") for line in rest)
    assert "serve them by" in done.stdout


def test_json(leak, tmp_path):
    page = tmp_path / "why.html"
    done = run("why", leak, "--json", "--html", page, "--set", "tcache_count=0")
    told = json.loads(done.stdout)
    assert told["verdict"].startswith("A leak: ") and told["kind"] == "leak"
    assert set(told["shares"]) == {"end", "peak"}
    assert sum(told["shares"]["end"].values()) == pytest.approx(1)
    first = told["stacks"][0]
    assert (first["cause"], first["label"]) == ("leak", "session")
    assert first["frames"] == ["main", "serve", "session", "xmalloc"]
    assert told["settings"] == {"tcache_count": 0} and told["bytes"]["end"]["caches"] < 3000
    assert told["timeline"][-1]["resident_bytes"] >= told["bytes"]["end"]["resident_bytes"]
    assert {"label", "calls", "bytes", "within", "mend"} <= set(told["stack_like"][0])
    assert page.read_text().startswith("<!doctype html>")


def test_mistakes_are_sentences(leak, tmp_path):
    assert "No such file" in run("why", tmp_path / "none").stderr
    done = run("why", leak, "--set", "nonsense=1")
    assert done.returncode == 1 and "nonsense" in done.stderr and "Traceback" not in done.stderr
    done = run("why", leak, "--html", tmp_path / "no" / "where.html")
    assert done.returncode == 1 and "Traceback" not in done.stderr


def test_a_graph_of_a_python_tells_what_waited_for_its_collector(tmp_path):
    trace = recorded_pairs(tmp_path / "pairs.parquet", pairs=3, between=7)
    done = run("why", trace.path, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["manager"] == "cpython"
    assert told["cycles"]["objects"] == 6 and told["cycles"]["sites"][0]["label"] == "pair"
    assert told["bytes"]["peak"]["garbage"] == told["cycles"]["most_bytes"] == 450
    said = run("why", trace.path).stdout
    assert "Only the cycle collector could free 6 blocks" in said
    assert "what waited for the collector" in said


RING = Path(__file__).parents[1] / "managers" / "keys" / "java" / "ring.heap.parquet"


def test_a_java_programs_objects_are_given_no_advice_on_a_malloc():
    told = run("advise", RING)
    assert told.returncode == 1 and "Java program's objects, which no malloc" in told.stderr
    assert not told.stdout and "Traceback" not in told.stderr
