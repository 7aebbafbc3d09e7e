"""Android's allocators, driven with the events of a trace, without an Android.

build      ART's library and dlmalloc's source, found; the drivers: rosalloc.c, dlmalloc.c, and
           heap_source.c, Dalvik's spaces
driver     the process, fed and asked
agreement  a twin beside it: every offset, every usable size, every refusal
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heapwright.references.android import build

if TYPE_CHECKING:
    from heapwright.references import Agreement, Settings
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import Lane
    from heapwright.tunnel.replay import Conditions


def names() -> Iterable[str]:
    """See `Reference`: none is measured, as the space is a runtime's and no program's."""
    return []


def missing(name: str) -> str:
    """See `Reference`."""
    return build.missing(name)


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
    from heapwright.references.android.agreement import validate

    return validate(name, trace, settings, progress=progress)
