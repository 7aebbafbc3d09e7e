"""A JVM's log of its collections, as facts and a table: `trace.gc_log` reads it."""

from collections.abc import Mapping
from typing import Any

from heapwright.report.rows import BYTES, COUNT, DURATION, Column, Row, Sheet
from heapwright.report.traces import Fact
from heapwright.words import bytes_text, counted, duration_text, percent_text

COLLECTIONS = (
    Column("collections", "collec\u00adtions", COUNT),
    Column("before_bytes", "heap before", BYTES, "mean, where the log has it"),
    Column("after_bytes", "heap after", BYTES, "mean, where the log has it"),
    Column("pause_ns", "pauses in all", DURATION),
    Column("median_pause_ns", "median pause", DURATION),
    Column("longest_pause_ns", "longest pause", DURATION),
)


def log_facts(known: Mapping[str, Any]) -> list[Fact]:
    """What the log is of."""
    span = known["span_ns"]
    said = {
        "collector": known["collector"] or "not named",
        "Java": known["version"] or "not named",
        "heap": f"at most {bytes_text(known['most_bytes'])}"
        if known["most_bytes"]
        else "not named",
        "collections": counted(len(known["collections"]), "collection"),
    }
    if span:
        share = percent_text(min(1.0, known["pause_ns"] / span))
        said["time"] = f"{duration_text(span)} up to the last; stopped for {share} of it"
    if known["allocated_bytes"]:
        rate = f", {bytes_text(int(known['allocated_bytes'] * 1e9 / span))}/s" if span else ""
        said["allocated"] = f"{bytes_text(known['allocated_bytes'])} up to the last{rate}"
    return [Fact(*one) for one in said.items()]


def collections_sheet(known: Mapping[str, Any]) -> Sheet:
    """A row for each kind of collection."""
    rows = [Row(values, kind) for kind, values in known["kinds"].items()]
    return Sheet("collection", COLLECTIONS, rows)
