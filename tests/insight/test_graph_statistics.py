"""What is said of a graph trace, and which of the other commands' figures leave references out."""

import json

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.insight.lower_bound import blocks_of
from heapwright.insight.statistics import statistics
from heapwright.trace import exports, importers
from heapwright.trace.mutator import Mutator
from heapwright.trace.schema import COLUMNS
from heapwright.trace.store import Trace, TraceWriter


@pytest.fixture
def trace(tmp_path):
    """Two objects of 100 and 40 bytes that refer to each other, and one that refers to nothing."""
    path = tmp_path / "t.parquet"
    with TraceWriter(path, program="pair") as writer, Mutator(writer.write) as m:
        kept = m.root(m.new(100, 2))
        with m.frame():
            other, leaf = m.new(40, 1), m.new(8)
            m.write(kept, 0, other)
            m.write(other, 0, kept)
            m.write(kept, 1, leaf)
            m.write(kept, 0)
            m.hold(kept)
    return Trace.open(path)


def test_references_are_no_requests(trace):
    figures = statistics(trace)
    assert (figures["allocations"], figures["requested_bytes"]) == (3, 148)
    assert (figures["requests_refused"], figures["frees_by_another_thread"]) == (0, 0)
    assert figures["live_at_end"] == {"objects": 2, "bytes": 108}
    assert sum(row["count"] for row in figures["size_histogram"]) == 3
    assert figures["graph"] == {
        "reference_fields": 3,
        "objects_without_fields": 1,
        "references_written": 3,
        "references_cleared": 1,
        "frames_entered": 1,
        "global_roots_made": 1,
        "peak_roots": 4,
    }


def test_the_least_memory_is_that_of_the_objects(trace):
    blocks = blocks_of(trace)
    assert sorted(blocks.size.tolist()) == [8, 40, 100]
    assert np.sort(blocks.birth).tolist() == [0, 3, 4]


@pytest.mark.parametrize("to", ["csapp", "android"])
def test_formats_without_references_say_so(trace, tmp_path, to):
    with pytest.raises(HeapwrightError, match="is a graph trace, and --to"):
        exports.export(trace, to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tables_and_timelines_hold_a_graph(trace, tmp_path):
    exports.export(trace, "csv", tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert len(lines) == 1 + trace.events and '"field","target"' in lines[0]
    importers.import_file(tmp_path / "out.csv", tmp_path / "again.parquet")
    for again, batch in zip(
        Trace.open(tmp_path / "again.parquet").batches(COLUMNS), trace.batches(COLUMNS), strict=True
    ):
        for name in ("op", "slot", "size", "field", "target"):
            np.testing.assert_array_equal(getattr(again, name), getattr(batch, name), name)
    exports.export(trace, "perfetto", tmp_path / "out.json")
    counters = json.loads((tmp_path / "out.json").read_text())["traceEvents"]
    live = [row["args"] for row in counters if row["ph"] == "C"]
    assert live and max(max(values.values()) for values in live) == 148
