"""Programs that once deadlocked, misled or escaped the recorder."""

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
from heapwright.trace.recorder import session, traces
from heapwright.trace.recorder.build import library
from heapwright.trace.recorder.session import record, recover
from heapwright.trace.schema import FREE, MALLOC, MALLOPT, SBRK, THREAD_EXIT, TRIM
from heapwright.trace.store import Trace
from peak_memory import PEAK_KIB
from recorded import all_events, compiled, replayed_addresses, run

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the recorder is for Linux"),
    pytest.mark.skipif(INTERPRETED, reason="recordings are long to convert step by step"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
    pytest.mark.timeout(300),
]
HEAPWRIGHT = [
    sys.executable,
    "-c",
    "import sys; from heapwright.cli import main; sys.argv[0] = 'heapwright'; main()",
]


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    """The program of cases.c."""
    return compiled(tmp_path_factory.mktemp("program"), Path(__file__).with_name("cases.c"))


def operations(trace: Trace, thread: int) -> list[int]:
    events = all_events(trace)
    return events.op[events.thread == thread].tolist()


def test_a_program_with_many_keys_before_its_first_malloc(tmp_path, cases):
    status, trace = run(tmp_path, cases, "keys")
    assert (status, trace.allocations) == (0, 1)


def test_a_cancelled_thread_is_not_cancelled_within_malloc(tmp_path, cases):
    status, trace = run(tmp_path, cases, "cancel", 200_000)
    assert status == 0 and trace.threads == 2 and trace.unmatched_frees == 0
    assert operations(trace, 1).count(MALLOC) >= 100_000


def test_what_is_freed_after_the_last_destructor_is_before_the_threads_end(tmp_path, cases):
    _, trace = run(tmp_path, cases, "late", 3)
    for thread in (1, 2, 3):
        done = operations(trace, thread)
        assert done.count(THREAD_EXIT) == 1 and done[-1] == THREAD_EXIT
        assert done[-2] == FREE  # the buffer of strerror
    assert (trace.unmatched_frees, trace.notes) == (0, [])


def test_destructors_of_the_last_round_come_before_the_threads_end(tmp_path, cases):
    _, trace = run(tmp_path, cases, "last_round")
    assert [operations(trace, thread) for thread in (1, 2, 3)] == [[MALLOC, FREE, THREAD_EXIT]] * 3


def test_threads_that_come_and_go(tmp_path, cases):
    """Each has one end, its last event; no free is lost, whichever stream its thread inherited."""
    _, trace = run(tmp_path, cases, "come_and_go", 200)
    events = all_events(trace)
    ends = np.flatnonzero(events.op == THREAD_EXIT)
    last = np.full(trace.threads, -1)
    last[events.thread] = np.arange(trace.events)
    assert (trace.threads, trace.unmatched_frees) == (3201, 0)
    assert not [note for note in trace.notes if "ends of threads stand" not in note]
    assert sorted(last[1:].tolist()) == ends.tolist()


def test_no_event_is_lost_where_threads_take_turns(tmp_path, cases):
    """One numbers its events without a lock until another one comes, in the midst of signals."""
    _, trace = run(tmp_path, cases, "turns")
    events, pairs = all_events(trace), 3 * (3000 + 2 * 10_000)
    counted = [np.count_nonzero(events.op == op) for op in (MALLOC, FREE, THREAD_EXIT)]
    assert counted == [pairs, pairs - 64, 2]
    assert trace.unmatched_frees == 0 and not [n for n in trace.notes if "number" in n]


def test_the_thread_that_runs_main_has_no_end(tmp_path, cases):
    _, trace = run(tmp_path, cases, "main_exits")
    assert THREAD_EXIT not in operations(trace, 0)
    assert operations(trace, 1) == [MALLOC] * 10 + [THREAD_EXIT]


