"""Who holds a kernel's physical memory, and how broken up it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heapwright.insight.kernel_frames import KernelFrames
    from heapwright.report.notes import Note
    from heapwright.trace.store import Trace


@dataclass
class Frames:
    """What the frames of a kernel's trace were, by a manager: `told` has `peak`, `end`, `moments`
    and `caches`."""

    name: str  # of the trace's file
    trace_notes: list[str]
    told: KernelFrames

    @property
    def notes(self) -> list[Note]:
        """What was assumed, of the trace and of the manager."""
        from heapwright.report.notes import Note, notes

        own = [Note(self.told.manager, sentence) for sentence in self.told.notes]
        return notes("The trace", self.trace_notes, []) + own

    def to_json(self) -> dict[str, Any]:
        """As `heapwright frames --json` prints it."""
        return {"trace": self.name, "trace_notes": self.trace_notes, **self.told.to_json()}

    def write_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the page; its path."""
        from heapwright.report.kernel_page import write_kernel_page

        write_kernel_page(Path(path), Path(self.name).name, self.told, self.notes)
        return Path(path)


def kernel_frames(
    trace: str | os.PathLike[str] | Trace,
    *,
    manager: str = "slub",
    settings: Mapping[str, int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Frames:
    """What each byte of a kernel's frames is at the peak and in the end, free blocks by order as
    time goes on, and the caches that hold most beyond their objects.

    `progress` is told the events done, out of twice the trace's. HeapwrightError for a manager or a
    knob that there is none of.

    >>> import heapwright as hw
    >>> hw.kernel_frames("ramp", manager="page-allocator").told.peak["used_frames"] > 0
    True
    """
    from heapwright.api.selection import opened_traces
    from heapwright.insight.kernel_frames import kernel_frames as replayed

    with opened_traces([trace]) as (opened,):
        told = replayed(opened, manager, dict(settings or {}), progress)
        return Frames(str(opened.path), list(opened.notes), told)
