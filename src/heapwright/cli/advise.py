"""`heapwright advise`: what to change so that a program holds less memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heapwright.cli.options import HugePages, Json, Touch


def advise(
    trace: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TRACE]",
            help="A trace file, or the name of a synthetic program.",
            show_default=False,
        ),
    ] = None,
    managers: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Try these alone; default: all that can be deployed."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="end|mean|peak", help="Rank by this alone; default: by the three together."
        ),
    ] = None,
    json: Json = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at once; default: one per processor.")
    ] = None,
    touch: Touch = "all",
    huge_pages: HugePages = "never",
) -> None:
    """Say what to change so that a program holds less memory.

    Tries what can be deployed without touching the program: settings of the malloc that it runs on,
    and other mallocs with theirs. Ranks them by what stays, what is held on average and at the
    peak, against the present state; what is level with it within the uncertainty is no advice. The
    best is printed as lines for a shell, a Dockerfile, systemd and Kubernetes.

    Example:

        heapwright advise app.heap.parquet
        heapwright advise app.heap.parquet --by end --json
    """
    from heapwright.api.advising import advise as advised
    from heapwright.cli import screen
    from heapwright.cli.compare import bars
    from heapwright.errors import HeapwrightError
    from heapwright.report.advice import print_advice

    if trace is None:
        raise HeapwrightError("name a trace: heapwright advise TRACE.")
    with bars() as progress:
        found = advised(
            trace,
            managers,
            by=by,
            touch=touch,
            huge_pages=huge_pages,
            jobs=jobs,
            progress=progress,
        )
    if json:
        screen.print_json(found.to_json())
    else:
        print_advice(screen.console(), found)
        for sentence in found.failures:
            screen.console(stderr=True).print(sentence, style="yellow", soft_wrap=True)
