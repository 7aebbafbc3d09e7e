"""Two traces of one program, before and after a change."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from heapwright.report.answers import Diff

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

SAMPLES = 200
PASSES = 3  # over the events of each trace


def diff(
    before: str | os.PathLike[str] | Trace,
    after: str | os.PathLike[str] | Trace,
    *,
    touch: str | None = None,
    huge_pages: str = "never",
    progress: Callable[[int], None] | None = None,
) -> Diff:
    """What grew from one trace of a program to the next, by call stack and size, at the end and at
    the peak.

    Live bytes are the program's; resident ones are told by the twin of what it ran on, glibc or
    pymalloc over it, of an object graph its collector, set as each was recorded.
    `progress` is told events done, of PASSES times those of both.

    >>> import heapwright as hw
    >>> hw.diff("ramp", "ramp").grown()
    0.0
    """
    from heapwright.api.selection import opened_traces
    from heapwright.insight.differing import difference, side
    from heapwright.managers.present import ran_on
    from heapwright.report.document import trace_facts
    from heapwright.tunnel.replay import replay

    told = progress or (lambda events: None)
    with opened_traces([before, after]) as traces:
        stacked = all(trace.stack_nodes for trace in traces)
        sides, notes = [], {}
        for which, trace in zip(("before", "after"), traces, strict=True):
            done = 0

            def advance(events: int) -> None:
                nonlocal done
                told(events - done)
                done = events

            result = replay(
                ran_on(trace),
                trace,
                touch=touch,
                huge_pages=huge_pages,
                samples=SAMPLES,
                progress=advance,
            )
            sides.append(side(trace, result, stacked, told))
            notes[which] = [*trace.notes, *result.notes]
        names = _names(traces)
        facts = [trace_facts(trace) for trace in traces]
        return Diff(facts[0], facts[1], difference(sides[0], sides[1], names), notes)


def _names(traces: list[Trace]) -> list[str]:
    """What the two are called: their files' names, with folders where those are alike."""
    names = [trace.path.name for trace in traces]
    if names[0] == names[1]:
        names = [str(trace.path) for trace in traces]
    return names if names[0] != names[1] else ["before", "after"]