def test_what_steers_the_allocator(tmp_path, cases):
    environment = {
        **os.environ,
        "MALLOC_ARENA_MAX": "3",
        "MALLOC_TOP_PAD_": "0x1000",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=010:glibc.malloc.x=1",
    }
    status, trace = run(tmp_path, cases, "steer", environment=environment)
    events = all_events(trace)
    told = [
        (op, size, address)
        for op, slot, size, address in zip(
            events.op.tolist(),
            events.slot.tolist(),
            events.size.tolist(),
            events.address.tolist(),
            strict=True,
        )
        if op >= MALLOPT and slot == -1
    ]
    assert status == 0
    assert [schema.mallopt_call(size) for op, size, _ in told if op == MALLOPT] == [
        (-3, 65536),
        (-1, -1),
    ]
    assert [size for op, size, _ in told if op == TRIM] == [1000]
    moved = [(schema.sbrk_increment(size), at) for op, size, at in told if op == SBRK]
    assert [increment for increment, _ in moved] == [8192, -4096, 100]
    assert [at - moved[0][1] for _, at in moved] == [0, 8192, 4096]
    assert moved[0][1] > trace.heap_start > 0
    assert trace.settings == {"arena_max": 8, "top_pad": 4096, "tcache_count": 0}
    assert trace.notes == [
        "What the environment asks of malloc and is not known: glibc.malloc.x=1.",
        "The program steers its allocator itself, by calls: 2 of mallopt, 1 of malloc_trim, 3 of "
        "sbrk or brk.",
    ]
    assert trace.origin["command"] == f"{cases} steer"
    assert trace.origin["libc"] == os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    taken = {name: int(trace.origin[name]) for name in trace.origin if "_bytes" in name}
    assert trace.heap_start and 0 < taken["start_resident_bytes"] <= taken["resident_bytes"]
    assert int(trace.origin["start_page_faults"]) < int(trace.origin["page_faults"])
    assert int(trace.origin["cores"]) == len(os.sched_getaffinity(0))


def test_a_thread_takes_at_most_64_kib(tmp_path, cases):
    def resident(**more) -> int:
        done = subprocess.run(
            [cases, "many", "500"], env={**os.environ, **more}, capture_output=True, check=True
        )
        return int(done.stdout)

    alone = resident()
    beside = resident(LD_PRELOAD=str(library()), HEAPWRIGHT_RECORD=f"0:{tmp_path}")
    assert beside - alone < 500 * 64
    assert len(traces.logs_in(tmp_path)) == 1


def test_more_than_1024_threads_alive(tmp_path, cases):
    status, trace = run(tmp_path, cases, "many", 1100)
    events = all_events(trace)
    assert (status, trace.threads, trace.unmatched_frees) == (0, 1101, 0)
    assert (events.op == THREAD_EXIT).sum() == 1100


def test_a_forked_child_has_its_parents_history(tmp_path, cases, replay):
    """And the child's child: a fresh process that makes all these requests gets these addresses."""
    _, done = record([cases, "fork", "1000"], tmp_path / "o.heap.parquet", children=True)
    found = sorted((Trace.open(one.path) for one in done), key=lambda one: one.inherited_events)
    assert [trace.allocations for trace in found] == [1500, 1500, 1000]
    assert [trace.inherited_events > 0 for trace in found] == [False, True, True]
    parent, child, grandchild = found
    assert (parent.path.name, parent.notes) == ("o.heap.parquet", [])
    for trace in (parent, child, grandchild):
        recorded, replayed = replayed_addresses(tmp_path, replay, trace)
        np.testing.assert_array_equal(recorded, replayed)
        assert len(recorded) == trace.allocations and trace.exact_addresses
    assert (
        child.notes[0].kind == "forked"
        and f"first {child.inherited_events:,} events" in child.notes[0]
    )


def test_a_child_of_a_thread_is_no_exact_key(tmp_path, cases):
    _, done = record([cases, "fork_of_thread", "500"], tmp_path / "o.heap.parquet", children=True)
    child = next(trace for trace in map(Trace.open, (one.path for one in done)) if trace.notes)
    assert of_kind(child.notes, "inherited") and not child.exact_addresses
    assert operations(child, 1)[-1] == THREAD_EXIT  # it did not begin in main


