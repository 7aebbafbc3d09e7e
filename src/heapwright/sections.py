"""The sections of a comparison's JSON document: their keys, types and meanings.

    ComparisonDocument      what `compare --json` prints of one trace
      ├─ TraceSection       what was recorded
      ├─ ComparedSection    a row: `ResultSection`, as of `replay --json`, and where it stands
      ├─ VerdictSection     what follows
      └─ SpaceTimeSection   collectors at several heap sizes
    Comparisons             of several traces side by side

A terminal's table and the page's are columns over the same rows (`report/rows.py`). A key's name
and meaning hold for one `SCHEMA_VERSION`; docs/reference/json.md is made from here.
"""

from typing import Annotated, Any, Literal, NotRequired, TypedDict


class Least(TypedDict):
    """A range."""

    least: int
    most: int


class SpreadSection(TypedDict):
    """What time decides, which a replay has not: over replays that differ in nothing else."""

    replays: Annotated[int, "how many were compared, the row's own among them"]
    held_bytes: Annotated[Least, "`held_bytes` of the row, least and most"]
    collections: Annotated[Least, "collections, least and most"]


class CollectorSection(TypedDict):
    """What a collector did. Times are of the replay, in which the program takes none itself."""

    collections: Annotated[dict[str, int], "how many, by kind"]
    pauses: Annotated[int, "times the program was stopped"]
    pause_ns: Annotated[dict[str, int], "nanoseconds: median, p90, p99, longest, total"]
    stopped_share: Annotated[float, "share of the replay in which the program was stopped"]
    utilisation: Annotated[float, "the rest of 1"]
    minimum_utilisation: Annotated[list[dict[str, Any]], "least in any window of `window_ns`"]
    totals: Annotated[dict[str, int], "objects and bytes marked, copied, promoted, swept, ..."]
    survival: Annotated[dict[str, float], "by kind, share of the bytes looked at that lived"]
    goal_bytes: Annotated[dict[str, int], "heap goals: least, median, most; empty where none"]
    generations: NotRequired[
        Annotated[dict[str, Any], "of young and old: each collection, by column"]
    ]


class UnderLimitSection(TypedDict):
    """What became of the program under a memory limit."""

    limit_bytes: int
    swap_bytes: int
    killed: bool
    killed_event: Annotated[int, "at which it was killed; -1: it was not"]
    killed_seconds: Annotated[float | None, "since the first event, where the trace has time"]
    held_bytes: Annotated[int, "then, or at the end: in memory, page tables too"]
    tables_bytes: Annotated[int, "of those, page tables"]
    most_swapped_bytes: int
    swapped_out_bytes: int
    swapped_in_bytes: int
    major_faults: Annotated[int, "for pages that had been put out"]
    activated: Annotated[int, "of them, refaults so soon that memory nearly had room"]
    reclaims: Annotated[int, "times that the program had to free memory before it got some"]
    wait_seconds: Annotated[float, "for reads from swap"]


class ResultSection(TypedDict):
    """One manager on one trace. The parts of `peak` sum to its `resident_bytes` exactly; of a
    measured system the rest beyond live and rounding stands under `partial_bytes`."""

    manager: str
    kind: Annotated[Literal["twin", "measured"], "a replay, or the real system in a process"]
    settings: Annotated[dict[str, int], "knobs that were set"]
    recorded_settings: Annotated[dict[str, int], "knobs set as in the recording"]
    conditions: Annotated[dict[str, str], "`touch` and `huge_pages`, as assumed"]
    refused: Annotated[int, "requests refused that the real system granted: such a row is unranked"]
    events: int
    seconds: Annotated[float, "of the replay loop alone"]
    events_per_second: float
    held_bytes: Annotated[int, "most resident, within events too: the peak of the tables"]
    room_bytes: Annotated[int, "what a row is ranked by: `held_bytes`, or its most as time decides"]
    live_share: Annotated[float, "share of `held_bytes` that was live at the peak"]
    peak: Annotated[dict[str, int], "`resident_bytes` and each part of it, after the peak's event"]
    within_event_bytes: Annotated[int, "of `held_bytes` what was held only within one event"]
    page_faults: Annotated[int, "of 4 KiB each"]
    mapped_bytes_peak: Annotated[int, "most address space mapped"]
    high_water_bytes: Annotated[int, "as `held_bytes`; 0 where it is not known"]
    peak_resident_bytes: Annotated[int, "`held_bytes`, under the name that sweeps have"]
    mean_resident_bytes: Annotated[int | None, "over the recorded time, or events without one"]
    end_resident_bytes: Annotated[int | None, "once the program has settled"]
    exit_resident_bytes: Annotated[int | None, "after the last event"]
    end: Annotated[dict[str, int], "as `peak`, once the program has settled; empty if not known"]
    end_event: Annotated[int, "of that moment; -1: not known"]
    program_seconds: Annotated[float | None, "what the recorded program took"]
    paths: Annotated[dict[str, int], "times each path of the manager was taken"]
    notes: Annotated[list[str], "what was not seen, guessed or assumed, a sentence each"]
    collector: NotRequired[Annotated[CollectorSection, "of a manager with a collector"]]
    storeys: NotRequired[Annotated[dict[str, dict[str, int]], "of a manager over another: each's"]]
    spread: NotRequired[Annotated[SpreadSection, "where the outcome depends on time"]]
    under_limit: NotRequired[Annotated[UnderLimitSection, "where a memory limit was asked for"]]


