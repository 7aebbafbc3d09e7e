"""CPython's own pymalloc and its collector, driven with the events of a trace.

build        libpython, found; the driver (drive.c) built
driver       the process, fed and asked
agreement    its twin beside it: every address relative to its arena, arenas made and given back
stats        what sys._debugmallocstats() says, of both
collector    an interpreter that does what an object graph says (collector.c), and when it collects
collections  the collector's twin beside it: every collection
"""

from typing import TYPE_CHECKING

from heapwright.references.cpython import build, collector
from heapwright.references.unmeasured import lanes, names

if TYPE_CHECKING:
    from heapwright.references import Agreement, Progress, Settings
    from heapwright.trace.store import Trace


__all__ = ["agree", "lanes", "missing", "names"]


def missing(name: str) -> str:
    """See `Reference`."""
    return collector.missing() if name == "cpython" else build.missing()


def agree(
    name: str, trace: "Trace", settings: "Settings | None", progress: "Progress"
) -> "Agreement":
    """See `Reference`."""
    if name == "cpython":
        from heapwright.references.cpython.collections import validate as collections_of

        return collections_of(trace, settings, progress=progress)
    from heapwright.references.cpython.agreement import validate

    return validate(trace, settings, progress=progress)
