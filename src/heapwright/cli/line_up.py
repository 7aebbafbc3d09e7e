"""What a comparison flies: which trace, which managers, at which heap sizes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heapwright.errors import HeapwrightError

if TYPE_CHECKING:
    from heapwright.insight.space_time import Asked
    from heapwright.trace.store import Trace

MOST_MULTIPLE = 1000


@contextlib.contextmanager
def opened_traces(names: Sequence[Path]) -> Iterator[list[Trace]]:
    """Each a trace file, or else the name of a synthetic program: its trace, while in the block."""
    from heapwright.cli import screen
    from heapwright.trace import programs
    from heapwright.trace.store import Trace

    known = programs.PROGRAMS + programs.GRAPH_PROGRAMS
    with tempfile.TemporaryDirectory(prefix="heapwright-") as folder:
        found = []
        for name in names:
            path = name
            if not name.exists() and str(name) in known:
                path = Path(folder) / f"{name}.heap.parquet"
                size = programs.program(str(name)).Parameters()[0]
                with screen.progress(f"writing {name}", size) as advance:
                    programs.synthesise(str(name), path, {}, advance)
            found.append(Trace.open(path))
        yield found


def line_up(trace: Trace, managers: str | None) -> list[str]:
    """The names in `managers`; "all" every one, None the usual ones for such a trace."""
    from heapwright.managers.registry import managers as registered
    from heapwright.managers.registry import usual

    if not managers:
        return usual(graph=trace.graph)
    names = [name.strip() for name in managers.split(",")]
    return list(registered()) if names == ["all"] else names


def multiples(text: str) -> list[float]:
    """Heap sizes from "1.5x,2x,3x"."""
    found = []
    for part in text.split(","):
        number = part.strip().lower().removesuffix("x")
        try:
            value = float(number)
        except ValueError:
            value = 0
        if not 0 < value <= MOST_MULTIPLE:
            raise HeapwrightError(
                f"--heap {text}: {part.strip()!r} is no multiple of the live bytes; write as in "
                "1.5x,2x,3x."
            )
        found.append(value)
    return sorted(set(found))


def curve(
    trace: Trace, names: list[str], settings: dict[str, list[dict[str, int]]], heap: str
) -> tuple[list[str], dict[str, list[dict[str, int]]], list[Asked]]:
    """The managers and settings that draw the space-time curve, and its points.

    Among `names` every collector whose heap can be limited flies at each size. Of a malloc trace
    none may be among the usual ones: then all fly, beside what frees explicitly.
    """
    from heapwright.insight.space_time import asked
    from heapwright.managers.registry import named, usual

    sizes = multiples(heap)

    def limited(name: str) -> bool:
        return bool(named(name).card.limit_knob)

    if not any(limited(name) for name in names):
        names = [name for name in usual(graph=True) if limited(name) or not named(name).collected]
    points = []
    for name in names:
        if limited(name):
            chosen = asked(name, settings.get(name, [{}]), sizes, trace.peak_live_bytes)
            settings = settings | {name: [point.settings for point in chosen]}
            points += chosen
    return names, settings, points
