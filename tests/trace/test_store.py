"""The trace file: what is written is read back, by pandas too; what is damaged is a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.trace import schema, writer
from heapwright.trace.notes import NOTES, Note, of_kind
from heapwright.trace.schema import (
    FREE,
    MALLOC,
    MALLOPT,
    MEMALIGN,
    REALLOC,
    SBRK,
    SIZE_LIMIT,
    THREAD_EXIT,
    TRIM,
)
from heapwright.trace.store import Trace, TraceWriter
from peak_memory import PEAK_KIB
from small_traces import SMALL, churn, write


def test_facts_are_counted(small):
    assert (small.events, small.slots, small.threads) == (9, 2, 2)
    assert (small.allocations, small.reallocations, small.frees, small.refused) == (3, 1, 3, 1)
    assert (small.peak_live_bytes, small.peak_live_objects) == (364, 2)
    assert (small.aligned, small.has_addresses, small.heap_start) == (True, True, 4096)
    assert (small.program, small.kind, small.notes) == ("test", "synthetic", ["A note."])
    assert small.size_bytes_on_disk == small.path.stat().st_size


def test_every_column_comes_back(small):
    (batch,) = small.batches(tuple(schema.COLUMNS))
    for name, column in zip(schema.COLUMNS, batch, strict=True):
        if name in ("field", "target", "domain"):  # constant: no graph, malloc alone
            assert len(column) == 0
            continue
        assert column.dtype == schema.COLUMNS[name]
        np.testing.assert_array_equal(column, getattr(SMALL, name), name)


def test_columns_not_asked_for_or_constant_are_empty(tmp_path, small):
    (batch,) = small.batches(("op", "slot"))
    assert [len(column) for column in batch] == [9, 9, *[0] * 10]
    plain = write(tmp_path / "plain.parquet", churn(100))
    (batch,) = plain.batches(tuple(schema.COLUMNS))
    assert [len(column) for column in batch] == [100, 100, 100, *[0] * 9]


def test_pandas_reads_it(small):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(small.path)
    assert list(frame.columns) == list(schema.COLUMNS)
    assert frame["size"].tolist() == SMALL.size.tolist()
    assert frame["op"].dtype == np.uint8


@pytest.mark.parametrize("cut", [1, 7, 64, 1000])
def test_row_groups_and_batches_do_not_change_the_events(tmp_path, monkeypatch, cut):
    monkeypatch.setattr(writer, "ROW_GROUP_EVENTS", 64)
    whole = churn(1000)
    parts = [schema.Events(*(c[at : at + cut] for c in whole)) for at in range(0, 1000, cut)]
    trace = write(tmp_path / "t.parquet", *parts)
    batches = list(trace.batches())
    assert [len(batch.op) for batch in batches] == [64] * 15 + [40]
    for column in range(3):
        np.testing.assert_array_equal(np.concatenate([b[column] for b in batches]), whole[column])


@pytest.mark.parametrize("rows", [(0, 1000), (0, 1), (63, 65), (64, 128), (999, 1000), (500, 500)])
def test_a_range_of_rows(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(writer, "ROW_GROUP_EVENTS", 64)
    whole = churn(1000)
    trace = write(tmp_path / "t.parquet", whole)
    sizes = [batch.size for batch in trace.batches(rows=rows)]
    np.testing.assert_array_equal(np.concatenate([[], *sizes]), whole.size[slice(*rows)])


def test_an_empty_trace(tmp_path):
    trace = write(tmp_path / "t.parquet")
    assert (trace.events, trace.slots, list(trace.batches()), trace.sites()) == (0, 0, [], [])


def test_sites_and_unmatched_frees(tmp_path):
    with TraceWriter(tmp_path / "t.parquet", program="p") as out:
        out.write(SMALL)
        out.sites = ["main (a.c:1)", "0x1234", "Größe"]
        out.unmatched_frees = 3
    trace = Trace.open(tmp_path / "t.parquet")
    assert trace.sites() == ["main (a.c:1)", "0x1234", "Größe"]
    assert trace.unmatched_frees == 3


def test_notes_keep_kind_and_count(tmp_path):
    with TraceWriter(tmp_path / "t.parquet", program="p", notes=["Plain."]) as out:
        out.write(SMALL)
        out.note("It stops.", "cut", 7)
        out.note("It stops.", "cut", 2)
        out.note("Two\nlines \x1b[31m.")
        out.facts.origin["libc"] = "2.36"
        out.facts.settings["trim_threshold"] = -1
    trace = Trace.open(tmp_path / "t.parquet")
    assert trace.notes == ["Plain.", "It stops.", "Two lines  [31m."]
    (cut,) = of_kind(trace.notes, "cut")
    assert isinstance(cut, Note) and (cut.kind, cut.cases) == ("cut", 9)
    assert (trace.origin, trace.settings) == ({"libc": "2.36"}, {"trim_threshold": -1})


def test_notes_are_bounded(tmp_path):
    notes = [f"Note {i}." for i in range(NOTES + 30)] + ["x" * 10_000_000]
    trace = write(tmp_path / "t.parquet", SMALL, notes=notes)
    assert len(trace.notes) == NOTES + 1 and trace.notes[-1] == "31 further notes were left out."


@pytest.mark.parametrize("number", [0, 5, -5, (1 << 31) - 1, -(1 << 31)])
def test_operands_of_what_steers_the_allocator(number):
    assert schema.mallopt_call(schema.mallopt_size(-3, number)) == (-3, number)
    assert 0 <= schema.mallopt_size(-8, number) < SIZE_LIMIT
    assert schema.sbrk_increment(schema.sbrk_size(number * 4096)) == number * 4096
    assert 0 <= schema.sbrk_size(number) < SIZE_LIMIT


def naive_fault(events: schema.Events) -> int:
    """Row of the first unsound event, with a set of live slots; -1 if there is none."""
    live: set[int] = set()
    for row, (op, slot, size) in enumerate(zip(events.op, events.slot, events.size, strict=True)):
        steering = op in (MALLOPT, TRIM, SBRK)
        if (op > THREAD_EXIT and not steering) or slot < -1 or not 0 <= size < SIZE_LIMIT:
            return row
        if op in (FREE, REALLOC) and slot not in live:
            return row
        if ((op == THREAD_EXIT or steering) and slot != -1) or (
            op not in (FREE, REALLOC) and slot in live
        ):
            return row
        if op == FREE:
            live.remove(slot)
        elif slot >= 0:
            live.add(slot)
    return -1


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [FREE, MALLOC, REALLOC, MEMALIGN, THREAD_EXIT, MALLOPT, TRIM, SBRK, SBRK + 1]
            ),
            st.sampled_from([-2, -1, 0, 0, 0]),
            st.sampled_from([0, 1, SIZE_LIMIT - 1, SIZE_LIMIT, -1]),
        ),
        max_size=6,
    )
)
def test_the_writer_refuses_exactly_what_is_unsound(tmp_path_factory, rows):
    op, slot, size = zip(*rows, strict=True) if rows else ((), (), ())
    events = schema.events(op=op, slot=slot, size=size)
    folder = tmp_path_factory.mktemp("sound")
    fault = naive_fault(events)
    if fault < 0:
        assert write(folder / "t.parquet", events).events == len(rows)
    else:
        with pytest.raises(HeapwrightError, match=rf"t\.parquet: event {fault} has "):
            write(folder / "t.parquet", events)
        assert os.listdir(folder) == []


@pytest.mark.parametrize("column", ["slot", "thread"])
def test_the_writer_refuses_numbers_that_are_not_dense(tmp_path, column):
    events = schema.events(op=[MALLOC, FREE], slot=[0, 0], size=[1, 0])
    events = events._replace(**{column: np.array([0, (1 << 31) - 1], np.int32)})
    with pytest.raises(
        HeapwrightError, match=f"event 1 has {column} 2147483647, which is not dense"
    ):
        write(tmp_path / "t.parquet", events._replace(op=events.op * 0 + MALLOC))


def test_a_thread_whose_predecessors_events_were_left_out_is_no_fault(tmp_path):
    events = schema.events(op=[MALLOC], slot=[0], size=[1], thread=[1])
    assert write(tmp_path / "t.parquet", events).threads == 2


def test_an_exception_leaves_nothing(tmp_path):
    (tmp_path / "t.parquet").write_text("before")
    for error in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(error), TraceWriter(tmp_path / "t.parquet", program="p") as out:
            out.write(SMALL)
            raise error
    assert os.listdir(tmp_path) == ["t.parquet"]
    assert (tmp_path / "t.parquet").read_text() == "before"


def test_places_that_cannot_be_written(tmp_path):
    with (
        pytest.raises(HeapwrightError, match=r"cannot write .*No such file"),
        TraceWriter(tmp_path / "no" / "t", program="p"),
    ):
        pass
    with (
        pytest.raises(HeapwrightError, match="not a regular file"),
        TraceWriter("/dev/null", program="p"),
    ):
        pass
    assert Path("/dev/null").is_char_device()


def test_a_full_disk_is_a_sentence(tmp_path):
    """RLIMIT_FSIZE stands for the full disk: a write fails in the middle."""
    code = """
