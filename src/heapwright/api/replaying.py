"""Replay a trace through one manager, and hold a twin to the real system."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from heapwright.errors import HeapwrightError

if TYPE_CHECKING:
    from heapwright.references import Agreement
    from heapwright.result import Result
    from heapwright.trace.store import Trace


def replay(  # noqa: PLR0913 what, then how; all but the first two are named
    manager: str,
    trace: str | os.PathLike[str] | Trace,
    settings: Mapping[str, int] | None = None,
    *,
    touch: str | None = None,
    huge_pages: str = "never",
    memory_limit: int | str | None = None,
    swap: int | str | None = None,
    samples: int = 1000,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """One manager on one trace: what it holds at its peak, its timeline, its paths.

    With a `memory_limit`, as 512 << 20 or "512M", and `swap` beside it, `Result.under_limit` says
    whether the program would be killed under it and what it would swap. `progress` is told the
    events done, out of twice the trace's, three times with a limit. HeapwrightError for an unknown
    manager, knob or condition and for a file that is no trace.

    >>> import heapwright as hw
    >>> hw.replay("linear", "log-uniform").peak["retained_bytes"] > 0
    True
    """
    from heapwright.api.selection import opened_traces, without_twin
    from heapwright.tunnel.limited import Limit, limited
    from heapwright.tunnel.replay import Conditions
    from heapwright.tunnel.replay import replay as measured

    if without_twin([manager])[1]:
        raise HeapwrightError(
            f"{manager} has no twin here to be replayed: the real one is measured, in a fresh "
            f"process; see `heapwright compare TRACE --managers {manager}`."
        )
    limit = Limit.of(memory_limit, swap)
    with opened_traces([trace]) as (opened,):
        result = measured(
            manager,
            opened,
            settings,
            touch=touch,
            huge_pages=huge_pages,
            samples=samples,
            progress=progress,
        )
        if limit:
            conditions = Conditions.of(opened, touch, huge_pages)
            limited(result, opened, limit, conditions, progress)
        return result


def validate(
    manager: str,
    trace: str | os.PathLike[str] | Trace,
    settings: Mapping[str, int] | None = None,
    *,
    log: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Agreement:
    """The twin and the real system on the same events; what agrees.

    With `log`, of a JVM's collections or a trace that keeps its run's own, the twin of its
    collector is laid beside that run instead.
    `progress` is told the events compared. HeapwrightError for a manager without a real
    counterpart, and where the real one cannot be driven.
    """
    from heapwright.api.selection import opened_traces
    from heapwright.managers.registry import managers, named
    from heapwright.references import reference

    real = named(manager).card.reference
    if log is not None:
        from heapwright.references.hotspot.logged import beside, log_of

        with opened_traces([trace]) as (opened,):
            return beside(manager, opened, log_of(Path(log)), settings, progress=progress)
    if not real:
        others = [name for name, one in managers().items() if one.card.reference]
        raise HeapwrightError(
            f"{manager} has no real counterpart to be compared with; these have: "
            f"{', '.join(others)}."
        )
    with opened_traces([trace]) as (opened,):
        return reference(real).agree(manager, opened, settings, progress)
