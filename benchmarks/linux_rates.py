"""How fast a kernel's recording is replayed: python -m benchmarks.linux_rates KERNEL_TRACE...

Each manager serves each recording from the beginning, on a machine that was just started, as often
as --runs says, in a process of its own; printed are the best rate, as noise only adds to time, and
the median. A recording
is what `heapwright record --kernel` or `heapwright import` wrote. The bar is 20 M events/s for
page-allocator and slub; with --bar 20 the command fails below it.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from pathlib import Path

from benchmarks.tables import table
from heapwright.errors import HeapwrightError
from heapwright.trace.schema import events
from heapwright.trace.store import Trace
from heapwright.tunnel.conditions import Conditions, columns_of
from heapwright.tunnel.replay import Replay

MANAGERS = ("page-allocator", "slub", "slab")
BARRED = MANAGERS[:2]
HEADER = ("manager", "recording", "events", "best, M events/s", "median")


def seconds(manager: str, path: Path, runs: int) -> list[float]:
    """Seconds of each run in the replay loop, in a fresh process: a call of the loop from Python is
    cheapest for the first manager of a process, which tells in a recording of a millisecond."""
    with multiprocessing.get_context("fork").Pool(1) as worker:
        return worker.apply(_seconds, (manager, path, runs))


def _seconds(manager: str, path: Path, runs: int) -> list[float]:
    trace, found = Trace.open(path), []
    for _ in range(runs):
        twin = Replay(manager, trace, {}, Conditions.of(trace))
        twin.loop.replay(twin.heap, twin.run, events())  # compiled or loaded
        batches = list(trace.batches(columns_of(twin.loop, trace)))
        start = time.perf_counter()
        for batch in batches:
            twin.loop.replay(twin.heap, twin.run, batch)
        found.append(time.perf_counter() - start)
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--bar", type=float, default=0, help="fail below so many million")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    told = []
    try:
        for manager in MANAGERS:
            for path in chosen.traces:
                trace = Trace.open(path)
                taken = seconds(manager, path, chosen.runs)
                rates = [trace.events / each / 1e6 for each in taken]
                told.append(
                    (manager, path.name, trace.events, max(rates), statistics.median(rates))
                )
    except HeapwrightError as error:
        print(error, file=sys.stderr)
        return 1
    if chosen.json:
        keys = ("manager", "recording", "events", "best_millions", "median_millions")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in told], indent=2))
    else:
        rows = [[m, n, f"{e:,}", f"{best:.1f}", f"{middle:.1f}"] for m, n, e, best, middle in told]
        print(table(HEADER, rows))
    slow = [row for row in told if row[0] in BARRED and row[3] < chosen.bar]
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
