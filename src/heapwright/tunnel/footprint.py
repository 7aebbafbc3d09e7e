"""What a manager holds and nothing else: one pass at full speed, for a search among many.

    replay, then survey   two passes: every byte told apart          replay.py
    footprint             one pass: resident bytes at a thousand stops, the peak, the page faults

The figures are those of `replay` to the byte: the same loop serves the events, cut at the same
stops. A call of malloc_trim every so many seconds of the program can be added, as a thread of the
program would make it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heapwright.collectors.log import CYCLES
from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import FAULTS, PEAK_RESIDENT_PAGES, RESIDENT_PAGES
from heapwright.result import Footprint
from heapwright.trace.ending import Ending, clock, ended_ns, ending
from heapwright.trace.schema import TRIM, Events, events
from heapwright.tunnel.conditions import columns_of
from heapwright.tunnel.reordered import SEED, Another, start_of
from heapwright.tunnel.replay import SAMPLES, Conditions, Progress, Replay
from heapwright.tunnel.settled import mean_resident, stops_of

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

RECORDED = Another()
CLOCKED = 4  # one stop in so many more is spread over time instead of events, as in `replay`


@dataclass(frozen=True)
class Stops:
    """Where the passes over one trace stop: made once, shared by all."""

    ends: Ending
    events: np.ndarray  # int64[stop], ascending
    clock_ns: np.ndarray | None  # int64[stop], since the first event; None where it is not known
    ended_ns: int = 0  # when the process was last looked at, behind its last event; 0: it was not

    @property
    def seconds(self) -> float:
        """From the first event to the last, or to the process's end; 0 where that is not known."""
        last = int(self.clock_ns[-1]) if self.clock_ns is not None else 0
        return max(last, self.ended_ns) / 1e9


def stops(trace: "Trace", samples: int = SAMPLES) -> Stops:
    """The settled moment and about `samples` more; streams the trace by."""
    ends = ending(trace, samples // CLOCKED)
    found = stops_of(trace.events, samples, max(ends.end, 0), ends)
    return Stops(ends, found, clock(trace, found), ended_ns(trace))


def footprint(  # noqa: PLR0913 the first three say what, the others how
    manager_name: str,
    trace: "Trace",
    settings: Mapping[str, int] | None = None,
    *,
    at: Stops,
    conditions: Conditions | None = None,
    trim_seconds: float = 0,
    another: Another = RECORDED,
    progress: Progress | None = None,
) -> Footprint:
    """Replay `trace` through a manager once. With `trim_seconds` malloc_trim(0) is called as often;
    `another` says how the run differs from the recorded one.

    HeapwrightError for an unknown manager or knob, for a corrupt trace, and where the real program
    would have been killed.
    """
    twin = Replay(manager_name, trace, dict(settings or {}), conditions or Conditions.of(trace))
    loop, run, meters = twin.loop, twin.run, twin.heap.machine.meters
    another.begin(twin.module, twin.heap)
    loop.replay(twin.heap, run, events())  # compile, or load the compiled
    trims = _trims(at, trim_seconds)
    resident = np.zeros(len(at.events), np.int64)
    row = first = trimmed = 0
    random = np.random.default_rng(SEED)
    for recorded in trace.batches(columns_of(loop, trace)):
        batch = another.of(recorded, random, 0 if first else start_of(trace.events))
        twin.clock.start()
        past, here = first + len(batch.op), first
        while row < len(at.events) and at.events[row] < past:
            until = int(at.events[row]) + 1
            loop.replay(twin.heap, run, _cut(batch, here - first, until - first))
            if trims[row]:
                before = int(run.progress[loop.NEXT])
                loop.replay(twin.heap, run, TRIMMING)
                run.progress[loop.NEXT] = before  # it is none of the trace's events
                trimmed += 1
            resident[row] = meters[RESIDENT_PAGES] * PAGE_BYTES
            here, row = until, row + 1
        loop.replay(twin.heap, run, _cut(batch, here - first, len(batch.op)))
        twin.clock.stop()
        twin.end_if_fatal()
        first = past
        if progress:
            progress(first)
    end_row = int(np.searchsorted(at.events, at.ends.end)) if len(at.events) else 0
    return Footprint(
        peak_resident_bytes=int(meters[PEAK_RESIDENT_PAGES]) * PAGE_BYTES,
        mean_resident_bytes=mean_resident(
            at.events, resident, at.clock_ns, trace.events, at.ended_ns
        ),
        end_resident_bytes=int(resident[end_row]) if len(resident) else 0,
        page_faults=int(meters[FAULTS]),
        seconds=twin.clock.elapsed_ns / 1e9,
        refused=int(run.progress[loop.REFUSED]),
        recorded=twin.recorded,
        notes=twin.notes(),
        trims=trimmed,
        collections=int(twin.heap.log.totals[CYCLES]) if twin.collected else None,
    )


# malloc_trim(0), by the first thread
TRIMMING = events(op=np.array([TRIM]), slot=np.array([-1]), size=np.array([0]))


def _trims(at: Stops, trim_seconds: float) -> np.ndarray:
    """bool[stop]: whether a period ends between it and the next one, or the process's end: malloc
    is trimmed while the program lies idle there."""
    if not trim_seconds or at.clock_ns is None:
        return np.zeros(len(at.events), bool)
    period = int(1e9 * trim_seconds)
    periods = at.clock_ns // period
    trims = np.diff(periods, append=max(periods[-1], at.ended_ns // period)) > 0
    return np.asarray(trims)


def _cut(batch: Events, first: int, past: int) -> Events:
    """Events [first, past) of a batch; absent columns stay absent."""
    return Events(*(column[first:past] for column in batch))
