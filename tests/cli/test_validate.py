"""`heapwright validate`, as typed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from heapwright.cli import app
from heapwright.references import malloc
from heapwright.references.malloc.agreement import validate
from heapwright.references.tally import difference, percent
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import TraceWriter


@pytest.fixture
def trace_path(tmp_path: Path) -> Path:
    """Two hundred blocks that live and die."""
    sizes = np.random.default_rng(4).integers(1, 3000, 200)
    op = np.where(np.arange(400) % 2 == 0, MALLOC, FREE)
    path = tmp_path / "t.heap.parquet"
    with TraceWriter(path, program="t", kind="synthetic") as out:
        slots = np.repeat(np.arange(200) % 9, 2)
        out.write(events(op=op, slot=slots, size=np.repeat(sizes, 2) * (op == MALLOC)))
    return path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["validate", *(str(argument) for argument in arguments)])


def test_json_is_one_document(trace_path: Path) -> None:
    said = json.loads(run("glibc", trace_path, "--json").stdout)
    assert said["manager"] == "glibc"
    assert said["events"] == 400
    assert said["addresses"] == {"compared": 200, "equal": 200}
    assert said["usable_sizes"] == {"compared": 200, "equal": 200}
    assert said["resident_bytes_peak"]["twin"] == said["resident_bytes_peak"]["real"] > 0
    assert said["mapped_bytes_peak"]["twin"] == said["mapped_bytes_peak"]["real"] > 0


def test_the_table_says_what_is_equal(trace_path: Path) -> None:
    said = run("glibc", trace_path, "--set", "glibc.tcache_count=0")
    assert said.exit_code == 0
    assert "100.00 %" in said.stdout
    assert "the real system in a fresh process" in said.stdout


def test_strict_fails_where_something_differs(
    trace_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("glibc", trace_path, "--strict").exit_code == 0
    monkeypatch.setattr(
        malloc, "agree", lambda name, trace, *_: validate("linear", trace, counterpart=name)
    )
    said = run("glibc", trace_path, "--strict")
    assert said.exit_code == 1
    assert "First difference at event 0" in said.stdout
    assert run("glibc", trace_path).exit_code == 0


def test_mistakes_are_sentences(trace_path: Path) -> None:
    for arguments, sentence in (
        (("buddy", trace_path), "buddy has no real counterpart"),
        (("frob", trace_path), "no manager is named 'frob'"),
        (("frob", trace_path), "no manager is named 'frob'"),
        (("glibc", "/nowhere"), "/nowhere"),
        (("glibc", trace_path, "--set", "glibc.frob=1"), "glibc has no knob named 'frob'"),
        (("glibc", trace_path, "--set", "buddy.frob=1"), "it is glibc that is validated"),
        (("glibc", trace_path, "--set", "glibc.version=2.33"), "glibc has no version 2.33 here"),
        (("glibc", trace_path, "--set", "glibc.version=2.34"), "so 2.34 cannot be driven"),
        (("glibc", trace_path, "--set", "glibc.version=new"), "'new' is not a version"),
        (("glibc", trace_path, "--set", "glibc.cores=-4"), "glibc.cores is 0, for this machine's"),
    ):
        said = run(*arguments)
        assert said.exit_code == 1
        assert sentence in said.stderr
        assert "Traceback" not in said.stderr


def test_only_equal_is_a_hundred_percent() -> None:
    assert percent(10, 10) == "100.00 %"
    assert percent(999_999, 1_000_000) == "99.99 %"
    assert percent(0, 0) == "none"
    assert difference(5, 5) == "equal"
    assert difference(99, 100) == "-1.00 %"
    assert difference(5, 0) == "no real figure"
