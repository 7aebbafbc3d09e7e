"""Android's allocators, driven with the events of a trace, without an Android.

build      ART's library and dlmalloc's source, found; the drivers: rosalloc.c, dlmalloc.c, and
           heap_source.c, Dalvik's spaces
driver     the process, fed and asked
agreement  a twin beside it: every offset, every usable size, every refusal
"""

from typing import TYPE_CHECKING

from heapwright.references.android import build
from heapwright.references.unmeasured import lanes, names

if TYPE_CHECKING:
    from heapwright.references import Agreement, Progress, Settings
    from heapwright.trace.store import Trace


__all__ = ["agree", "lanes", "missing", "names"]


def missing(name: str) -> str:
    """See `Reference`."""
    return build.missing(name)


def agree(
    name: str, trace: "Trace", settings: "Settings | None", progress: "Progress"
) -> "Agreement":
    """See `Reference`."""
    from heapwright.references.android.agreement import validate

    return validate(name, trace, settings, progress=progress)
