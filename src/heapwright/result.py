"""The one result type: what a replay or a measurement of a real system says. Knows no room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:  # a word such as "12 MiB" is written without waiting for NumPy
    import numpy as np
    import pandas
    import pyarrow

    from heapwright.sections import (
        CollectorSection,
        ResultSection,
        SpreadSection,
        UnderLimitSection,
    )

# Of every JSON document; it grows when a key changes its name or meaning.
# 2: results name their conditions, what they refused and held, and their change to the present.
SCHEMA_VERSION = 2

# The parts of resident memory, in the order they are stacked; they sum to it exactly.
PARTS = ("live", "rounding", "header", "cached", "partial", "retained", "garbage")

# Columns of Result.timeline.
TIMELINE = ("event", "mapped_bytes", "resident_bytes", *(f"{part}_bytes" for part in PARTS))

# Columns of Collecting.cycles; the kind is a number, from 0, of its `collections`.
CYCLE = (
    *("event", "kind", "begin_ns", "end_ns", "before_bytes", "after_bytes", "goal_bytes"),
    "survived_bytes",  # of what the collection looked at
)

# Columns of Generations.collections; the kind is a number, from 0, of its `kinds`. Bytes, and the
# threshold in collections.
GENERATION = (
    *("event", "kind", "eden_before", "survivors_before", "old_before"),
    *("eden", "survivors", "old", "promoted", "threshold"),
)

# Levels of a page or a group of pages in HeapMap.frames; above EMPTY_LEVEL the live share in steps.
UNMAPPED_LEVEL, ABSENT_LEVEL, EMPTY_LEVEL = range(3)  # absent: mapped, but not resident
LIVE_STEPS = 16


@dataclass
class Blocks:
    """Live objects at the peak, ascending by address; columns of one length."""

    address: np.ndarray  # int64[object]
    size: np.ndarray  # int64[object], bytes requested
    age: np.ndarray  # int64[object], events since it was allocated
    site: np.ndarray  # int32[object], row of the trace's site table; -1 unknown


@dataclass
class HeapMap:
    """A twin's address space at some moments, and page by page at its peak."""

    pages: np.ndarray  # int64[page], numbers of the pages mapped at any moment, ascending
    events: np.ndarray  # int64[frame]
    frames: np.ndarray  # uint8[frame, cell], levels
    pages_per_cell: int  # consecutive rows of `pages`
    peak_event: int
    state: np.ndarray  # uint8[page] at the peak: UNMAPPED_, ABSENT_ or EMPTY_LEVEL if resident
    live: np.ndarray  # int16[page] at the peak, bytes requested by live objects
    free: np.ndarray  # int16[page] at the peak, bytes that are partial or retained
    blocks: Blocks
    known_live: int  # blocks on pages with more live bytes are left out, unless they fill a page
    stranded: dict[str, Any] = field(default_factory=dict)  # see insight.stranded
    tops: list[dict[str, Any]] = field(default_factory=list)  # see insight.tops
    tops_event: int = -1  # the moment of them: the end where it is known, else the peak
    left_out_pages: int = 0  # long runs that are mapped and never resident


@dataclass
class Generations:
    """Of a heap with a young and an old generation, what each collection found and left."""

    kinds: tuple[str, ...]
    capacity: dict[str, int]  # bytes of eden, of a survivor space, of old, where they are fixed
    promoted_bytes: dict[str, int]  # total; median of young collections, most of any
    ages: list[int]  # bytes of survivors of age 1, 2, ..., as the last young collection counted
    threshold: int  # collections that an object survives before it is promoted, at the end
    counted: int  # collections; the rows below are some of them, evenly chosen, if there are many
    collections: np.ndarray  # int64[collection, len(GENERATION)]

    def to_json(self) -> dict[str, Any]:
        """The collections by column."""
        rows = {name: self.collections[:, n].tolist() for n, name in enumerate(GENERATION)}
        return vars(self) | {"collections": rows}


