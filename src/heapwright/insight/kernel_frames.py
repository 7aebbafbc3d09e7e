"""Who holds a kernel's frames, at the peak and in the end; how broken up the free ones become.

pass 1   full speed: the event of the peak
pass 2   survey: at MOMENTS events what each byte of the frames is, and the free lists by order
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.managers.registry import managers, named
from heapwright.result import PARTS, TIMELINE
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import Conditions, Replay

MOMENTS = 12
PART_NAMES = {  # of a result's parts what they are in a kernel
    "live": "live",
    "rounding": "rounding in objects",
    "header": "padding of objects, management",
    "cached": "a processor's lists and slabs",
    "partial": "free in slabs with live objects, slack",
    "retained": "slabs without a live object",
}


@dataclass
class KernelFrames:
    """What the frames were."""

    manager: str
    events: int
    peak: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    moments: list[dict[str, Any]] = field(default_factory=list)
    caches: list[dict[str, Any]] = field(default_factory=list)  # at the peak, most beyond first

    def to_json(self) -> dict[str, Any]:
        """As the command prints it."""
        told = {"manager": self.manager, "events": self.events, "peak": self.peak}
        return told | {"end": self.end, "moments": self.moments, "caches": self.caches}


class _Taken:
    """The accounts at the stops of a survey, in place of a film's keyframes."""

    def __init__(self, account: Callable[[Any], tuple[dict[str, Any], list[dict[str, Any]]]]):
        self.account = account
        self.rows: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []

    def follow(self, part: Any, first: int) -> None:
        """Nothing between stops."""

    def take(self, event: int, heap: Any, objects: Any, pages: Any) -> None:
        """The account at a stop."""
        self.rows.append(self.account(heap))


def kernel_frames(
    trace: Trace,
    manager: str = "slub",
    settings: dict[str, int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> KernelFrames:
    """Replay a trace through a manager of frames; HeapwrightError for a manager of another kind."""
    chosen = named(manager)
    if not hasattr(chosen.module, "account"):
        able = [each.name for each in managers().values() if each.family == "linux"]
        able = [name for name in able if hasattr(named(name).module, "account")]
        raise HeapwrightError(f"{manager} holds no frames; those that do: {', '.join(able)}.")
    knobs = settings or {}
    first = Replay(manager, trace, knobs, Conditions())
    first.replay(trace, progress)
    peak = int(first.run.progress[first.loop.PEAK_EVENT])
    last = trace.events - 1
    stops = np.unique([*np.linspace(0, last, MOMENTS).astype(np.int64).tolist(), peak])
    again = Replay(manager, trace, knobs, Conditions())
    config, doors = chosen.configured(knobs), trace.doors()
    taken = _Taken(lambda heap: again.module.account(heap, doors, config))
    timeline = again.survey(trace, stops, progress, taken)  # type: ignore[arg-type]
    found = KernelFrames(manager, trace.events)
    for row, (frames, caches) in zip(timeline.tolist(), taken.rows, strict=True):
        parts = dict(zip(TIMELINE, row, strict=True))
        told = {"event": parts["event"], **frames}
        told["parts"] = {part: parts[f"{part}_bytes"] for part in PARTS if part in PART_NAMES}
        found.moments.append(told)
        if parts["event"] == peak:
            found.peak = told
            found.caches = sorted(caches, key=lambda each: -each["beyond_bytes"])
    found.end = found.moments[-1]
    return found