import resource, sys
import numpy as np
from heapwright.trace import schema
from heapwright.trace.store import TraceWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
size = np.random.default_rng(1).integers(0, 1 << 40, 20000)
with TraceWriter(sys.argv[1], program="p") as out:
    out.write(schema.events(op=np.ones(20000), slot=np.arange(20000), size=size))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "t.parquet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1].endswith(
        f"HeapwrightError: cannot write {tmp_path / 't.parquet'}: File too large; "
        "give another output path or make room"
    )
    assert os.listdir(tmp_path) == []


def test_a_reader_that_stops_early_leaves_no_thread(tmp_path, monkeypatch):
    import threading

    monkeypatch.setattr(writer, "ROW_GROUP_EVENTS", 64)
    trace = write(tmp_path / "t.parquet", churn(1000))
    stream = trace.batches()
    next(stream)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("heapwright")]


@pytest.mark.skipif(INTERPRETED, reason="ten million events")
def test_memory_does_not_grow_with_the_trace(tmp_path):
    code = (
        PEAK_KIB
        + """
import sys
import numpy as np
from heapwright.trace import schema
from heapwright.trace.store import Trace, TraceWriter
draw = np.random.default_rng(1)
op = np.tile(np.array([1, 0], np.uint8), 1 << 19)
slot = np.repeat(draw.integers(0, 100000, 1 << 19), 2).astype(np.int32)
batch = schema.events(op=op, slot=slot, size=op * draw.integers(0, 1 << 20, 1 << 20))
def peak(): return peak_kib() >> 10
with TraceWriter(sys.argv[1], program="p") as out:
    out.write(batch)
list(Trace.open(sys.argv[1]).batches())
before = peak()
with TraceWriter(sys.argv[1], program="p") as out:
    for _ in range(10):
        out.write(batch)
for events in Trace.open(sys.argv[1]).batches():
    pass
print(peak() - before)
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "t.parquet"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 150  # MiB
