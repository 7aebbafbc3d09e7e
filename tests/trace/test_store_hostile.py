"""Trace files that are forged, cut or damaged: each is a sentence, and none does harm."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace import facts, layout, schema
from heapwright.trace.facts import VERSION
from heapwright.trace.store import Trace
from small_traces import SMALL, churn, write

UNSOUND = {
    "op": (3, 17, "event 3 has an unknown operation"),
    "slot": (6, 1, "event 7 has a free of an object that is not live"),
    "size": (0, -5, "event 0 has a size out of range"),
    "align": (4, 63, "event 4 has an alignment out of range"),
    "thread": (8, 2, "event 8 has a thread out of range"),
    "site": (1, -2, "event 1 has a site out of range"),
    "time_ns": (2, -1, "event 2 has a time_ns out of range"),
    "address": (5, -1, "event 5 has a address out of range"),
    "slack": (4, -2, "event 4 has a slack out of range"),
}


def forged(path: Path, rows: dict, known: facts.Facts, layout_=layout.SCHEMA, **changes) -> Path:
    """A Parquet file that claims to be a trace, made without the writer."""
    record = json.loads(facts.to_json(known)) | changes
    table = pa.table(
        {name: pa.array(rows[name], layout_.field(name).type) for name in layout_.names}
    )
    with pq.ParquetWriter(path, layout_) as out:
        out.write_table(table.cast(layout_))
        out.add_key_value_metadata({"heapwright": json.dumps(record), "heapwright.sites": "[]"})
    return path


@pytest.mark.parametrize("column", UNSOUND)
def test_reading_refuses_an_unsound_event(tmp_path, small, column):
    row, value, sentence = UNSOUND[column]
    columns = {name: getattr(SMALL, name).copy() for name in schema.COLUMNS}
    columns[column][row] = value
    trace = Trace.open(forged(tmp_path / "t.parquet", columns, small))
    with pytest.raises(HeapwrightError, match=sentence):
        list(trace.batches(tuple(schema.COLUMNS)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": VERSION + 1}, f"schema version {VERSION + 1}"),
        ({"version": "1"}, "no version"),
        ({"events": 10}, "do not hold the events"),
        ({"events": -1}, "'events' is missing or out of range"),
        ({"slots": 1 << 40}, "more slots, threads or roots than events"),
        ({"threads": 1 << 20}, "more slots, threads or roots than events"),
        ({"slots": 1.5}, "'slots' is missing"),
        ({"program": 3}, "'program' is missing"),
        ({"columns": ["nonsense"]}, "unknown kind or column"),
        ({"modules": {"a": 1}}, "'modules' is missing"),
        ({"origin": ["a"]}, "'origin' is missing"),
        ({"settings": {"a": "1"}}, "'settings' is missing"),
        ({"settings": {"a": 1 << 70}}, "'settings' is missing"),
        ({"inherited_events": -1}, "'inherited_events' is missing"),
        ({"stack_nodes": -1}, "'stack_nodes' is missing"),
        ({"notes": "a"}, "'notes' is missing"),
        ({"notes": [{"text": 1}]}, "'notes' is missing"),
        ({"notes": [{"text": "a", "count": "1"}]}, "'notes' is missing"),
        ({"notes": ["a"] * 1000}, "'notes' is missing"),
    ],
)
def test_forged_facts(tmp_path, small, change, sentence):
    path = forged(tmp_path / "t.parquet", SMALL._asdict(), small, **change)
    with pytest.raises(HeapwrightError, match=sentence):
        Trace.open(path)


def test_a_trace_of_version_1_is_read(tmp_path, small):
    path = forged(
        tmp_path / "t.parquet", SMALL._asdict(), small, layout.OLDER_SCHEMAS[-1], version=1
    )
    (batch,) = Trace.open(path).batches(tuple(schema.COLUMNS))
    np.testing.assert_array_equal(batch.address, SMALL.address)
    assert len(batch.field) == len(batch.target) == 0


def test_a_column_that_the_file_lacks(tmp_path, small):
    columns = ["align", "field"]
    path = forged(
        tmp_path / "t.parquet", SMALL._asdict(), small, layout.OLDER_SCHEMAS[-1], columns=columns
    )
    with pytest.raises(HeapwrightError, match="not those of a trace"):
        Trace.open(path)


def test_fewer_slots_than_the_events_use(tmp_path, small):
    trace = Trace.open(forged(tmp_path / "t.parquet", SMALL._asdict(), small, slots=1))
    with pytest.raises(HeapwrightError, match="event 1 has a slot out of range"):
        list(trace.batches())


def test_other_files(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(HeapwrightError, match="No such file"):
        Trace.open(path)
    with pytest.raises(HeapwrightError, match="not a file"):
        Trace.open(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(HeapwrightError, match="is empty"):
        Trace.open(path)
    path.write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(HeapwrightError, match="is not a trace"):
        Trace.open(path)
    pq.write_table(pa.table({"a": [1, 2]}), path)
    with pytest.raises(HeapwrightError, match="a Parquet file but not a trace"):
        Trace.open(path)
    path.write_bytes(b"PAR1" + bytes(50) + (1 << 30).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(HeapwrightError, match="footer is longer"):
        Trace.open(path)


def read_all(path: Path) -> int:
    trace = Trace.open(path)
    trace.sites()
    return sum(len(batch.op) for batch in trace.batches(tuple(schema.COLUMNS)))


def test_every_truncation_is_a_sentence(tmp_path, small):
    content = small.path.read_bytes()
    path = tmp_path / "cut.parquet"
    for length in range(0, len(content), 17):
        path.write_bytes(content[:length])
        with pytest.raises(HeapwrightError, match=r"cut\.parquet"):
            read_all(path)


def test_every_damaged_byte_is_a_sentence_or_harmless(tmp_path):
    """Data pages carry a checksum; in the footer some bytes mean nothing to the events."""
    whole = churn(3000)
    content = write(tmp_path / "good.parquet", whole).path.read_bytes()
    path = tmp_path / "bad.parquet"
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    caught = 0
    for at in range(0, len(content), 7):
        for flip in (0x01, 0x80):
            path.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
            try:
                sizes = np.concatenate(
                    [b.size for b in Trace.open(path).batches(("op", "slot", "size"))]
                )
            except HeapwrightError as error:
                assert "bad.parquet" in str(error) and "\n" not in str(error)
                caught += 1
            else:
                np.testing.assert_array_equal(sizes, whole.size)
    assert caught > footer // 7  # about two flips for every byte looked at before the footer
