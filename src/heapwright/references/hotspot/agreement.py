"""HotSpot's twins beside a real JVM on the same graph trace: every collection.

    trace ─► JVM   a fresh process: its counters after each collection        ─┐
          ─► twin  replayed with what the JVM kept for itself as settings     ─┴─► compared

Equal      a collection: the event that caused it, its kind, bytes in old and in the survivors, the
           threshold and the whole age table
Given      bytes of the JVM's own in old, where the table lies there, full collections and promotion
           of its start: a replay cannot know them
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.collectors.hotspot.averages import LEAST_WEIGHT, sample
from heapwright.collectors.hotspot.history import (
    COLUMNS,
    CONCURRENT,
    FIRST_AGE,
    FULL,
    PAST_AGES,
    rows,
)
from heapwright.collectors.references import tell_times
from heapwright.errors import HeapwrightError
from heapwright.managers.registry import named
from heapwright.references.hotspot import cleared, driver, played, regions
from heapwright.references.hotspot.build import missing
from heapwright.references.hotspot.options import refuse_told
from heapwright.references.tally import Tally, difference
from heapwright.tunnel.replay import Conditions, Replay
from heapwright.tunnel.steered import as_recorded
from heapwright.versions import version_number, version_text
from heapwright.words import counted

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

WEIGHTS = {"hotspot-cms": 50}  # CMSExpAvgFactor
EVENT, KIND, EDEN, FROM, TO, OLD, THRESHOLD = range(len(COLUMNS))


@dataclass
class HotspotAgreement:
    """What a twin and the real JVM agree on."""

    manager: str
    events: int
    real_version: str
    settings: dict[str, int]
    collections: tuple[int, int] = (0, 0)  # twin, real
    moments: Tally = field(default_factory=Tally)  # events that collected
    kinds: Tally = field(default_factory=Tally)
    eden: Tally = field(default_factory=Tally)  # regions
    humongous: Tally = field(default_factory=Tally)  # regions
    old: Tally = field(default_factory=Tally)
    survivors: Tally = field(default_factory=Tally)
    thresholds: Tally = field(default_factory=Tally)
    ages: Tally = field(default_factory=Tally)
    whole: Tally = field(default_factory=Tally)  # equal in all of it
    sizes: Tally = field(default_factory=Tally)  # of spaces
    references: Tally = field(default_factory=Tally)  # events that cleared or finalised
    queues: Tally = field(default_factory=Tally)  # young collections that cleared: the order
    references_seen: tuple[tuple[str, int, int], ...] = ()  # how many of each kind: twin, real
    cycles: tuple[int, int] = (0, 0)  # concurrent ones of CMS: twin, real
    differs: str = ""  # where first, in a sentence
    kinds_seen: tuple[int, ...] = ()  # of the twin's collections

    @property
    def agrees(self) -> bool:
        """Whether every collection is equal in everything."""
        tallies = (self.whole, self.sizes, self.references, self.queues)
        return all(each.compared == each.equal for each in tallies) and (
            self.collections[0] == self.collections[1]
        )

    @property
    def title(self) -> str:
        """What was compared."""
        events = counted(self.events, "event")
        return f"{self.manager} on {events}, beside HotSpot {self.real_version}"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """What was compared, the twin's figure, the real one's, and how far they agree."""
        twin, real = self.collections
        if self.eden.compared:
            return [
                ("collections", f"{twin:,}", f"{real:,}", difference(twin, real)),
                self.moments.row("the event that caused it"),
                self.kinds.row("kinds"),
                self.eden.row("regions of eden before it"),
                self.survivors.row("regions of survivors"),
                self.humongous.row("humongous regions"),
                self.old.row("old regions"),
                self.thresholds.row("tenuring threshold"),
                self.ages.row("age table"),
                *self._references(),
            ]
        return [
            ("collections", f"{twin:,}", f"{real:,}", difference(twin, real)),
            *self._cycles(),
            self.moments.row("the event that caused it"),
            self.kinds.row("kinds"),
            self.old.row("bytes in old after it"),
            self.survivors.row("bytes of survivors"),
            self.thresholds.row("tenuring threshold"),
            self.ages.row("age table"),
            self.whole.row("all of these"),
            self.sizes.row("sizes of the spaces"),
            *self._references(),
        ]

    def _references(self) -> list[tuple[str, str, str, str]]:
        """What was cleared and finalised, where the trace declares any of it."""
        if not self.references_seen:
            return []
        names = {"finalised": "finalisers run", "soft": "soft references cleared"}
        return [
            *(
                (
                    names.get(kind, f"{kind} references cleared"),
                    f"{t:,}",
                    f"{r:,}",
                    difference(t, r),
                )
                for kind, t, r in self.references_seen
            ),
            self.references.row("which, at each collection"),
            self.queues.row("their order in the queue, at young ones"),
        ]

    def _cycles(self) -> list[tuple[str, str, str, str]]:
        """How many concurrent cycles began, where any did."""
        twin, real = self.cycles
        row = ("concurrent cycles", f"{twin:,}", f"{real:,}", difference(twin, real))
        return [row] if twin or real else []

    def sentences(self) -> list[str]:
        """What the figures are made from, and where they first differ."""
        told = [
            "The JVM runs without compilers (-Xint) and holds the trace's objects in one array. "
            "Its own objects in the old generation, and where that array lies, are settings of the "
            "twin."
        ]
        if self.references_seen:
            told.append(
                "What the JVM's clock of soft references showed after each collection is told to "
                "the twin; compared is what is cleared while the program has the reference object."
            )
        if self.cycles[1]:
            told.append(
                "Cycles ran beside the program and ended by the clock, so no two runs of the real "
                "one are alike: from the first on only the number of collections is to be read."
            )
        return told + ([self.differs] if self.differs else [])

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""
        tallies = (
            *("moments", "kinds", "eden", "humongous", "old", "survivors"),
            *("thresholds", "ages", "whole", "sizes", "references", "queues"),
        )
        return {
            "manager": self.manager,
            "events": self.events,
            "real_version": self.real_version,
            "settings": self.settings,
            "collections": dict(zip(("twin", "real"), self.collections, strict=True)),
            "cycles": dict(zip(("twin", "real"), self.cycles, strict=True)),
            **{name: vars(getattr(self, name)) for name in tallies},
            "differs": self.differs,
        }


def validate(
    name: str,
    trace: "Trace",
    settings: Mapping[str, int] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> HotspotAgreement:
    """Play `trace` in a real JVM of the twin's version and compare every collection. Where none is
    named and none of the twin's usual version is here, another version of it that is here."""
    given = {**as_recorded(named(name), trace), **(settings or {})}
    refuse_told(name, given)
    knobs = named(name).configured(given)._asdict()
    if "version" not in given and missing(_release(knobs["version"])):
        here = [
            each for each in named(name).versions if not missing(_release(version_number(each)))
        ]
        if here:
            given["version"] = knobs["version"] = version_number(here[-1])
    release = _release(knobs["version"])
    observed = driver.observe(name, trace, knobs, release)
    return compare(name, trace, given, observed, progress)


