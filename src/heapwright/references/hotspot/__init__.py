"""HotSpot, driven with the events of a graph trace.

build      the JVMs that are here; the driver (Drive.java) compiled
options    the options of `java` that stand for a twin's settings
driver     one run: the counters after each collection
agreement  the twin beside it, collection by collection
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heapwright.references.hotspot import build
from heapwright.references.hotspot.options import COLLECTORS

if TYPE_CHECKING:
    from heapwright.references import Agreement, Settings
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import Lane
    from heapwright.tunnel.replay import Conditions


def names() -> Iterable[str]:
    """See `Reference`: none is measured, as the JVM's own memory is not the program's."""
    return []


def missing(name: str) -> str:
    """See `Reference`."""
    return build.missing() if name in COLLECTORS else ""


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
    from heapwright.references.hotspot.agreement import validate

    return validate(name, trace, settings, progress=progress)
