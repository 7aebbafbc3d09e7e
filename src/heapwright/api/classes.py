"""Size classes that fit a trace, and the file from which a manager takes them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heapwright.insight.size_classes import SizeClasses
    from heapwright.trace.store import Trace


def size_classes(  # noqa: PLR0913 what, then how; all but the first two are named
    trace: str | os.PathLike[str] | Trace,
    most: int = 64,
    *,
    by: str = "peak",
    granule: int = 16,
    largest: int = 256 << 10,
    output: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> SizeClasses:
    """The best table of at most `most` size classes for a trace, and what real allocators' lose.

    `by`: which lost bytes are made least, those at the `peak` of live bytes, the `mean` over
    events, or over all `requests`. Classes are multiples of `granule` bytes, for requests of up to
    `largest`. The table is written to `output`, for `--set wright.classes=FILE`.

    HeapwrightError for a measure or bound that makes no sense, and for a trace without such blocks.

    >>> import heapwright as hw
    >>> found = hw.size_classes("recursion", most=8)
    >>> len(found.sizes) <= 8, found.tables[0].lost_bytes["peak"] >= 0
    (True, True)
    """
    from heapwright.api.selection import opened_traces
    from heapwright.insight.size_classes import size_classes as searched
    from heapwright.report.atomic import atomic

    with opened_traces([trace]) as (opened,):
        found = searched(
            opened,
            most,
            by=by,
            granule=granule,
            largest=largest,
            advance=progress or (lambda done: None),
        )
    if output is not None:
        about = {"sizes": found.sizes, "by": by, "granule": granule}
        with atomic(Path(output)) as temporary:
            temporary.write_text(json.dumps(about) + "\n")
    return found
