"""A trace played in a real JVM: its counters after each collection, and what it kept for itself.

trace ─► events.bin ─► java Drive ─► rows.bin + log ─► Observed
"""

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.references.bounded import bounded
from heapwright.references.hotspot import build, played
from heapwright.references.hotspot.options import flags

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

MODERN = 24  # release from which a full collection counts as one that promoted
WARM = 8  # full collections before the first event: what the JVM made while starting is settled
NEVER = 100  # percent of old: no cycle begins at that
TRIES = 5  # of a run beside which no cycle is to begin
P, POLICY = "sun.gc.generation.", "sun.gc.policy."
AGES = tuple(f"{P}0.agetable.bytes.{age:02d}" for age in range(1, 16))
YOUNGS, FULLS = "sun.gc.collector.0.invocations", "sun.gc.collector.1.invocations"
EDEN, FROM, TO, OLD = (
    f"{P}{space}.used" for space in ("0.space.0", "0.space.1", "0.space.2", "1.space.0")
)
THRESHOLD = f"{POLICY}tenuringThreshold"
PROMOTED = tuple(f"{POLICY}avgPromoted{part}" for part in ("Avg", "Dev", "PaddedAvg"))
REGIONS = tuple(  # before and after a pause
    f"{kind}_{when}"
    for kind in ("eden", "survivors", "old", "humongous", "archive")
    for when in ("before", "after")
)
COUNTERS = (
    *(f"sun.gc.collector.{number}.invocations" for number in range(3)),
    *(EDEN, FROM, TO, OLD),
    *(f"{P}{space}.capacity" for space in ("0.space.0", "0.space.1", "0.space.2", "1.space.0")),
    THRESHOLD,
    *PROMOTED,
    *AGES,
)


CLEARED = ("event", "kind", "slot", "held")  # kind -1: its finaliser ran; event: of those played
FINALISED, CLOCK = -1, -2  # kinds; of the second the slot is a time, ms


def nothing_cleared() -> np.ndarray:
    """Of a trace that declares no references."""
    return np.zeros((0, len(CLEARED)), np.int64)


@dataclass(frozen=True)
class Observed:
    """What the JVM said; rows int64[1 + collections' events, 1 + names], row 0 before the first."""

    version: str
    names: tuple[str, ...]
    rows: np.ndarray
    table: int  # address of the table's block
    old: int  # address where the old generation begins, or a heap of regions; 0 unknown
    promoted: tuple[int, ...]  # bytes: by each collection before the first event that is averaged
    regions: np.ndarray  # int64[collection, len(REGIONS)]  of a heap of regions, as the log has it

    region_bytes: int = 0  # of a heap of regions
    finalizers: int = 0  # address of the list of Finalizers, where the trace declares references
    cycles: int = 0  # concurrent ones of CMS that began while the events were played
    cleared: np.ndarray = field(default_factory=nothing_cleared)  # int64[row, len(CLEARED)]

    def column(self, name: str) -> np.ndarray:
        """int64[row]: a counter; 0 of one that this JVM has not."""
        if name not in self.names:
            return np.zeros(len(self.rows), np.int64)
        return self.rows[:, 1 + self.names.index(name)]

    def first(self, name: str) -> int:
        """A counter before the first event."""
        return int(self.column(name)[0])


