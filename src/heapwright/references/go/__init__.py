"""The real Go runtime, driven with the events of a trace.

build      Go's toolchain, and the driver (drive.go, rest.go) built with it for a number of roots
driver     the process, fed and asked
measured   as a lane of a comparison
agreement  its twin beside it: size classes, live bytes, collections, goals
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heapwright.references.go import build

if TYPE_CHECKING:
    from heapwright.references import Agreement, Settings
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import Lane
    from heapwright.tunnel.replay import Conditions


def names() -> Iterable[str]:
    """See `Reference`."""
    return ["go"]


def missing(name: str) -> str:
    """See `Reference`."""
    return build.missing()


def lanes(
    name: str, trace: Path, conditions: "Conditions", variants: "Sequence[Settings]"
) -> "list[Lane]":
    """See `Reference`."""
    from heapwright.references.go.measured import go_lane

    return [go_lane(trace, conditions, dict(knobs)) for knobs in variants]


def agree(
    name: str,
    trace: "Trace",
    settings: "Settings | None",
    progress: Callable[[int], None] | None,
) -> "Agreement":
    """See `Reference`."""
    from heapwright.references.go.agreement import validate_go

    return validate_go(trace, settings, progress=progress)
