"""Graph traces from strangers: what is not sound is a sentence with its event, whoever wrote it."""

import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.errors import HeapwrightError
from heapwright.trace import facts, layout, schema, writer
from heapwright.trace.schema import (
    FREE,
    GET,
    HOLD,
    KINDS,
    MALLOC,
    NEW,
    POP,
    PUSH,
    REFER,
    ROOT,
    SIZE_LIMIT,
    SOFT,
    STEER,
    THREAD_EXIT,
    TRACK,
    UNROOT,
    WEAK,
    WRITE,
)
from heapwright.trace.store import Trace, TraceWriter

# (op, slot, size, field, target): a pair that refers to itself and to one more, in a frame
SOUND = [
    (PUSH, -1, 0, 0, -1),
    (NEW, 0, 16, 2, -1),
    (NEW, 1, 8, 1, -1),
    (WRITE, 0, 0, 1, 1),
    (WRITE, 0, 0, 0, 0),
    (ROOT, 0, 0, 0, -1),
    (HOLD, 1, 0, 0, -1),
    (POP, 1, 0, 0, -1),
    (UNROOT, 0, 0, 0, -1),
    (FREE, 0, 0, 0, -1),
    (PUSH, -1, 0, 0, -1),
    (POP, -1, 0, 0, -1),
]
# Instead of row i of SOUND, this; and what is wrong with it.
UNSOUND = [
    (3, (13, 0, 0, 0, -1), "an unknown operation"),
    (3, (MALLOC, 2, 8, 0, -1), "an operation of the malloc family, in a graph trace"),
    (3, (THREAD_EXIT, -1, 0, 0, -1), "an operation of the malloc family, in a graph trace"),
    (1, (NEW, -1, 16, 2, -1), "a slot out of range"),
    (6, (HOLD, -2, 0, 0, -1), "a slot out of range"),
    (10, (PUSH, 0, 0, 0, -1), "a slot out of range"),
    (11, (POP, -2, 0, 0, -1), "a slot out of range"),
    (1, (NEW, 0, -1, 0, -1), "a size out of range"),
    (1, (NEW, 0, SIZE_LIMIT, 2, -1), "a size out of range"),
    (2, (NEW, 0, 8, 1, -1), "a new object in a slot that is still live"),
    (2, (NEW, 1, 7, 1, -1), "more reference fields than its size has room for"),
    (2, (NEW, 1, 8, -1, -1), "more reference fields than its size has room for"),
    (2, (WRITE, 1, 0, 0, -1), "an object that is not live"),
    (2, (HOLD, 1, 0, 0, -1), "an object that is not live"),
    (2, (ROOT, 1, 0, 0, -1), "an object that is not live"),
    (2, (WRITE, 0, 0, 0, 1), "a target that is not live"),
    (3, (WRITE, 0, 0, 1, -2), "a target that is not live"),
    (3, (WRITE, 0, 0, 1, 1 << 30), "a target that is not live"),
    (3, (WRITE, 0, 0, 2, 1), "a field that its object does not have"),
    (3, (WRITE, 0, 0, -1, 1), "a field that its object does not have"),
    (6, (ROOT, 0, 0, 0, -1), "a global root of an object that is one already"),
    (5, (UNROOT, 0, 0, 0, -1), "an unroot of an object that is no global root"),
    (8, (FREE, 0, 0, 0, -1), "a free of an object that a local or a global root refers to"),
    (9, (FREE, 1, 0, 0, -1), "a free of an object that a local or a global root refers to"),
    (10, (FREE, 0, 0, 0, -1), "a free of an object that is not live"),
    (10, (POP, -1, 0, 0, -1), "a pop of the lowest frame"),
    (10, (POP, 0, 0, 0, -1), "a pop of the lowest frame"),
    (11, (POP, 0, 0, 0, -1), "an object that is not live"),
    (
        3,
        (REFER, 0, SOFT, 0, 1),
        "a reference that is not declared at its birth, or of a kind that is not known",
    ),
    (
        2,
        (REFER, 0, 7, 0, 0),
        "a reference that is not declared at its birth, or of a kind that is not known",
    ),
    (2, (REFER, 0, WEAK, 0, 1), "a target that is not live"),
    (3, (GET, 0, 0, 0, -1), "a get of what is no soft reference"),
]


def events(rows, **more):
    names = ("op", "slot", "size", "field", "target")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    columns["op"] = np.array(columns.get("op", ()), np.int64)
    return schema.events(**columns, **more)


def write(path, *batches):
    with TraceWriter(path, program="test", kind="synthetic") as out:
        for batch in batches:
            out.write(batch)
    return Trace.open(path)


