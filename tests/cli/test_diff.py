"""`heapwright diff`: what grew, matched by the names of functions; its status is for CI."""

import json
import subprocess
import sys

import pytest

from heapwright.insight.differing import function
from planted import Program

HEAPWRIGHT = [sys.executable, "-m", "heapwright"]


def run(*words, **options):
    return subprocess.run(
        [*HEAPWRIGHT, *map(str, words)], capture_output=True, text=True, check=False, **options
    )


def program(rows: int, row_bytes: int, line: int) -> Program:
    """A table of `rows`, then requests; functions stand at `line`s of their file."""
    p = Program()
    for _ in range(rows):
        p.malloc(row_bytes, f"main (app.c:{line})", f"load (app.c:{line + 9})")
    for _ in range(60):
        p.malloc(40, f"main (app.c:{line})", f"session (app.c:{line + 40})", "xmalloc")
        p.request()
    return p


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traces")
    return {
        name: program(*shape).write(folder / f"{name}.parquet").path
        for name, shape in {
            "old": (200, 1500, 10),
            "moved": (200, 1500, 90),
            "grown": (300, 1500, 90),
        }.items()
    }


def test_shifted_lines_are_no_change(traces):
    done = run("diff", traces["old"], traces["moved"], "--json", "--fail-above", "0%")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["stacks"] == told["sizes"] == [] and not told["failed"]
    assert told["sentence"].startswith("moved.parquet holds as much as old.parquet: ")


def test_what_grew_is_told_by_stack_and_size(traces):
    done = run("diff", traces["old"], traces["grown"], "--json", "--fail-above", "5%")
    told = json.loads(done.stdout)
    assert (done.returncode, told["failed"]) == (1, True)
    assert done.stderr.startswith("heapwright: grew by +")
    (row,) = told["stacks"]
    assert (row["function"], row["frames"]) == ("load", ["main", "load"])
    assert row["end"] == {
        "before": 300_000, "after": 450_000, "change_bytes": 150_000, "change": 0.5
    }  # fmt: skip
    assert row["peak"]["change_bytes"] == 150_000 and row["end_blocks"]["change_bytes"] == 100
    (size,) = told["sizes"]
    assert (size["to_bytes"], size["end"]["change_bytes"]) == (2048, 150_000)
    whole = {row["key"]: row for row in told["whole"]}
    assert 150_000 <= whole["end_resident_bytes"]["change_bytes"] <= 180_000
    assert whole["requests"]["change_bytes"] == 100
    assert "146 KiB more for load." in told["sentence"]


def test_the_other_way_is_less(traces):
    told = json.loads(run("diff", traces["grown"], traces["old"], "--json").stdout)
    assert told["fail_above"] is None and "146 KiB less for load." in told["sentence"]


def test_the_tables_fit_80_columns(traces):
    done = run(
        "diff", traces["old"], traces["grown"], "--fail-above", "300%",
        env={"COLUMNS": "80", "PATH": "/usr/bin:/bin", "HOME": "/root"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tables = done.stdout.partition("\n\n")[2].partition("note: ")[0]
    assert all(len(line) <= 80 for line in tables.splitlines())
    assert "what changed, by call stack" in tables and "+146 KiB" in tables


@pytest.mark.parametrize("share", ["5", "x%", "-1%"])
def test_a_share_that_is_none_is_a_sentence(traces, share):
    done = run("diff", traces["old"], traces["grown"], f"--fail-above={share}")
    assert done.returncode == 1 and "write it in per cent, as 5%" in done.stderr


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("parse (json.c:12)", "parse"),
        ("f(int) (a.cc:1)", "f(int)"),
        ("open (libc.so.6)", "open"),
        ("libfoo.so+0x12ab", "libfoo.so"),
        ("ls 0x55fd1ef6ea99", "ls"),
        ("0x55fd1ef6ea99", "unknown"),
        ("keep (pkg/mod.py:7)", "keep"),
        ("<module> (<frozen runpy>:12)", "<module>"),
    ],
)
def test_names_that_stay_when_a_program_is_built_again(label, name):
    assert function(label) == name
