"""`heapwright maps`: an address space, area by area."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heapwright.cli.options import HugePages, Json, Settings, Touch

if TYPE_CHECKING:
    from heapwright.api.maps import Maps


def maps(
    trace: Annotated[
        Path | None, typer.Argument(metavar="[TRACE]", help="A trace file.", show_default=False)
    ] = None,
    manager: Annotated[
        str,
        typer.Option(metavar="NAME", help="Whose twin; default: what the program runs on."),
    ] = "",
    at: Annotated[
        str, typer.Option(metavar="peak|end|EVENT", help="The moment, or an event's number.")
    ] = "peak",
    pid: Annotated[
        int | None,
        typer.Option(metavar="PID", help="A process that runs, beside the twin or alone."),
    ] = None,
    form: Annotated[
        str, typer.Option(metavar="pmap|smaps", help="As which tool would print it.")
    ] = "pmap",
    settings: Settings = None,
    touch: Touch = None,
    huge_pages: HugePages = "never",
    json: Json = False,
) -> None:
    """Show an address space, area by area, as pmap or smaps would.

    Of a manager's twin at any event of a trace, of a process that runs, or of both: then a table
    sets them beside each other.

    Example:

        heapwright maps app.heap.parquet --manager glibc --at peak
        heapwright maps --pid 4711 --form smaps
    """
    from heapwright.api.maps import maps as of_twin
    from heapwright.api.maps import maps_of_process
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_settings
    from heapwright.errors import HeapwrightError
    from heapwright.trace.store import Trace

    if form not in ("pmap", "smaps"):
        raise HeapwrightError(f"--form is pmap or smaps, not {form!r}.")
    if trace is None and pid is None:
        raise HeapwrightError("give a trace, or --pid of a process that runs.")
    if trace is None and (manager or at != "peak" or settings or touch or huge_pages != "never"):
        raise HeapwrightError(
            "--manager, --at, --set, --touch and --huge-pages are of a twin: give a trace, too."
        )
    found: list[Maps] = []
    if trace is not None:
        opened, asked = Trace.open(trace), parse_settings(settings or ())
        if others := [name for name in asked if manager and name != manager]:
            raise HeapwrightError(f"--set names {others[0]}, but the manager is {manager}.")
        manager = manager or next(iter(asked), "")
        moment = int(at) if at.isdecimal() else at
        with screen.progress("replaying", None) as advance:
            found.append(
                of_twin(
                    opened,
                    manager=manager,
                    at=moment,
                    settings=asked.get(manager),
                    touch=touch,
                    huge_pages=huge_pages,
                    progress=lambda events: advance(0),
                )
            )
    if pid is not None:
        found.append(maps_of_process(pid))
    if json:
        screen.print_json({"spaces": [one.to_json() for one in found]})
        return
    _print(found, form)


def _print(found: list[Maps], form: str) -> None:
    from heapwright.cli import screen
    from heapwright.report.maps_table import totals_sheet
    from heapwright.report.terminal import print_sheet

    console = screen.console()
    for one in found:
        when = "" if one.event is None else f", after event {one.event:,}"
        console.print(f"{one.of}{when}", markup=False, soft_wrap=True)
        told = one.as_pmap() if form == "pmap" else one.as_smaps()
        console.print(told, markup=False, soft_wrap=True)
        console.print()
    print_sheet(console, totals_sheet([(one.of, one.totals) for one in found]))
    screen.show_notes([note for one in found for note in one.notes])
