"""`heapwright info`: the statistics of a trace, as tables with bars or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heapwright.cli.options import Json, TracePath


def info(
    trace: TracePath,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many call sites to show.")] = 10,
    json: Json = False,
) -> None:
    """Say what a trace holds: sizes, lifetimes, who allocates.

    The trace is streamed once. Lifetimes are counted in events, the only clock every trace has.
    Of a JVM's log of its collections, which java -Xlog:gc* writes (JDK 8: -XX:+PrintGCDetails), it
    says how many of each kind there were, what they left and how long they took.

    Example:

        heapwright info sqlite.heap.parquet
        heapwright info sqlite.heap.parquet --json | jq .realloc_chains
        heapwright info gc.log
    """
    from rich.table import Table
    from rich.text import Text

    from heapwright.api.traces import info as told
    from heapwright.cli import screen
    from heapwright.report.notes import notes
    from heapwright.report.summary import print_notes
    from heapwright.report.terminal import print_sheet, printable
    from heapwright.report.traces import facts, lifetimes_sheet, sites_sheets, sizes_sheet
    from heapwright.trace.importers.sums import is_gc_log
    from heapwright.trace.store import Trace

    if is_gc_log(trace):
        _log(trace, json)
        return
    opened = Trace.open(trace)
    with screen.progress("reading", opened.events) as advance:
        figures = told(opened, top, progress=advance)
    if json:
        screen.print_json(figures)
        return
    console = screen.console()
    console.print(Text(printable(opened.program or trace.name), "bold"), soft_wrap=True)
    grid = Table.grid(padding=(0, 2, 0, 0))
    for fact in facts(figures):
        grid.add_row(Text(fact.title, "dim"), Text(printable(fact.text), overflow="fold"))
    console.print(grid)
    for sheet in (sizes_sheet(figures), lifetimes_sheet(figures), *sites_sheets(figures, top)):
        console.print()
        print_sheet(console, sheet)
    print_notes(console, notes("The trace", opened.notes, []))


def _log(path: Path, json: bool) -> None:
    """What a JVM's log of its collections holds."""
    from rich.table import Table
    from rich.text import Text

    from heapwright.cli import screen
    from heapwright.report.gc_log import collections_sheet, log_facts
    from heapwright.report.notes import notes
    from heapwright.report.summary import print_notes
    from heapwright.report.terminal import print_sheet, printable
    from heapwright.trace.gc_log import read

    with screen.progress("reading", 1) as advance:
        figures = read(path, advance).summary()
    if json:
        screen.print_json(figures)
        return
    console = screen.console()
    console.print(Text(printable(str(path)), "bold"), soft_wrap=True)
    grid = Table.grid(padding=(0, 2, 0, 0))
    for fact in log_facts(figures):
        grid.add_row(Text(fact.title, "dim"), Text(printable(fact.text), overflow="fold"))
    console.print(grid)
    console.print()
    print_sheet(console, collections_sheet(figures))
    print_notes(console, notes("The log", figures["notes"], []))
