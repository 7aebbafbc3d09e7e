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
from heapwright.managers import registry
from heapwright.references import malloc
from heapwright.references.malloc import systems
from heapwright.result import PARTS, SCHEMA_VERSION
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


def run(*arguments, columns=200):
    """As typed in a terminal of so many columns; None: piped."""
    width = {"COLUMNS": str(columns) if columns else None}
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=width)


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
        "refused",
        "held_bytes",
        "within_event_bytes",
    } <= set(result)
    assert document["schema_version"] == SCHEMA_VERSION
    assert result["conditions"] == {"touch": "all", "huge_pages": "never"}
    assert document["verdict"]["headline"].startswith("linear holds")
    assert document["failures"] == []
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
        (("--managers", "first-fit", "--set", "first-fit.order=99"), "order is 0 (address), 1"),
        (("--managers", "buddy,slots", "--set", "slots.growth_bytes=-1"), "is not negative"),
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
    results = json.loads(found.stdout)["results"]
    assert [result["settings"] for result in results] == [
        {},  # as it is: what the others are compared with
        {"growth_bytes": 2 << 20},
        {"growth_bytes": 4 << 20},
    ]
    assert [result["present"] for result in results] == [True, False, False]


def test_several_values_of_several_knobs_make_a_row_for_each_combination(trace_path):
    found = run(
        "compare", trace_path, "--managers", "first-fit", "--json",
        *("--set", "first-fit.order=0", "--set", "first-fit.order=1"),
        *("--set", "first-fit.coalescing=0", "--set", "first-fit.coalescing=1"),
    )  # fmt: skip
    settings = [result["settings"] for result in json.loads(found.stdout)["results"]]
    combined = [{"order": order, "coalescing": when} for order in (0, 1) for when in (0, 1)]
    assert settings == [{}, *combined]


def test_the_managers_named_run_alone_and_a_real_one_is_measured(trace_path, monkeypatch):
    """One without a twin, as jemalloc is here for a while."""
    found = run("compare", trace_path, "--managers", "linear", "--json")
    assert [one["manager"] for one in json.loads(found.stdout)["results"]] == ["linear"]
    if malloc.missing("jemalloc"):
        pytest.skip("jemalloc is not installed")
    monkeypatch.delitem(registry._own(), "jemalloc")
    found = run("compare", trace_path, "--managers", "linear,jemalloc", "--json")
    assert found.exit_code == 0, found.output
    results = json.loads(found.stdout)["results"]
    assert [(one["manager"], one["kind"]) for one in results] == [
        ("linear", "twin"),
        ("jemalloc", "measured"),
    ]
    assert "It has no twin here, so it is measured, not replayed" in results[1]["notes"][0]


@pytest.mark.parametrize("columns", [80, 100, 200, None])
def test_names_are_whole_at_every_width_and_lines_fit(trace_path, columns):
    """None: piped, and every column is there."""
    found = run("compare", trace_path, "--managers", "linear,segregated-fit", columns=columns)
    table = found.stdout.partition("Memory at each")[0].splitlines()
    assert {"linear", "segregated-fit"} <= {word for line in table for word in line.split()}
    assert max(map(len, table)) <= (columns or 1 << 14)
    assert ("Left out" in found.stdout) == (columns == 80)
    assert "note: All. Assumes that the program writes all" in found.stdout


@pytest.mark.parametrize("columns", [80, 100, 200, None])
def test_info_shows_bytes_and_requests_of_a_call_site_with_a_long_name(tmp_path, columns):
    site = "std::_Map_base<std::string, std::pair<std::string const, long>>::at() " * 9 + "(m.h:1)"
    with TraceWriter(tmp_path / "t.heap.parquet", program="t") as out:
        out.sites = [site, "b"]
        out.write(events(op=[MALLOC] * 3, slot=range(3), size=[5000, 6000, 7], site=[0, 0, 1]))
    found = run("info", tmp_path / "t.heap.parquet", columns=columns)
    lines = found.stdout.splitlines()
    assert max(map(len, lines)) <= (columns or 1 << 14)
    row = lines[lines.index("call sites by bytes") + 2]
    assert row.startswith("10.7 KiB        2 std::_Map_base") and row.endswith("(m.h:1)")
    assert (site in row) == (columns is None)


def test_notes_of_the_recording_are_told_wherever_its_figures_are(trace_path, tmp_path):
    noted = tmp_path / "noted.heap.parquet"
    with TraceWriter(noted, program="t", notes=["The disk was full: the end is missing."]) as out:
        out.write(events(op=[MALLOC], slot=[0], size=[5000]))
    page = tmp_path / "out.html"
    for arguments in (
        ("compare", noted, "--managers", "linear", "--html", page),
        ("replay", "linear", noted),
        ("info", noted),
    ):
        assert "note: The trace. The disk was full: the end is missing." in run(*arguments).stdout
        said = json.loads(run(*arguments, "--json").stdout)
        assert said.get("trace", said)["notes"] == ["The disk was full: the end is missing."]
        assert said["schema_version"] == SCHEMA_VERSION
    assert "The disk was full: the end is missing." in page.read_text()


def test_where_nothing_is_written_no_distance_below_one_is_told(trace_path):
    found = run("compare", trace_path, "--managers", "best-fit", "--touch", "none")
    (line,) = [line for line in found.stdout.splitlines() if "Distance to the optimum" in line]
    assert "resident memory cannot be compared" in line
    assert float(line.rpartition("best-fit ")[2].rstrip(".")) >= 1


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


def test_demo_replays_a_made_up_program_where_recording_is_impossible(tmp_path, monkeypatch):
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
