"""The space-time curve: what a collector's work costs at heaps of several sizes.

    heap limit ─► as a multiple of the most bytes ever live ─► time against explicit freeing

The time is the replay's: requests, references written and collections, and nothing of what the
program does between them. Of two programs with the same heap the one that computes more would show
the smaller ratio. What does not depend on the program is the shape: see `docs/space-time.md`.

Source     Hertz and Berger, "Quantifying the performance of garbage collection vs. explicit memory
           management", OOPSLA 2005
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from heapwright.managers.registry import named, system_malloc
from heapwright.result import Result
from heapwright.sections import SpaceTimeRow, SpaceTimeSection
from heapwright.words import knobs_text

PAGE_BYTES = 4096


@dataclass(frozen=True)
class Asked:
    """One manager at one heap size."""

    manager: str
    settings: dict[str, int]  # `knob` among them
    multiple: float  # of the trace's peak live bytes
    knob: str  # of its Config: all that the heap may take

    @property
    def name(self) -> str:
        """The manager and its other knobs."""
        others = {knob: value for knob, value in self.settings.items() if knob != self.knob}
        return knobs_text(self.manager, others)


def asked(
    manager: str, settings: Sequence[dict[str, int]], multiples: Sequence[float], live_bytes: int
) -> list[Asked]:
    """A manager at heaps of `multiples` of `live_bytes`, whole pages, under each of `settings`."""
    limit = named(manager).card.limit_knob
    return [
        Asked(
            manager,
            knobs | {limit: math.ceil(multiple * live_bytes / PAGE_BYTES) * PAGE_BYTES},
            multiple,
            limit,
        )
        for knobs in settings
        for multiple in multiples
    ]


@dataclass
class SpaceTime:
    """The curve of each collector, and what they are compared with."""

    baseline: Result | None  # explicit freeing: glibc's twin, or else the fastest without collector
    multiples: list[float]
    curves: dict[str, list[Result | None]] = field(default_factory=dict)  # None: it did not fit

    def time(self, result: Result) -> float:
        """Times the baseline's replay."""
        base = self.baseline
        return result.seconds / base.seconds if base and base.seconds else math.nan

    def space(self, result: Result) -> float:
        """Times the baseline's most resident bytes, within events too."""
        base = self.baseline
        return result.high_water_bytes / base.high_water_bytes if base else math.nan

    def to_json(self) -> SpaceTimeSection:
        """Rows by collector and heap; ratios are null without a baseline."""
        rows: list[SpaceTimeRow] = []
        for name, results in self.curves.items():
            for multiple, result in zip(self.multiples, results, strict=True):
                row: SpaceTimeRow = {"collector": name, "heap": multiple, "fits": bool(result)}
                if result is not None:
                    row = {
                        **row,
                        "heap_bytes": result.settings[named(result.manager).card.limit_knob],
                        "high_water_bytes": result.high_water_bytes,
                        "seconds": result.seconds,
                        "space": self.space(result) if self.baseline else None,
                        "time": self.time(result) if self.baseline else None,
                        "collections": collections(result),
                        "traced": traced(result),
                    }
                rows.append(row)
        return {"baseline": self.baseline.manager if self.baseline else None, "rows": rows}


def traced(result: Result) -> float:
    """Mark/cons ratio: bytes marked and copied over bytes allocated. It does not depend on the
    machine that replays."""
    totals = result.collecting.totals if result.collecting else {}
    worked = totals.get("marked_bytes", 0) + totals.get("copied_bytes", 0)
    return worked / max(1, totals.get("allocated_bytes", 0))


def collections(result: Result) -> int:
    """Of all kinds."""
    return sum(result.collecting.collections.values()) if result.collecting else 0


def space_time(points: Sequence[Asked], results: Sequence[Result]) -> SpaceTime:
    """The curves of `points`, as far as they are among the results."""
    multiples = sorted({point.multiple for point in points})
    found = SpaceTime(_baseline(results), multiples)
    for point in points:
        curve = found.curves.setdefault(point.name, [None] * len(multiples))
        for result in results:
            if (result.manager, result.settings) == (point.manager, point.settings):
                curve[multiples.index(point.multiple)] = result
    return found


def _baseline(results: Sequence[Result]) -> Result | None:
    """The twin that frees explicitly."""
    explicit = [r for r in results if r.kind == "twin" and r.collecting is None and not r.refused]
    usual = [r for r in explicit if r.manager == system_malloc()]
    usual = [r for r in usual if not r.settings] or usual
    return min(usual or explicit, key=lambda result: result.seconds, default=None)
