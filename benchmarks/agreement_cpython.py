"""CPython's table of agreement: object graphs through the twin and real interpreters.

    python -m benchmarks.agreement_cpython ["COMMAND" ...] [-o docs/agreement-cpython.md]

writes the page. A COMMAND starts an interpreter, as HEAPWRIGHT_PYTHON does; without one it is that
of this Python. Nothing in the page is typed by hand: run this again after a change to the twin.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.recorded_cpython import RECORDED_AT, tables
from benchmarks.tables import here, table, today
from heapwright.references.cpython.collections import Agreement, validate
from heapwright.references.cpython.collector import VARIABLE
from heapwright.references.tally import difference, percent
from heapwright.trace.programs import GRAPH_PROGRAMS, synthesise
from heapwright.trace.store import Trace
from heapwright.words import bytes_text

GRAPH_OBJECTS = 300_000  # of each program
# What-if: each is given to both
SETTINGS: tuple[dict[str, int], ...] = (
    {},
    {"threshold0": 100},
    {"threshold0": 700, "threshold1": 2, "threshold2": 1},
    {"threshold0": 20_000},
    {"threshold0": 50_000, "threshold1": 100},
    {"disable": 1},
)
SET_ON = ("linked-lists", "python-service")
HEADER = (
    "collections equal",
    "young / middle / old",
    "objects collected: twin / real",
    "uncollectable",
    "counts at the end",
    "resident at the peak: twin / real",
)


def cells(found: Agreement) -> list[str]:
    """The cells of one comparison."""
    runs, (twin, real) = found.runs, found.counts
    share = "none"
    if runs.compared:
        share = f"{percent(runs.equal, runs.compared)} of {runs.compared:,}"
    grown = [bytes_text(bytes_) for bytes_ in found.grown]
    return [
        share,
        " / ".join(f"{pair[1]:,}" for pair in found.made.values()),
        pair_of(found.collected),
        pair_of(found.uncollectable),
        "equal" if twin == real else f"{twin} / {real}",
        f"{grown[0]} / {grown[1]} ({difference(*found.grown)})",
    ]


def pair_of(figures: tuple[int, int]) -> str:
    """Twin and real."""
    return f"{figures[0]:,} / {figures[1]:,}"


def compared(path: Path, settings: dict[str, int]) -> Agreement:
    """One comparison, announced on stderr."""
    trace = Trace.open(path)
    print(f"cpython on {path.name}, {trace.events:,} events {settings or ''}", file=sys.stderr)
    return validate(trace, settings)


def page(commands: list[str], graphs: dict[str, Path], recorded: str) -> str:
    """The page."""
    rows, what_if = [], []
    for command in commands:
        if command:
            os.environ[VARIABLE] = command
        for name, path in graphs.items():
            found = compared(path, {})
            rows.append([found.versions[1], name, f"{found.events:,}", *cells(found)])
    for name in SET_ON:
        for settings in SETTINGS:
            found = compared(graphs[name], settings)
            words = ", ".join(f"`{knob}={value}`" for knob, value in settings.items())
            what_if.append([found.versions[1], name, words or "as it comes", *cells(found)])
    return f"""# Agreement with real CPythons

Written by `benchmarks/agreement_cpython.py` on {today()}: {here()}.

A fresh interpreter does what an object graph says, with objects of its own, while a callback in \
`gc.callbacks` writes down each collection; the twin gets the same events. `heapwright validate \
cpython TRACE` prints one comparison.

- **Collections equal**: begun by the same event, of the same generation, as many objects collected
  and as many uncollectable.
- **Counts at the end**: `gc.get_count()` after the last event.
- **Resident at the peak**: over what was resident before the first event. The twin has pools of
  pymalloc's sizes and not its order; dictionaries and tuples of the real one are larger than the
  trace says, so `python-service` differs.

## Versions

Programs of `heapwright synthesise` with {GRAPH_OBJECTS:,} objects, thresholds as each version has \
them.

{table(("CPython", "trace", "events", *HEADER), rows)}

## What if

Other thresholds, predicted and really run.

{table(("CPython", "trace", "settings", *HEADER), what_if)}

## A recorded program

A program full of cycles, recorded once with `heapwright record --graph` at a threshold of \
{RECORDED_AT}: the twin beside what the program's own collector did meanwhile; and from the same \
recording other thresholds, predicted and really run. Predicted are the interpreter's start \
and end too. What a collection leaves in free lists, and so is no birth afterwards, is as much as \
the recorded one left.

{recorded}
"""


def main() -> None:
    """Make the graphs, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*", help="commands that start an interpreter")
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/agreement-cpython.md"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        graphs = {name: Path(folder) / f"{name}.heap.parquet" for name in GRAPH_PROGRAMS}
        for name, path in graphs.items():
            synthesise(name, path, {"objects": GRAPH_OBJECTS})
        asked.out.write_text(page(asked.commands or [""], graphs, tables(Path(folder))))


if __name__ == "__main__":
    main()
