"""How fast HotSpot's twins replay: `python -m benchmarks.hotspot_rates [--objects N] [--json]`.

    rate   millions of events a second of the replay loop, collections among them; the best of runs
    floor  what it is to be at least

Each heap is four times the most bytes that the program has alive, 8 MiB at least (G1's 32), young
as NewRatio or the pause goal has it; --tight takes those of the table of agreement, so small that
some collect every thousand events.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.agreement_hotspot import HEAPS, OBJECTS, PROGRAMS, SET_UPS, M
from benchmarks.tables import table
from heapwright.trace.programs import synthesise
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import Conditions, Replay

TIMES_LIVE = 4  # a heap, in most bytes ever alive
FLOORS = {"hotspot-serial": 10.0, "hotspot-parallel": 10.0, "hotspot-g1": 5.0}  # M events/s


def measured(manager: str, trace: Trace, settings: dict[str, int], runs: int) -> dict[str, Any]:
    """The best of runs, and what was collected in each."""
    seconds = []
    for _ in range(runs):
        twin = Replay(manager, trace, settings, Conditions("none"))
        seconds.append(twin.replay(trace, None))
    return {
        "events": trace.events,
        "collections": int(twin.heap.history[0]),
        "rate": trace.events / min(seconds) / 1e6,
    }


def main() -> int:
    """Print a row for each twin and program; 1 where a rate is below its floor."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--objects", type=int, default=OBJECTS, help="that each program makes")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tight", action="store_true", help="heaps of the table of agreement")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, program in enumerate(PROGRAMS):
            path = Path(folder) / f"{program.name}.heap.parquet"
            synthesise(program.name, path, {"objects": options.objects})
            trace = Trace.open(path)
            for manager in SET_UPS:
                heap = HEAPS.get(manager, PROGRAMS)[number]
                least = 32 * M if manager == "hotspot-g1" else 8 * M
                settings = {"Xmx": max(least, TIMES_LIVE * trace.peak_live_bytes)}
                if options.tight:
                    settings = {"Xmx": heap.heap, "Xmn": heap.young}
                row = measured(manager, trace, settings, options.runs)
                found.append({"manager": manager, "program": program.name, **row})
    found.sort(key=lambda row: list(SET_UPS).index(row["manager"]))
    if options.json:
        print(json.dumps({"rates": found, "floors": FLOORS}, indent=1))
    else:
        header = ("twin", "program", "events", "collections", "M events/s", "at least")
        rows = [
            [
                row["manager"],
                row["program"],
                f"{row['events']:,}",
                f"{row['collections']:,}",
                f"{row['rate']:.1f}",
                f"{FLOORS[row['manager']]:g}" if row["manager"] in FLOORS else "-",
            ]
            for row in found
        ]
        print(table(header, rows))
    return int(any(row["rate"] < FLOORS.get(row["manager"], 0) for row in found))


if __name__ == "__main__":
    sys.exit(main())
