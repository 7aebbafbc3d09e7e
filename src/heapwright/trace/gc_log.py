"""A JVM's log of its collections, read as a measured timeline.

    java -Xlog:gc*:file=gc.log   (JDK 8: -Xloggc:gc.log -XX:+PrintGCDetails)   ─► GcLog

Bounded: COLLECTIONS are kept, the rest counted; a line is read to LINE_CHARACTERS.
Omits      what a log cannot tell: which objects there were, how long each lived, who refers to whom
"""

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heapwright.errors import HeapwrightError
from heapwright.trace import gc_lines
from heapwright.trace.gc_lines import CYCLE, FULL, KINDS, LINE_CHARACTERS, MIXED, YOUNG, Pause
from heapwright.trace.importers.source import Source, open_source
from heapwright.trace.java_options import numbers

COLLECTIONS = 200_000  # that are kept
KEPT_WITH_A_TRACE, KEPT_BYTES = 20_000, 1 << 22
PIECE_BYTES = 1 << 20
TELLING = (
    "GC",
    "Heap",
    "Capacity",
    "Using",
    "flags",
    "Version",
    " VM (",
)  # in every line that is read
CANNOT_TELL = (
    "A log has sums: how full the heap was and what a collection left, not which objects lived how "
    "long, so what another collector or size would do is not in it; `heapwright record --graph` "
    "has that."
)


