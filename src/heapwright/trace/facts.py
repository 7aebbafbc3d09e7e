"""What is known of a trace as a whole; kept as JSON in the Parquet footer, beside the columns."""

import json
from dataclasses import dataclass, field, fields
from typing import Any

from heapwright.trace import notes as sentences
from heapwright.trace.schema import COLUMNS

# Of the schema and of this record; a reader refuses a later one. 1: no graphs. 2: no MALLOPT, TRIM
# and SBRK, notes without kind and count, no origin and settings. 3: no stacks, no domains. 4: no
# kinds of objects, no STEER and TRACK. 5: no REFER and GET.
VERSION = 6
SINCE: dict[str, tuple[int, Any]] = {  # of later facts: the version, and what an older trace has
    "graph_events": (2, 0),
    "peak_roots": (2, 0),
    "inherited_events": (3, 0),
    "origin": (3, {}),
    "settings": (3, {}),
    "stack_nodes": (4, 0),
    "touches": (4, 0),
    "peak_written_bytes": (4, 0),
    "python": (4, ""),
    "arenas": (4, 0),
    "references": (6, 0),
}
KINDS = ("recording", "imported", "synthetic")
FACTS_BYTES = 1 << 20  # the longest record that is read
COUNT_LIMIT = 1 << 53  # no count and no address is larger
NUMBERS_SPARE = 1 << 12  # slots and threads that may be numbered and then not appear
# Columns that may be constant, and the value that means unknown or nothing.
OPTIONAL = {"align": 0, "thread": 0, "site": -1, "time_ns": 0, "address": 0, "slack": -1}
OPTIONAL |= {"field": 0, "target": -1, "domain": 0}


@dataclass(kw_only=True)
class Facts:
    """Counts and origin of a trace. Sizes are the bytes requested, not what an allocator took."""

    program: str
    kind: str = "recording"  # one of KINDS
    heap_start: int = 0  # address of the break before the first allocation; 0 unknown
    notes: list[str] = field(default_factory=list)  # assumptions and losses: see notes.Note
    # Where it was recorded, what is known of: libc, kernel, machine, host, cores, page_bytes, date
    # (UTC, ISO 8601), command, preload, python or java and vm (of an object graph), aside
    # (mallocs that were preloaded and set aside); and what the whole process took, its code, stacks
    # and the recorder included: resident_bytes (at most), page_faults, both also start_..., before
    # the first request
    origin: dict[str, str] = field(default_factory=dict)
    # What the environment told malloc at the start, under the names of the glibc twin's knobs
    settings: dict[str, int] = field(default_factory=dict)
    inherited_events: int = 0  # that a forked child has from its parent: the first ones
    modules: dict[str, str] = field(default_factory=dict)  # build-id of each file named by a site
    events: int = 0
    slots: int = 0  # most objects alive at once, as slots are reused
    threads: int = 0
    columns: list[str] = field(default_factory=list)  # those of OPTIONAL that are not constant
    allocations: int = 0  # malloc, calloc and memalign that were granted
    reallocations: int = 0
    frees: int = 0
    refused: int = 0  # requests the real system turned down
    unmatched_frees: int = 0  # frees of objects that were never seen allocated; they are no events
    peak_live_bytes: int = 0
    peak_live_objects: int = 0
    graph_events: int = 0  # events that only a graph trace has
    peak_written_bytes: int = 0  # as peak_live_bytes, but of large blocks what was written
    touches: int = 0  # events that tell what was written of large blocks
    peak_roots: int = 0  # most locals and global roots at once
    stack_nodes: int = 0  # of the tree of call stacks; 0: a site is a place alone
    python: str = ""  # version of the Python whose requests are told by domain; else empty
    references: int = 0  # objects declared by REFER: reference objects and finalisable ones
    arenas: int = 0  # made and given back by that Python's own allocator: see arenas.py

    @property
    def libc(self) -> str:
        """Version of the glibc that the program ran on, as 2.36; "" where it is not known."""
        return self.origin.get("libc", "")

    @property
    def java(self) -> str:
        """Version of the JVM whose objects it has, as 17.0.15; "" where it is of none."""
        return self.origin.get("java", "")

    @property
    def on_device(self) -> bool:
        """Whether it is of a device's memory, which no malloc serves."""
        return bool(self.origin.get("device"))

    @property
    def graph(self) -> bool:
        """Whether this is a graph trace, for collectors."""
        return self.graph_events > 0

    @property
    def written_known(self) -> bool:
        """Whether it is told what the program wrote of its large blocks."""
        return self.touches > 0

    @property
    def aligned(self) -> bool:
        """Whether any event asks for an alignment."""
        return "align" in self.columns

    @property
    def has_addresses(self) -> bool:
        """Whether the addresses that the real allocator returned are known."""
        return "address" in self.columns

    @property
    def by_domain(self) -> bool:
        """Whether a Python program's own requests are told from malloc's."""
        return "domain" in self.columns

    @property
    def exact_addresses(self) -> bool:
        """Whether a malloc in a fresh process that serves all these requests must answer with these
        addresses; a Python's pools have most of it."""
        return (
            self.has_addresses
            and not self.python
            and not sentences.of_kind(self.notes, sentences.INHERITED)
        )


def to_json(facts: Facts) -> bytes:
    """The record as it is stored."""
    known = {item.name: getattr(facts, item.name) for item in fields(Facts)}
    known["notes"] = sentences.stored(facts.notes)
    return json.dumps({"version": VERSION, **known}).encode()


def from_json(text: bytes) -> dict[str, Any]:
    """The fields of `Facts` in a stored record, each checked: a ValueError says what is wrong."""
    if len(text) > FACTS_BYTES:
        raise ValueError(f"its facts take {len(text)} bytes, more than {FACTS_BYTES}")
    record = json.loads(text)
    if not isinstance(record, dict) or not isinstance(record.get("version"), int):
        raise ValueError("its facts have no version")
    if record["version"] > VERSION:
        raise ValueError(
            f"it has schema version {record['version']} and this heapwright reads up to {VERSION}: "
            "install a newer one"
        )
    known: dict[str, Any] = {}
    for item in fields(Facts):
        since, before = SINCE.get(item.name, (1, None))
        value = record.get(item.name) if record["version"] >= since else before
        if item.name == "notes":
            value = sentences.parsed(value)
        if not _sound(item.name, item.type, value):
            raise ValueError(f"its fact {item.name!r} is missing or out of range")
        known[item.name] = dict(value) if isinstance(value, dict) else value
    if known["kind"] not in KINDS or not set(known["columns"]) <= set(COLUMNS):
        raise ValueError("its facts name an unknown kind or column")
    if max(known["slots"], known["threads"], known["peak_roots"]) > known["events"] + NUMBERS_SPARE:
        raise ValueError("its facts count more slots, threads or roots than events")
    return known


def _sound(name: str, kind: Any, value: Any) -> bool:
    """Whether `value` may be the fact `name`, whose type is `kind`."""
    if kind is int:
        return type(value) is int and 0 <= value < COUNT_LIMIT
    if kind is str:
        return isinstance(value, str)
    if name in ("modules", "origin", "settings"):
        whole = name == "settings"
        return isinstance(value, dict) and all(
            (type(v) is int and abs(v) < 1 << 63) if whole else isinstance(v, str)
            for v in value.values()
        )
    return isinstance(value, list) and all(isinstance(v, str) for v in value)
