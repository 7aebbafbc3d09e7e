"""Counters for ui.perfetto.dev, in the JSON trace event format: live bytes and objects in time.

    {"traceEvents": [{"ph": "C", "pid": 1, "name": "live", "ts": 12, "args": {"bytes": 640}}, ...]}

`ts` is in microseconds: the recording's own clock, or one event a microsecond where it has none.
A comparison's timelines are counted in events, so then everything is.

Source     Trace Event Format, Google, "Counter Events"
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.result import PARTS, TIMELINE, Result
from heapwright.trace.schema import FREE, NEW, REALLOC, THREAD_EXIT
from heapwright.trace.store import Trace

SUMMARY = "JSON for ui.perfetto.dev: timelines of live memory, and of managers' resident memory"
SAMPLES = 4000
PROGRAM = 1  # process number of the program; managers follow


def export(
    trace: Trace,
    file: BinaryIO,
    advance: Callable[[float], None],
    results: Sequence[Result] = (),
) -> list[str]:
    """Write live bytes and objects, and resident memory under each manager of `results`."""
    timed = "time_ns" in trace.columns and not results
    file.write(b'{"displayTimeUnit":"ms","traceEvents":[\n')
    _write(file, _named(PROGRAM, trace.program))
    for event, time_ns, live_bytes, objects in _live(trace, timed, advance):
        when = time_ns / 1000 if timed else event
        _write(file, _counter(PROGRAM, "live bytes", when, {"bytes": live_bytes}), ",")
        _write(file, _counter(PROGRAM, "live objects", when, {"objects": objects}), ",")
    for process, result in enumerate(results, PROGRAM + 1):
        _write(file, _named(process, f"{result.manager} ({result.kind})"), ",")
        timeline = result.timeline if result.timeline is not None else np.zeros((0, len(TIMELINE)))
        for row in timeline.tolist():
            found = dict(zip(TIMELINE, row, strict=True))
            parts = {part: found[f"{part}_bytes"] for part in PARTS}
            _write(file, _counter(process, "resident bytes", found["event"], parts), ",")
            mapped = {"bytes": found["mapped_bytes"]}
            _write(file, _counter(process, "mapped bytes", found["event"], mapped), ",")
    file.write(b"]}\n")
    losses = ["Perfetto is given timelines, not events: it cannot be imported again"]
    if not timed:
        losses.append("time is counted in events, one a microsecond")
    return losses


def _live(
    trace: Trace, timed: bool, advance: Callable[[float], None]
) -> Iterator[tuple[int, int, int, int]]:
    """(event, time_ns, live bytes, live objects) about SAMPLES times and at the end."""
    every = max(trace.events // SAMPLES, 1)
    sizes, live = np.zeros(trace.slots, np.int64), np.zeros(3, np.int64)
    columns = ("op", "slot", "size", "time_ns") if timed else ("op", "slot", "size")
    for batch in trace.batches(columns):
        samples = np.empty((len(batch.op) // every + 2, 3), np.int64)
        start = int(live[2])
        for row in range(sample(batch, sizes, live, samples, every)):
            event, live_bytes, objects = samples[row].tolist()
            yield event, int(batch.time_ns[event - start - 1]) if timed else 0, live_bytes, objects
        advance(len(batch.op))


@kernel
def sample(events, sizes, live, samples, every):
    """Follow live = (bytes, objects, events so far); note it after each `every` events."""
    count = 0
    for row in range(len(events.op)):
        i = unsigned(row)
        op, slot, size = np.int64(events.op[i]), np.int64(events.slot[i]), events.size[i]
        if op != THREAD_EXIT and slot >= 0 and op <= NEW:
            if op in (FREE, REALLOC):
                live[0] -= sizes[unsigned(slot)]
                live[1] -= 1
            if op != FREE:
                sizes[unsigned(slot)] = size
                live[0] += size
                live[1] += 1
        live[2] += 1
        if live[2] % every == 0:
            out = unsigned(count)
            samples[out, 0], samples[out, 1], samples[out, 2] = live[2], live[0], live[1]
            count += 1
    return count


def _named(process: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": process, "name": "process_name", "args": {"name": name}}


def _counter(process: int, name: str, when: float, values: dict[str, int]) -> dict[str, Any]:
    return {"ph": "C", "pid": process, "name": name, "ts": when, "args": values}


def _write(file: BinaryIO, entry: dict[str, Any], before: str = "") -> None:
    file.write(f"{before}{json.dumps(entry, separators=(',', ':'))}\n".encode())
