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
from heapwright.tunnel.replay import ORACLE_DEATHS, Conditions, Replay
from heapwright.words import bytes_text

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
    notes: list[str] = field(default_factory=list)  # what was assumed, and what was refused

    def to_json(self) -> dict[str, Any]:
        """As the command prints it."""
        told = {"manager": self.manager, "events": self.events, "peak": self.peak}
        told |= {"end": self.end, "moments": self.moments, "caches": self.caches}
        return told | {"notes": self.notes}


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
    found.notes = _notes(trace, config, knobs, int(first.run.progress[first.loop.REFUSED]))
    return found


def _notes(trace: Trace, config: Any, knobs: dict[str, int], refused: int) -> list[str]:
    """What the figures rest on."""
    told = []
    memory = bytes_text(config.memory_bytes)
    if refused:
        told.append(
            f"Ran out of memory: {refused:,} requests that were granted to the recorded program "
            f"found no room in {memory}, and what they held is missing above; --set memory_bytes "
            "gives it more."
        )
    elif "memory_bytes" not in knobs:
        told.append(
            f"The machine's memory is taken to be {memory}, which no trace tells; --set "
            "memory_bytes says it."
        )
    if not trace.of_kernel:
        told.append("The trace is of no kernel: each request is taken for kmalloc(GFP_KERNEL).")
    if trace.graph:
        told.append(ORACLE_DEATHS)
    return told
