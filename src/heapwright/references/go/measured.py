"""The real Go runtime as a lane of a comparison.

    measured_go ─► memory   a fresh process, watched: resident pages about a thousand times
                ─► rate     another, not watched: the runtime as it comes, on one processor

What can be told apart from outside: requested bytes of live objects; what else its objects take
(`garbage`: dead and not yet collected, and rounding); the rest of resident memory (`partial`:
free slots and pages, the collector's own).
"""

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heapwright.references.go import driver as go
from heapwright.references.kinds import Kinds
from heapwright.references.malloc.harness import PAGE_BYTES
from heapwright.references.malloc.measured import MOMENT_EVENTS
from heapwright.result import PARTS, TIMELINE, Result
from heapwright.trace.ending import ending
from heapwright.tunnel.compare import Lane
from heapwright.tunnel.replay import IDEAL_LIVENESS, Conditions
from heapwright.tunnel.settled import settle

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

NOTES = (
    "Memory of one processor that stops the world to collect (GODEBUG=gcstoptheworld=2, "
    "GOMAXPROCS=1), so that collections do not depend on time; the rate is that of Go as it comes.",
    "Measured from outside: under garbage stands what objects take beyond the bytes requested by "
    "live ones, rounding too; under partial the rest of resident memory.",
)


def measured_go(
    trace: "Trace",
    conditions: Conditions | None = None,
    settings: Mapping[str, int] | None = None,
    *,
    runs: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """The real Go on `trace`; the rate is the median of `runs`, by default of three for a trace
    that takes a moment and one for a longer one.

    `settings` are knobs of the twin; those that the real one has too are set. `progress` is told
    of twice the trace's events. HeapwrightError when there is no Go of the right release.
    """
    conditions = conditions or Conditions.of(trace)
    knobs = {knob: value for knob, value in (settings or {}).items() if knob in go.KNOBS}
    runs = runs or (3 if trace.events < MOMENT_EVENTS else 1)
    kinds = Kinds.of(trace) if trace.graph else None
    rows, resident = [], []
    replayed, ends = 0, ending(trace)
    with go.Go(
        trace,
        kinds,
        touch=conditions.touch,
        huge_pages=conditions.huge_pages != "never",
        settings=knobs,
    ) as process:
        own, before = process.state(), process.footprint()
        for part in go.parts(trace.batches(columns=go.COLUMNS), _stops(trace.events, ends.end)):
            rows.append(process.watch(part)[-1])
            resident.append(process.footprint().anonymous_pages - before.anonymous_pages)
            replayed += len(part.op)
            if progress:
                progress(replayed)
        after = process.footprint()
    watched = np.array(rows, np.int64).reshape(-1, len(go.Row._fields))
    timeline = _timeline(watched, np.array(resident, np.int64), own)
    peak = np.zeros(len(TIMELINE) - 2, np.int64)
    if len(timeline):
        peak = timeline[timeline[:, 2].argmax(), 2:]
    result = Result(
        manager="go",
        kind="measured",
        events=replayed,
        seconds=statistics.median(
            go.seconds(trace, kinds=kinds, settings=knobs) for _ in range(runs)
        ),
        peak=dict(zip(TIMELINE[2:], peak.tolist(), strict=True)),
        page_faults=after.faults - before.faults,
        mapped_bytes_peak=int(timeline[:, 1].max(initial=0)),
        settings=knobs,
        conditions=dict(vars(conditions)),
        timeline=timeline,
        notes=[*NOTES, *(() if trace.graph else (IDEAL_LIVENESS,))],
    )
    settle(result, trace, ends)
    return result


def _stops(events: int, end_event: int) -> list[int]:
    """Numbers of events replayed at about go.SAMPLES moments, and past `end_event`."""
    spread = np.linspace(0, events, go.SAMPLES + 1).astype(np.int64)
    return np.unique(np.append(spread, end_event + 1)).tolist()


def _timeline(rows: np.ndarray, resident_pages: np.ndarray, own: go.State) -> np.ndarray:
    """int64[sample, len(TIMELINE)] of watched rows int64[sample, len(Row._fields)].

    `own` is what the runtime had before: it is not the program's.
    """
    timeline = np.zeros((len(rows), len(TIMELINE)), np.int64)
    column = {name: rows[:, number] for number, name in enumerate(go.Row._fields)}
    part = {name: 3 + number for number, name in enumerate(PARTS)}
    resident = np.maximum(resident_pages, 0) * PAGE_BYTES
    live = np.minimum(column["requested_bytes"], resident)
    objects = column["objects_bytes"] - own.heap_alloc
    garbage = np.clip(objects - live, 0, resident - live)
    timeline[:, 0] = column["event"] - 1
    timeline[:, 1] = column["mapped_bytes"] - (own.sys - own.heap_sys + own.heap_in_use)
    timeline[:, 2] = resident
    timeline[:, part["live"]], timeline[:, part["garbage"]] = live, garbage
    timeline[:, part["partial"]] = resident - live - garbage
    return timeline


def go_lane(
    trace_path: Path,
    conditions: Conditions | None = None,
    settings: Mapping[str, int] | None = None,
) -> Lane:
    """A lane for the real Go."""
    from heapwright.trace.store import Trace

    def run(progress: Callable[[int], None]) -> Result:
        return measured_go(Trace.open(trace_path), conditions, settings, progress=progress)

    return Lane("real go", 2 * Trace.open(trace_path).events, run)
