"""`heapwright export`: a trace in a format of other tools."""

from pathlib import Path
from typing import Annotated

import typer

from heapwright.cli.options import TracePath


def export(
    trace: TracePath,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            "--format",
            metavar="csapp|android|csv|parquet|perfetto|pprof|speedscope|collapsed",
            help="The format.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="The file to write.")
    ],
    managers: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="For perfetto: replay the trace through these and show them too."
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Of a heap profile: alloc_space, peak_space, inuse_space, leaked_space, "
            "alloc_objects, peak_objects, inuse_objects.",
        ),
    ] = None,
) -> None:
    """Write a trace in a format of other tools.

    Exported and imported again, a trace is equal event by event but for what is said here that the
    format cannot hold. pprof, speedscope and collapsed hold a heap profile: what each call stack
    asked for, had live at the peak and at the end, and leaks.

    Example:

        heapwright export app.heap.parquet --to android -o app.txt
        heapwright export a.parquet --to perfetto --managers glibc -o app.json
        heapwright export app.heap.parquet --format pprof -o app.pb.gz
    """
    from heapwright.cli import screen
    from heapwright.errors import HeapwrightError
    from heapwright.trace import exports
    from heapwright.trace.store import Trace

    opened = Trace.open(trace)
    if managers and to != "perfetto":
        raise HeapwrightError(f"--managers is for --to perfetto; {to} holds the trace alone")
    profiled = to in exports.PROFILES
    if kind and not profiled:
        raise HeapwrightError(f"--kind is for {', '.join(exports.PROFILES)}; {to} has none")
    results = _flown(opened, managers.split(",")) if managers else []
    with screen.progress(f"exporting {trace.name}", opened.events) as advance:
        if profiled:
            from heapwright.report.profiles import write_profile

            losses = write_profile(opened, to, output, kind, advance)
        else:
            losses = exports.export(opened, to, output, advance, results)
    typer.echo(f"{output}: {opened.events:,} events as {to}, {output.stat().st_size:,} bytes")
    for loss in losses:
        typer.echo(f"note: {loss}")
    screen.show_notes(opened.notes)


def _flown(trace, names: list[str]):  # type: ignore[no-untyped-def]
    """The results of the managers `names`, one after the other."""
    from heapwright.cli import screen
    from heapwright.managers.registry import named
    from heapwright.tunnel.replay import replay, steps_of_replay

    chosen = [name.strip() for name in names]
    for name in chosen:
        named(name)  # complain before anything runs
    results = []
    for name in chosen:
        with screen.progress(f"replaying {name}", steps_of_replay(trace)):
            results.append(replay(name, trace))
    return results
