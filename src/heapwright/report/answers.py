"""What `why` and `diff` answer: figures with their facts and notes, for tables, pages, JSON."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heapwright.insight.cycles import Cycles
    from heapwright.insight.differing import Difference
    from heapwright.insight.flame import Flame
    from heapwright.insight.why import Diagnosis
    from heapwright.result import Result
    from heapwright.sections import TraceSection


@dataclass
class Why:
    """The answer: `diagnosis.sentence`, and all that it rests on."""

    trace: TraceSection  # facts, under the names of `heapwright info`
    diagnosis: Diagnosis
    result: Result  # of the twin
    flame: Flame = field(repr=False)
    timeline: list[dict[str, Any]] = field(repr=False)  # the causes through time
    stacked: bool = False  # whether call stacks are known, not only call sites
    cycles: Cycles | None = None  # what waited for a collector, where the trace tells it

    @property
    def sentence(self) -> str:
        """The verdict."""
        return self.diagnosis.sentence

    @property
    def notes(self) -> list[str]:
        """What was assumed or not seen."""
        return [*self.trace["notes"], *self.result.notes]

    def to_json(self) -> dict[str, Any]:
        """The document that `heapwright why --json` prints."""
        return self.diagnosis.to_json() | {
            "cycles": self.cycles.to_json() if self.cycles else None,
            "timeline": self.timeline,
            "trace": self.trace,
            "manager": self.result.manager,
            "settings": self.result.recorded | self.result.settings,
            "conditions": self.result.conditions,
            "notes": self.notes,
        }

    def write_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the page with the flame graph; its path."""
        from heapwright.report.why_page import write_why_page

        write_why_page(Path(path), self)
        return Path(path)

    def _repr_html_(self) -> str:
        from heapwright.cells import facts

        shares = self.diagnosis.shares[self.diagnosis.moment]
        known = {cause: f"{share:.1%}" for cause, share in shares.items() if share}
        return facts(self.sentence, {"what to do": self.diagnosis.mend, **known}, self.notes)


@dataclass
class Diff:
    """What changed: `difference.sentence`, and the rows it rests on."""

    before: TraceSection  # facts of the traces
    after: TraceSection
    difference: Difference
    notes: dict[str, list[str]]  # of either trace and its replay

    @property
    def sentence(self) -> str:
        """What changed, in a sentence."""
        return self.difference.sentence

    def grown(self) -> float:
        """By which share the resident bytes grew, at the end or at the peak, whichever is more."""
        return max(self.difference.growth.values())

    def to_json(self) -> dict[str, Any]:
        """The document that `heapwright diff --json` prints."""
        known = self.difference.to_json()
        return known | {"before": self.before, "after": self.after, "notes": self.notes}

    def _repr_html_(self) -> str:
        from heapwright.cells import facts
        from heapwright.words import change_text

        rows = {
            row["what"]: change_text(row["change"]) if row["change"] is not None else "new"
            for row in self.difference.whole
        }
        return facts(self.sentence, rows, [n for notes in self.notes.values() for n in notes])
