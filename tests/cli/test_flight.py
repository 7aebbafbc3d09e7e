"""`heapwright build` and `heapwright fly`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heapwright.cli import app
from heapwright.cli.settings import parse_knobs
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError

pytestmark = [
    pytest.mark.skipif(INTERPRETED, reason="a flight is compiled"),
    pytest.mark.skipif(sys.platform != "linux", reason="a flight needs Linux"),
    pytest.mark.skipif(not shutil.which("ld"), reason="no linker"),
]


def heapwright(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heapwright", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_build_writes_an_object_that_serves(tmp_path: Path) -> None:
    out = tmp_path / "libours.so"
    told = CliRunner().invoke(app, ["build", "linear", "--set", "growth_bytes=64k", "-o", str(out)])
    assert told.exit_code == 0, told.output
    assert str(out) in told.output and out.stat().st_size < 200_000
    served = subprocess.check_output(["echo", "served"], env={"LD_PRELOAD": str(out)}, text=True)
    assert served == "served\n"
    assert [path.name for path in tmp_path.iterdir()] == ["libours.so"]


def test_fly_passes_the_status_on_and_keeps_to_itself() -> None:
    done = heapwright("fly", "segregated-fit", "--", "sh", "-c", "echo flown; exit 9")
    assert (done.stdout, done.stderr, done.returncode) == ("flown\n", "", 9)


def test_statistics_go_to_stderr() -> None:
    done = heapwright("fly", "segregated-fit", "--stats", "--", "ls", "/dev/null")
    assert done.stdout == "/dev/null\n" and done.returncode == 0
    assert "cached" in done.stderr and "alloc" in done.stderr
    done = heapwright("fly", "segregated-fit", "--json", "--", "ls", "/dev/null")
    document = json.loads(done.stderr)
    (process,) = document["processes"]
    assert process["program"].endswith("ls") and process["process"] == document["process"]
    assert sum(process["parts"].values()) == process["resident_bytes"] > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fly", "nobody", "--", "ls"], "no manager is named 'nobody'"),
        (["fly", "linear", "--set", "wings=2", "--", "ls"], "linear has no knob named 'wings'"),
        (["fly", "linear", "--set", "glibc.arena_max=2", "--", "ls"], "--set names glibc"),
        (["fly", "segregated-fit", "--", "no-such-program"], "there is no such program"),
        (["build", "mark-sweep"], "has a collector"),
        (["fly", "cuda-caching", "--", "ls"], "cuda-caching does not fly"),
        (["build", "pymalloc over glibc"], "pymalloc over glibc does not fly"),
        (["build", "linear", "-o", "/nowhere/lib.so"], "/nowhere/lib.so"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str) -> None:
    done = heapwright(*arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_knob_may_be_named_with_its_manager() -> None:
    assert parse_knobs("glibc", ["arena_max=2", "glibc.top_pad=1k"]) == {
        "arena_max": 2,
        "top_pad": 1024,
    }
    with pytest.raises(HeapwrightError, match="write MANAGER"):
        parse_knobs("glibc", ["arena_max"])
