"""`heapwright size-classes`: the size classes that fit a trace, beside those of real allocators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heapwright.cli.options import Json, TracePath


def size_classes(
    trace: TracePath,
    most: Annotated[int, typer.Option(metavar="N", help="Classes at most.")] = 64,
    by: Annotated[
        str,
        typer.Option(
            metavar="peak|mean|requests",
            help="Which lost bytes are made least: when most are alive, on average over events, or "
            "of every request once.",
        ),
    ] = "peak",
    granule: Annotated[
        str, typer.Option(metavar="BYTES", help="Classes are multiples of it.")
    ] = "16",
    largest: Annotated[
        str, typer.Option(metavar="BYTES", help="Larger requests get pages of their own.")
    ] = "256k",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the best table."),
    ] = None,
    json: Json = False,
) -> None:
    """Find the size classes that fit a trace.

    Of all tables of so many classes one loses the fewest bytes to rounding: it is found exactly,
    and shown beside what the classes of real allocators lose on the same trace. wright takes it in
    a replay and in flight.

    Example:

        heapwright size-classes a.parquet --most 64 -o a.json
        heapwright compare a.parquet --managers wright --set wright.classes=a.json
        heapwright fly wright --set classes=a.json --stats -- ./app
    """
    from heapwright.api.classes import size_classes as fitted
    from heapwright.cli import screen
    from heapwright.quantities import parse_bytes
    from heapwright.report.size_classes import size_classes_sheet
    from heapwright.report.terminal import print_sheet
    from heapwright.trace.store import Trace

    opened = Trace.open(trace)
    with screen.progress("reading", opened.events) as advance:
        found = fitted(
            opened,
            most,
            by=by,
            granule=parse_bytes(granule),
            largest=parse_bytes(largest),
            output=output,
            progress=advance,
        )
    if json:
        about = {"trace": str(trace), "trace_notes": opened.notes}
        screen.print_json({**about, **found.to_json()})
        return
    console = screen.console()
    print_sheet(console, size_classes_sheet(found))
    console.print("\n" + " ".join(map(str, found.sizes)), markup=False, soft_wrap=True)
    if found.larger_requests:
        console.print(f"Larger: {found.larger_requests:,} requests.", markup=False)
    for note in found.notes:
        console.print(note, markup=False, soft_wrap=True)
    if output is not None:
        console.print(f"\n{output}: --set wright.classes={output}", markup=False, soft_wrap=True)
    screen.show_notes(opened.notes)
