"""nginx's own slab allocator, driven with the events of a trace.

build      its source, found; the driver (drive.c) built with a shim
driver     the process, fed and asked
agreement  its twin beside it: every offset, every refusal, every counter
"""

from typing import TYPE_CHECKING

from heapwright.references.nginx import build
from heapwright.references.unmeasured import lanes, names

if TYPE_CHECKING:
    from heapwright.references import Agreement, Progress, Settings
    from heapwright.trace.store import Trace


__all__ = ["agree", "lanes", "missing", "names"]


def missing(name: str) -> str:
    """See `Reference`."""
    return build.missing()


def agree(
    name: str, trace: "Trace", settings: "Settings | None", progress: "Progress"
) -> "Agreement":
    """See `Reference`."""
    from heapwright.references.nginx.agreement import validate

    return validate(trace, settings, progress=progress)