@pytest.mark.parametrize("how", ["execve", "execle", "execl", "execlp", "execv", "execvp"])
def test_another_environment_does_not_lose_the_recorder(tmp_path, cases, how):
    environment = {**os.environ, "PATH": f"{Path(cases).parent}:{os.environ['PATH']}"}
    status, trace = run(tmp_path, cases, "become", how, environment=environment)
    assert (status, trace.allocations) == (0, 250)
    became, *others = trace.notes
    assert became.startswith("The process was cases before it became cases: what was asked for")
    if how == "execle":
        assert others == [
            "LD_PRELOAD named libjemalloc_of_no_one.so, which was set aside: the program was "
            "recorded on glibc's malloc."
        ]
        assert trace.origin["preload"] == "libm.so.6:libc.so.6"  # its folder is no malloc


def test_an_exec_that_fails_leaves_no_note(tmp_path, cases):
    status, trace = run(tmp_path, cases, "become", "nothing")
    assert (status, trace.allocations, trace.notes) == (3, 1000, [])


def test_what_a_program_becomes_and_cannot_be_recorded_is_told(tmp_path):
    (tmp_path / "s.c").write_text("int main(void) { return 0; }\n")
    made = subprocess.run(
        ["cc", "-static", tmp_path / "s.c", "-o", tmp_path / "still"],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("no static libc")
    status, trace = run(tmp_path, "sh", "-c", f"exec {tmp_path}/still")
    (note,) = of_kind(trace.notes, "elsewhere")
    assert status == 0 and "still, which was not recorded: still is statically linked" in note


def test_a_daemon_is_waited_for(tmp_path, cases):
    said: list[str] = []
    _, done = record(
        [cases, "daemon", "500"], tmp_path / "o.heap.parquet", children=True, say=said.append
    )
    _, child = done
    assert Trace.open(child.path).allocations == 550 and "outlives" in said[0]
    assert not of_kind(child.notes, "running")


def test_a_daemon_that_stays_is_told(tmp_path, cases, monkeypatch):
    monkeypatch.setattr(session, "OUTLIVE_S", 0.2)
    _, done = record([cases, "daemon", "3000"], tmp_path / "o.heap.parquet", children=True)
    (note,) = [note for one in done for note in of_kind(one.notes, "running")]
    assert note.startswith("Still running and not recorded") and note.cases == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_program_and_the_recording_is_kept(tmp_path, cases, number):
    command = [*HEAPWRIGHT, "record", "-o", tmp_path / "o.parquet", "--", cases, "wait", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert Trace.open(tmp_path / "o.parquet").allocations >= 500
    assert os.listdir(tmp_path) == ["o.parquet"]


def test_the_end_is_seen_without_a_descriptor_of_the_process(tmp_path, cases, monkeypatch):
    def missing(process):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing)
    status, trace = run(tmp_path, cases, "become", "nothing")
    assert (status, trace.allocations) == (3, 1000)


def test_a_recording_whose_recorder_was_killed_is_recovered(tmp_path, cases):
    command = [*HEAPWRIGHT, "record", "-o", tmp_path / "o.parquet", "--", cases, "wait", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    (folder,) = tmp_path.iterdir()
    deadline = time.monotonic() + 60
    # The program may be ready before its number is written down; 0 would be all of our own group.
    while not (pid := traces.session_of(folder).pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    try:
        (while_running,) = recover(folder, tmp_path / "early.parquet")
    finally:
        os.kill(pid, signal.SIGKILL)
    assert of_kind(while_running.notes, "running")
    assert Trace.open(tmp_path / "early.parquet").allocations >= 500
    while traces.running(folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (after,) = recover(tmp_path / "o.parquet")
    assert after.events == while_running.events and not of_kind(after.notes, "running")
    assert not folder.exists()
    with pytest.raises(HeapwrightError, match="no recording"):
        recover(tmp_path / "o.parquet")


def test_what_stops_the_writing_keeps_the_log(tmp_path, cases, monkeypatch):
    def stopped(*arguments, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(traces, "convert", stopped)
        with pytest.raises(HeapwrightError, match=r"kept: `heapwright recover .*recording-"):
            record([cases, "churn", "1000"], tmp_path / "o.parquet")
    (written,) = recover(tmp_path / "o.parquet")
    assert written.path == tmp_path / "o.parquet" and written.events >= 500
    assert os.listdir(tmp_path) == ["o.parquet"]


def test_a_cut_recording_is_a_failure_that_says_so(tmp_path):
    allocating = compiled(tmp_path, Path(__file__).with_name("allocating.c"))
    command = [*HEAPWRIGHT, "record", "-o", tmp_path / "o.parquet", "--", allocating, "limit"]
    done = subprocess.run([*command, "1000000"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "went on" in done.stdout
    assert "stops before the program's end" in done.stdout
    shown = subprocess.run(
        [*HEAPWRIGHT, "info", tmp_path / "o.parquet"], capture_output=True, text=True, check=False
    )
    assert "its log could not grow (File too large)" in shown.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_program_that_becomes_another_user_is_told(tmp_path, cases):
    status, trace = run(tmp_path, cases, "nobody", 100_000)
    (cut,) = of_kind(trace.notes, "cut")
    assert status == 0 and 1000 < trace.events < 50_000
    assert "Permission denied: it became another user; record it as that one" in cut


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_full_disk_keeps_room_for_the_trace(tmp_path, cases):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        status, (done,) = record([cases, "churn", "3000000"], disk / "o.parquet")
        trace = Trace.open(disk / "o.parquet")
        assert status == 0 and done.cut and 50_000 < trace.events < 1_000_000
        assert "No space left on device" in of_kind(trace.notes, "cut")[0]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_converting_takes_memory_of_what_lives_not_of_what_happened(tmp_path, cases):
    """Five times as many events, at most a tenth more memory; and not above 300 MB at all."""

    def peak_mib(events: int) -> int:
        folder = tmp_path / str(events)
        folder.mkdir()
        told = {"LD_PRELOAD": str(library()), "HEAPWRIGHT_RECORD": f"0:{folder}"}
        subprocess.run([cases, "churn", str(events)], env={**os.environ, **told}, check=True)
        code = (
            f"{PEAK_KIB}import sys; from pathlib import Path\n"
            "from heapwright.trace.recorder.convert import convert\n"
            "convert(Path(sys.argv[1]), sys.argv[2])\n"
            "print(peak_kib() >> 10)"
        )
        (log,) = [path for _, _, path in traces.logs_in(folder)]
        done = subprocess.run(
            [sys.executable, "-c", code, log, folder / "o.parquet"], capture_output=True, check=True
        )
        return int(done.stdout)

    peak_mib(1000)  # the kernels are compiled
    few, many = peak_mib(2_000_000), peak_mib(10_000_000)
    assert many < 1.1 * few and many < 300


def test_a_file_that_is_not_executable(tmp_path):
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(HeapwrightError, match="not executable; `chmod"):
        record([str(tmp_path / "script")], tmp_path / "o.parquet")
    with pytest.raises(HeapwrightError, match="it is a folder"):
        record([str(tmp_path)], tmp_path / "o.parquet")


def test_why_nothing_was_recorded(tmp_path, cases):
    """A log that found no room, and processes that were not followed."""
    folder = tmp_path / ".o.recording-1"
    folder.mkdir()
    known = session.Session([cases], "o.parquet", False)
    assert "allocates nothing" in traces.nothing(folder, known)
    (folder / "others").write_text("7\n8\n7\n")
    assert traces.nothing(folder, known).endswith(
        "kept the recorder out. 2 processes that it began were not recorded: `record --children` "
        "gives each a trace."
    )
    (folder / "5.1").touch()
    assert "its log could not begin in" in traces.nothing(folder, known)
