"""`heapwright frames`: who holds a kernel's physical memory, as tables or JSON."""

from pathlib import Path
from typing import Annotated

import typer

from heapwright.cli.options import Json, Knobs, TracePath


def frames(
    trace: TracePath,
    manager: Annotated[
        str,
        typer.Option("--manager", metavar="NAME", help="slub, kmalloc, slab, page-allocator."),
    ] = "slub",
    settings: Knobs = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Write a page, too.")
    ] = None,
    json: Json = False,
) -> None:
    """Say who holds a kernel's frames, and how broken up they are.

    For traces of a kernel (`heapwright record --kernel`, `heapwright import`), and any other as if
    it asked kmalloc. What each byte of the frames is, free blocks by order as time goes on, and the
    caches that hold most beyond their objects.

    Example:

        heapwright frames kernel.heap.parquet
        heapwright frames kernel.heap.parquet --manager slab --json
        heapwright frames kernel.heap.parquet --html frames.html
        heapwright frames kernel.heap.parquet --set cpu_partial=0
    """
    from heapwright.api.kernel_frames import kernel_frames
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_knobs
    from heapwright.report.kernel_frames import caches_sheet, orders_sheet, owners_sheet
    from heapwright.report.summary import print_notes
    from heapwright.report.terminal import print_sheet
    from heapwright.trace.store import Trace

    opened = Trace.open(trace)
    knobs = parse_knobs(manager, settings or [])
    with screen.progress(f"replaying {trace.name}", 2 * opened.events) as advance:
        done = 0

        def progress(events: int) -> None:
            nonlocal done
            advance(events - done)
            done = events

        found = kernel_frames(opened, manager=manager, settings=knobs, progress=progress)
    if html:
        found.write_html(html)
    if json:
        screen.print_json(found.to_json())
        return
    console = screen.console()
    for sheet_of in (owners_sheet, orders_sheet, caches_sheet):
        sheet = sheet_of(found.told)
        if sheet.rows:
            print_sheet(console, sheet)
            console.print()
    print_notes(console, found.notes)
