"""`heapwright compare`, `replay` and `demo`, as typed."""

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from few_managers import only
from heapwright.cli import app, demo
from heapwright.errors import HeapwrightError
from heapwright.references.malloc import systems
from heapwright.result import PARTS
from heapwright.trace.recorder import session
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import TraceWriter


@pytest.fixture
def trace_path(tmp_path):
    sizes = np.random.default_rng(9).integers(1, 2000, 200)
    op = np.where(np.arange(400) % 2 == 0, MALLOC, FREE)
    with TraceWriter(tmp_path / "t.heap.parquet", program="t", kind="synthetic") as out:
        slots = np.repeat(np.arange(200) % 9, 2)
        out.write(events(op=op, slot=slots, size=np.repeat(sizes, 2) * (op == MALLOC)))
    return tmp_path / "t.heap.parquet"


def run(*arguments):
    wide = {"COLUMNS": "200"}  # or else a terminal's width breaks the lines looked for
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=wide)


def test_json_has_the_documented_form(trace_path):
    found = run("compare", trace_path, "--managers", "linear", "--no-references", "--json")
    assert found.exit_code == 0
    document = json.loads(found.stdout)
    assert {"path", "program", "events", "allocations", "frees", "peak_live_bytes"} <= set(
        document["trace"]
    )
    (result,) = document["results"]
    assert {
        "manager",
        "kind",
        "events",
        "seconds",
        "events_per_second",
        "peak",
        "page_faults",
        "mapped_bytes_peak",
    } <= set(result)
    assert set(result["peak"]) == {"resident_bytes", *(f"{part}_bytes" for part in PARTS)}
    assert (
        sum(result["peak"][f"{part}_bytes"] for part in PARTS) == result["peak"]["resident_bytes"]
    )
    assert (result["manager"], result["kind"], result["events"]) == ("linear", "twin", 400)


def test_table_page_and_settings(trace_path, tmp_path):
    page = tmp_path / "report.html"
    found = run(
        "compare", trace_path, "--managers", "linear", "--no-references", "--html", page,
        "--set", "linear.growth_bytes=2M", "--touch", "none", "--huge-pages", "madvise",
    )  # fmt: skip
    assert found.exit_code == 0
    assert "growth_bytes=2097152" in found.stdout
    assert str(page) in found.stdout
    assert page.stat().st_size < 6_000_000


def test_two_traces_side_by_side(trace_path, tmp_path):
    other = tmp_path / "other.heap.parquet"
    other.write_bytes(trace_path.read_bytes())
    page = tmp_path / "report.html"
    found = run(
        "compare", trace_path, other, "--managers", "linear", "--no-references",
        "--html", page, "--json",
    )  # fmt: skip
    assert found.exit_code == 0
    one, two = json.loads(found.stdout)["comparisons"]
    assert one["trace"]["path"] == str(trace_path)
    assert two["trace"]["path"] == str(other)
    (first,), (second,) = one["results"], two["results"]
    assert first["peak"] == second["peak"]
    assert first["stranded"]["partial_bytes"] == first["peak"]["partial_bytes"]
    assert "<h3>other.heap.parquet</h3>" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--managers", "linear,none-such"), "no manager is named 'none-such'"),
        (("--managers", "linear", "--set", "glibc.arena_max=2"), "not among the managers compared"),
        (("--managers", "linear", "--set", "linear.none=2"), "no knob named 'none'"),
        (("--touch", "some"), "touch is one of"),
        (("--managers", "linear", "--html", "/"), "not a regular file"),
    ],
)
def test_mistakes_are_sentences(trace_path, arguments, sentence):
    found = run("compare", trace_path, "--no-references", *arguments)
    assert found.exit_code == 1
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr


def test_replay_writes_every_address(trace_path, tmp_path):
    found = run("replay", "linear", trace_path, "--addresses", tmp_path / "a.npy", "--json")
    assert found.exit_code == 0
    assert json.loads(found.stdout)["result"]["manager"] == "linear"
    addresses = np.load(tmp_path / "a.npy")
    assert addresses.dtype == np.int64
    assert addresses.shape == (400,)
    assert (addresses[1::2] == 0).all()
    assert (np.diff(addresses[::2]) > 0).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "t.heap.parquet"]


def test_replay_shows_a_table(trace_path):
    found = run("replay", "linear", trace_path)
    assert found.exit_code == 0
    assert "bump" in found.stdout


def test_replay_leaves_nothing_on_a_full_disk(trace_path, tmp_path):
    run("replay", "linear", trace_path)  # its compiled code is on disk before the disk is full
    command = f"replay linear {trace_path} --addresses {tmp_path}/a.npy"
    found = subprocess.run(
        [sys.executable, "-m", "heapwright", *command.split()],
        check=False,
        preexec_fn=_small_files_only,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert f"cannot write {tmp_path}/a.npy" in found.stderr
    assert "Traceback" not in found.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["t.heap.parquet"]


def _small_files_only():
    """Files of at most 2 kB: what a write meets on a full disk, an error of the system."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))


def test_a_knob_with_several_values_makes_a_row_for_each(trace_path):
    found = run(
        "compare", trace_path, "--managers", "linear", "--no-references", "--json",
        "--set", "linear.growth_bytes=2M", "--set", "linear.growth_bytes=4M",
    )  # fmt: skip
    assert [result["settings"] for result in json.loads(found.stdout)["results"]] == [
        {"growth_bytes": 2 << 20},
        {"growth_bytes": 4 << 20},
    ]


def test_all_means_every_manager_and_the_default_leaves_out_the_special(trace_path, monkeypatch):
    only(monkeypatch, "linear", "stack")
    for chosen, expected in (([], ["linear"]), (["--managers", "all"], ["linear", "stack"])):
        found = run("compare", trace_path, "--no-references", "--json", *chosen)
        assert [result["manager"] for result in json.loads(found.stdout)["results"]] == expected


def test_demo_ends_with_the_table_and_the_page(tmp_path, monkeypatch):
    """A short program, one manager: the way from a command to a page."""
    monkeypatch.setattr(demo, "PROGRAM", "kept = [str(n) * 20 for n in range(3000)]")
    only(monkeypatch, "linear")
    monkeypatch.setattr(systems, "SYSTEMS", {})
    found = run("demo", "--folder", tmp_path / "demo")
    assert found.exit_code == 0
    assert "linear" in found.stdout
    assert found.stdout.rstrip().endswith("report.html")
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "orders.py",
        "python3.heap.parquet",
        "report.html",
    ]


def test_demo_flies_a_made_up_program_where_recording_is_impossible(tmp_path, monkeypatch):
    def refuse(*arguments, **more):
        raise HeapwrightError("there is no C compiler.")

    monkeypatch.setattr(session, "record", refuse)
    monkeypatch.setattr(demo, "MADE_UP_EVENTS", 2000)
    only(monkeypatch, "linear")
    monkeypatch.setattr(systems, "SYSTEMS", {})
    found = run("demo", "--folder", tmp_path)
    assert found.exit_code == 0
    assert "made-up program" in found.stderr
    assert "there is no C compiler." in found.stderr
    assert (tmp_path / "report.html").exists()