def observe(name: str, trace: "Trace", settings: Mapping[str, int], release: int) -> Observed:
    """Play the trace; `settings` are all knobs of the twin. HeapwrightError where the JVM ends
    before it has said anything."""
    if not trace.graph:
        raise HeapwrightError(
            f"{trace.path} knows no references between objects; the real HotSpot is driven with a "
            "graph trace: heapwright synthesise gcbench, or record --graph."
        )
    jvm, classes = build.jvm(release), build.driver()
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder)
        count = played.write(trace, settings, beside / "events.bin", beside / "clocks.bin")
        (beside / "counters.txt").write_text("\n".join(COUNTERS) + "\n")
        rows = beside / "rows.bin"
        quiet = settings.get("CMSInitiatingOccupancyFraction") == NEVER
        command = [
            str(jvm.command),
            *flags(name, settings, release, str(beside / "gc.log"), clocked=trace.references > 0),
            *("-cp", str(classes), "Drive", str(beside / "events.bin"), str(rows)),
            *(str(beside / "counters.txt"), str(trace.slots), str(WARM)),
            *([str(beside / "clocks.bin")] if trace.references else []),
        ]
        for _ in range(TRIES):
            ran = bounded(command, "the real HotSpot", before=_on_one_processor if quiet else None)
            log = (beside / "gc.log").read_text() if rows.exists() else ""
            if not quiet or not _cycles(log):
                break
        if ran.returncode or not rows.exists():
            lines = (ran.stdout + ran.stderr).strip().splitlines()
            said = next(iter(lines), f"status {ran.returncode}")
            raise HeapwrightError(f"the real HotSpot did not play {count:,} events: {said}")
        names = tuple(Path(f"{rows}.names").read_text().split())
        table, _, finalizers = map(int, Path(f"{rows}.table").read_text().split())
        found = np.fromfile(rows, np.int64).reshape(-1, 1 + len(names))
        cleared = nothing_cleared()
        if trace.references:
            cleared = np.fromfile(f"{rows}.references", np.int64).reshape(-1, len(CLEARED))
    started = int(sum(found[0, 1 + names.index(each)] for each in (YOUNGS, FULLS)))
    promoted = tuple(promotions(log, started, release))
    regions, region_bytes = _regions(log)
    return Observed(
        jvm.version,
        names,
        found,
        table,
        _old(log),
        promoted,
        regions,
        region_bytes,
        finalizers,
        _cycles(log),
        cleared,
    )


def _on_one_processor() -> None:
    """Where old is nearly full, CMS's thread begins a cycle whatever the options: on one processor
    it looks just after a collection, when that is hardly ever so."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _old(log: str) -> int:
    """Where the old generation begins, as the log has it."""
    spaces = "(?:the|object) +space|garbage-first heap|concurrent mark-sweep generation"
    found = re.search(rf"(?:{spaces}) .*?\[(0x[0-9a-f]+)", log)
    return int(found[1], 16) if found else 0


def regions_of(log: str) -> np.ndarray:
    """What each pause says of its regions, in order; no row where the heap has none."""
    pauses = re.split(r"(?=Eden regions: )", log)[1:]
    rows = []
    for pause in pauses:
        counts = [
            re.search(rf"{kind} regions: (\d+)->(\d+)", pause)
            for kind in ("Eden", "Survivor", "Old", "Humongous", "Archive")
        ]
        rows.append([int(each[number]) if each else 0 for each in counts for number in (1, 2)])
    return np.array(rows, np.int64).reshape(-1, len(REGIONS))


def _regions(log: str) -> tuple[np.ndarray, int]:
    """`regions_of`, and how large a region is."""
    found = re.search(r"Heap Region Size: (\d+)M", log)
    return regions_of(log), int(found[1]) << 20 if found else 0


def _cycles(log: str) -> int:
    """Concurrent cycles of CMS."""
    return len(re.findall(r"Pause Initial Mark.*ms$", log, re.MULTILINE))


def promotions(log: str, count: int, release: int) -> list[int]:
    """What each of the JVM's first `count` collections promoted, of those that are averaged: young
    ones, and from release 24 on full ones too. The log has old's top before and after each."""
    found = []
    for part in re.split(r"(?=Pause (?:Young|Full) \(.*\)\n)", log)[1 : count + 1]:
        tops = [int(top, 16) for top in re.findall(r"the +space .*?\[0x\w+, (0x\w+)", part)]
        if len(tops) > 1 and (part.startswith("Pause Young") or release >= MODERN):
            found.append(max(0, tops[1] - tops[0]))
    return found
