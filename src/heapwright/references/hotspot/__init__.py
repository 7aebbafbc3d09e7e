"""HotSpot, driven with the events of a graph trace.

build      the JVMs that are here; the driver (Drive.java) compiled
options    the options of `java` that stand for a twin's settings
driver     one run: the counters after each collection
agreement  the twin beside it, collection by collection
"""

from typing import TYPE_CHECKING

from heapwright.references.hotspot import build
from heapwright.references.hotspot.options import COLLECTORS
from heapwright.references.unmeasured import lanes, names

if TYPE_CHECKING:
    from heapwright.references import Agreement, Progress, Settings
    from heapwright.trace.store import Trace


__all__ = ["agree", "lanes", "missing", "names"]


def missing(name: str) -> str:
    """See `Reference`."""
    return build.missing() if name in COLLECTORS else ""


def agree(
    name: str, trace: "Trace", settings: "Settings | None", progress: "Progress"
) -> "Agreement":
    """See `Reference`."""
    from heapwright.references.hotspot.agreement import validate

    return validate(name, trace, settings, progress=progress)