def forged(path, rows, known, **changes):
    """A file that claims to be such a trace, made without the writer."""
    record = json.loads(facts.to_json(known)) | {"events": len(rows)} | changes
    columns = {name: np.full(len(rows), facts.OPTIONAL.get(name, 0)) for name in schema.COLUMNS}
    columns |= {n: getattr(events(rows), n) for n in ("op", "slot", "size", "field", "target")}
    table = pa.table({n: pa.array(columns[n], layout.SCHEMA.field(n).type) for n in columns})
    with pq.ParquetWriter(path, layout.SCHEMA) as out:
        out.write_table(table.cast(layout.SCHEMA))
        out.add_key_value_metadata({"heapwright": json.dumps(record), "heapwright.sites": "[]"})
    return Trace.open(path)


@pytest.fixture
def sound(tmp_path):
    return write(tmp_path / "sound.parquet", events(SOUND))


def test_facts_of_a_graph(sound):
    assert sound.graph and sound.graph_events == len(SOUND) - 1
    assert (sound.peak_roots, sound.slots, sound.threads) == (3, 2, 1)
    assert (sound.allocations, sound.frees, sound.refused, sound.reallocations) == (2, 1, 0, 0)
    assert (sound.peak_live_bytes, sound.peak_live_objects) == (24, 2)
    assert sound.columns == ["field", "target"]


def test_what_a_reference_object_refers_to_is_written_once(tmp_path):
    rows = [(NEW, 0, 8, 0, -1), (NEW, 1, 16, 2, -1), (REFER, 1, SOFT, 0, 0), (GET, 1, 0, 0, -1)]
    trace = write(tmp_path / "t.parquet", events([*rows, (WRITE, 1, 0, 1, 0)]))
    assert trace.references == 1 and trace.events == 5
    with pytest.raises(HeapwrightError, match="event 4 has a field that its object does not have"):
        write(tmp_path / "u.parquet", events([*rows, (WRITE, 1, 0, 0, 0)]))


@pytest.mark.parametrize("columns", [("op", "slot"), ("op", "slot", "size", "field", "target")])
def test_a_graph_is_read(sound, columns):
    (batch,) = sound.batches(columns)
    for name in columns:
        np.testing.assert_array_equal(getattr(batch, name), getattr(events(SOUND), name))
    for first in range(len(SOUND)):
        (batch,) = sound.batches(columns, (first, len(SOUND)))
        assert len(batch.op) == len(SOUND) - first


def test_fields_and_targets_are_there_when_asked_for(tmp_path):
    trace = write(tmp_path / "t.parquet", events([(NEW, 0, 8, 0, -1), (PUSH, -1, 0, 0, -1)]))
    assert trace.columns == []
    (batch,) = trace.batches(("op", "slot", "field", "target"))
    assert batch.field.tolist() == [0, 0] and batch.target.tolist() == [-1, -1]
    (batch,) = trace.batches(("op", "slot"))
    assert len(batch.field) == len(batch.target) == 0


@pytest.mark.parametrize(("row", "instead", "sentence"), UNSOUND)
def test_what_is_unsound_is_neither_written_nor_read(tmp_path, sound, row, instead, sentence):
    rows = [*SOUND[:row], instead, *SOUND[row + 1 :]]
    with pytest.raises(HeapwrightError) as caught:
        write(tmp_path / "t.parquet", events(rows))
    assert str(caught.value) == f"cannot write {tmp_path / 't.parquet'}: event {row} has {sentence}"
    trace = forged(tmp_path / "f.parquet", rows, sound)
    with pytest.raises(HeapwrightError) as caught:
        list(trace.batches(tuple(schema.COLUMNS)))
    assert f"f.parquet is damaged: event {row} has {sentence}" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"peak_roots": 2}, "event 6 has more locals, frames or global roots than"),
        ({"peak_roots": 0}, "event 0 has more locals, frames or global roots than"),
        ({"graph_events": 0}, "event 0 has an operation of graph traces, after others"),
        ({"slots": 1}, "event 2 has a slot out of range"),
    ],
)
def test_facts_that_the_events_belie(tmp_path, sound, changes, sentence):
    trace = forged(tmp_path / "f.parquet", SOUND, sound, **changes)
    with pytest.raises(HeapwrightError, match=sentence):
        list(trace.batches())


@pytest.mark.parametrize(
    "changes", [{"peak_roots": 1 << 40}, {"graph_events": -1}, {"peak_roots": "3"}]
)
def test_facts_out_of_range(tmp_path, sound, changes):
    with pytest.raises(HeapwrightError, match=r"f\.parquet cannot be read as a trace"):
        forged(tmp_path / "f.parquet", SOUND, sound, **changes)


