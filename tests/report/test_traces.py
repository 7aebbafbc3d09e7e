"""What is said of a trace: every figure in its own place, in words and on the page."""

import pytest

from heapwright.report.figures import facts_list
from heapwright.report.rows import BAR, BAR_COLUMNS
from heapwright.report.traces import facts, power_text
from made_results import statistics

SAID = {
    "file": "t.heap.parquet, 2.93 KiB, 3.0 bytes an event",
    "kind": "recording",
    "events": "1,000: 501 malloc, 52 realloc, 447 free",
    "requested": "87.9 KiB in all",
    "peak live": "68.4 KiB (70,000 bytes)",
    "most objects": "81 at once",
    "never freed": "10.7 KiB in 54 objects",
    "half died after": "64 events",
    "reallocs": "52 of 41 objects, at most 7 of one; 22 grew, 19 shrank; "
    "7.81 KiB to copy if all moved",
    "threads": "5; 6 frees by another thread than the allocating one",
    "refused": "4 requests",
    "unmatched": "3 frees of objects allocated before the trace",
}
GRAPH = {
    "reference_fields": 61,
    "objects_without_fields": 62,
    "references_written": 63,
    "references_cleared": 64,
    "peak_roots": 65,
    "frames_entered": 66,
}


def test_every_fact_of_a_trace():
    assert dict(facts(statistics())) == SAID
    page = facts_list(statistics())
    for title, text in SAID.items():
        assert f"<dt>{title}</dt><dd>{text}</dd>" in page.replace("\u00a0", " ")


def test_facts_of_a_graph():
    said = dict(facts(statistics() | {"graph": GRAPH}))
    assert said["references"] == "61 fields, none in 62 objects; written 63 times, cleared 64 times"
    assert said["roots"] == "at most 65 locals, frames or globals; 66 frames entered"
    assert "threads" not in said


def test_where_and_how_a_trace_was_recorded():
    origin = {"libc": "2.36", "cores": "3", "command": "ls -l", "preload": "libm.so.6"}
    origin |= {"resident_bytes": "2097152", "page_faults": "77"}
    settings = {"arena_max": 2, "trim_threshold": -1}
    said = dict(facts(statistics() | {"origin": origin, "settings": settings}))
    assert said["command"] == "ls -l" and said["preloaded"] == "libm.so.6"
    assert said["recorded on"] == "glibc 2.36, 3 cores"
    assert said["the process itself"].startswith("at most 2.00 MiB resident, 77 page faults")
    assert said["malloc settings"] == "arena_max=2, trim_threshold=-1"


def test_what_never_happens_is_said_so():
    lasting = statistics()
    lasting["lifetimes"]["median_events_at_most"] = None
    said = dict(facts(lasting | {"reallocations": 0}))
    assert said["half died after"] == "more than half never do" and "reallocs" not in said


def test_an_empty_trace():
    said = dict(facts(statistics() | {"events": 0, "by_operation": {"malloc": 0}}))
    assert said["events"] == "0" and said["file"].endswith("3000.0 bytes an event")


def test_bars():
    assert BAR.text(0) == "" and BAR.text(1) == "█" * BAR_COLUMNS
    assert BAR.text(1e-6) == "▏"
    lengths = [len(BAR.text(part / 100)) for part in range(101)]
    assert lengths == sorted(lengths) and max(lengths) == BAR_COLUMNS


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 B"), (512, "512 B"), (1024, "1 KiB"), (1 << 27, "128 MiB"), (1 << 47, "128 TiB")],
)
def test_bounds_of_sizes(size, text):
    assert power_text(size) == text
