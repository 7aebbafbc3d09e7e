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
