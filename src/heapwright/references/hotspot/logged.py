"""A twin of HotSpot beside the log of a JVM that ran: collections, what they left, pauses.

    trace ─► twin, of the log's heap ─┐
    gc.log, or the recording's own ───┴─► compared, collection counts and means

The log's run need not be the recorded one: it may be another of the same program, on a server say.
So nothing is compared event by event, and no equality is asked for: counts within TOLERANCE agree.

Omits      times: the twin's pauses are those of the replay, one thread of another machine
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.collectors.hotspot.history import CONCURRENT, FULL, rows
from heapwright.collectors.log import (
    ALLOCATED_BYTES,
    CYCLE_COLUMNS,
    CYCLE_KINDS,
    CYCLE_ROWS,
    CYCLES,
    HEAP_AFTER,
    HEAP_BEFORE,
    KIND,
)
from heapwright.errors import HeapwrightError
from heapwright.managers.registry import named
from heapwright.references.tally import difference
from heapwright.trace import gc_lines
from heapwright.trace.gc_log import GcLog, read
from heapwright.trace.importers.source import open_source
from heapwright.trace.java_options import knobs
from heapwright.trace.store import Trace
from heapwright.tunnel.collecting import collecting
from heapwright.tunnel.replay import Conditions, Replay
from heapwright.words import bytes_text, counted, duration_text, setting_text

WRITES = {"hotspot-serial": gc_lines.SERIAL, "hotspot-parallel": gc_lines.PARALLEL,
          "hotspot-g1": gc_lines.G1, "hotspot-cms": "cms"}  # fmt: skip
TOLERANCE = 0.05
_MINOR = CYCLE_KINDS.index("minor")


@dataclass
class LoggedAgreement:
    """A twin's collections beside a log's."""

    manager: str
    events: int
    settings: dict[str, int]
    log: GcLog
    young: tuple[int, int] = (0, 0)  # twin, real
    full: tuple[int, int] = (0, 0)
    before_young_bytes: tuple[int, int] = (0, 0)  # mean
    after_young_bytes: tuple[int, int] = (0, 0)  # mean
    allocated_bytes: tuple[int, int] = (0, 0)
    median_pause_ns: tuple[int, int] = (0, 0)
    longest_pause_ns: tuple[int, int] = (0, 0)
    told: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether the young collections are as many, within TOLERANCE."""
        twin, real = self.young
        return abs(twin - real) <= TOLERANCE * real

    @property
    def title(self) -> str:
        """What was compared."""
        return f"{self.manager} on {counted(self.events, 'event')}, beside {self.log.name}"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """What was compared, the twin's figure, the log's, and how far they agree."""
        counts = (("young collections", self.young), ("full collections", self.full))
        sizes = (
            ("heap before a young one, mean", self.before_young_bytes),
            ("heap after a young one, mean", self.after_young_bytes),
            ("allocated up to the last", self.allocated_bytes),
        )
        times = (
            ("median pause", self.median_pause_ns),
            ("longest pause", self.longest_pause_ns),
        )
        return [
            *((what, f"{t:,}", f"{r:,}", difference(t, r)) for what, (t, r) in counts),
            *((what, bytes_text(t), bytes_text(r), difference(t, r)) for what, (t, r) in sizes),
            *((what, duration_text(t), duration_text(r), "other clocks") for what, (t, r) in times),
        ]

    def sentences(self) -> list[str]:
        """What the figures are made from."""
        return [
            *self.told,
            "The twin's pauses are those of its replay, in one thread; the log's are the JVM's.",
            *self.log.notes(),
        ]

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""
        pairs = (
            *("young", "full", "before_young_bytes", "after_young_bytes"),
            *("allocated_bytes", "median_pause_ns", "longest_pause_ns"),
        )
        return {
            "manager": self.manager,
            "events": self.events,
            "settings": self.settings,
            "log": {key: value for key, value in self.log.summary().items() if key != "notes"},
            **{
                name: dict(zip(("twin", "real"), getattr(self, name), strict=True))
                for name in pairs
            },
            "notes": self.sentences(),
        }


