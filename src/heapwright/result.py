"""The one result type: what a flight or a measurement of a real system says. Knows no room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # a word such as "12 MiB" is written without waiting for NumPy
    import numpy as np

# The parts of resident memory, in the order they are stacked; they sum to it exactly.
PARTS = ("live", "rounding", "header", "cached", "partial", "retained", "garbage")

# Columns of Result.timeline.
TIMELINE = ("event", "mapped_bytes", "resident_bytes", *(f"{part}_bytes" for part in PARTS))


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


@dataclass
class Result:
    """One manager on one trace. Of a measured system only live, rounding and the total are known:
    the rest of its resident bytes stands under `partial_bytes`, and a note says so."""

    manager: str
    kind: Literal["twin", "measured"]
    events: int
    seconds: float  # of the replay loop alone, without loading
    peak: dict[str, int]  # resident_bytes and <part>_bytes at the event of the peak
    page_faults: int
    mapped_bytes_peak: int
    settings: dict[str, int] = field(default_factory=dict)  # knobs that were set
    paths: dict[str, int] = field(default_factory=dict)  # times each path was taken
    timeline: np.ndarray | None = None  # int64[sample, len(TIMELINE)]
    refused: int = 0  # requests refused though the real system granted them; a note says so
    notes: list[str] = field(default_factory=list)  # assumptions and omissions, a sentence each
    heap_map: HeapMap | None = None  # when a picture of the heap was asked for

    @property
    def events_per_second(self) -> float:
        """Rate of the replay loop."""
        return self.events / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints; the timeline is left to the HTML report."""
        return {
            "manager": self.manager,
            "kind": self.kind,
            "settings": self.settings,
            "events": self.events,
            "seconds": self.seconds,
            "events_per_second": self.events_per_second,
            "peak": self.peak,
            "page_faults": self.page_faults,
            "mapped_bytes_peak": self.mapped_bytes_peak,
            "paths": self.paths,
            "notes": self.notes,
        }
