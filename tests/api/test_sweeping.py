"""Sweeps: every combination once, rows that outlive a kill, and a cluster that does the same."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import fsspec
import pyarrow.parquet as pq
import pytest

import heapwright as hw
from heapwright.api.sweep_cases import Case, row_of
from heapwright.report import row_store
from heapwright.report.row_store import RowStore
from small_traces import churn, write

FIGURES = ("peak_resident_bytes", "end_resident_bytes", "page_faults", "live_bytes")


@pytest.fixture
def spec(tmp_path):
    write(tmp_path / "a.heap.parquet", churn(600))
    write(tmp_path / "b.heap.parquet", churn(300, seed=2))
    (tmp_path / "s.toml").write_text(
        'traces = ["*.heap.parquet"]\nmanagers = ["linear", "first-fit"]\n'
        '[settings.first-fit]\norder = [0, 1]\n[settings.linear]\ngrowth_bytes = ["64k"]\n'
    )
    return tmp_path / "s.toml"


def told(row):
    return {name: row[name] for name in ("trace", "manager", "settings", *FIGURES)}


def test_every_combination_is_a_row_with_the_figures_of_a_replay(spec):
    found = hw.sweep(spec, jobs=2)
    assert found.made == len(found.rows) == 2 * (2 + 3) and not found.failures
    trace = str(spec.parent / "a.heap.parquet")
    (row,) = [
        row
        for row in found.rows
        if (row["trace"], row["manager"], row["settings"]) == (trace, "linear", "{}")
    ]
    alone = hw.replay("linear", trace)
    assert (row["peak_resident_bytes"], row["page_faults"]) == (alone.held_bytes, alone.page_faults)
    assert row["end_resident_bytes"] == alone.end_resident_bytes
    stored = pq.read_table(spec.parent / "s.rows.parquet").to_pylist()
    assert [told(row) for row in stored] == [told(row) for row in found.rows]
    assert not (spec.parent / "s.rows.parquet.parts").exists()


def test_a_sweep_that_is_complete_or_grew_runs_only_what_is_missing(spec):
    hw.sweep(spec)
    assert hw.sweep(spec).made == 0
    spec.write_text(spec.read_text().replace("[0, 1]", "[0, 1, 2]"))
    assert hw.sweep(spec).made == 2
    write(spec.parent / "a.heap.parquet", churn(601))  # another trace under the same name
    found = hw.sweep(spec)
    assert found.made == len(found.rows) / 2
    assert len(pq.read_table(found.output)) == len(found.rows), "rows of the old one are gone"


KILLED = """
import os, signal, sys
import heapwright as hw

def watch(state):
    if state.done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

