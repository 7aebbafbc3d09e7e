"""What stays: a timeline's mean, its end and its exit, at the moments that the trace names.

    trace ─► ending    the settled moment, moments spread over time
    stops ◄─ evenly spaced events, those moments, the peak, the last event
    settle ─► mean, end, exit of a Result

The mean takes the memory after a stop to hold until the next one: exact where every event is a
stop, else of about a thousand samples. It is weighted by time where the recording has it: from the
first event to the moment when the process was last looked at, which is as it ends. The recorder
tells when a pause of a millisecond begins and ends; between two readings of its clock the events
are taken to be evenly apart.
"""

from typing import TYPE_CHECKING

import numpy as np

from heapwright.result import TIMELINE, Result
from heapwright.trace.ending import Ending, clock, ended_ns

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

EVENT, RESIDENT = TIMELINE.index("event"), TIMELINE.index("resident_bytes")


def stops_of(event_count: int, samples: int, peak_event: int, ends: Ending) -> np.ndarray:
    """int64[stop]: about `samples` evenly spaced events, those spread over time, the settled one,
    the last one and the peak's."""
    if not event_count:
        return np.zeros(0, np.int64)
    spread = np.linspace(0, event_count - 1, max(1, min(samples, event_count))).astype(np.int64)
    named = [ends.end, event_count - 1, peak_event]
    return np.unique(np.concatenate([spread, ends.clocked, named]))


def settle(result: Result, trace: "Trace", ends: Ending) -> None:
    """Write what stays into `result`, from its timeline; what has none stays unknown.

    Of a timeline that has no row at the settled moment itself the last one before it counts.
    """
    timeline = result.timeline
    if timeline is None or not len(timeline):
        return
    result.clock_ns = clock(trace, timeline[:, EVENT])
    row = max(0, int(np.searchsorted(timeline[:, EVENT], ends.end, side="right")) - 1)
    result.end = dict(zip(TIMELINE[2:], timeline[row, 2:].tolist(), strict=True))
    result.end_event = int(timeline[row, EVENT])
    result.exit_resident_bytes = int(timeline[-1, RESIDENT])
    result.mean_resident_bytes = mean_resident(
        timeline[:, EVENT], timeline[:, RESIDENT], result.clock_ns, trace.events, ended_ns(trace)
    )
    result.notes += ends.note(trace)


def mean_resident(
    at: np.ndarray,
    resident: np.ndarray,
    clock_ns: np.ndarray | None,
    events: int,
    ended_ns: int = 0,
) -> int:
    """Mean of int64[stop] resident bytes after the events `at`, each until the next one and the
    last one until `ended_ns`; by time, or by events where none passed."""
    if not len(at):
        return 0
    if clock_ns is not None:
        held = np.diff(clock_ns, append=max(int(clock_ns[-1]), ended_ns))
        if held.any():
            return round(float(np.average(resident, weights=held)))
    held = np.diff(at, append=max(events, int(at[-1]) + 1))
    return round(float(np.average(resident, weights=held)))
