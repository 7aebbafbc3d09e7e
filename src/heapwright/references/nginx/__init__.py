"""nginx's own slab allocator, driven with the events of a trace.

build      its source, found; the driver (drive.c) built with a shim
driver     the process, fed and asked
agreement  its twin beside it: every offset, every refusal, every counter
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heapwright.references.nginx import build

if TYPE_CHECKING:
    from heapwright.references import Agreement, Settings
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import Lane
    from heapwright.tunnel.replay import Conditions


def names() -> Iterable[str]:
    """See `Reference`: none is measured, as the zone is no program's memory."""
    return []


def missing(name: str) -> str:
    """See `Reference`."""
    return build.missing()


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
    from heapwright.references.nginx.agreement import validate

    return validate(trace, settings, progress=progress)
