"""`heapwright diff`: two traces of one program, before and after a change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heapwright.cli.options import HugePages, Json, Touch


def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A trace.", show_default=False)],
    after: Annotated[
        Path, typer.Argument(metavar="AFTER", help="A later one.", show_default=False)
    ],
    fail_above: Annotated[
        str | None,
        typer.Option(
            metavar="5%",
            help="End with status 1 if what is resident, at the end or the peak, grew by more.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many stacks to show.")] = 10,
    json: Json = False,
    touch: Touch = None,
    huge_pages: HugePages = "never",
) -> None:
    """Say what grew from one trace of a program to the next.

    By call stack and by size, at the end and at the peak: live bytes, and what is resident under
    the twin of what it ran on. Stacks are matched by the names of their functions, so that lines
    and offsets may shift.

    Example:

        heapwright diff before.heap.parquet after.heap.parquet
        heapwright diff before.heap.parquet after.heap.parquet --fail-above 5%
    """
    from heapwright.api.differing import PASSES
    from heapwright.api.differing import diff as told
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_share
    from heapwright.report.diff import print_diff
    from heapwright.trace.store import Trace
    from heapwright.words import change_text

    most = parse_share(fail_above) if fail_above is not None else None
    traces = [Trace.open(before), Trace.open(after)]
    with screen.progress("diff", PASSES * sum(trace.events for trace in traces)) as advance:
        found = told(*traces, touch=touch, huge_pages=huge_pages, progress=advance)
    failed = most is not None and found.grown() > most
    if json:
        screen.print_json(found.to_json() | {"fail_above": most, "failed": failed})
    else:
        print_diff(screen.console(), found, top)
    if failed:
        typer.echo(
            f"heapwright: grew by {change_text(found.grown())}, more than {fail_above}", err=True
        )
        raise typer.Exit(1)
