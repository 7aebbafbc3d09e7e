"""CPython's own pymalloc and its collector, driven with the events of a trace.

build        libpython, found; the driver (drive.c) built
driver       the process, fed and asked
agreement    its twin beside it: every address relative to its arena, arenas made and given back
stats        what sys._debugmallocstats() says, of both
collector    an interpreter that does what an object graph says (collector.c), and when it collects
collections  the collector's twin beside it: every collection
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heapwright.references.cpython import build, collector

if TYPE_CHECKING:
    from heapwright.references import Agreement, Settings
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import Lane
    from heapwright.tunnel.replay import Conditions


def names() -> Iterable[str]:
    """See `Reference`: none is measured, as from 3.12 on there is an interpreter around it."""
    return []


def missing(name: str) -> str:
    """See `Reference`."""
    return collector.missing() if name == "cpython" else build.missing()


def lanes(
    name: str, trace: Path, conditions: "Conditions", variants: "Sequence[Settings]"
) -> "list[Lane]":
    """See `Reference`: none."""
    return []


def agree(
    name: str,
    trace: "Trace",
    settings: "Settings | None",
    progress: Callable[[int], None] | None,
) -> "Agreement":
    """See `Reference`."""
    if name == "cpython":
        from heapwright.references.cpython.collections import validate as collections_of

        return collections_of(trace, settings, progress=progress)
    from heapwright.references.cpython.agreement import validate

    return validate(trace, settings, progress=progress)
