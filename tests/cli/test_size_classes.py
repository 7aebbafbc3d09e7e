"""`heapwright size-classes`, as typed, and wright with what it finds: in a replay and in flight."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from heapwright.cli import app
from heapwright.compiler import INTERPRETED
from heapwright.trace.schema import MALLOC, events
from small_traces import write


@pytest.fixture
def trace(tmp_path):
    """Blocks that are never freed, the last one on pages of its own: all peaks are the end."""
    sizes = [*np.random.default_rng(1).integers(1, 3000, 399), 65_536]
    rows = events(op=np.full(400, MALLOC), slot=np.arange(400), size=sizes)
    write(tmp_path / "t.heap.parquet", rows)
    return tmp_path / "t.heap.parquet"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_text_and_json_say_the_same(trace, tmp_path):
    out = tmp_path / "best.json"
    said = run("size-classes", trace, "--most", 6, "-o", out)
    assert said.exit_code == 0, said.output
    (first,) = [line for line in said.stdout.splitlines() if line.startswith("★ best")]
    told = json.loads(run("size-classes", trace, "--most", 6, "--json").stdout)
    assert first.split()[2] == "6" and " ".join(map(str, told["sizes"])) in said.stdout
    assert json.loads(out.read_text())["sizes"] == told["sizes"]
    names = [table["name"] for table in told["tables"]]
    assert names[:2] == ["best", "best, in wright"] and "jemalloc" in names


def test_wright_replays_with_the_table(trace, tmp_path):
    out = tmp_path / "best.json"
    run("size-classes", trace, "--most", 6, "-o", out)
    told = json.loads(
        run(
            "compare", trace, "--managers", "wright", "--set", f"wright.classes={out}", "--json"
        ).stdout
    )
    rounding = {bool(row["settings"]): row["peak"]["rounding_bytes"] for row in told["results"]}
    expected = json.loads(run("size-classes", trace, "--most", 6, "--json").stdout)["tables"]
    losses = {table["name"]: table["lost_bytes"]["peak"] for table in expected}
    assert rounding == {True: losses["best, in wright"], False: losses["wright"]}


PROGRAM = """
import ctypes
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
print(len([str(n) * 9 for n in range(9000)]))
print([c.malloc_usable_size(ctypes.c_void_p(c.malloc(n))) for n in (1, 49, 1000, 5000, 40_001)])
"""


@pytest.mark.skipif(INTERPRETED, reason="a flight is compiled")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a flight needs Linux")
@pytest.mark.skipif(not shutil.which("ld"), reason="no linker")
def test_a_real_program_flies_with_the_table(tmp_path):
    (tmp_path / "best.json").write_text(json.dumps({"sizes": [48, 560, 1300, 40_000]}))
    words = ["fly", "wright", "--set", f"classes={tmp_path / 'best.json'}", "--"]
    flown = subprocess.run(
        [sys.executable, "-m", "heapwright", *words, sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        timeout=280,
        env={**os.environ, "PYTHONMALLOC": "malloc"},
    )
    assert flown.stdout == "9000\n[48, 560, 1344, 40000, 40960]\n"
