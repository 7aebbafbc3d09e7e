"""`heapwright why`: leak, fragmentation, caches, or simply live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heapwright.cli.options import HugePages, Json, Knobs, Touch, TracePath


def why(
    trace: TracePath,
    html: Annotated[
        Path | None,
        typer.Option(metavar="PAGE", help="Write a page with a flame graph of the call stacks."),
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many stacks to show.")] = 5,
    settings: Knobs = None,
    json: Json = False,
    touch: Touch = None,
    huge_pages: HugePages = "never",
) -> None:
    """Say why a program's memory is what it is.

    A leak, fragmentation, the allocator's caches, rounding, memory that it retains, or simply
    live: a verdict, its share of what is resident at the end and at the peak, the call stacks
    behind it, and what to do. Each byte is told by the twin of what the program ran on, glibc or
    pymalloc over it, set as it was recorded. Of a Python's object graph (record --graph) also what
    only the cycle collector could free, and how long that waited. A Java program's objects are told
    by the twin of its collector, in the heap that it was recorded in.

    Example:

        heapwright why app.heap.parquet
        heapwright why app.heap.parquet --html why.html
        heapwright why app.heap.parquet --json | jq -r .verdict
    """
    from heapwright.api.why import PASSES
    from heapwright.api.why import why as told
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_settings
    from heapwright.errors import HeapwrightError
    from heapwright.managers.present import ran_on
    from heapwright.report.why import print_why
    from heapwright.trace.store import Trace

    opened = Trace.open(trace)
    manager = ran_on(opened)
    asked = [one if "." in one.partition("=")[0] else f"{manager}.{one}" for one in settings or ()]
    knobs = parse_settings(asked)
    if others := [name for name in knobs if name != manager]:
        raise HeapwrightError(f"--set names {others[0]}, and this program ran on {manager}.")
    with screen.progress("why", PASSES * opened.events) as advance:
        found = told(
            opened, knobs.get(manager), touch=touch, huge_pages=huge_pages, progress=advance
        )
    if html is not None:
        found.write_html(html)
    if json:
        screen.print_json(found.to_json())
        return
    console = screen.console()
    print_why(console, found, top)
    if html is not None:
        console.print(f"\nThe page: {html.resolve()}", markup=False, soft_wrap=True)