@dataclass
class Collecting:
    """What a collector did. Times are of the replay, in which the program takes none itself."""

    collections: dict[str, int]  # full, minor
    pauses: int
    pause_ns: dict[str, int]  # median, p90, p99, longest, total
    pause_histogram: list[int]  # pauses of less than 1, 2, 4, ... nanoseconds, each counted once
    utilisation: float  # share of the replay in which the program was not stopped
    minimum_utilisation: list[tuple[int, float]]  # window in nanoseconds, least share in any such
    totals: dict[str, int]  # work done: see collectors/log.py
    survival: dict[str, float]  # by kind of collection, share of the bytes looked at that survived
    goal_bytes: dict[str, int]  # heap goals: least, median, most; empty where none was set
    cycles: np.ndarray  # int64[cycle, len(CYCLE)], thinned if there are very many
    generations: Generations | None = None  # of a heap that tells of its own

    def to_json(self) -> CollectorSection:
        """All but the cycles one by one; `stopped_share` is what `utilisation` leaves of 1."""
        windows = [{"window_ns": w, "utilisation": u} for w, u in self.minimum_utilisation]
        told: CollectorSection = {
            "collections": self.collections,
            "pauses": self.pauses,
            "pause_ns": self.pause_ns,
            "utilisation": self.utilisation,
            "totals": self.totals,
            "survival": self.survival,
            "goal_bytes": self.goal_bytes,
            "stopped_share": 1 - self.utilisation,
            "minimum_utilisation": windows,
        }
        if self.generations:
            told["generations"] = self.generations.to_json()
        return told


@dataclass(frozen=True)
class Spread:
    """What time decides, which a replay has not: least and most of replays that differ in it."""

    replays: int  # that were compared, the result's own among them
    held_bytes: tuple[int, int]
    collections: tuple[int, int]

    def to_json(self) -> SpreadSection:
        """Each range as its least and most."""
        (held, most_held), (few, many) = self.held_bytes, self.collections
        return {
            "replays": self.replays,
            "held_bytes": {"least": held, "most": most_held},
            "collections": {"least": few, "most": many},
        }


@dataclass
class UnderLimit:
    """What became of a program under a memory limit: see tunnel/limited.py."""

    limit_bytes: int
    swap_bytes: int
    killed_event: int = -1  # at which it was killed; -1 it was not
    killed_seconds: float | None = None  # since the first event, where the trace has time
    held_bytes: int = 0  # then, or at the end: in memory, page tables too
    tables_bytes: int = 0  # of those
    most_swapped_bytes: int = 0
    swapped_out_bytes: int = 0
    swapped_in_bytes: int = 0
    major_faults: int = 0  # for pages that had been put out
    activated: int = 0  # of them, refaults so soon that memory nearly had room: the working set
    reclaims: int = 0  # times that the program had to free memory before it got some
    wait_seconds: float = 0.0  # for reads from swap

    @property
    def killed(self) -> bool:
        """Whether the program was killed."""
        return self.killed_event >= 0

    def to_json(self) -> UnderLimitSection:
        """All of it."""
        return cast("UnderLimitSection", {"killed": self.killed, **vars(self)})


@dataclass
class Footprint:
    """What one manager held on one trace, its bytes not told apart: see tunnel/footprint.py."""

    peak_resident_bytes: int  # within events too
    mean_resident_bytes: int
    end_resident_bytes: int
    page_faults: int
    seconds: float  # of the replay loop alone
    refused: int = 0
    recorded: dict[str, int] = field(default_factory=dict)  # knobs set as in the recording
    notes: list[str] = field(default_factory=list)
    trims: int = 0  # calls of malloc_trim that were added
    by_time: bool = False  # it goes by the clock, and the program's pauses were left out
    collections: int | None = None  # of what has a collector


