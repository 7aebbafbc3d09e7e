"""`heapwright validate`: a twin against the real system, as a table or JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heapwright.cli.options import Json, Settings, TracePath

if TYPE_CHECKING:
    from heapwright.references import Agreement


def validate(
    manager: Annotated[
        str,
        typer.Argument(
            metavar="MANAGER", help="A manager with a real counterpart.", show_default=False
        ),
    ],
    trace: TracePath,
    settings: Settings = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="FILE",
            help="Of HotSpot: beside a JVM's log of its collections, or those that a trace keeps.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with status 1 unless all that is compared agrees."),
    ] = False,
    json: Json = False,
) -> None:
    """Check a manager against the real system, event by event.

    The twin and the real system, in a fresh process, get the same events. Of glibc addresses are
    compared with those that the recording kept, or with the fresh process's where it kept none;
    resident and mapped bytes with the fresh process's. Of Go size classes, live bytes after full
    collections, the number of collections and their goals, and the heap in use. Of pymalloc
    addresses in their arenas, arenas, and what sys._debugmallocstats() says. Of cpython, on an
    object graph, every collection, as gc.callbacks is told; of HotSpot likewise, by the JVM's own
    counters. With --log, which java -Xlog:gc* writes (JDK 8: -XX:+PrintGCDetails), the twin is laid
    beside the run that the log is of; the trace of a recorded Java program has its own run's.

    Example:

        heapwright validate glibc sqlite.heap.parquet
        heapwright validate go sqlite.heap.parquet --json
        heapwright validate hotspot-serial lists.heap.parquet
        heapwright validate hotspot-g1 app.heap.parquet --log gc.log
        heapwright validate hotspot-serial app.heap.parquet --log app.heap.parquet
        heapwright validate glibc sqlite.heap.parquet --set glibc.tcache_count=0
    """
    from heapwright.api.replaying import validate as compared
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_settings
    from heapwright.errors import HeapwrightError
    from heapwright.trace.store import Trace

    knobs = parse_settings(settings or [])
    for other in knobs.keys() - {manager}:
        raise HeapwrightError(f"--set names {other}, but it is {manager} that is validated.")

    opened = Trace.open(trace)
    with screen.progress(f"validating {manager}", opened.events) as advance:
        shown = 0

        def progress(done: int) -> None:
            nonlocal shown
            advance(done - shown)
            shown = done

        found = compared(manager, opened, knobs.get(manager), log=log, progress=progress)
    if json:
        screen.print_json({**found.to_json(), "trace_notes": opened.notes})
    else:
        _print(found)
    if not json:
        screen.show_notes(opened.notes)
    if strict and not found.agrees:
        raise typer.Exit(1)


def _print(found: "Agreement") -> None:
    from heapwright.cli import screen
    from heapwright.report.agreement import agreement_sheet
    from heapwright.report.terminal import print_sheet

    console = screen.console()
    print_sheet(console, agreement_sheet(found))
    for sentence in found.sentences():
        console.print(sentence, markup=False, soft_wrap=True)