def beside(
    name: str,
    trace: Trace,
    log: GcLog,
    settings: Mapping[str, int] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> LoggedAgreement:
    """Replay `trace` through the twin, in a heap of the log's size unless told otherwise, beside
    the log. HeapwrightError for a log of another collector, and a twin that has none."""
    _refuse_others(name, trace, log)
    known = named(name).module.Config._fields
    given = {**knobs(log.options, known), **(settings or {})}
    if log.most_bytes and "Xmx" not in given:
        given["Xmx"] = log.most_bytes
    twin = Replay(name, trace, given, Conditions("none"))
    twin.replay(trace, progress)
    # A young collection that was not safe to make, or that failed, has its line in the log too.
    kinds = rows(twin.heap.history)[:, 1]
    logged = twin.heap.log
    kept = min(int(logged.totals[CYCLES]), CYCLE_ROWS)
    cycles = logged.cycles[: kept * CYCLE_COLUMNS].reshape(kept, CYCLE_COLUMNS)
    minor = cycles[cycles[:, KIND] == _MINOR]
    real = log.of(gc_lines.YOUNG, gc_lines.MIXED)
    pauses = [each.pause_ns for each in log.collections if each.kind != gc_lines.CYCLE] or [0]
    ours = collecting(logged, twin.clock).pause_ns
    return LoggedAgreement(
        name,
        trace.events,
        given,
        log,
        young=(int((~np.isin(kinds, (FULL, CONCURRENT))).sum()), log.youngs),
        full=(int((kinds == FULL).sum()), log.fulls),
        before_young_bytes=(_mean(minor[:, HEAP_BEFORE]), _mean_of(real, "before_bytes")),
        after_young_bytes=(_mean(minor[:, HEAP_AFTER]), _mean_of(real, "after_bytes")),
        allocated_bytes=(_up_to_the_last(twin, cycles), log.allocated_bytes),
        median_pause_ns=(ours["median"], int(statistics.median(pauses))),
        longest_pause_ns=(ours["longest"], max(pauses)),
        told=tuple(_told(trace, log, given, settings or {}) + _recorded(twin, given)),
    )


def _up_to_the_last(twin: Replay, cycles: np.ndarray) -> int:
    """Bytes that the program had allocated when the last collection began, as near as the heap's
    growth between collections tells it: as in `GcLog.allocated_bytes`."""
    if not len(cycles):
        return int(twin.heap.log.totals[ALLOCATED_BYTES])
    grown = cycles[1:, HEAP_BEFORE] - cycles[:-1, HEAP_AFTER]
    return int(cycles[0, HEAP_BEFORE]) + int(np.maximum(grown, 0).sum())


def _refuse_others(name: str, trace: Trace, log: GcLog) -> None:
    wanted = WRITES.get(name)
    if not wanted:
        raise HeapwrightError(
            f"{name} is no twin of a JVM's collector: a log of collections is laid beside "
            f"{', '.join(WRITES)}"
        )
    if log.collector and log.collector != wanted:
        others = [each for each, writes in WRITES.items() if writes == log.collector]
        mend = f"; lay it beside {others[0]}" if others else "; no twin here has that collector"
        raise HeapwrightError(
            f"{log.name} is the log of another collector, {log.collector}, than {name} has{mend}"
        )
    if not trace.graph:
        raise HeapwrightError(
            f"{trace.path} knows no objects of a Java program: record them with `heapwright record "
            "--graph -- java ...`"
        )


def _told(
    trace: Trace, log: GcLog, given: Mapping[str, int], asked: Mapping[str, int]
) -> list[str]:
    said = []
    if not log.collector:
        said.append("The log does not name its collector: that it is the twin's is assumed.")
    of_the_log = {knob: value for knob, value in given.items() if knob not in asked}
    if of_the_log:
        told = ", ".join(f"{k}={setting_text(k, value)}" for k, value in of_the_log.items())
        said.append(f"The twin has the settings of the run that the log is of: {told}.")
    if "Xmx" in of_the_log:
        pass
    elif log.most_bytes and asked.get("Xmx") != log.most_bytes:
        said.append(f"The log's heap may grow to {bytes_text(log.most_bytes)}.")
    elif not log.most_bytes:
        said.append("The log does not say how large its heap may be: set Xmx as it was.")
    if not trace.java:
        said.append("The trace is of no Java program.")
    return said


def _recorded(twin: Replay, given: Mapping[str, int]) -> list[str]:
    """What neither the log told nor anybody: the run that was recorded had it."""
    left = [
        f"{knob}={setting_text(knob, value)}"
        for knob, value in twin.recorded.items()
        if knob not in (*given, "version")
    ]
    return [f"As recorded, as the log does not tell them: {', '.join(left)}."] if left else []


def _mean(values: np.ndarray) -> int:
    return int(values.mean()) if len(values) else 0


def _mean_of(pauses: list[gc_lines.Pause], name: str) -> int:
    return int(statistics.fmean(getattr(each, name) for each in pauses)) if pauses else 0


def log_of(path: Path) -> GcLog:
    """The log in a file, or the one that a recorded trace keeps of its own run; HeapwrightError
    where it keeps none."""
    with open_source(path) as source:
        is_trace = source.parquet is not None
    if not is_trace:
        return read(path)
    found = Trace.open(path).collections()
    if not found:
        raise HeapwrightError(
            f"{path} keeps no collections of a JVM: record a Java program with --graph, or give "
            "the log that java -Xlog:gc*:file=gc.log writes"
        )
    return found
