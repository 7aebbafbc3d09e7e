"""`heapwright lower-bound`: the least memory a trace can be served in, as text or JSON."""

from typing import Annotated

import typer

from heapwright.cli.options import Json, TracePath


def lower_bound(
    trace: TracePath,
    seconds: Annotated[
        float, typer.Option(metavar="S", min=0.1, help="How long the solver may take.")
    ] = 10.0,
    json: Json = False,
) -> None:
    """Say in how little memory a trace could be served.

    No manager that leaves blocks where they are can take less than the most bytes alive at once.
    Whether that little is enough is found out for small traces by placing every block with the
    whole program known beforehand.

    Example:

        heapwright lower-bound sqlite.heap.parquet
        heapwright lower-bound small.heap.parquet --seconds 60 --json
    """
    from heapwright.cli import screen
    from heapwright.insight.lower_bound import lower_bound as bounded
    from heapwright.trace.store import Trace
    from heapwright.words import bytes_text

    opened = Trace.open(trace)
    found = bounded(opened, seconds)
    if json:
        screen.print_json({"trace": str(trace), "trace_notes": opened.notes, **found.to_json()})
        return

    def exactly(count: int) -> str:
        return f"{count:,} bytes ({bytes_text(count)})"

    lines = [f"most bytes alive   {exactly(found.peak_live_bytes)}"]
    if found.lower_bound_bytes > found.peak_live_bytes:
        lines.append(f"lower bound        {exactly(found.lower_bound_bytes)}, proven")
    if found.packing_bytes is not None:
        standing = "the optimum" if found.proven else "the best found"
        lines.append(
            f"offline packing    {exactly(found.packing_bytes)}, {standing}, {found.method}, "
            f"{found.blocks:,} blocks"
        )
    for line in lines + found.notes:
        screen.console().print(line, markup=False, soft_wrap=True)
    screen.show_notes(opened.notes)