@dataclass
class GcLog:
    """The collections of one run of a JVM, or of several that wrote one after the other."""

    name: str
    collector: str = ""  # as gc_lines has them; "" unknown
    version: str = ""
    most_bytes: int = 0  # -Xmx; 0 unknown
    collections: list[Pause] = field(default_factory=list)
    left_out: int = 0  # beyond COLLECTIONS
    options: str = ""  # of `java`, that say how large its heap is and how it is collected
    broken_off: bool = False

    def of(self, *kinds: str) -> list[Pause]:
        """The collections of these kinds, in order."""
        return [each for each in self.collections if each.kind in kinds]

    @property
    def youngs(self) -> int:
        """Young and mixed collections."""
        return len(self.of(YOUNG, MIXED))

    @property
    def fulls(self) -> int:
        """Full collections."""
        return len(self.of(FULL))

    @property
    def allocated_bytes(self) -> int:
        """By which the heap grew between collections; what a cycle frees meanwhile is not in it."""
        grown = 0
        for run in self.runs:
            before = 0
            for each in run:
                if each.kind in (YOUNG, MIXED, FULL):
                    grown += max(0, each.before_bytes - before)
                    before = each.after_bytes
        return grown

    @property
    def runs(self) -> list[list[Pause]]:
        """The collections of each run: a JVM's uptime goes back where another one began."""
        found: list[list[Pause]] = []
        last = -1
        for each in self.collections:
            if not found or -1 < each.at_ns < last * 9 // 10:  # lines change places within less
                found.append([])
            found[-1].append(each)
            last = each.at_ns
        return found

    @property
    def span_ns(self) -> int:
        """Up to the last collection, in all runs."""
        return sum(max(0, *(each.at_ns for each in run), 0) for run in self.runs)

    def notes(self) -> list[str]:
        """What must be known of it."""
        said = [CANNOT_TELL]
        if self.left_out:
            said.append(
                f"{self.left_out:,} further collections were counted and not kept: the figures are "
                f"of the first {len(self.collections):,}."
            )
        if (runs := len(self.runs)) > 1:
            said.append(
                f"It is of {runs:,} runs of a JVM, one after the other: collections, times and "
                "what was allocated are sums over them."
            )
        if any(each.at_ns < 0 for each in self.collections):
            said.append("Its lines have no uptime, so that nothing is told of rates.")
        if self.broken_off:
            said.append("Its packed file breaks off: what it held up to there was read.")
        return said

    def summary(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""
        pauses = [each.pause_ns for each in self.collections if each.kind != CYCLE]
        kinds = {
            kind: {
                "collections": len(of),
                "before_bytes": int(statistics.fmean(each.before_bytes for each in of)),
                "after_bytes": int(statistics.fmean(each.after_bytes for each in of)),
                "pause_ns": sum(each.pause_ns for each in of),
                "median_pause_ns": int(statistics.median(each.pause_ns for each in of)),
                "longest_pause_ns": max(each.pause_ns for each in of),
            }
            for kind in KINDS
            if (of := self.of(kind))
        }
        return {
            "log": self.name,
            "collector": self.collector,
            "version": self.version,
            "most_bytes": self.most_bytes,
            "kinds": kinds,
            "allocated_bytes": self.allocated_bytes,
            "pause_ns": sum(pauses),
            "span_ns": self.span_ns,
            "collections": [each._asdict() for each in self.collections],
            "notes": self.notes(),
        }


def read(path: Path, advance: Callable[[float], None] = lambda share: None) -> GcLog:
    """The collections of a log, plain or packed; HeapwrightError, in a sentence, where it has none.

    `advance` gets each further share of the file that was read.
    """
    with open_source(path) as source:
        return reading(source, advance)


def reading(source: Source, advance: Callable[[float], None] = lambda share: None) -> GcLog:
    """The collections in an open file."""
    log = GcLog(str(source.path))
    halves: dict[str, tuple[int, int]] = {}  # of generations, by the number of the collection
    pending: Pause | None = None  # of G1 in JDK 8, whose sizes stand in a later line
    for line in _lines(source, advance):
        if not any(word in line for word in TELLING):
            continue
        said, number = gc_lines.unified(line)
        said = said or gc_lines.older(line)
        log.collector = log.collector or gc_lines.collector_of(line)
        if isinstance(said, gc_lines.Fact):
            _enter_fact(log, said)
        elif isinstance(said, gc_lines.Half):
            before, after = halves.get(number, (0, 0))
            if len(halves) < 8:  # collections at a time: others are too many to be of one log
                halves[number] = before + said.before_bytes, after + said.after_bytes
        elif said:
            exact = halves.pop(number, None) if number else None
            _enter(
                log, said._replace(before_bytes=exact[0], after_bytes=exact[1]) if exact else said
            )
            halves.clear()
            pending = said if not said.heap_bytes else None
        elif pending and (heap := gc_lines.older_heap(line)) and log.collections:
            log.collections[-1] = log.collections[-1]._replace(
                before_bytes=heap[0], after_bytes=heap[1], heap_bytes=heap[2]
            )
            pending = None
    log.broken_off = source.broken_off
    if not log.collections:
        raise HeapwrightError(
            f"{source.path} tells of no collection of a JVM: write one with "
            "java -Xlog:gc*:file=gc.log, or with JDK 8 -Xloggc:gc.log -XX:+PrintGCDetails"
        )
    return log


def stored(log: GcLog) -> bytes:
    """The log as a trace's footer keeps it: the first KEPT_WITH_A_TRACE collections."""
    kept = log.collections[:KEPT_WITH_A_TRACE]
    left_out = log.left_out + len(log.collections) - len(kept)
    facts = {"collector": log.collector, "version": log.version, "most_bytes": log.most_bytes}
    rows = [list(each) for each in kept]
    record = facts | {"options": log.options, "left_out": left_out, "collections": rows}
    return json.dumps(record).encode()


def loaded(text: bytes, name: str) -> GcLog:
    """A stored log; a ValueError says what is wrong with it."""
    if len(text) > KEPT_BYTES:
        raise ValueError(f"it takes {len(text)} bytes, more than {KEPT_BYTES}")
    record = json.loads(text)
    if not isinstance(record, dict) or not isinstance(rows := record.get("collections"), list):
        raise ValueError("it has no collections")
    if not all(isinstance(record.get(each), str) for each in ("collector", "version", "options")):
        raise ValueError("its facts are no texts")
    if not all(_is_count(record.get(each)) for each in ("most_bytes", "left_out")):
        raise ValueError("its facts are no counts")
    if len(rows) > KEPT_WITH_A_TRACE or not all(map(_is_pause, rows)):
        raise ValueError("a collection is no row of a kind and counts")
    facts = {each: record[each] for each in ("collector", "version", "options", "most_bytes")}
    pauses = [Pause(*row) for row in rows]
    return GcLog(name, collections=pauses, left_out=record["left_out"], **facts)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= gc_lines.LARGEST


def _is_pause(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == len(Pause._fields)
        and (row[0] == -1 or _is_count(row[0]))
        and row[1] in KINDS
        and isinstance(row[2], str)
        and all(map(_is_count, row[3:]))
    )


def _enter(log: GcLog, pause: Pause) -> None:
    if len(log.collections) < COLLECTIONS:
        log.collections.append(pause)
    else:
        log.left_out += 1


def _enter_fact(log: GcLog, fact: gc_lines.Fact) -> None:
    if fact.name == "collector":
        log.collector = fact.value
    elif fact.name == "version":
        log.version = fact.value
    elif fact.name == "options":
        log.options = fact.value
        log.collector = gc_lines.chosen_by(fact.value) or log.collector
        log.most_bytes = numbers(fact.value).get("Xmx", log.most_bytes)
    else:
        log.most_bytes = int(fact.value)


def _lines(source: Source, advance: Callable[[float], None]) -> Iterator[str]:
    """The lines, cut to what is read of one."""
    rest, shown, skipping = b"", 0.0, False
    while piece := source.read(PIECE_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        if skipping and lines:
            lines.pop(0)
            skipping = False
        yield from (_text(line) for line in lines)
        if len(rest) > LINE_CHARACTERS and not skipping:
            yield _text(rest)
            skipping = True
        rest = b"" if skipping else rest
        advance(source.share - shown)
        shown = source.share
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    return line[:LINE_CHARACTERS].decode("utf-8", "replace").rstrip("\r")
