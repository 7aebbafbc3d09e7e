"""Logs of a JVM's collections: every form, in any decorations, gives the figures it holds."""

import dataclasses
import gzip
import json
import re
from pathlib import Path

import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace import gc_log
from heapwright.trace.gc_lines import FULL, MIXED, OTHER, YOUNG
from heapwright.trace.gc_log import read, reading
from heapwright.trace.importers.source import in_memory
from heapwright.trace.importers.sums import is_gc_log, recognised
from heapwright.trace.schema import MALLOC, events
from heapwright.trace.store import Trace, TraceWriter

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"


def log_of(text):
    return reading(in_memory(text.encode()))


def of_corpus(name):
    return read(CORPUS / f"gc_log-{name}.log")


@pytest.mark.parametrize("path", sorted(CORPUS.glob("gc_log-*")), ids=lambda path: path.stem)
def test_a_log_is_known_by_its_head(path):
    assert is_gc_log(path)


def test_several_runs_in_one_log_are_summed_and_said():
    once = (CORPUS / "gc_log-serial.log").read_text()
    one, two = log_of(once), log_of(once + once)
    assert len(two.runs) == 2 and two.span_ns == 2 * one.span_ns > 0
    assert two.allocated_bytes == 2 * one.allocated_bytes
    assert any("2 runs of a JVM" in note for note in two.notes())
    assert not any("runs of a JVM" in note for note in one.notes())


def test_the_serial_collector_tells_bytes_by_generation():
    log = of_corpus("serial")
    young, full = log.collections[0], log.of(FULL)[0]
    assert (log.collector, log.version, log.most_bytes) == ("serial", "17.0.15", 16 << 20)
    assert young.before_bytes == 4416 << 10 and young.cause == "Allocation Failure"
    assert young.pause_ns > 0 and young.at_ns > 0 and full.after_bytes % 1024 == 0
    assert log.youngs == 2 and log.fulls == 1  # one was not safe and is a line of its own


def test_g1_tells_what_kind_of_pause_it_was():
    log = of_corpus("g1")
    assert log.collector == "g1" and [each.kind for each in log.collections] == [YOUNG, YOUNG]
    assert log.collections[0].cause == "G1 Evacuation Pause"


def test_z_has_its_heap_and_sizes_in_lines_of_its_own():
    log = log_of(
        "[0.010s][info][gc     ] Using The Z Garbage Collector\n"
        "[0.020s][info][gc,init] Max Capacity: 64M\n"
        "[1.440s][info][gc,heap] GC(0) Soft Max Capacity: 32M(50%)\n"
        "[1.440s][info][gc     ] GC(0) Garbage Collection (Warmup) 8M(12%)->6M(9%)\n"
    )
    assert (log.collector, log.most_bytes) == ("z", 64 << 20)
    assert [(each.before_bytes, each.after_bytes) for each in log.collections] == [
        (8 << 20, 6 << 20)
    ]


def test_the_parallel_collector_of_jdk_8():
    log = of_corpus("jdk8-parallel")
    assert (log.collector, log.version, log.most_bytes) == ("parallel", "8", 16 << 20)
    first, second, full = log.collections
    assert first[:6] == (252_000_000, YOUNG, "Allocation Failure", 4096 << 10, 1308 << 10,
                         15872 << 10)  # fmt: skip
    assert first.pause_ns == 4_112_000 and second.cause == "System.gc()"
    assert (full.kind, full.before_bytes, full.after_bytes) == (FULL, 11496 << 10, 2950 << 10)


def test_a_young_collection_of_jdk_8_that_became_a_full_one_is_full():
    log = of_corpus("jdk8-serial")
    assert log.collector == "serial"
    assert [each.kind for each in log.collections] == [YOUNG, FULL, FULL]
    assert log.collections[1].before_bytes == 15828 << 10


def test_g1_of_jdk_8_has_its_sizes_in_a_later_line():
    log = of_corpus("jdk8-g1")
    kinds = [each.kind for each in log.collections]
    assert kinds == [YOUNG, YOUNG, OTHER, OTHER, MIXED, FULL]
    assert log.collections[0].before_bytes == 10 << 20
    assert log.collections[0].after_bytes == int(3179.2 * 1024 + 0.5)
    assert log.collections[4].after_bytes == 5000 << 10
    assert log.collections[5].after_bytes == 5 << 20


