"""Recording a process that runs: it is seen, and runs on as if nothing had been."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import heapwright as hw
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.trace.notes import of_kind
from heapwright.trace.recorder import attach, running
from heapwright.trace.recorder.running import record_running
from heapwright.trace.recorder.wishes import Wishes
from heapwright.trace.schema import MALLOC
from heapwright.trace.store import Trace
from recorded import all_events

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the recorder is for Linux"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="attaching is for x86-64"),
    pytest.mark.skipif(
        INTERPRETED, reason="a recording has too many events to convert step by step"
    ),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
]
SOURCE = Path(__file__).with_name("serving.c")
PLUGIN = (
    "#include <stdlib.h>\nvoid plugged(void) { for (int i = 0; i < 9; i++) free(malloc(777)); }\n"
)


@pytest.fixture(scope="session")
def serving(tmp_path_factory):
    """The program of serving.c, and a plug-in for it."""
    folder = tmp_path_factory.mktemp("serving")
    flags = ["-O2", "-g", "-fno-builtin", "-pthread"]
    subprocess.run(["cc", *flags, "-o", folder / "serving", SOURCE, "-ldl"], check=True)
    (folder / "plugin.c").write_text(PLUGIN)
    command = ["cc", "-shared", "-fPIC", *flags, "-o", folder / "plugin.so", folder / "plugin.c"]
    subprocess.run(command, check=True)
    return folder


class Process:
    """A program that runs while it is recorded."""

    def __init__(self, *command) -> None:
        self.of = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
        )
        assert self.of.stdout and self.of.stdout.readline() == "ready\n"

    def poke(self) -> None:
        self.of.send_signal(signal.SIGUSR1)
        assert self.of.stdout and self.of.stdout.readline() == "acted\n"

    def record(self, out: Path, poke: bool = False, **options) -> Trace:
        """Its trace; it is poked once while it is recorded."""
        wishes = Wishes(**{"for_s": 0.2, **options})

        def say(sentence: str) -> None:
            if poke:
                self.poke()

        (written,) = record_running(self.of.pid, out, wishes=wishes, say=say)
        return Trace.open(written.path)

    def end(self) -> str:
        """What it says in the end, and that its status is its own."""
        self.of.send_signal(signal.SIGTERM)
        said, _ = self.of.communicate(timeout=60)
        assert self.of.returncode == 7
        return said


@pytest.fixture
def start():
    begun: list[Process] = []

    def starter(*command) -> Process:
        begun.append(Process(*command))
        return begun[-1]

    yield starter
    for process in begun:
        process.of.kill()
        process.of.wait()


def sizes(trace: Trace) -> list[int]:
    events = all_events(trace)
    return events.size[events.op == MALLOC].tolist()


UNHARMED = "wrong 0 interrupted 0\n"


def test_a_program_that_waits_is_seen_when_it_acts(tmp_path, serving, start):
    """Its epoll_pwait is not interrupted, nothing is left in it, and it can be done again."""
    process = start(serving / "serving", "wait")
    for turn in ("first", "second"):
        out = tmp_path / f"{turn}.heap.parquet"
        trace = process.record(out, poke=True)
        assert sizes(trace) == [4242] * 100
        assert trace.program == "serving" and trace.unmatched_frees == 0
        assert len(of_kind(trace.notes, "inherited")) == len(of_kind(trace.notes, "stopped")) == 1
    maps = Path(f"/proc/{process.of.pid}/maps").read_text()
    assert ".recording-" not in maps, "no log is mapped any longer"
    assert process.end() == UNHARMED
    assert sorted(os.listdir(tmp_path)) == ["first.heap.parquet", "second.heap.parquet"]


@pytest.mark.parametrize("what", ["loop", "threads"])
def test_a_program_at_work_is_unharmed(tmp_path, serving, start, what):
    """Its blocks and its vector registers keep what they hold; blocks from before are told."""
    process = start(serving / "serving", what)
    trace = process.record(tmp_path / "o.parquet")
    assert trace.events > 1000
    (note,) = of_kind(trace.notes, "inherited")
    assert trace.unmatched_frees > 0 and f"{trace.unmatched_frees:,} frees" in note
    assert trace.threads == 1 or (what == "threads" and trace.threads <= 6)
    assert process.end() == UNHARMED


def test_a_library_that_is_loaded_meanwhile_is_seen(tmp_path, serving, start):
    process = start(serving / "serving", "plugin", serving / "plugin.so")
    assert sizes(process.record(tmp_path / "o.parquet", poke=True)).count(777) == 9
    assert process.end() == UNHARMED


def test_a_child_is_left_out_or_has_its_own(tmp_path, serving, start):
    process = start(serving / "serving", "fork")
    trace = process.record(tmp_path / "o.parquet", poke=True)
    assert 5555 not in sizes(trace) and len(of_kind(trace.notes, "elsewhere")) == 1
    written = record_running(
        process.of.pid,
        tmp_path / "c.parquet",
        children=True,
        wishes=Wishes(for_s=0.2),
        say=lambda sentence: process.poke(),
    )
    assert sorted(sizes(Trace.open(one.path)).count(5555) for one in written) == [0, 9]
    assert process.end() == UNHARMED


def test_a_python_program_with_stacks(tmp_path, start):
    code = (
        "import signal, sys\nkept, ended = [], []\n"
        "signal.signal(signal.SIGTERM, lambda *_: ended.append(1))\n"
        "print('ready', flush=True)\n"
        "while not ended:\n    kept = [b'x' * 5000 for _ in range(100)]\n"
        "print(len(kept), flush=True)\nsys.exit(7)\n"
    )
    process = start(sys.executable, "-S", "-c", code)
    trace = process.record(tmp_path / "o.parquet", stacks=100)
    events = all_events(trace)
    site = int(events.site[events.size > 5000][-1])
    stack = trace.stack(site)
    assert len(stack) > 8 and any("main" in frame for frame in stack[:5])
    assert process.end() == "100\n"


def test_it_ends_while_it_is_recorded(tmp_path, serving, start):
    process = start(serving / "serving", "wait")

    def say(sentence: str) -> None:
        process.poke()
        process.of.send_signal(signal.SIGTERM)

    (written,) = record_running(process.of.pid, tmp_path / "o.parquet", say=say)
    trace = Trace.open(written.path)
    assert sizes(trace)[:100] == [4242] * 100 and not of_kind(trace.notes, "stopped")
    assert process.end() == UNHARMED


def test_it_becomes_another_program(tmp_path, serving, start):
    process = start(serving / "serving", "exec")
    say = lambda sentence: process.of.send_signal(signal.SIGUSR1)  # noqa: E731
    with pytest.raises(HeapwrightError, match="asked for no memory"):
        record_running(process.of.pid, tmp_path / "o.parquet", wishes=Wishes(for_s=0.5), say=say)
    assert os.readlink(f"/proc/{process.of.pid}/exe").endswith("sleep") and not os.listdir(tmp_path)


def test_a_signal_to_record_ends_the_recording_and_not_the_program(tmp_path, serving, start):
    process = start(serving / "serving", "loop")
    code = "import sys; from heapwright.cli import main; sys.argv[0] = 'heapwright'; main()"
    command = [sys.executable, "-c", code, "record", "--pid", str(process.of.pid)]
    recorder = subprocess.Popen(
        [*command, "-o", tmp_path / "o.parquet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert recorder.stderr and recorder.stderr.readline().startswith("recording process")
    recorder.send_signal(signal.SIGINT)
    said, _ = recorder.communicate(timeout=120)
    assert recorder.returncode == 0 and "as asked by SIGINT" in said and "events of serving" in said
    assert process.end() == UNHARMED


def test_who_cannot_be_attached_to(tmp_path, serving, start):
    def refused(pid: int, told: str) -> None:
        with pytest.raises(HeapwrightError, match=told) as found:
            record_running(pid, tmp_path / "o.parquet", wishes=Wishes(for_s=0.2))
        assert "\n" not in str(found.value) and not os.listdir(tmp_path)

    refused(os.getpid(), "heapwright itself")
    refused(2**22 + 5, "no such process")
    process = start(serving / "serving", "loop")
    process.of.send_signal(signal.SIGSTOP)
    os.waitpid(process.of.pid, os.WUNTRACED)
    refused(process.of.pid, "kill -CONT")
    process.of.send_signal(signal.SIGCONT)
    assert process.end() == UNHARMED


def test_who_is_recorded_already(tmp_path, serving, start):
    process = start(serving / "serving", "loop")
    told: list[str] = []

    def say(sentence: str) -> None:
        with pytest.raises(HeapwrightError) as found:
            record_running(process.of.pid, tmp_path / "again.parquet")
        told.append(str(found.value))

    wishes = Wishes(for_s=0.2)
    record_running(process.of.pid, tmp_path / "o.parquet", wishes=wishes, say=say)
    assert told == [f"cannot attach to process {process.of.pid}: it is being recorded already"]
    assert process.end() == UNHARMED


def test_another_malloc_is_refused(tmp_path, serving, start):
    (tmp_path / "other").mkdir()
    source = tmp_path / "other" / "own.c"
    source.write_text(OWN_MALLOC + SOURCE.read_text())
    command = ["cc", "-O1", "-fno-builtin", "-pthread", "-o", tmp_path / "other" / "own", source]
    subprocess.run([*command, "-ldl"], check=True)
    process = start(tmp_path / "other" / "own", "wait")
    with pytest.raises(HeapwrightError, match="its malloc is not glibc's"):
        record_running(process.of.pid, tmp_path / "o.parquet")
    assert process.end() == UNHARMED and os.listdir(tmp_path) == ["other"]


OWN_MALLOC = """
#include <stddef.h>
static _Alignas(16) char pool[1 << 24];
static size_t taken;
void *malloc(size_t n) {
    return pool + __atomic_fetch_add(&taken, (n + 31) & -16UL, __ATOMIC_RELAXED);
}
void *calloc(size_t a, size_t b) { return malloc(a * b); }
void free(void *p) { (void)p; }
void *realloc(void *p, size_t n) {
    char *to = malloc(n);
    for (size_t i = 0; p && i < n && (char *)p + i < pool + sizeof pool; i++)
        to[i] = ((char *)p)[i];
    return to;
}
"""


def test_a_static_program_is_refused(tmp_path, serving, start):
    (tmp_path / "s").mkdir()
    command = ["cc", "-static", "-O1", "-pthread", "-o", tmp_path / "s" / "static", SOURCE, "-ldl"]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no static libc")
    process = start(tmp_path / "s" / "static", "wait")
    with pytest.raises(HeapwrightError, match="statically linked"):
        record_running(process.of.pid, tmp_path / "o.parquet")
    assert process.end() == UNHARMED


def test_a_system_that_forbids_it_is_told(monkeypatch):
    """What the refusals of the kernel are in words; the machine of the test may allow it."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert "another user's" in attach._forbidden(1, 1)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat("/proc/self").st_uid)
    assert "ptrace" in attach._forbidden(os.getpid(), 1)
    assert attach._forbidden(os.getpid(), 5) == "the system refuses (Input/output error)"


