# ruff: noqa: E501  programs in other languages keep their lines
"""The recorder on real programs: nothing is lost, nothing is changed, whatever ends the program."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.trace import schema
from heapwright.trace.notes import of_kind
from heapwright.trace.recorder import build
from heapwright.trace.recorder.session import record
from heapwright.trace.schema import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, THREAD_EXIT
from heapwright.trace.store import Trace
from recorded import all_events, compiled, replayed_addresses, run

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the recorder is for Linux"),
    pytest.mark.skipif(
        INTERPRETED, reason="a recording has too many events to convert step by step"
    ),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
]
CHURN = 150_000  # events; about two chunks of the log


@pytest.fixture(scope="session")
def allocating(tmp_path_factory):
    """The program of allocating.c."""
    return compiled(tmp_path_factory.mktemp("program"), Path(__file__).with_name("allocating.c"))


def test_every_way_to_allocate(tmp_path, allocating):
    status, trace = run(tmp_path, allocating, "ways")
    assert status == 0
    events = all_events(trace)
    assert list(zip(events.op.tolist(), events.size.tolist(), events.align.tolist(), strict=True)) == [
        (MALLOC, 100, 0),
        (REALLOC, 5000, 0),
        (REALLOC, 7000, 0),
        (FREE, 0, 0),
        (MALLOC, schema.SIZE_LIMIT - 1, 0),
        (MALLOC, schema.SIZE_LIMIT - 1, 0),
        (CALLOC, schema.SIZE_LIMIT - 1, 0),
        (CALLOC, 63, 0),
        (FREE, 0, 0),
        *((kind, size, align) for size, align in
          [(100, 12), (100, 6), (128, 6), (10, 12), (8192, 12), (8, 8)]
          for kind, size, align in [(MEMALIGN, size, align), (FREE, 0, 0)]),
        (MALLOC, 0, 0),
        (FREE, 0, 0),
        (MALLOC, 1 << 20, 0),
        (schema.TOUCH, 4080, 0),  # the header is in its first page
    ]  # fmt: skip
    assert (trace.refused, trace.unmatched_frees) == (3, 0)
    given = events.address > 0
    asked = ~np.isin(events.op, (FREE, schema.TOUCH))
    assert (given == (asked & (events.slot >= 0))).all()
    assert (
        events.slack[0] == 4 and events.slack[-4] == 24
    )  # a chunk holds 8 more than a multiple of 16
    assert events.address[0] == trace.heap_start + 0x2A0  # glibc's thread cache lies before
    assert os.listdir(tmp_path) == ["out.heap.parquet"]


def test_call_sites_have_names(tmp_path, allocating):
    _, trace = run(tmp_path, allocating, "churn", 1000)
    (label,) = {trace.sites()[site] for site in all_events(trace).site if site >= 0}
    assert (trace.program, label[:17]) == ("allocating", "churn (allocating")
    if shutil.which("addr2line"):
        assert label.startswith("churn (allocating.c:")


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("churn", 0),
        ("kill", 137),
        ("crash", 139),
        ("_exit", 7),
        ("close", 0),
        ("chdir", 0),
        ("vfork", 0),
    ],
)
def test_no_event_is_lost(tmp_path, allocating, what, status):
    ended, trace = run(tmp_path, allocating, what, CHURN)
    assert ended == status
    expected = CHURN * 2 if what == "vfork" else CHURN
    assert trace.allocations - expected // 2 in (0, 1)  # stdio may buffer
    assert (trace.unmatched_frees, trace.threads, trace.notes) == (0, 1, [])


def test_exec_starts_anew_and_the_last_image_is_kept(tmp_path, allocating):
    _, trace = run(tmp_path, allocating, "exec", CHURN)
    assert trace.allocations == 250
    (note,) = trace.notes
    assert note.startswith("The process was allocating before it became allocating: ")


def test_a_forked_child_is_left_out(tmp_path, allocating):
    _, trace = run(tmp_path, allocating, "fork", 1000)
    assert (trace.allocations, trace.unmatched_frees) == (1001, 0)
    assert os.listdir(tmp_path) == ["out.heap.parquet"]


def test_children_get_traces_of_their_own(tmp_path, allocating):
    command = ["sh", "-c", f"{allocating} fork 1000; {allocating} exec 400"]
    status, traces = record(command, tmp_path / "out.heap.parquet", children=True)
    assert status == 0 and sorted(trace.path.name for trace in traces) == sorted(
        os.listdir(tmp_path)
    )
    of_program = [Trace.open(trace.path) for trace in traces if trace.program == "allocating"]
    assert sorted((t.allocations, t.unmatched_frees) for t in of_program) == [
        (200, 0),
        (250, 0),
        (801, 0),  # 501 of its parent's; it freed one of them
        (1001, 0),
    ]
    assert all(trace.path.name.endswith(f".{trace.program}.heap.parquet") for trace in traces[1:])


@pytest.mark.parametrize("what", ["threads", "apart"])
def test_threads_are_merged_in_true_order(tmp_path, allocating, what):
    """That no free is unmatched and no slot is filled twice is what the order must give."""
    _, trace = run(tmp_path, allocating, what, 3)
    events = all_events(trace)
    assert (trace.threads, trace.unmatched_frees) == (13, 0)
    assert not [note for note in trace.notes if note not in of_kind(trace.notes, "ends")]
    assert trace.reallocations == 12 * 6667
    assert np.bincount(events.thread[events.op == MALLOC])[1:].tolist() == [20000] * 12
    exits = events.thread[events.op == THREAD_EXIT]
    assert sorted(exits.tolist()) == list(range(1, 13))
    assert (np.diff(events.time_ns) >= 0).all() and events.time_ns[0] == 0
    _, first = np.unique(events.thread, return_index=True)
    assert (np.diff(first) > 0).all()


def test_signal_handlers_do_not_deadlock(tmp_path, allocating):
    status, trace = run(tmp_path, allocating, "signals")
    assert status == 0 and trace.allocations == 200 * 251


def test_a_full_disk_stops_the_recording_not_the_program(tmp_path, allocating, capfd):
    status, trace = run(tmp_path, allocating, "limit", 1_000_000)
    assert status == 0 and "went on" in capfd.readouterr().out
    assert 200_000 < trace.events < 600_000 and trace.unmatched_frees == 0
    (note,) = trace.notes
    assert note.kind == "cut" and note.endswith("its log could not grow (File too large).")
    assert f"after {trace.events:,} events" in note


def test_ctrl_c_goes_to_the_program_and_the_recording_is_kept(tmp_path, allocating):
    code = "import sys; from heapwright.cli import main; sys.argv[0] = 'heapwright'; main()"
    command = [sys.executable, "-c", code, "record", "-o", tmp_path / "o.parquet"]
    process = subprocess.Popen(
        [*command, "--", allocating, "wait", "1000"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "events of allocating" in said and Trace.open(tmp_path / "o.parquet").allocations >= 500


def test_what_cannot_be_recorded(tmp_path, allocating, monkeypatch):
    with pytest.raises(HeapwrightError, match="no such program"):
        run(tmp_path, tmp_path / "nothing")
    with pytest.raises(HeapwrightError, match="there is no folder"):
        record([allocating, "ways"], tmp_path / "no" / "folder")
    with pytest.raises(HeapwrightError, match="not a regular file"):
        record([allocating, "ways"], "/dev/null")
    source = tmp_path / "static.c"
    source.write_text("#include <stdlib.h>\nint main(void) { return malloc(1) == 0; }\n")
    if not subprocess.run(
        ["cc", "-static", source, "-o", tmp_path / "static"], capture_output=True, check=False
    ).returncode:
        with pytest.raises(HeapwrightError, match="statically linked"):
            run(tmp_path, tmp_path / "static")
        (tmp_path / "static").unlink()
    source.unlink()
    monkeypatch.setattr(build, "cache_home", lambda: tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HeapwrightError, match="no C compiler"):
        run(tmp_path, allocating)
    assert not [name for name in os.listdir(tmp_path) if name != "cache"]


def test_without_a_compiler_the_library_of_the_wheel_serves(tmp_path, allocating, monkeypatch):
    folder = Path(build.__file__).parent
    for name in ("recorder.c", "log.h"):
        shutil.copy(folder / name, tmp_path)
    shipped = tmp_path / "prebuilt" / "recorder.so"
    shipped.parent.mkdir()
    shutil.copy(build.library(), shipped)
    monkeypatch.setattr(build, "__file__", str(tmp_path / "build.py"))
    monkeypatch.setattr(build, "cache_home", lambda: tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.library() == shipped
    _, trace = run(tmp_path, allocating, "churn", 1000)
    assert trace.allocations == 500


def test_a_folder_that_no_preload_can_name(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "cache_home", lambda: tmp_path / "a folder")
    with pytest.raises(HeapwrightError, match="HEAPWRIGHT_CACHE names another folder"):
        build.library()


@pytest.mark.parametrize(
    "command",
    [
        ["sqlite3", ":memory:", "create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 "
         "from c where x < 3000) insert into t select x, hex(x * x) from c; select b from t order by b limit 3;"],
        ["perl", "-e", "my %h; $h{$_ % 700} .= \"x$_\" for 1 .. 20000; print length join q(), values %h"],
        ["git", "--version"],
        ["cc", "-E", "-xc", "/dev/null"],
        [sys.executable, "-S", "-c", "import json; print(len(json.loads(json.dumps([{str(i): [i]} for i in range(3000)]))))"],
    ],
    ids=lambda command: Path(command[0]).name,
)  # fmt: skip
def test_a_fresh_process_gets_the_recorded_addresses(tmp_path, replay, command):
    """Recording changes no address: each block lies where a process that does only these calls has it."""
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]}")
    status, trace = run(tmp_path, *command, environment={**os.environ, "PYTHONMALLOC": "malloc"})
    assert status == 0 and (trace.unmatched_frees, trace.threads) == (0, 1)
    recorded, replayed = replayed_addresses(tmp_path, replay, trace)
    np.testing.assert_array_equal(recorded, replayed)
    assert len(recorded) > 0.99 * (all_events(trace).address > 0).sum()
