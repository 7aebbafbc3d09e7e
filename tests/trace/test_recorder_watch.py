"""Recordings that begin, end and go over by time, signal and size: what each trace holds."""

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
from heapwright.trace.notes import of_kind
from heapwright.trace.recorder.carry import carry
from heapwright.trace.recorder.control import RECORD, SEGMENT, STATE, STOP, USED, WAIT, controlled
from heapwright.trace.recorder.session import record
from heapwright.trace.recorder.watch import Watch
from heapwright.trace.recorder.wishes import Wishes
from heapwright.trace.schema import FREE, MALLOC, MEMALIGN
from heapwright.trace.store import Trace
from recorded import all_events

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the recorder is for Linux"),
    pytest.mark.skipif(
        INTERPRETED, reason="a recording has too many events to convert step by step"
    ),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
]
SOURCE = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *old[100]; /* they live all the time, each of another size */
static void *churn(void *arg) {
    long events = *(long *)arg;
    void *kept[50] = {0};
    for (long i = 0; i < events; i++) { free(kept[i % 50]); kept[i % 50] = malloc(2000 + i % 50); }
    return NULL;
}
int main(int count, char **argument) { /* EVENTS THREADS REST_MS, then the same once more */
    long events = atol(argument[1]), threads = atol(argument[2]), rest = atol(argument[3]);
    pthread_t thread[16];
    for (int i = 0; i < 100; i++)
        old[i] = i % 10 ? malloc(100 + i) : aligned_alloc(64, 128 + 64 * i);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 1; i < threads; i++) pthread_create(&thread[i], NULL, churn, &events);
        churn(&events);
        for (int i = 1; i < threads; i++) pthread_join(thread[i], NULL);
        if (!turn) usleep(rest * 1000);
    }
    printf("went on\n");
    return count == 5 ? 0 : 3;
}
"""


@pytest.fixture(scope="session")
def churning(tmp_path_factory):
    folder = tmp_path_factory.mktemp("churning")
    (folder / "churning.c").write_text(SOURCE)
    command = ["cc", "-O1", "-fno-builtin", "-pthread", "-o", folder / "churning"]
    subprocess.run([*command, folder / "churning.c"], check=True)
    return str(folder / "churning")


def recorded(folder: Path, command: list[str], **wishes) -> list[Trace]:
    """The traces of a program, which ends as it does without us."""
    status, written = record(command, folder / "o.heap.parquet", wishes=Wishes(**wishes))
    assert status == 3
    assert sorted(os.listdir(folder)) == sorted(one.path.name for one in written)
    return [Trace.open(one.path) for one in written]


def test_a_size_ends_the_recording_and_not_the_program(tmp_path, churning, capfd):
    (trace,) = recorded(tmp_path, [churning, "300000", "2", "0"], most_bytes=2 << 20)
    assert "went on" in capfd.readouterr().out
    (note,) = of_kind(trace.notes, "stopped")
    assert "(--max-size)" in note and f"after {trace.events:,} events" in note
    assert 60_000 < trace.events < (2 << 20) / 4 and not of_kind(trace.notes, "cut")


def test_a_time_ends_it_and_the_trace_is_there_while_the_program_runs(tmp_path, churning):
    out, seen = tmp_path / "o.heap.parquet", []

    def say(sentence: str) -> None:
        seen.append((sentence, Trace.open(out).events))

    command = [churning, "20000", "1", "3000"]
    status, (written,) = record(command, out, wishes=Wishes(for_s=0.3), say=say)
    assert status == 3 and seen == [(f"{out} is written; the program goes on", written.events)]
    (note,) = of_kind(Trace.open(out).notes, "stopped")
    assert note == "The recording ends before the program does, after 0.3 s, as asked."
    assert written.events < 20_000 * 4, "the second turn came after it"


def test_it_begins_later(tmp_path, churning):
    (trace,) = recorded(tmp_path, [churning, "20000", "1", "1500"], after_s=0.8)
    (note,) = of_kind(trace.notes, "inherited")
    assert "ran before the recording began" in note and "frees" not in note
    assert trace.events - (2 * 20_000 - 50) in (0, 1) and trace.unmatched_frees == 0  # stdio's
    events = all_events(trace)
    assert events.time_ns[0] == 0 and (np.diff(events.time_ns) >= 0).all()


def test_a_signal_begins_and_ends_it(tmp_path, churning):
    code = "import sys; from heapwright.cli import main; sys.argv[0] = 'heapwright'; main()"
    command = [sys.executable, "-c", code, "record", "--signal", "usr2", "-o", "o.parquet", "--"]
    recorder = subprocess.Popen(
        [*command, "sh", "-c", "echo ready; read a; exec cat"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert recorder.stdout and recorder.stdin and recorder.stdout.readline() == "ready\n"
    recorder.send_signal(signal.SIGUSR2)
    time.sleep(0.5)
    recorder.stdin.write("\n")
    recorder.stdin.flush()
    time.sleep(0.5)
    recorder.send_signal(signal.SIGUSR2)
    time.sleep(0.3)
    said, _ = recorder.communicate("", timeout=120)
    assert recorder.returncode == 0 and "as asked by the signal USR2" in said
    assert Trace.open(tmp_path / "o.parquet").events > 0


@pytest.mark.parametrize("threads", [1, 5])
def test_each_part_of_a_rotation_can_be_used_alone(tmp_path, churning, threads):
    """What lives when a part begins is at its beginning; nothing is lost or told twice."""
    command = [churning, str(400_000 // threads), str(threads), "1200"]
    parts = recorded(tmp_path, command, rotate_bytes=1 << 20, stacks=0 if threads == 1 else 8)
    assert len(parts) > 1 and [part.path.name for part in parts] == [
        f"o.{n:03}.heap.parquet" for n in range(1, len(parts) + 1)
    ]
    allocations = 0
    for number, part in enumerate(parts):
        events = all_events(part)
        inherited = part.inherited_events
        assert part.unmatched_frees == 0 and not of_kind(part.notes, "missed")
        assert len(of_kind(part.notes, "part")) == 1
        assert bool(inherited) == bool(number) == bool(of_kind(part.notes, "inherited"))
        allocations += int((events.op[inherited:] != FREE).sum())
        assert inherited <= 110 + 50 * 2 * threads  # glibc's own of the threads among them
        if number:
            aligned = events.op[:inherited] == MEMALIGN
            old = events.size[:inherited][~aligned]
            assert old[old < 200].tolist() == [100 + i for i in range(100) if i % 10]
            assert aligned.sum() == 10 and set(events.align[:inherited][aligned].tolist()) == {6}
            assert (events.time_ns[:inherited] == 0).all()
            names = [part.stack(site)[-1] for site in set(events.site[:inherited].tolist())]
            assert any("churn" in name for name in names) and any("main" in n for n in names)
    assert allocations - (100 + 2 * 400_000) in range(60), "threads' own blocks"


def test_only_the_last_parts_are_kept(tmp_path, churning):
    parts = recorded(tmp_path, [churning, "300000", "1", "1200"], rotate_s=0.3, keep=1)
    (part,) = parts
    assert part.path.name > "o.001.heap.parquet" and part.inherited_events > 0


def test_what_lives_at_the_end_is_carried(tmp_path):
    from small_traces import SMALL, write

    trace = write(tmp_path / "s.heap.parquet", SMALL)
    live: dict[int, tuple[int, int]] = {}
    events = all_events(trace)
    for row in range(len(events.op)):
        op, slot = int(events.op[row]), int(events.slot[row])
        if op == FREE:
            live.pop(slot)
        elif slot >= 0 and MALLOC <= op <= MEMALIGN:
            live.pop(slot, None)
            live[slot] = (int(events.size[row]), int(events.address[row]))
    found = carry(trace.path, np.arange(trace.threads, dtype=np.int32), None)
    assert list(zip(found.size.tolist(), found.address.tolist(), strict=True)) == [*live.values()]


class Clock:
    """A time that passes when it is told to."""

    def __init__(self, monkeypatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("heapwright.trace.recorder.watch.time.monotonic", lambda: self.now)


def test_the_watch_does_what_it_is_time_for(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    with controlled(tmp_path) as page:
        wishes = Wishes(after_s=5, for_s=10, rotate_bytes=1 << 20, rotate_s=4)
        wishes.tell(page)
        watch, stopped = Watch(wishes, page), []
        watch.at_stop = lambda: stopped.append(clock.now)
        states = []
        for clock.now in (104.9, 105.1, 109.0, 109.2, 110.0, 115.0, 115.2, 130.0):
            if clock.now == 110.0:
                page[USED] = 1 << 20
            watch.tick()
            states.append((page[STATE], page[SEGMENT]))
    kept = [(RECORD, 0), (RECORD, 0), (RECORD, 1), (RECORD, 2), (RECORD, 3), (STOP, 3), (STOP, 3)]
    assert states == [(WAIT, 0), *kept] and stopped == [115.2]
    assert watch.ended == "after 10 s, as asked"


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        ({"signal": "KILL"}, "give USR1 or USR2"),
        ({"most_bytes": 100}, "give at least 262,144"),
        ({"rotate_bytes": 100}, "give at least 262,144"),
        ({"for_s": -1.0}, "less than nothing"),
    ],
)
def test_wishes_that_cannot_be(wishes, told):
    with pytest.raises(HeapwrightError, match=told):
        Wishes(**wishes)