def test_a_handler_that_came_upon_libc_is_no_safe_point(tmp_path, serving, start, monkeypatch):
    monkeypatch.setattr(running, "PATIENCE_S", 0.2)
    process = start(serving / "serving", "handler")
    with pytest.raises(HeapwrightError, match="none of its threads came out"):
        record_running(process.of.pid, tmp_path / "o.parquet")
    assert process.end() == UNHARMED and not os.listdir(tmp_path)


def test_musl_has_no_glibc():
    maps = "00400000-00500000 r-xp 00000000 00:00 1 /lib/ld-musl-x86_64.so.1\n"
    with pytest.raises(HeapwrightError, match="has not loaded glibc"):
        attach._places("cannot: ", maps, "/no/such/program")


def test_the_recorder_ends_without_who_asked_for_it(tmp_path, serving, start):
    """`record` is killed: the process does not log on for ever, and what it logged is recovered."""
    process = start(serving / "serving", "loop")
    code = "import sys; from heapwright.cli import main; sys.argv[0] = 'heapwright'; main()"
    command = [sys.executable, "-c", code, "record", "--pid", str(process.of.pid)]
    recorder = subprocess.Popen(
        [*command, "-o", tmp_path / "o.parquet"], stderr=subprocess.PIPE, text=True
    )
    assert recorder.stderr and recorder.stderr.readline().startswith("recording process")
    recorder.kill()
    recorder.wait()
    recorder.stderr.close()
    (folder,) = tmp_path.glob(".o.parquet.recording-*")
    (log,) = folder.glob("*.1")
    threading.Event().wait(0.3)
    before = log.stat().st_size
    threading.Event().wait(0.3)
    assert log.stat().st_size == before
    from heapwright.trace.recorder.session import recover

    (written,) = recover(folder, tmp_path / "r.parquet")
    assert written.events > 0 and process.end() == UNHARMED


