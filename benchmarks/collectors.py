"""GCBench on every collector: `python -m benchmarks.collectors [--objects N] [--runs 3]`, JSON.

    seconds    to replay the program: allocation, writes, roots and all collections
    paused     seconds of it that the program stood still; `longest_ms` is the longest pause
    trace_ns   of pause for each object that was marked or copied: what a collection costs in all
    resident   bytes at the peak

Heaps grow by each manager's own rule. Seconds are medians of runs in turn; the trace is written
once, to build/, with about so many objects, and read before the clock starts.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from heapwright.collectors import log as logs
from heapwright.compiler import kernel
from heapwright.compiler.clock import ticks
from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import PEAK_RESIDENT_PAGES
from heapwright.managers.registry import managers
from heapwright.trace import programs
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import Conditions, Replay

COLLECTED = [name for name, manager in managers().items() if manager.collected]


@kernel
def now():
    """The clock's ticks."""
    return ticks()


def ticks_per_second() -> float:
    """Measured over a tenth of a second."""
    first, began = now(), time.perf_counter()
    time.sleep(0.1)
    return float(now() - first) / (time.perf_counter() - began)


def replayed(name: str, trace: Trace, rate: float) -> dict[str, float]:
    """One replay of `trace`, all its figures."""
    flight = Replay(name, trace, {}, Conditions())
    seconds = flight.replay(trace, None)
    log, totals = flight.heap.log, flight.heap.log.totals
    kept = min(int(totals[logs.PAUSES]), logs.PAUSE_ROWS)
    lengths = log.pauses[: kept * logs.PAUSE_COLUMNS].reshape(-1, logs.PAUSE_COLUMNS)
    paused = float(totals[logs.PAUSE_TICKS]) / rate
    traced = int(totals[logs.MARKED_OBJECTS] + totals[logs.COPIED_OBJECTS])
    return {
        "seconds": seconds,
        "collections": int(totals[logs.CYCLES]),
        "paused": paused,
        "longest_ms": float(lengths[:, logs.PAUSE_LENGTH].max(initial=0)) / rate * 1e3,
        "traced_objects": traced,
        "trace_ns": paused / max(traced, 1) * 1e9,
        "resident": int(flight.heap.machine.meters[PEAK_RESIDENT_PAGES]) * PAGE_BYTES,
    }


def main() -> None:
    """Replay GCBench on every collector and print JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--objects", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--trace", type=Path, help="fly this one instead")
    options = parser.parse_args()
    path = options.trace or Path("build") / f"gcbench-{options.objects}.heap.parquet"
    if not path.exists():
        print(f"writing {path}", file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        programs.synthesise("gcbench", path, {"objects": options.objects})
    trace, rate = Trace.open(path), ticks_per_second()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in COLLECTED}
    for _ in range(options.runs):
        for name in COLLECTED:
            runs[name].append(replayed(name, trace, rate))
    report = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for name, found in runs.items()
    }
    print(json.dumps({"events": trace.events, "collectors": report}, indent=2))


if __name__ == "__main__":
    main()
