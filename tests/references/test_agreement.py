"""Validation on traces whose agreement is known, and on one that is made to disagree."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.references.malloc import libc, systems
from heapwright.references.malloc.agreement import Tally, validate
from heapwright.references.malloc.harness import Drive
from heapwright.references.malloc.places import Blocks, equal
from heapwright.trace.notes import INHERITED, Note
from heapwright.trace.recorder.session import record
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    MALLOC,
    MEMALIGN,
    REALLOC,
    THREAD_EXIT,
    Events,
    events,
)
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import placements
from heapwright.versions import version_number

COUNT = 6000
TAKEN = ("op", "slot", "size", "align", "thread", "address", "slack")


def columns_of(seed: int, threads: int = 1) -> Events:
    """Every operation, small sizes and a few that glibc maps."""
    random = np.random.default_rng(seed)
    slot = random.integers(0, 300, COUNT)
    size = (2 ** random.uniform(0, 19, COUNT)).astype(np.int64)
    dice = random.random(COUNT)
    op, align = np.zeros(COUNT, np.uint8), np.zeros(COUNT, np.uint8)
    live = np.zeros(300, bool)
    for i, s in enumerate(slot):
        if live[s]:
            op[i] = REALLOC if dice[i] < 0.3 else FREE
        else:
            op[i] = CALLOC if dice[i] < 0.1 else MEMALIGN if dice[i] < 0.2 else MALLOC
        align[i] = 4 + i % 9 if op[i] == MEMALIGN else 0
        live[s] = op[i] != FREE
    thread = np.sort(random.integers(0, threads, COUNT))
    return events(op=op, slot=slot, size=np.where(op == FREE, 0, size), align=align, thread=thread)


def written(path: Path, columns: Events, **facts: object) -> Trace:
    """The trace file of `columns`."""
    with TraceWriter(path, program="made", **facts) as out:  # type: ignore[arg-type]
        out.write(columns)
    return Trace.open(path)


def recorded(path: Path, columns: Events) -> Trace:
    """The same, with the addresses and slacks that the real glibc gives."""
    plain = written(path, columns, kind="synthetic")
    with Drive("glibc", plain, placed=True) as real:
        placed = real.replay(columns)
        start = real.heap_start
    present = placed[:, 0] != 0
    slack = np.where(present, placed[:, 1] - columns.size, -1)
    return written(
        path, columns._replace(address=placed[:, 0], slack=slack.astype(np.int32)), heap_start=start
    )


def test_the_glibc_twin_agrees_with_the_real_one(tmp_path: Path) -> None:
    trace = written(tmp_path / "t.parquet", columns_of(1), kind="synthetic")
    seen: list[int] = []
    found = validate("glibc", trace, progress=seen.append)
    objects = int((columns_of(1).op != FREE).sum())
    assert found.key == "driven"
    assert found.addresses == Tally(objects, objects)
    assert found.usable_sizes == Tally(objects, objects)
    assert 0 < found.outside.compared < objects
    assert found.agrees
    assert found.first_difference is None
    assert found.mapped[0] == found.mapped[1]
    assert found.page_faults[0] == found.page_faults[1]
    assert found.resident[0] == pytest.approx(found.resident[1], rel=0.01)
    assert seen[-1] == COUNT


@pytest.mark.parametrize(
    "knobs",
    [{"tcache_count": 0}, {"mmap_threshold": 4096, "top_pad": 4096}, {"trim_threshold": 8192}],
    ids=lambda knobs: next(iter(knobs)),
)
def test_the_knobs_mean_the_same_to_both(tmp_path: Path, knobs: dict[str, int]) -> None:
    trace = written(tmp_path / "t.parquet", columns_of(2), kind="synthetic")
    found = validate("glibc", trace, knobs)
    assert found.agrees
    assert found.mapped[0] == found.mapped[1]


def test_a_recording_is_its_own_key(tmp_path: Path) -> None:
    found = validate("glibc", recorded(tmp_path / "t.parquet", columns_of(3)))
    assert found.key == "recorded"
    assert found.agrees
    assert found.repeats.compared == found.repeats.equal == found.addresses.compared
    knobs = {"tcache_count": 0}  # what was recorded without them is no key any more
    assert validate("glibc", Trace.open(tmp_path / "t.parquet"), knobs).key == "driven"


def test_one_wrong_address_and_one_wrong_size_are_found(tmp_path: Path) -> None:
    trace = recorded(tmp_path / "t.parquet", columns_of(4))
    columns = next(trace.batches(("op", "slot", "size", "align", "address", "slack")))
    rows = np.flatnonzero(columns.address)
    in_heap = rows[columns.address[rows] < trace.heap_start + (1 << 35)]
    columns.address[in_heap[100]] += 16
    columns.slack[in_heap[200]] += 16
    start = trace.heap_start
    found = validate("glibc", written(tmp_path / "u.parquet", columns, heap_start=start))
    assert found.addresses.compared - found.addresses.equal == 1
    assert found.usable_sizes.compared - found.usable_sizes.equal == 1
    assert not found.agrees
    assert found.first_difference is not None
    assert found.first_difference["event"] == in_heap[100]
    assert found.first_difference["real_offset"] - found.first_difference["twin_offset"] == 16


def test_threads_are_told(tmp_path: Path) -> None:
    trace = written(tmp_path / "t.parquet", columns_of(5, threads=3), kind="synthetic")
    found = validate("glibc", trace)
    assert found.threads == 3
    assert found.addresses.compared > 0
    assert found.outside.compared > found.addresses.compared / 3


def test_blocks_outside_the_heap_compare_by_what_alignment_keeps() -> None:
    far, other_far = 0x7F00_0000_0000, 0x7E00_0400_0000
    mapped, of_arena = 4096 - 16, 24  # usable sizes
    for first, second, usable, other_usable, same in (
        (far + 16, other_far + 16, mapped, mapped, True),
        (far + 16, other_far + 4096 + 16, mapped, mapped, True),
        (far + 16, other_far + 32, mapped, mapped, False),
        (far + 16, other_far + 16, mapped, mapped + 4096, False),
        (far + 2256, other_far + 2256, of_arena, of_arena, True),
        (far + 2256, other_far + 4096 + 2256, of_arena, of_arena, False),
        (100 + 64, 900 + 64, of_arena, of_arena, True),
        (100 + 64, 900 + 80, of_arena, of_arena, False),
        (100 + 64, other_far + 64, of_arena, of_arena, False),
    ):
        one = Blocks(np.array([first]), np.array([usable]), 100)
        other = Blocks(np.array([second]), np.array([other_usable]), 900)
        assert equal(one, other).tolist() == [same], hex(second)


def test_the_place_of_a_difference_is_told_in_words() -> None:
    blocks = Blocks(
        np.array([0, 164, 0x7F00_0400_0010, 0x7F00_0400_0B70, 0x7F00_0400_0010]),
        np.array([-1, 72, 4096 - 16, 24, -1]),
        100,
    )
    assert [blocks.place(row) for row in range(5)] == [
        "no block",
        "64 bytes into the heap, 72 usable bytes",
        "mapped on its own, 16 bytes into its page, 4,080 usable bytes",
        "2,928 bytes into a further arena's heap at 0x7f0004000000, 24 usable bytes",
        "outside the heap, 16 bytes into its page",
    ]


def test_one_wrong_address_outside_the_heap_is_told(tmp_path: Path) -> None:
    columns = events(op=[MALLOC, MALLOC], slot=[0, 1], size=[200_000, 300_000])
    recorded(tmp_path / "t.parquet", columns)
    trace = Trace.open(tmp_path / "t.parquet")
    kept = next(trace.batches(("op", "slot", "size", "address", "slack")))
    kept.address[1] += 32
    start = trace.heap_start
    found = validate("glibc", written(tmp_path / "u.parquet", kept, heap_start=start))
    (said,) = (each for each in found.sentences() if "First difference" in each)
    assert "mapped on its own, 16 bytes into its page" in said
    assert "mapped on its own, 48 bytes into its page" in said


def test_what_is_aligned_beyond_a_page_lies_by_where_the_heap_starts(tmp_path: Path) -> None:
    op, align = [MALLOC, MEMALIGN, MALLOC, MEMALIGN], [0, 13, 0, 20]
    columns = events(op=op, slot=range(4), size=[10, 100, 10, 100], align=align)
    places = set()
    for number, start in enumerate((0x5555_5555_6000, 0x5555_5555_7000, 0)):
        trace = written(tmp_path / f"{number}.parquet", columns, kind="synthetic", heap_start=start)
        found = validate("glibc", trace)
        assert found.agrees
        assert found.addresses.compared == 3
        assert found.random == 1  # 1 MiB of alignment is mapped: where, is up to Linux
        assert any("at random" in each for each in found.sentences())
        (placed,) = (p[1, 0] - p[0, 0] for p in placements("glibc", trace))
        places.add(int(placed))
    assert len(places) == 2


def test_settings_of_the_recording_hold_unless_others_are_given(tmp_path: Path) -> None:
    columns = columns_of(9)
    with TraceWriter(tmp_path / "t.parquet", program="made", kind="synthetic") as out:
        out.write(columns)
        out.facts.settings = {"mmap_threshold": 4096, "perturb": 7}
    trace = Trace.open(tmp_path / "t.parquet")
    found = validate("glibc", trace)
    assert found.agrees
    assert found.recorded == {"mmap_threshold": 4096}
    assert found.to_json()["recorded_settings"] == {"mmap_threshold": 4096}
    assert any("Both are set as recorded: mmap_threshold=4096" in s for s in found.sentences())
    assert (
        found.outside.compared
        > validate("glibc", trace, {"mmap_threshold": 131_072}).outside.compared
    )


def test_the_recorded_program_itself_is_beside_both(tmp_path: Path) -> None:
    recorded(tmp_path / "t.parquet", columns_of(11))
    trace = Trace.open(tmp_path / "t.parquet")
    assert validate("glibc", trace).program is None
    told = {"start_resident_bytes": "1536000", "resident_bytes": "4608000"}
    trace.origin.update(told | {"start_page_faults": "80", "page_faults": "1000"})
    found = validate("glibc", trace)
    assert found.program == (3000 * 1024, 920)
    assert found.to_json()["recorded_program"]["page_faults"] == 920
    assert any("held 2.93 MiB more" in s and "920 page faults" in s for s in found.sentences())
    trace.origin["page_faults"] = "many"
    assert validate("glibc", trace).program is None


def test_the_addresses_of_a_forked_child_are_no_key(tmp_path: Path) -> None:
    recorded(tmp_path / "t.parquet", columns_of(10))
    trace = Trace.open(tmp_path / "t.parquet")
    trace.notes.append(Note("it was forked", INHERITED))
    found = validate("glibc", trace)
    assert found.key == "driven"
    assert found.agrees
    assert any("no key for a fresh process" in each for each in found.sentences())


@pytest.mark.parametrize(
    ("near", "cause"),
    [
        ((MALLOC, 1), "Thread 1 was in malloc 1 event before it"),
        ((THREAD_EXIT, 1), "Thread 1 had ended 1 event before it"),
        ((MALLOC, 0), ""),
    ],
)
def test_the_cause_of_a_difference_is_named(
    tmp_path: Path, near: tuple[int, int], cause: str
) -> None:
    op = [MALLOC, *[MALLOC] * 100, near[0], MALLOC]
    thread = [1, *[0] * 100, near[1], 0]
    slot = [0, *range(1, 101), -1 if near[0] == THREAD_EXIT else 101, 102]
    size = [0 if each == THREAD_EXIT else 50 for each in op]
    columns = events(op=op, slot=slot, size=size, thread=thread)
    kept = next(recorded(tmp_path / "t.parquet", columns).batches(TAKEN))
    kept.address[-1] += 16
    start = Trace.open(tmp_path / "t.parquet").heap_start
    found = validate("glibc", written(tmp_path / "u.parquet", kept, heap_start=start))
    assert found.first_difference is not None
    assert found.first_difference["event"] == len(op) - 1
    assert found.cause.startswith(cause)
    assert bool(found.cause) == bool(cause)


def test_a_thread_that_is_ending_is_the_cause(tmp_path: Path) -> None:
    """Its end stands behind: where it emptied its cache among the calls of others is not known."""
    op = [MALLOC, MALLOC, *[MALLOC] * 20, THREAD_EXIT, MALLOC]
    thread = [2, 1, *[0] * 20, 1, 0]
    slot = [100, 101, *range(20), -1, 50]
    size = [0 if each == THREAD_EXIT else 50 for each in op]
    columns = events(op=op, slot=slot, size=size, thread=thread)
    kept = next(recorded(tmp_path / "t.parquet", columns).batches(TAKEN))
    kept.address[10:] += 16 * (kept.address[10:] > 0)
    start = Trace.open(tmp_path / "t.parquet").heap_start
    found = validate("glibc", written(tmp_path / "u.parquet", kept, heap_start=start))
    assert found.first_difference is not None and found.first_difference["event"] == 10
    assert found.cause.startswith("Thread 1 was ending, 9 events before it and on")


def test_another_version_than_the_one_here_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv(libc.VARIABLE, raising=False)
    trace = written(tmp_path / "t.parquet", columns_of(6), kind="synthetic")
    installed = systems.version("glibc")
    for version in ("2.31", "2.36", "2.43"):
        asked = {"version": version_number(version)}
        if version == installed:
            assert validate("glibc", trace, asked).versions == (version, version)
        else:
            with pytest.raises(HeapwrightError, match=f"so {version} cannot be driven. To drive"):
                validate("glibc", trace, asked)
    with pytest.raises(HeapwrightError, match=r"has no version 2\.33"):
        validate("glibc", trace, {"version": version_number("2.33")})


def test_cores_of_another_machine_are_as_many_arenas_here() -> None:
    here = len(os.sched_getaffinity(0))
    assert systems.tunables("glibc", {"cores": here}) == ""
    assert (
        systems.tunables("glibc", {"cores": here + 2}) == f"glibc.malloc.arena_max={8 * here + 16}"
    )
    told = systems.tunables("glibc", {"cores": here + 2, "arena_max": 3, "top_pad": -1})
    assert told == "glibc.malloc.arena_max=3:glibc.malloc.top_pad=-1"


def test_json_has_the_agreed_keys(tmp_path: Path) -> None:
    trace = written(tmp_path / "t.parquet", columns_of(6), kind="synthetic")
    said = validate("glibc", trace).to_json()
    assert said["manager"] == "glibc"
    assert said["events"] == COUNT
    for key in ("addresses", "usable_sizes"):
        assert set(said[key]) == {"compared", "equal"}
    for key in ("resident_bytes_peak", "mapped_bytes_peak"):
        assert set(said[key]) == {"twin", "real"}


def test_a_twin_that_differs_is_found_out(tmp_path: Path) -> None:
    trace = written(tmp_path / "t.parquet", columns_of(8), kind="synthetic")
    found = validate("linear", trace, counterpart="glibc")
    assert found.addresses.equal < found.addresses.compared
    assert found.first_difference is not None
    assert found.first_difference["event"] == 0


def test_a_recorded_program_agrees_address_by_address(tmp_path: Path) -> None:
    """The whole way: a program of this machine, recorded, against the twin."""
    path = tmp_path / "sort.parquet"
    record(["sort", "--parallel=1", "-o", str(tmp_path / "sorted"), __file__], path)
    trace = Trace.open(path)
    found = validate("glibc", trace)
    assert found.key == "recorded"
    assert found.addresses.compared > 20
    assert found.agrees
    assert found.repeats.equal == found.repeats.compared
    assert found.resident[0] == pytest.approx(found.resident[1], rel=0.01)
    assert found.program is not None
    assert found.program[0] == pytest.approx(found.resident[1], abs=4 << 20)
    assert 0 < found.program[1] < found.page_faults[1] + 2000