hw.sweep(sys.argv[1], jobs=1, progress=watch)
"""


def test_a_killed_sweep_loses_only_what_was_running(spec):
    ended = subprocess.run([sys.executable, "-c", KILLED, spec], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert not (spec.parent / "s.rows.parquet").exists()
    found = hw.sweep(spec)
    assert (found.made, len(found.rows)) == (7, 10)
    assert len({row["key"] for row in pq.read_table(found.output).to_pylist()}) == 10


def test_paths_are_those_of_fsspec(spec):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/in/a.heap.parquet", (spec.parent / "a.heap.parquet").read_bytes())
    asked = {"traces": ["memory://in/*.parquet"], "managers": ["linear"]}
    found = hw.sweep(asked, "memory://out/rows.parquet")
    assert found.made == 1 and found.rows[0]["trace"] == "memory:///in/a.heap.parquet"
    assert hw.sweep(asked, "memory://out/rows.parquet").made == 0
    assert memory.find("/out") == ["/out/rows.parquet"]
    here = {"traces": [f"file://{spec.parent}/a.heap.parquet"], "managers": ["linear"]}
    output = f"file://{spec.parent}/deep/rows.parquet"
    assert hw.sweep(here, output).made == 1 and hw.sweep(here, output).made == 0
    assert (spec.parent / "deep/rows.parquet").exists()
    with pytest.raises(hw.HeapwrightError, match=r"cannot open memory://none\.parquet"):
        hw.sweep({"traces": ["memory://none.parquet"]}, output)
    with pytest.raises(hw.HeapwrightError, match="cannot open nowhere://a"):
        hw.sweep({"traces": ["nowhere://a"]}, output)


def test_the_best_rows_by_trace(spec):
    found = hw.sweep(spec)
    best = found.best("peak_bytes", 2)
    assert [len(rows) for rows in best.values()] == [2, 2]
    for trace, rows in best.items():
        least = sorted(row["peak_resident_bytes"] for row in found.rows if row["trace"] == trace)
        assert [row["peak_resident_bytes"] for row in rows] == least[:2]
    with pytest.raises(hw.HeapwrightError, match="no row has a figure named 'wings'; there are: p"):
        found.best("wings")
    assert len(found.to_pandas()) == len(found.rows)


def test_a_row_that_fails_says_why_and_is_tried_again(spec, monkeypatch):
    from heapwright.tunnel import replay

    def failing(self, trace, progress):
        raise hw.HeapwrightError("no wind today")

    with monkeypatch.context() as broken:  # the workers are forked from this process
        broken.setattr(replay.Replay, "replay", failing)
        found = hw.sweep(spec)
    assert all("no wind today" in sentence for sentence in found.failures)
    assert len(found.failures) == 10
    again = hw.sweep(spec)
    assert again.made == 10 and not again.failures


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("traces = [", "is not TOML: "),
        ('managers = ["linear"]\n', "traces: is missing"),
        ('traces = ["a*"]\nwings = 2\n', "line 2, wings: is no key of a sweep; its keys: traces"),
        ('traces = ["a*"]\nsamples = 0\n', "line 2, samples: Input should be greater than"),
        ('traces = ["a*"]\n\ntouch = "some"\n', "line 3, touch: touch is one of none, all, "),
        ('traces = ["none*"]\n', "line 1, traces: no file matches 'none*'"),
        ('traces = ["s.toml"]\n', "line 1, traces: "),
        ('traces = ["a*"]\nmanagers = ["wing"]\n', "line 2, managers: no manager is named 'wing'"),
        ('traces = ["a*"]\nreferences = ["hoard"]\n', "line 2, references: no real system is"),
        (
            'traces = ["a*"]\nmanagers = ["linear"]\n[settings.linear]\ngrowth_bytes = "1 furlong"',
            "line 4, settings.linear.growth_bytes: '1 furlong' is not a size",
        ),
        (
            'traces = ["a*"]\nmanagers = ["linear"]\n[settings.linear]\nwings = 2\n',
            "line 3, settings.linear: linear has no knob named 'wings'",
        ),
        (
            'traces = ["a*"]\nmanagers = ["linear"]\n[settings.buddy]\nwings = 2\n',
            "line 3, settings.buddy: it is not among the managers: linear",
        ),
        ('traces = ["a*"]\nsettings = 3\n', "line 2, settings: is not a table of managers"),
    ],
)
def test_what_is_wrong_in_a_spec_is_a_sentence_with_its_place(spec, text, sentence):
    spec.write_text(text)
    with pytest.raises(hw.HeapwrightError) as raised:
        hw.sweep(spec)
    said = str(raised.value)
    assert said.startswith(str(spec)) and sentence in said and "\n" not in said


def test_a_file_that_holds_no_rows_is_left_alone(spec):
    mine = spec.parent / "mine.parquet"
    mine.write_bytes(b"mine")
    with pytest.raises(hw.HeapwrightError, match="holds no rows of a sweep"):
        hw.sweep(spec, mine)
    assert mine.read_bytes() == b"mine"


def test_parts_are_gathered(tmp_path, monkeypatch):
    monkeypatch.setattr(row_store, "GATHERED", 4)
    store = RowStore(str(tmp_path / "rows.parquet"))
    rows = [row_of(Case(f"t{n}", "", "", "linear", "twin"), "no wind") for n in range(10)]
    for row in rows:
        store.add(row)
    assert len(list((tmp_path / "rows.parquet.parts").iterdir())) < 4
    again = RowStore(str(tmp_path / "rows.parquet"))
    assert sorted(row["trace"] for row in again.rows()) == [f"t{n}" for n in range(10)]


@contextlib.contextmanager
def cluster(folder, workers):
    """A Dask scheduler and its workers, each a process; the scheduler's address."""
    contact = folder / "scheduler.json"
    python = [sys.executable, "-m"]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    scheduler = [*python, "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    worker = [*python, "distributed.cli.dask_worker", "--nthreads", "2", "--no-nanny"]
    worker += ["--no-dashboard", "--death-timeout", "60"]
    name = ["--scheduler-file", str(contact)]
    started = [subprocess.Popen([*scheduler, "--host", "127.0.0.1", *name], **options)]
    try:
        for _ in range(600):
            if contact.exists() and contact.stat().st_size:
                break
            time.sleep(0.1)
        started += [subprocess.Popen([*worker, *name], **options) for _ in range(workers)]
        import json

        yield json.loads(contact.read_text())["address"]
    finally:
        for one in reversed(started):
            one.kill()
            one.wait()


@pytest.mark.timeout(200)
def test_a_cluster_gives_the_same_rows(spec, tmp_path):
    pytest.importorskip("distributed")
    with cluster(tmp_path, 2) as address:
        found = hw.sweep(spec, tmp_path / "afar.parquet", scheduler=address)
        assert found.made == 10 and not found.failures
        with pytest.raises(hw.HeapwrightError, match="lies in this process alone"):
            memory = fsspec.filesystem("memory")
            memory.pipe_file("/a.parquet", (spec.parent / "a.heap.parquet").read_bytes())
            asked = {"traces": ["memory://a.parquet"], "managers": ["linear"]}
            hw.sweep(asked, tmp_path / "x.parquet", scheduler=address)
    here = hw.sweep(spec, tmp_path / "here.parquet")
    assert [told(row) for row in found.rows] == [told(row) for row in here.rows]


def test_no_scheduler_is_a_sentence(spec, monkeypatch):
    pytest.importorskip("distributed")
    from heapwright.api import sweeping

    monkeypatch.setattr(sweeping, "CONNECT_SECONDS", 0.2)
    with pytest.raises(hw.HeapwrightError, match=r"answers at tcp://127\.0\.0\.1:9"):
        hw.sweep(spec, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(hw.HeapwrightError, match="no Dask scheduler answers at nonsense"):
        hw.sweep(spec, scheduler="nonsense://")
    assert os.listdir(spec.parent).count("s.rows.parquet") == 0