class ComparedSection(ResultSection):
    """A row of a comparison: what stands in `ResultSection`, and where the row stands."""

    present: Annotated[bool, "whether the program runs on this now"]
    change_to_present: Annotated[float | None, "of `room_bytes`, as a share; null if not known"]
    distance_to_optimum: NotRequired[
        Annotated[float | None, "times the least that any manager needs which moves nothing"]
    ]
    stranded: NotRequired[
        Annotated[dict[str, Any], "call sites whose blocks keep pages, where the heap was mapped"]
    ]
    tops: NotRequired[Annotated[dict[str, Any], "blocks that keep the top of a heap from going"]]


class TraceSection(TypedDict):
    """What was recorded: the facts of `heapwright info` that need no pass over the events."""

    path: str
    program: str
    kind: str
    notes: Annotated[list[str], "what the recording did not see"]
    origin: Annotated[dict[str, str], "of a recording: system, malloc, Python, ..."]
    settings: Annotated[dict[str, int], "what the program's environment set of its malloc"]
    inherited_events: Annotated[int, "a child's, that its parent did before the fork"]
    size_bytes_on_disk: int
    events: int
    allocations: int
    reallocations: int
    frees: int
    unmatched_frees: int
    threads: int
    has_addresses: Annotated[bool, "whether the real addresses are known"]
    peak_live_bytes: int
    peak_live_objects: int
    process: Annotated[dict[str, Any], "of a recording: what the process had in memory"]


class VerdictSection(TypedDict):
    """What follows, in words."""

    winner: str | None
    present: Annotated[str | None, "what the program runs on now"]
    headline: str
    reasons: list[str]


class SpaceTimeRow(TypedDict):
    """A collector at one heap size."""

    collector: str
    heap: Annotated[float, "over the most bytes ever live"]
    fits: Annotated[bool, "whether the program got through; the rest is there if so"]
    heap_bytes: NotRequired[int]
    high_water_bytes: NotRequired[int]
    seconds: NotRequired[float]
    space: NotRequired[Annotated[float | None, "most resident over the baseline's"]]
    time: NotRequired[Annotated[float | None, "of the replay over the baseline's"]]
    collections: NotRequired[int]
    traced: NotRequired[Annotated[float, "bytes marked and copied over bytes allocated"]]


class SpaceTimeSection(TypedDict):
    """Collectors at several heap sizes: time against space."""

    baseline: Annotated[str | None, "explicit freeing, by this manager"]
    rows: list[SpaceTimeRow]


class ComparisonDocument(TypedDict):
    """What is known of one trace and its results."""

    schema_version: int
    trace: TraceSection
    results: list[ComparedSection]
    verdict: VerdictSection
    failures: Annotated[list[str], "a sentence for each row that is missing"]
    space_time: NotRequired[Annotated[SpaceTimeSection, "of the points of a curve"]]


class Comparisons(TypedDict):
    """Several traces side by side."""

    schema_version: int
    comparisons: list[ComparisonDocument]
