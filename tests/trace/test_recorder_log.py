"""From log to trace, against an oracle of dicts and lists: merging, matching, naming."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.errors import HeapwrightError
from heapwright.trace import schema
from heapwright.trace.recorder import log as logs
from heapwright.trace.recorder import tables
from heapwright.trace.recorder.convert import convert
from heapwright.trace.recorder.sites import executable_mappings, heap_start, stored_sites
from heapwright.trace.sites import labels
from heapwright.trace.store import Trace
from recorder_chunks import Chunk

FREE, FROM, EXIT, MALLOC, CALLOC, REALLOC, MEMALIGN = range(1, 8)
MALLOPT, TRIM, SBRK = range(8, 11)
CALL = 0x7F0000001000


class Program:
    """Threads that call an allocator in some order; what each would log, and the true events.

    Addresses are reused at once, last freed first, to make mistakes of order show.
    """

    def __init__(self) -> None:
        self.records: list[tuple[int, tuple[int, ...]]] = []  # (thread, words)
        self.events: list[tuple] = []  # (op, slot, size, align, address, site, thread)
        self.free_addresses, self.top = [], 0x10000
        self.free_slots, self.slots = [], 0
        self.live: dict[int, int] = {}  # address: slot
        self.sites: dict[int, int] = {}
        self.threads: dict[int, int] = {}
        self.forked = 0

    def log(self, thread, op, address, size=0, align=0, site=0):
        head = address << 1 | op | (len(self.records) & 0xFFFF) << 48
        words = (head,) if op < MALLOC else (head, size | 8 << 48, CALL + site | align << 48)
        if MALLOC <= op < MEMALIGN and address and size < 1 << 16 and -8 - size & 15 == 8:
            words = (head + logs.SHORT, size | CALL + site << 16)
        self.records.append((thread, words))
        return self.threads.setdefault(thread, len(self.threads))

    def event(self, thread, op, slot, size=0, align=0, address=0, site=-1):  # noqa: PLR0917
        row = -1 if site < 0 else self.sites.setdefault(site, len(self.sites))
        self.events.append((op, slot, size, align, address, row, thread))

    def alloc(self, thread, kind, size, align, site):
        address = self.free_addresses.pop() if self.free_addresses else self.top
        self.top += 8 if address == self.top else 0
        slot = self.free_slots.pop() if self.free_slots else self.slots
        self.slots += slot == self.slots
        self.live[address] = slot
        align = align if kind == MEMALIGN else 0
        number = self.log(thread, kind, address, size, align, site)
        self.event(number, kind - MALLOC + schema.MALLOC, slot, size, align, address, site)

    def free(self, thread, pick):
        address = sorted(self.live)[pick % len(self.live)]
        slot = self.live.pop(address)
        number = self.log(thread, FREE, address)
        self.free_addresses.append(address)
        self.free_slots.append(slot)
        self.event(number, schema.FREE, slot)

    def realloc(self, thread, pick, size, site, meanwhile=None):
        """A realloc during which another thread may be given the old address."""
        address = sorted(self.live)[pick % len(self.live)]
        slot = self.live.pop(address)
        number = self.log(thread, FROM, address)
        if size % 5 == 0:  # refused
            self.log(thread, REALLOC, 0, size, 0, site)
            self.live[address] = slot
            return
        new = self.top
        self.top += 16
        self.free_addresses.append(address)
        if meanwhile is not None:
            self.alloc(meanwhile, MALLOC, 1, 0, site)
        self.live[new] = slot
        self.log(thread, REALLOC, new, size, 0, site)
        self.event(number, schema.REALLOC, slot, size, 0, new, site)

    def refused(self, thread, size, site):
        self.event(self.log(thread, MALLOC, 0, size, 0, site), schema.MALLOC, -1, size, 0, 0, site)

    def exit(self, thread):
        self.event(self.log(thread, EXIT, 0), schema.THREAD_EXIT, -1)

    def steer(self, thread, op, operand, before=0):
        head = logs.STEERED | op - MALLOPT + 1 << 4 | (len(self.records) & 0xFFFF) << 48
        self.records.append((thread, (head, operand, before)))
        number = self.threads.setdefault(thread, len(self.threads))
        self.event(number, op - MALLOPT + schema.MALLOPT, -1, operand, 0, before)

    def write(self, path: Path, sync_every: int, lost: int = 0, child_of: str = "") -> Path:
        """The log as recorder.c would write it, one stream for each thread.

        A child's holds the records from `self.forked` on.
        """
        start = self.forked if child_of else 0
        streams: dict[int, list[Chunk]] = {}
        room = logs.CHUNK_BYTES // 4
        for number, (thread, words) in enumerate(self.records):
            if number < start:
                continue
            chunks = streams.setdefault(thread, [])
            if not chunks or len(chunks[-1].halves) + 14 > room:
                chunks.append(Chunk())
            if chunks[-1].synced < 0 or number - chunks[-1].synced >= sync_every:
                chunks[-1].sync(thread, number)
            chunks[-1].add(number, words)
        chunks = [chunk.halves for stream in streams.values() for chunk in stream]
        content = struct.pack(
            "=8s7Q4096s4096s4096s", b"HWRECRD4", 65536, logs.CHUNK_BYTES, 77, lost, 28, start, 0,
            b"/bin/prog", child_of.encode(), b"",
        )  # fmt: skip
        content += bytes(65536 - len(content))
        # The order in the file does not matter; one was killed while it copied a chunk.
        for chunk in chunks[-1:] + chunks[::-1]:
            content += struct.pack(f"={len(chunk)}I", *chunk).ljust(logs.CHUNK_BYTES, b"\0")
        path.write_bytes(content)
        return path


STEPS = st.lists(
    st.tuples(
        st.sampled_from("aaaamcffffrrRxes"),
        st.integers(0, 3),  # thread
        st.integers(0, 100),  # which block
        st.integers(0, 1000),  # size
        st.integers(0, 3),  # site
    ),
    max_size=60,
)


def play(steps, program=None) -> Program:
    program = program or Program()
    for what, thread, pick, size, site in steps:
        if what in "amc":
            program.alloc(
                thread, {"a": MALLOC, "m": MEMALIGN, "c": CALLOC}[what], size, pick % 20, site
            )
        elif what == "x":
            program.refused(thread, size, site)
        elif what == "e":
            program.exit(thread)
        elif what == "s":
            op = (MALLOPT, TRIM, SBRK)[pick % 3]
            program.steer(thread, op, size * 1_000_003, size + 1 if op == SBRK else 0)
        elif program.live and what == "f":
            program.free(thread, pick)
        elif program.live:
            program.realloc(thread, pick, size, site, (thread + 1) % 4 if what == "R" else None)
    return program


def read(trace: Trace) -> list[tuple]:
    rows = []
    for batch in trace.batches(("op", "slot", "size", "align", "address", "site", "thread")):
        columns = [
            getattr(batch, n) for n in ("op", "slot", "size", "align", "address", "site", "thread")
        ]
        empty = {5: -1}
        filled = [
            column if len(column) else np.full(len(batch.op), empty.get(i, 0))
            for i, column in enumerate(columns)
        ]
        rows += list(zip(*(column.tolist() for column in filled), strict=True))
    return rows


@settings(max_examples=150, deadline=None)
@given(
    steps=STEPS, sync_every=st.sampled_from([1, 3, 4096]), window=st.sampled_from([4, 16, 1 << 20])
)
def test_any_program_against_the_oracle(tmp_path_factory, steps, sync_every, window):
    folder = tmp_path_factory.mktemp("log")
    program = play(steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "WINDOW_EVENTS", window)
        done = convert(program.write(folder / "77.1", sync_every), folder / "t.parquet")
    trace = Trace.open(folder / "t.parquet")
    assert read(trace) == program.events
    other = [note for note in trace.notes if note.kind != "steered"]
    assert (done.program, done.unmatched_frees, other) == ("prog", 0, [])
    assert trace.slots == program.slots
    assert trace.sites() == [f"0x{CALL + site - 1:x}" for site in program.sites]


@settings(max_examples=40, deadline=None)
@given(before=STEPS, after=STEPS, later=STEPS, window=st.sampled_from([4, 1 << 20]))
def test_a_child_has_its_parents_history(tmp_path_factory, before, after, later, window):
    """The parent's log up to the fork and the child's own, whatever the parent did after it."""
    folder = tmp_path_factory.mktemp("log")
    child = play(before)
    child.forked = len(child.records)
    parent = play(before)
    inherited, alive = len(child.events), set(child.threads.values())  # those of no event, too
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "WINDOW_EVENTS", window)
        parent = play(later, parent)
        parent.write(folder / "77.1", 4096)
        play(after, child).write(folder / "78.1", 4096, child_of="77.1")
        convert(folder / "78.1", folder / "t.parquet")
    trace = Trace.open(folder / "t.parquet")
    assert (read(trace), trace.inherited_events) == (child.events, inherited)
    alive -= {event[6] for event in child.events[:inherited] if event[0] == schema.THREAD_EXIT}
    kinds = [note.kind for note in trace.notes if note.kind != "steered"]
    if not child.forked:
        assert trace.exact_addresses == trace.has_addresses
    else:
        assert kinds[0] == "forked" and (kinds[1:] == ["inherited"]) == (len(alive) > 1)
        assert trace.exact_addresses == (trace.has_addresses and len(alive) <= 1)


def test_a_child_whose_parents_log_is_gone(tmp_path):
    child = play([("a", 0, 0, 5, 0), ("f", 0, 0, 5, 0), ("a", 0, 0, 6, 0)])
    child.forked = 1
    done = convert(child.write(tmp_path / "78.1", 4096, child_of="77.1"), tmp_path / "t.parquet")
    trace = Trace.open(tmp_path / "t.parquet")
    assert done.unmatched_frees == 1 and not trace.exact_addresses
    assert "parent's log is not there" in trace.notes[0]


def test_many_threads_chunks_and_growing_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "CHUNK_BYTES", 4096)
    monkeypatch.setattr(logs, "WINDOW_EVENTS", 1024)
    program, draw = Program(), np.random.default_rng(4)
    for _ in range(20_000):
        thread = int(draw.integers(0, 90))
        if draw.random() < 0.6 or not program.live:
            program.alloc(thread, MALLOC, int(draw.integers(0, 99)), 0, int(draw.integers(0, 3000)))
        else:
            program.free(thread, 0)
    convert(program.write(tmp_path / "77.1", 512), tmp_path / "t.parquet")
    assert read(Trace.open(tmp_path / "t.parquet")) == program.events


def test_what_was_never_seen_allocated(tmp_path):
    program = Program()
    program.log(0, FREE, 0x40)
    program.log(0, FROM, 0x80)
    program.log(0, REALLOC, 0xC0, 10, 0, 0)  # becomes an allocation
    program.log(0, FROM, 0xC0)  # and the program is killed within realloc
    done = convert(program.write(tmp_path / "77.1", 4096), tmp_path / "t.parquet")
    assert done.unmatched_frees == 2
    assert read(Trace.open(tmp_path / "t.parquet")) == [(schema.MALLOC, 0, 10, 0, 0xC0, 0, 0)]


def test_an_address_given_twice_was_freed_in_between(tmp_path):
    program = Program()
    program.log(0, MALLOC, 0x40, 1)
    program.log(0, MALLOC, 0x40, 2)
    convert(program.write(tmp_path / "77.1", 4096), tmp_path / "t.parquet")
    trace = Trace.open(tmp_path / "t.parquet")
    assert [row[:3] for row in read(trace)] == [(1, 0, 1), (0, 0, 0), (1, 0, 2)]
    assert trace.notes == ["1 frees were not seen: they stand where memory was reused."]


def test_what_follows_a_loss_is_cut(tmp_path):
    program = Program()
    for size in range(10):
        program.alloc(size % 2, MALLOC, size, 0, 0)
    convert(program.write(tmp_path / "77.1", 4096, lost=7), tmp_path / "t.parquet")
    trace = Trace.open(tmp_path / "t.parquet")
    assert read(trace) == program.events[:6]
    assert "No space left on device" in trace.notes[0]


def test_damaged_logs_never_crash(tmp_path):
    """Any word may be anything: conversion ends, with a sound trace or a sentence."""
    draw = np.random.default_rng(9)
    program = play(
        [("a", i % 3, 0, i, 0) for i in range(40)] + [("f", 1, i, 0, 0) for i in range(30)]
    )
    content = np.frombuffer(program.write(tmp_path / "77.1", 8).read_bytes(), np.uint64)
    words = np.flatnonzero(content)
    for _ in range(150):
        bad = content.copy()
        for at in draw.choice(words[words >= 65536 // 8], 3):
            bad[at] = draw.choice(
                [0, 1 << 62, int(bad[at]) ^ 1 << int(draw.integers(0, 63)), (1 << 63) - 1]
            )
        (tmp_path / "77.1").write_bytes(bad.tobytes())
        try:
            convert(tmp_path / "77.1", tmp_path / "t.parquet")
        except HeapwrightError as error:
            assert "t.parquet" in str(error)
        else:
            read(Trace.open(tmp_path / "t.parquet"))
    (tmp_path / "77.1").write_bytes(b"HWRECRD3" + content.tobytes()[8:])
    with pytest.raises(HeapwrightError, match="another version of heapwright"):
        convert(tmp_path / "77.1", tmp_path / "t.parquet")
    for short in (b"", b"HWRECORD", bytes(8192)):
        (tmp_path / "77.1").write_bytes(short)
        with pytest.raises(HeapwrightError, match="damaged"):
            convert(tmp_path / "77.1", tmp_path / "t.parquet")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=80))
def test_the_table_against_a_dict(operations):
    table, model = tables.table(128), {}
    for insert, number in operations:
        key = number * 16 << (number % 3 * 9)
        at = tables.place(table, key)
        assert (table.key[at] == key) == (key in model)
        if insert:
            tables.insert(table, key, len(model))
            model[key] = int(table.value[tables.place(table, key)])
        elif key in model:
            tables.delete(table, at)
            del model[key]
    found = {int(key): int(value) for key, value in zip(*table, strict=True) if key}
    assert found == model
    for key in model:
        assert table.key[tables.place(table, key)] == key


PROCESS = f"""77 (a) b (c) S {"9 " * 43}21917696 9 9
55d000000000-55d000001000 r--p 00000000 fe:00 1    /bin/prog
55d000001000-55d000003000 r-xp 00001000 fe:00 1    /bin/prog
7f0000000000-7f0000001000 r-xp 00000000 00:00 0    [vdso]
7f0000002000-7f0000003000 r-xp 00000000 fe:00 1    /tmp/my lib.so (deleted)
7f0000004000-7f0000005000 rwxp 00000000 00:00 0
"""


def test_copies_of_proc():
    assert heap_start(PROCESS) == 21917696
    assert heap_start("") == heap_start("garbage") == 0
    assert executable_mappings(PROCESS) == [
        (0x55D000001000, 0x55D000003000, 0x1000, "/bin/prog"),
        (0x7F0000002000, 0x7F0000003000, 0, "/tmp/my lib.so"),
    ]
    callers = [0x55D000001001, 0x55D000003000, 0x7F0000002005, 0x55D000001000, 0x7F0000004010]
    assert stored_sites(callers, PROCESS)[0] == [
        "/bin/prog+0x1000",
        "/bin/prog+0x2fff",
        "/tmp/my lib.so+0x4",
        "0x55d000000fff",
        "0x7f000000400f",
    ]


def test_labels(tmp_path):
    stored = ["main (a.c:1)", "0x1234", f"{tmp_path}/gone.so+0x40", "/nobody/asked+0x40"]
    assert labels(stored, {f"{tmp_path}/gone.so": ""}) == [*stored[:2], "gone.so+0x40", stored[3]]
    this = os.path.realpath("/proc/self/exe")
    assert labels([f"{this}+0x40"], {this: "another build"}) == [f"{Path(this).name}+0x40"]


def test_a_chunk_that_a_running_program_begins_anew_is_read_from_its_copy(tmp_path):
    """Listed, then copied and begun anew, then read: its records stand further back."""
    program = Program()
    for size in range(4000):
        program.alloc(0, MALLOC, size, 0, 0)
    path = program.write(tmp_path / "77.1", sync_every=4096)
    log = logs.Log(path)
    content = path.read_bytes()
    at = dict(log.by_first_number()[1:])
    (first, first_at), (second, second_at) = sorted(at.items())
    words = log.chunk(first, first_at, 1 << 62).words.tolist()
    path.write_bytes(
        content[:first_at] + content[second_at : second_at + logs.CHUNK_BYTES]
        + content[first_at + logs.CHUNK_BYTES :] + content[first_at : first_at + logs.CHUNK_BYTES]
    )  # fmt: skip
    assert log.chunk(first, first_at, 1 << 62).words.tolist() == words
    assert log.chunk(second, first_at, 1 << 62).words[1] == second
    assert not len(log.chunk(12345, first_at, 1 << 62).words)
