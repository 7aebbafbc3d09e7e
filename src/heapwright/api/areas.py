"""Run-time data areas of a JVM, by a model and by a real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from heapwright.errors import HeapwrightError

if TYPE_CHECKING:
    from heapwright.insight.areas import Area
    from heapwright.references.hotspot.areas import Told

SYSTEMS = ("hotspot",)


@dataclass
class Areas:
    """The areas, and what a real JVM said of those that it was made to fill."""

    areas: list[Area]
    measured: dict[str, Told] = field(default_factory=dict)  # by area
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As `heapwright areas --json` prints it."""
        return {"areas": self.rows(), "notes": self.notes}

    def rows(self) -> list[dict[str, Any]]:
        """Each area as JSON, with what was measured."""
        found = []
        for area in self.areas:
            told = self.measured.get(area.area)
            row = area.to_json()
            row["measured"] = {"after": told.after, "error": told.error} if told else None
            found.append(row)
        return found


def areas(
    system: str = "hotspot",
    settings: Mapping[str, str | int] | None = None,
    *,
    references: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Areas:
    """The run-time data areas of `system` under `settings`, options of `java` by their names.

    With `references` a real JVM of the same release fills each of them. HeapwrightError where an
    option is unknown, contradicts another, or no such JVM is here.

    >>> from heapwright.api.areas import areas
    >>> found = areas(settings={"Xss": 512 << 10})
    >>> next(area.least for area in found.areas if area.area.startswith("Java stack"))
    4770
    """
    from heapwright.insight import areas as model
    from heapwright.versions import version_text

    if system not in SYSTEMS:
        raise HeapwrightError(f"{system!r} has no areas here; these have: {', '.join(SYSTEMS)}.")
    chosen = model.options(settings or {})
    found = Areas(model.areas(chosen))
    found.notes.append(
        "Of one thread that fills each area alone; interpreted frames: compiled ones differ."
    )
    if references:
        from heapwright.references.hotspot.areas import fill
        from heapwright.references.hotspot.build import jvm

        real = jvm(int(version_text(chosen.version).partition(".")[0]))
        for area in found.areas:
            if area.asked:
                if progress:
                    progress(area.area)
                found.measured[area.area] = _last(fill(real, area.flags, *area.asked))
        found.notes.append(f"Measured: java {real.version}.")
    return found


def _last(told: list[Told]) -> Told:
    """What counts: of stacks the row of frames without words, as the second round told it."""
    if not told:
        raise HeapwrightError("java filled the area without an error.")
    return next((one for one in reversed(told) if one.what == 0), told[-1])