DECORATIONS = {
    "": "",
    "[0.472s][info][gc          ] ": "472000000",
    "[2024-05-01T10:00:00.123+0000][0.472s][4711][info][gc] ": "472000000",
    "[1714557600123ms][472ms] ": "472000000",
    "[472000000ns] ": "472000000",
    "[host][pid][info ][gc] ": "",
}


@pytest.mark.parametrize("before", DECORATIONS)
def test_decorations_of_any_kind(before):
    lines = ["Using Serial", "GC(0) Pause Young (Allocation Failure) 6M->2M(23M) 11.734ms"]
    text = "".join(f"{before}{line}\n" for line in lines)
    (pause,) = log_of(text).collections
    assert pause.at_ns == int(DECORATIONS[before] or -1)
    assert (pause.before_bytes, pause.after_bytes, pause.pause_ns) == (6 << 20, 2 << 20, 11_734_000)
    assert recognised(text.encode()) is not None


def test_lines_without_uptime_are_told():
    notes = log_of("GC(0) Pause Full (System.gc()) 6M->2M(23M) 1.5ms\n").notes()
    assert any("no uptime" in note for note in notes)


def test_what_a_log_cannot_tell_is_said_with_it():
    assert "not which objects lived how long" in of_corpus("g1").notes()[0]


def test_allocated_is_what_the_heap_grew_by_between_collections():
    line = "GC({}) Pause Young (Allocation Failure) {}M->{}M(23M) 1.0ms\n"
    text = line.format(0, 6, 2) + line.format(1, 8, 3) + line.format(2, 9, 4)
    assert log_of(text).allocated_bytes == 18 << 20


def test_a_packed_log_is_read(tmp_path):
    path = tmp_path / "gc.log.gz"
    path.write_bytes(gzip.compress((CORPUS / "gc_log-g1.log").read_bytes()))
    assert read(path).youngs == 2 and is_gc_log(path)


@pytest.mark.parametrize("text", ["", "hello\n", "[0.1s][info][gc] Using Serial\n", "\0" * 5000])
def test_a_log_without_a_collection_is_a_sentence(text):
    with pytest.raises(HeapwrightError, match="tells of no collection of a JVM") as refused:
        log_of(text)
    assert "\n" not in str(refused.value)


def test_more_collections_than_are_kept_are_counted(monkeypatch):
    monkeypatch.setattr(gc_log, "COLLECTIONS", 3)
    line = "GC({}) Pause Young (Allocation Failure) 6M->2M(23M) 1.0ms\n"
    log = log_of("".join(map(line.format, range(10))))
    assert len(log.collections) == 3 and log.left_out == 7
    assert any(re.match("7 further collections", note) for note in log.notes())


def test_a_line_without_end_takes_no_memory_and_hides_none():
    text = "GC(" + "9" * (3 << 20) + "\nGC(0) Pause Young (x) 6M->2M(23M) 1.0ms\n"
    assert log_of(text).youngs == 1


def test_a_log_that_a_trace_keeps_is_the_same():
    log = of_corpus("jdk8-g1")
    again = gc_log.loaded(gc_log.stored(log), "a trace")
    assert again.collections == log.collections and again.collector == log.collector


@pytest.mark.parametrize(
    "change",
    [
        {"collections": 5},
        {"collections": [[1, 2]]},
        {"collections": [[-2, YOUNG, "", 0, 0, 0, 0]]},
        {"collections": [[0, "odd", "", 0, 0, 0, 0]]},
        {"collections": [[0, YOUNG, "", 0, 0, 0, 1 << 60]]},
        {"collector": 1},
        {"most_bytes": True},
        {"left_out": -1},
        {"options": None},
    ],
)
def test_a_damaged_log_of_a_trace_is_refused(change):
    record = json.loads(gc_log.stored(of_corpus("g1"))) | change
    with pytest.raises(ValueError, match=r"it has|its facts|a collection"):
        gc_log.loaded(json.dumps(record).encode(), "a trace")


def test_a_damaged_log_is_a_sentence_of_its_trace(tmp_path):
    path = tmp_path / "t.heap.parquet"
    with TraceWriter(path, program="t") as out:
        out.write(events(op=[MALLOC], slot=[0], size=[8]))
    trace = Trace.open(path)
    assert trace.collections() is None
    with pytest.raises(HeapwrightError, match="the collections of its JVM cannot be read"):
        dataclasses.replace(trace, _collections=b"{}").collections()
