"""What programs wrote of large blocks, and what their processes had: recorded, placed, replayed."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.compiler import INTERPRETED
from heapwright.trace import schema
from heapwright.trace.notes import UNEXPLAINED, of_kind
from heapwright.trace.process import ANON, HEAP, MAPPED, RSS
from heapwright.trace.recorder import log, looks
from heapwright.trace.recorder.session import record
from heapwright.trace.schema import LARGE_BYTES, TOUCH
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import replay
from recorded import all_events, compiled, run

recorder = pytest.mark.skipif(
    not sys.platform.startswith("linux") or INTERPRETED or not shutil.which("cc"),
    reason="records a C program",
)
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The program of looks.c."""
    return compiled(tmp_path_factory.mktemp("looks"), Path(__file__).with_name("looks.c"))


def touched(trace: Trace) -> list[tuple[int, int]]:
    """(size, bytes written) of each block that was told of, in order of the last telling."""
    events, size, found = all_events(trace), {}, []
    for op, slot, wide in zip(*(events[c].tolist() for c in (0, 1, 2)), strict=True):
        if op == TOUCH:
            found.append((size[slot], wide))
        elif op != schema.FREE and slot >= 0:
            size[slot] = wide
    return found


def pages(written: int) -> int:
    """What a look says of a mapped block of which so many bytes are written: glibc's 16 bytes stand
    before them in the first page."""
    return -(-(written + 16) // PAGE_BYTES) * PAGE_BYTES - 16


@recorder
def test_what_is_written_is_known_to_the_page(tmp_path, program):
    status, trace = run(tmp_path, program, "mapped")
    told = dict(touched(trace))  # the last word on each size
    assert status == 0
    assert told == {
        1 << 20: pages(300_000),
        8 << 20: pages(1) + PAGE_BYTES,  # two pages, far apart; those only read are none
        200_000: pages(50_000),
        3 << 20: pages(1 << 20),
        16 << 20: pages(100_000),
    }
    assert of_kind(trace.notes, "scattered")  # the two pages
    assert trace.touches == len(touched(trace)) and trace.written_known
    order = all_events(trace)
    assert (np.flatnonzero(order.op == TOUCH)[0]) == 1  # right behind the first allocation


@recorder
def test_pages_of_blocks_before_are_told_apart(tmp_path, program):
    status, trace = run(tmp_path, program, "again")
    told = dict(touched(trace))
    assert status == 0
    for size, written in ((900_000, 3), (950_000, 3), (930_000, 2), (980_000, 1)):
        assert 0 <= told[size] - 100_000 * written < PAGE_BYTES
    held = replay("glibc", trace, samples=1).peak["resident_bytes"]
    seen = int(trace.process().samples[:, HEAP].max())
    assert abs(held - seen) < 4 * PAGE_BYTES


@recorder
def test_marks_lie_where_the_program_has_written_nothing(tmp_path, program):
    status, trace = run(tmp_path, program, "intact")
    assert status == 0 and len(touched(trace)) > 300


@recorder
def test_what_is_left_alive_and_what_a_child_writes(tmp_path, program):
    _, written = record([program, "leaves"], tmp_path / "out.heap.parquet", children=True)
    parent, child = (Trace.open(one.path) for one in written)
    assert touched(parent)[-1] == (1 << 20, pages(500_000))
    assert touched(child)[-1] == (1 << 20, pages(700_000))
    assert parent.origin["resident_bytes"] and len(parent.process().samples)


@recorder
def test_unwritten_capacity_is_not_taken_for_memory(tmp_path, program):
    """Of the program itself, its peak over what it had at its first request."""
    status, trace = run(tmp_path, program, "capacity")
    itself = int(trace.origin["resident_bytes"]) - int(trace.origin["start_resident_bytes"])
    whole = replay("glibc", trace, samples=1, touch="all").peak["resident_bytes"]
    found = replay("glibc", trace, samples=1)
    held = found.peak["resident_bytes"]
    assert status == 0 and found.conditions["touch"] == "recorded"
    assert whole > 1.1 * itself
    assert abs(held - itself) < 0.05 * itself
    seen = int(trace.process().samples[:, HEAP].max())  # its heap alone, as the recorder counted it
    assert abs(held - seen) < 0.01 * seen
    assert not of_kind(trace.notes, UNEXPLAINED)


@recorder
def test_looks_are_let_go_before_they_slow_a_program_down(tmp_path, program):
    status, trace = run(tmp_path, program, "many", 60_000)
    told, *_ = of_kind(trace.notes, "unwritten")
    assert status == 0 and 100 < told.cases < 60_000
    by_size = np.array(touched(trace))
    assert len(by_size) == 60_000  # each is told of all the same
    assert np.median(by_size[:, 1]) < 3 * PAGE_BYTES  # like those that were looked at


@recorder
def test_memory_mapped_past_malloc_is_told(tmp_path, program):
    status, trace = run(tmp_path, program, "past")
    assert status == 0
    process = trace.process()
    assert process.peak is not None
    assert 20 << 20 <= process.peak[MAPPED] < 21 << 20
    assert process.peak[HEAP] < 1 << 20 < process.peak[ANON] <= process.peak[RSS]
    assert sum(one.calls for one in process.mappers) == 2
    assert sum(one.bytes for one in process.mappers) == 24 << 20
    (told,) = of_kind(trace.notes, UNEXPLAINED)
    assert "mapped by looks itself, past malloc" in told


def naive(rows: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int]]:
    """(number it is told behind, address, bytes) of (op, address, size, further) rows, by dict and
    list."""
    live: dict[int, list] = {}  # address: number, last look, size, least, most, behind, told
    last_seen: dict[int, tuple[int, int]] = {}  # bits of size: asked, written
    told: list[tuple[int, int, int]] = []
    round_began = -1

    def gone(address):
        number, _, size, least, most, behind, known = live.pop(address)
        if least == most >= 0:
            last_seen[size.bit_length()] = size, least
        if least < 0:
            most, behind = size, number
        asked, wrote = last_seen.get(size.bit_length(), (size, size))
        written = min(max(wrote * size // asked, least), most)
        if written > known:
            told.append((behind, address, written))

    for number, (op, address, size, further) in enumerate(rows):
        if op in (log.FREE, log.REALLOC_FROM) and address in live:
            gone(address)
        elif op == log.LOOK and not address:
            round_began = max(round_began, size)
        elif op == log.LOOK and address in live:
            block = live[address]
            behind = max(block[1], round_began) if block[3] >= 0 else block[0]
            least = min(size, block[2])
            if block[3] >= 0 and least <= block[4]:
                behind = block[5]
            if least > max(block[6], 0):
                told.append((behind, address, least))
                block[6] = least
            block[1], block[3], block[5] = number, least, behind
            block[4] = max(least, min(size + further, block[2]))
        elif log.MALLOC <= op <= log.MEMALIGN and address and size >= LARGE_BYTES:
            if address in live:
                gone(address)
            live[address] = [number, number, size, -1, -1, 0, -1]
    for address in list(live):
        gone(address)
    return sorted(told)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([log.FREE, log.MALLOC, log.CALLOC, log.REALLOC, log.LOOK, log.LOOK]),
            st.sampled_from([0, 16, 32, 48]),
            st.integers(0, 1 << 18),
            st.sampled_from([0, 0, 5000, 1 << 18]),
        ),
        max_size=60,
    )
)
def test_where_looks_are_told(monkeypatch_windows, rows):
    monkeypatch_windows(rows)
    touches, _ = looks.placed([])
    found = sorted(zip(*(column.tolist() for column in touches), strict=True))
    assert found == naive(rows)
    assert (np.diff(touches.number) >= 0).all()


@pytest.fixture(scope="module")
def monkeypatch_windows():
    """Let `looks` read given rows, five at a time."""
    with pytest.MonkeyPatch.context() as patch:

        def give(rows):
            def windows(logs):
                window = log.window()
                for first in range(0, len(rows), 5):
                    some = rows[first : first + 5]
                    for row, (op, address, size, further) in enumerate(some):
                        window.op[row], window.address[row] = op, address
                        window.size[row] = size
                        window.caller[row], window.slack[row] = size + further, 8
                    yield window, len(some), first, 0.0

            patch.setattr(looks, "windows", windows)

        yield give