def test_nothing_happens_before_it_is_time(tmp_path, serving, start):
    process = start(serving / "serving", "wait")
    threading.Timer(0.5, process.of.send_signal, [signal.SIGTERM]).start()
    with pytest.raises(HeapwrightError, match="not yet time"):
        record_running(process.of.pid, tmp_path / "o.parquet", wishes=Wishes(after_s=100))
    assert process.end() == UNHARMED and not os.listdir(tmp_path)


def test_in_a_program(tmp_path, serving, start):
    process = start(serving / "serving", "loop")
    (trace,) = hw.attach(process.of.pid, tmp_path / "o.parquet", for_s=0.2, stacks=8)
    assert trace.events > 0 and trace.stack_nodes > 0
    assert process.end() == UNHARMED


FIXED = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
void (*volatile letting_go)(void *) = free;
int main(void) {
    puts("ready");
    fflush(stdout);
    for (;;) letting_go(malloc(4321)), usleep(1000);
}
"""


def test_a_program_at_a_fixed_place_that_keeps_the_address_of_free(tmp_path, start):
    """As Debian's python3 does: the loader tells its own entry for free instead of libc's."""
    source, built = tmp_path / "fixed.c", tmp_path / "fixed"
    source.write_text(FIXED)
    subprocess.run(["cc", "-O1", "-fno-pie", "-no-pie", "-o", built, source], check=True)
    process = start(built)
    trace = process.record(tmp_path / "t.parquet")
    assert 4321 in sizes(trace)
    assert trace.frees >= trace.allocations - 1
