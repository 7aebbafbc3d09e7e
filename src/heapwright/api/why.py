"""Why a program's memory is what it is: a verdict, its shares, the call stacks behind it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from heapwright.managers.present import PYTHONS, ran_on
from heapwright.report.answers import Why

if TYPE_CHECKING:
    from heapwright.insight.cycles import Cycles
    from heapwright.result import Result
    from heapwright.trace.store import Trace

SAMPLES = 300
PASSES = 3  # over the events: two of the replay, one of the profile


def why(
    trace: str | os.PathLike[str] | Trace,
    settings: Mapping[str, int] | None = None,
    *,
    touch: str | None = None,
    huge_pages: str = "never",
    progress: Callable[[int], None] | None = None,
) -> Why:
    """Say why a program's memory is what it is: leak, fragmentation, caches, rounding, retention,
    or simply live. Of a Python's object graph also what only its cycle collector could free.

    `trace`: a trace, a path, or the name of a synthetic program. Each byte is told by the twin of
    what it ran on, glibc, or pymalloc over it, a Java program's by the twin of its collector;
    `settings` are its knobs, over those recorded.
    `progress` is told events done, of PASSES times the trace's.

    >>> import heapwright as hw
    >>> found = hw.why("ramp")
    >>> found.diagnosis.kind
    'live'
    """
    from heapwright.api.selection import opened_traces, refuse_unserved
    from heapwright.insight.causes import process_bytes
    from heapwright.insight.flame import columns, flame
    from heapwright.insight.why import Heaps, course, diagnosis
    from heapwright.report.document import trace_facts
    from heapwright.tunnel.replay import replay
    from heapwright.words import bytes_text

    told = progress or (lambda events: None)
    with opened_traces([trace]) as (opened,):
        refuse_unserved(opened, objects=True)
        heaps, done = Heaps(), 0

        def advance(events: int) -> None:
            nonlocal done
            told(events - done)
            done = events

        def replayed(written: str | None) -> Result:
            nonlocal done
            done = 0
            return replay(
                ran_on(opened),
                opened,
                settings,
                touch=written,
                huge_pages=huge_pages,
                samples=SAMPLES,
                progress=advance,
                picture=heaps.picture,
            )

        result = replayed(touch)
        process = process_bytes(opened)
        if touch is None and not opened.written_known and result.held_bytes > process > 0:
            refuted = (
                f"Were all written that was asked for, {bytes_text(result.held_bytes)} would have "
                f"been resident, and the whole process never had more than {bytes_text(process)}: "
                "so nothing that the program wrote counts. Record it again to know what was."
            )
            result = replayed("none")
            result.notes.insert(0, refuted)
        collected = _cycles(opened, result)
        found = diagnosis(opened, result, heaps, told)
        events = {moment: known["event"] for moment, known in found.bytes.items()}
        return Why(
            trace_facts(opened),
            found,
            result,
            flame(opened, columns(found.growth, found.leaked, events)),
            course(found, result),
            opened.stack_nodes > 0,
            collected,
        )


def _cycles(trace: Trace, result: Result) -> Cycles | None:
    """What waited for a collector, taken out of what the replay calls live; None of a trace that
    does not tell its collections."""
    if ran_on(trace) != PYTHONS:
        return None
    from heapwright.insight.cycles import cycles, tell_apart
    from heapwright.insight.why import peak_event

    found = cycles(trace, sorted({result.end_event, peak_event(result)}))
    if not found.collections:
        return None
    tell_apart(result, found)
    return found