@dataclass
class Result:
    """One manager on one trace. Of a measured system only live, rounding and the total are known:
    the rest of its resident bytes stands under `partial_bytes`, and a note says so, unless its twin
    beside it tells its parts (insight/told_apart.py)."""

    manager: str
    kind: Literal["twin", "measured"]
    events: int
    seconds: float  # of the replay loop alone, without loading
    peak: dict[str, int]  # resident_bytes and <part>_bytes at the event of the peak
    page_faults: int
    mapped_bytes_peak: int
    high_water_bytes: int = 0  # most resident bytes, within events too; 0 where it is not known
    settings: dict[str, int] = field(default_factory=dict)  # knobs that were set
    recorded: dict[str, int] = field(default_factory=dict)  # knobs set as in the recording
    paths: dict[str, int] = field(default_factory=dict)  # times each path was taken
    timeline: np.ndarray | None = None  # int64[sample, len(TIMELINE)]
    conditions: dict[str, str] = field(default_factory=dict)  # touch, huge_pages: as assumed
    runs_on: str = ""  # the manager that the recorded program ran on; "": the system's malloc
    refused: int = 0  # requests refused though the real system granted them; a note says so
    notes: list[str] = field(default_factory=list)  # assumptions and omissions, a sentence each
    heap_map: HeapMap | None = None  # when a picture of the heap was asked for
    collecting: Collecting | None = None  # of a manager with a collector
    # Of a manager over another, what each costs at the peak: by name, bytes by part. The upper
    # one's sum to the ground's "taken"; they and the ground's other parts to resident memory.
    storeys: dict[str, dict[str, int]] = field(default_factory=dict)
    spread: Spread | None = None  # where the outcome depends on time
    # What stays: as `peak`, after `end_event`, where the program has settled (trace/ending.py);
    # empty where it is not known
    end: dict[str, int] = field(default_factory=dict)
    end_event: int = -1
    exit_resident_bytes: int | None = None  # after the last event
    mean_resident_bytes: int | None = None  # over the recorded time, or events where it has none
    clock_ns: np.ndarray | None = None  # int64[sample] of the timeline, since the first event
    under_limit: UnderLimit | None = None  # where a memory limit was asked for

    @property
    def end_resident_bytes(self) -> int | None:
        """Resident bytes once the program has settled; None where that is not known."""
        return self.end.get("resident_bytes")

    @property
    def program_seconds(self) -> float | None:
        """What the recorded program took from its first event to its last, where it has time."""
        if self.clock_ns is None or not len(self.clock_ns):
            return None
        return float(self.clock_ns[-1]) / 1e9

    @property
    def events_per_second(self) -> float:
        """Rate of the replay loop."""
        return self.events / self.seconds if self.seconds > 0 else 0.0

    @property
    def held_bytes(self) -> int:
        """Most resident bytes, within events too: what a manager is ranked by unless time decides
        it (see `room_bytes`). A copying collector holds both copies only within the event of a
        collection, and the machine must have room."""
        return max(self.peak["resident_bytes"], self.high_water_bytes)

    @property
    def room_bytes(self) -> int:
        """What the machine must have room for: `held_bytes`, or the most where time decides."""
        return max(self.held_bytes, self.spread.held_bytes[1]) if self.spread else self.held_bytes

    @property
    def within_event_bytes(self) -> int:
        """How much of `held_bytes` it held only within one event: the parts leave it out."""
        return self.held_bytes - self.peak["resident_bytes"]

    @property
    def live_share(self) -> float:
        """Share of `held_bytes` that was live at the peak."""
        return self.peak["live_bytes"] / self.held_bytes if self.held_bytes else 0.0

    def to_arrow(self) -> pyarrow.Table:
        """The timeline: a row per sample, its event, bytes and nanoseconds (null if not known)."""
        from heapwright.frames import timeline_table

        return timeline_table(self)

    def to_pandas(self) -> pandas.DataFrame:
        """The same as a frame."""
        from heapwright.frames import in_pandas

        return in_pandas(self.to_arrow())

    def _repr_html_(self) -> str:
        from heapwright.cells import facts

        known = {"held_bytes": self.held_bytes}
        if self.spread:
            least, most = self.spread.held_bytes
            known |= {"as time decides, least bytes": least, "as time decides, most bytes": most}
        known |= {name: value for name, value in self.peak.items() if value}
        stays = {"mean": self.mean_resident_bytes, "end": self.end_resident_bytes}
        known |= {f"{name}_resident_bytes": size for name, size in stays.items() if size}
        known |= {"page faults": self.page_faults, "mapped bytes, peak": self.mapped_bytes_peak}
        return facts(f"{self.manager} ({self.kind}), at its peak", known, self.notes)

    def to_json(self) -> ResultSection:
        """The stable form that `--json` prints; the timeline is left to the HTML report."""
        told: ResultSection = {
            "manager": self.manager,
            "kind": self.kind,
            "settings": self.settings,
            "conditions": self.conditions,
            "refused": self.refused,
            "recorded_settings": self.recorded,
            "events": self.events,
            "seconds": self.seconds,
            "events_per_second": self.events_per_second,
            "held_bytes": self.held_bytes,
            "room_bytes": self.room_bytes,
            "live_share": self.live_share,
            "peak": self.peak,
            "within_event_bytes": self.within_event_bytes,
            "page_faults": self.page_faults,
            "mapped_bytes_peak": self.mapped_bytes_peak,
            "high_water_bytes": self.high_water_bytes,
            "peak_resident_bytes": self.held_bytes,
            "mean_resident_bytes": self.mean_resident_bytes,
            "end_resident_bytes": self.end_resident_bytes,
            "exit_resident_bytes": self.exit_resident_bytes,
            "end": self.end,
            "end_event": self.end_event,
            "program_seconds": self.program_seconds,
            "paths": self.paths,
            "notes": self.notes,
        }
        if self.collecting:
            told["collector"] = self.collecting.to_json()
        if self.storeys:
            told["storeys"] = self.storeys
        if self.spread:
            told["spread"] = self.spread.to_json()
        if self.under_limit:
            told["under_limit"] = self.under_limit.to_json()
        return told