def _release(version: int) -> int:
    """17 of 17.0."""
    return int(version_text(version).split(".")[0])


def own(observed: driver.Observed) -> dict[str, int]:
    """The settings that stand for what the JVM kept for itself."""
    if len(observed.regions):
        return {
            "own_bytes": regions.own_bytes(observed),
            "own_end_bytes": regions.own_end(observed),
            "table_offset_bytes": max(0, observed.table - observed.old),
            "finalizers_offset_bytes": regions.finalizers(observed),
        }
    return {
        "own_bytes": observed.first(driver.OLD),
        "table_offset_bytes": observed.table - observed.old,
        "finalizers_offset_bytes": max(0, observed.finalizers - observed.old),
        "own_fulls": observed.first(driver.FULLS),
    }


def compare(
    name: str,
    trace: "Trace",
    settings: Mapping[str, int],
    observed: driver.Observed,
    progress: Callable[[int], None] | None = None,
) -> HotspotAgreement:
    """The twin, with what the JVM said of itself, beside what it said."""
    twin, stopped = replayed(name, trace, settings, observed, progress)
    found = HotspotAgreement(name, trace.events, observed.version, {**settings, **own(observed)})
    found.differs = stopped
    ours = rows(twin.heap.history)
    found.kinds_seen = tuple(np.unique(ours[:, KIND]).tolist())
    found.cycles = (int((ours[:, KIND] == CONCURRENT).sum()), observed.cycles)
    at = np.searchsorted(played.rows_of_events(trace), ours[:, EVENT])
    if trace.references:
        cleared.compare(found, twin.heap.references, trace, observed)
    if len(observed.regions):
        regions.compare(found, at, ours, observed)
    else:
        stopping = ours[:, KIND] != CONCURRENT
        at, ours = at[stopping], ours[stopping]
        _compare_sizes(found, twin, observed)
        _compare_rows(found, by_event(at, ours), observed)
        found.collections = (len(ours), int(_counts(observed).sum()))
    return found


