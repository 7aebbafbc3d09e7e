"""The lines that a runtime would write to its log while it lives through a trace."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from heapwright.collectors.log import PAUSE_COLUMNS, PAUSE_LENGTH, PAUSE_ROWS, PAUSE_START, PAUSES
from heapwright.errors import HeapwrightError
from heapwright.managers.registry import named
from heapwright.tunnel.replay import Conditions, Replay

if TYPE_CHECKING:
    from heapwright.trace.store import Trace


def log_lines(
    manager: str,
    trace: "Trace",
    settings: Mapping[str, int] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[int, str]]:
    """(event, line) of each line, in order; pauses are those of this replay, in milliseconds.

    `progress` is told the events replayed. HeapwrightError for a manager whose real one writes no
    such log.
    """
    if not hasattr(named(manager).module, "lines"):
        raise HeapwrightError(f"{manager} writes no log that is known here; dalvik and art do.")
    twin = Replay(manager, trace, dict(settings or {}), Conditions.of(trace, None, "never"))
    twin.replay(trace, progress)
    log = twin.heap.log
    kept = min(int(log.totals[PAUSES]), PAUSE_ROWS)
    rows = log.pauses[: kept * PAUSE_COLUMNS].reshape(kept, PAUSE_COLUMNS)
    starts, lengths = rows[:, PAUSE_START], rows[:, PAUSE_LENGTH]
    ns = twin.clock.nanoseconds(starts + lengths) - twin.clock.nanoseconds(starts)
    told: list[tuple[int, str]] = twin.module.lines(twin.heap, np.asarray(ns / 1e6).tolist())
    return told
