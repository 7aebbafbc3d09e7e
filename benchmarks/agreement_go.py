"""Go's table of agreement: recordings and object graphs through the twin and the real runtime.

    python -m benchmarks.workloads RECORDINGS --scale full
    python -m benchmarks.agreement_go RECORDINGS [-o docs/agreement-go.md]

writes the page. Nothing in it is typed by hand: run this again after a change to the twin.
"""

import sys
from pathlib import Path

from benchmarks.tables import (
    here,
    name_of,
    of_recordings,
    pair,
    recordings_parser,
    setting,
    share,
    table,
    today,
)
from heapwright.references.go import build as go_build
from heapwright.references.go.agreement import GoAgreement, validate_go
from heapwright.trace.programs import GRAPH_PROGRAMS, synthesise
from heapwright.trace.store import Trace

GRAPH_OBJECTS = 300_000  # of each program
# Each is given to both, on one recording: a knob must mean the same to twin and real.
KNOB_RECORDING = "sqlite3"
KNOBS: tuple[dict[str, int], ...] = (
    {"gogc": 30},
    {"gogc": 50},
    {"gogc": 200},
    {"gogc": 800},
    {"gomemlimit": 16_000_000},
    {"gomemlimit": 13_000_000},
    {"gogc": -1, "gomemlimit": 20_000_000},
)
HEADER = (
    "size classes equal",
    "live bytes: worst of ten",
    "collections: twin / real",
    "begun by the same event",
    "the real one, run again",
    "goals within 2 %, of 1,000 moments",
    "heap in use at the end, bytes: twin / real",
    "within 3 %, of 1,000 moments",
    "M events/s: twin / real",
)


def row(label: list[str], found: GoAgreement) -> list[str]:
    """The cells of one comparison."""
    worst = max((at.twin - at.real for at in found.live_bytes), key=abs, default=0)
    rates = [found.events / seconds / 1e6 if seconds else 0.0 for seconds in found.seconds]
    return [
        *label,
        share(found.size_classes),
        f"{worst:+,} B" if worst else "all equal",
        pair(found.collections),
        share(found.moments),
        share(found.repeated),
        share(found.heap_goals),
        pair(found.heap_in_use),
        share(found.in_use_samples),
        f"{rates[0]:.1f} / {rates[1]:.1f} ({rates[0] / rates[1]:.2f} x)",
    ]


def compared(path: Path, knobs: dict[str, int] | None = None) -> GoAgreement:
    """One comparison, announced on stderr."""
    trace = Trace.open(path)
    setting = f" with {knobs}" if knobs else ""
    print(f"go on {path.name}, {trace.events:,} events{setting}", file=sys.stderr)
    return validate_go(trace, knobs)


def labelled(path: Path, found: GoAgreement) -> list[str]:
    """Name and length of a trace."""
    return [name_of(path), f"{found.events:,}"]


def page(recordings: list[Path], graphs: list[Path]) -> str:
    """The page."""
    toolchain = go_build.toolchain()
    tables = []
    for paths in (recordings, graphs):
        rows = []
        for path in paths:
            found = compared(path)
            rows.append(row(labelled(path, found), found))
        tables.append(table(("trace", "events", *HEADER), rows))
    knob_rows = [
        row([setting(knobs)], compared(path, knobs))
        for path in recordings
        if path.name.startswith(f"{KNOB_RECORDING}.")
        for knobs in KNOBS
    ]
    return f"""# Agreement with the real Go

Written by `benchmarks/agreement_go.py` on {today()}: Go {toolchain.version}, {here()}.

Both get the same events on one processor and stop the world to collect and to sweep \
(`GODEBUG=gcstoptheworld=2 GOMAXPROCS=1`), so that collections do not depend on time. The twin is \
told what the real process takes itself: its own live objects and their spans, the bytes of its \
global variables (roots are among them), and, at each collection and at each of about 1,000 \
moments, what was scanned of stacks and mapped beside the heap. \
`heapwright validate go TRACE` prints one comparison.

- **Size classes**: bytes of the heap that an allocation takes, asked of the real runtime for every
  distinct size and number of references, counted by allocations.
- **Live bytes**: after two full collections at ten moments, beside `MemStats.HeapAlloc`, the
  runtime's own objects included.
- **Goals**: the heap goal in force (`/gc/heap/goal:bytes`) at 1,000 moments.
- **Begun by the same event**: beside the twin's share stands that of a second run of the real one,
  which need not repeat itself: what it scans of stacks, and maps under a memory limit, depends on
  when its scavenger runs.
- **Heap in use**: `HeapInuse`, undisturbed.
- **M events/s**: the bare replay loops in turn, of twin and real, the real one without the debug
  setting; the twin writes to no memory, the real one clears what it hands out.

## Recordings

Of a recording each live object is a root, and its free drops the root.

{tables[0]}

## Object graphs

Programs of `heapwright synthesise` with {GRAPH_OBJECTS:,} objects: references, globals, locals in \
frames; pointers are written through the real write barrier.

{tables[1]}

## Knobs, on {KNOB_RECORDING}

Under a memory limit the real runtime counts what it maps for itself, which grows in steps; the \
twin is told of a step at the next of the 1,000 moments.

{table(("setting", *HEADER), knob_rows)}
"""


def synthesised(folder: Path) -> list[Path]:
    """A trace of each program whose traces are object graphs."""
    paths = []
    for name in GRAPH_PROGRAMS:
        paths.append(folder / f"{name}.heap.parquet")
        print(f"writing {name}", file=sys.stderr)
        synthesise(name, paths[-1], {"objects": GRAPH_OBJECTS})
    return paths


def main() -> int:
    """Write the page."""

    def made(recordings: list[Path], folder: Path) -> str:
        return page(recordings, synthesised(folder))

    options = recordings_parser(__doc__, "docs/agreement-go.md").parse_args()
    return of_recordings(options, made)


if __name__ == "__main__":
    sys.exit(main())