def replayed(
    name: str,
    trace: "Trace",
    settings: Mapping[str, int],
    observed: driver.Observed,
    progress: Callable[[int], None] | None = None,
) -> tuple[Replay, str]:
    """The twin after the trace, and why it stopped if it did."""
    twin = Replay(name, trace, {**settings, **own(observed)}, Conditions("none"))
    if driver.PROMOTED[0] in observed.names:
        told = [observed.first(each) for each in (driver.YOUNGS, *driver.PROMOTED)]
        twin.heap.promoted[:] = np.array(told, np.float32)
    for promoted in observed.promoted:
        sample(twin.heap.promoted, promoted, WEIGHTS.get(name, LEAST_WEIGHT))
    if trace.references:
        tell_times(twin.heap.references, cleared.times(trace, observed.cleared))
    try:
        twin.replay(trace, progress)
    except HeapwrightError as error:
        return twin, f"The twin stopped: {error}"
    return twin, ""


def by_event(at: np.ndarray, ours: np.ndarray) -> dict[int, tuple[int, int, np.ndarray]]:
    """By played event: young and full collections, and what the last of them left."""
    found: dict[int, tuple[int, int, np.ndarray]] = {}
    for event, row in zip(at.tolist(), ours, strict=True):
        young, full, _ = found.get(event, (0, 0, row))
        is_full = row[KIND] == FULL
        found[event] = (young + (not is_full), full + bool(is_full), row)
    return found


def _counts(observed: driver.Observed) -> np.ndarray:
    """int64[row - 1, 2]: young and full collections of each event that collected."""
    pairs = [observed.column(driver.YOUNGS), observed.column(driver.FULLS)]
    return np.diff(np.stack(pairs, axis=1), axis=0)


def _compare_sizes(found: HotspotAgreement, twin: Replay, observed: driver.Observed) -> None:
    heap = twin.heap
    if not heap.java.base:
        return
    ours = [heap.eden_end - heap.eden, heap.survivor_bytes, heap.old_end - heap.old]
    spaces = ("0.space.0", "0.space.1", "1.space.0")
    real = [int(observed.column(f"{driver.P}{space}.capacity")[-1]) for space in spaces]
    found.sizes.add(np.array(ours) == np.array(real))
    if ours != real:
        found.differs = f"Spaces are {ours} bytes here and {real} there."


def _compare_rows(
    found: HotspotAgreement,
    told: dict[int, tuple[int, int, np.ndarray]],
    observed: driver.Observed,
) -> None:
    """Enter each real event that collected beside the twin's."""
    counts, events = _counts(observed), observed.rows[1:, 0]
    survivors = np.maximum(observed.column(driver.FROM), observed.column(driver.TO))[1:]
    old, thresholds = observed.column(driver.OLD)[1:], observed.column(driver.THRESHOLD)[1:]
    ages = np.stack([observed.column(name) for name in driver.AGES], axis=1)[1:]
    nothing = (0, 0, np.full(PAST_AGES, -1, np.int64))
    for number, event in enumerate(events.tolist()):
        young, full, row = told.get(event, nothing)
        equal = {
            "moments": event in told,
            "kinds": (young, full) == tuple(counts[number].tolist()),
            "old": int(row[OLD]) == int(old[number]),
            "survivors": max(row[FROM], row[TO]) == survivors[number],
            "thresholds": row[THRESHOLD] == thresholds[number],
            "ages": bool((row[FIRST_AGE:PAST_AGES] == ages[number]).all()),
        }
        for name, same in equal.items():
            getattr(found, name).add(np.array([same]))
        found.whole.add(np.array([all(equal.values())]))
        if not all(equal.values()) and not found.differs:
            wrong = ", ".join(name for name, same in equal.items() if not same)
            ours = [young, full, *row[EDEN:FIRST_AGE].tolist()]
            real = [*counts[number].tolist(), int(survivors[number]), int(old[number])]
            real.append(int(thresholds[number]))
            found.differs = (
                f"First different is collecting event {number + 1:,}, {event:,} of those played: "
                f"{wrong}; young, full, eden, from, to, old, threshold here {ours}; "
                f"young, full, survivors, old, threshold there {real}."
            )