def test_a_malloc_trace_that_claims_to_be_a_graph(tmp_path, sound):
    trace = forged(tmp_path / "f.parquet", [(MALLOC, 0, 8, 0, -1)], sound, graph_events=1)
    with pytest.raises(HeapwrightError, match="event 0 has an operation of the malloc family"):
        list(trace.batches())


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"thread": [0, 1]}, "event 1 has a thread out of range"),
        ({"align": [4, 0]}, "event 0 has a align out of range"),
    ],
)
def test_a_graph_has_one_thread_and_no_alignment(tmp_path, more, sentence):
    with pytest.raises(HeapwrightError, match=sentence):
        write(tmp_path / "t.parquet", events(SOUND[:2], **more))


def naive_fault(rows):
    """Row of the first unsound event, with dicts and lists; -1 if there is none."""
    fields, frames, globals_ = {}, [[]], set()
    for row, (op, slot, size, field, target) in enumerate(rows):
        unknown = POP < op < STEER or op > TRACK or FREE < op < NEW
        if unknown or not 0 <= size < SIZE_LIMIT or slot < -1:
            return row
        if slot < 0 and op not in (PUSH, POP, STEER):
            return row
        if op in (PUSH, STEER) and slot != -1:
            return row
        if op == STEER:
            continue
        if op == NEW:
            if slot in fields or not 0 <= field <= size // 8 or not -1 <= target < KINDS:
                return row
            fields[slot] = field
            frames[-1].append(slot)
            continue
        if slot >= 0 and op != POP and slot not in fields:
            return row
        if op == FREE:
            if slot in globals_ or any(slot in frame for frame in frames):
                return row
            del fields[slot]
        elif op == WRITE:
            if not 0 <= field < fields[slot] or (target != -1 and target not in fields):
                return row
        elif op == TRACK:
            pass
        elif op == HOLD:
            frames[-1].append(slot)
        elif op in (ROOT, UNROOT):
            if (op == ROOT) == (slot in globals_):
                return row
            globals_ ^= {slot}
        elif op == PUSH:
            frames.append([])
        elif len(frames) == 1:
            return row
        else:
            frames.pop()
            if slot >= 0:
                if slot not in fields:
                    return row
                frames[-1].append(slot)
    return -1


ROW = st.tuples(
    st.sampled_from(
        [FREE, NEW, NEW, WRITE, WRITE, HOLD, ROOT, UNROOT, PUSH, POP, POP, MALLOC, STEER, TRACK]
    ),
    st.sampled_from([0, 0, 1, 1, 2, -1]),
    st.sampled_from([0, 8, 16, 16, 24]),
    st.sampled_from([0, 0, 0, 1, 2, -1]),
    st.sampled_from([-1, -1, 0, 1, 2]),
)


@settings(max_examples=400)
@given(rows=st.lists(ROW, max_size=12))
def test_the_writer_refuses_exactly_what_is_unsound(tmp_path_factory, rows):
    rows = [(PUSH, -1, 0, 0, -1), *(r if r[0] != PUSH else (PUSH, -1, *r[2:]) for r in rows)]
    folder, fault = tmp_path_factory.mktemp("sound"), naive_fault(rows)
    if any(target > max(r[1] for r in rows) for _, _, _, _, target in rows):
        return  # a slot that no event has: the range is what is wrong, wherever it stands
    if fault < 0:
        assert write(folder / "t.parquet", events(rows)).events == len(rows)
    else:
        with pytest.raises(HeapwrightError, match=rf"t\.parquet: event {fault} has "):
            write(folder / "t.parquet", events(rows))


def test_row_groups_do_not_change_what_is_sound(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "ROW_GROUP_EVENTS", 2)
    trace = write(tmp_path / "t.parquet", events(SOUND))
    assert [len(batch.op) for batch in trace.batches()] == [2] * 6
    with pytest.raises(HeapwrightError, match="event 9 has a free of an object that a local"):
        write(tmp_path / "t.parquet", events([*SOUND[:9], (FREE, 1, 0, 0, -1)]))


def test_many_forged_columns_are_a_sentence_or_sound(tmp_path, sound):
    """Any value anywhere, extreme ones too: refused, or sound to a naive reader."""
    draw, refused = random.Random(1), 0
    extremes = [0, 1, 2, 3, -1, -2, 7, 1 << 20, (1 << 31) - 1, -(1 << 31)]
    for _ in range(300):
        rows = [list(row) for row in SOUND]
        for _ in range(draw.choice([1, 1, 2, 3])):
            row, column = draw.choice(rows), draw.randrange(5)
            row[column] = draw.randrange(256) if column == 0 else draw.choice(extremes)
        try:
            batches = list(forged(tmp_path / "f.parquet", rows, sound).batches(schema.COLUMNS))
        except HeapwrightError as error:
            assert "f.parquet" in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert naive_fault(rows) == -1 and len(batches[0].op) == len(rows)
    assert refused > 200
