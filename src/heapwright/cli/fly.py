"""`heapwright fly`: run a program on a manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from heapwright.cli.options import Flown, Knobs

if TYPE_CHECKING:
    from heapwright.flight.statistics import ProcessStatistics


def fly(
    manager: Flown,
    command: Annotated[
        list[str], typer.Argument(metavar="-- CMD...", help="The program and its arguments.")
    ],
    settings: Knobs = None,
    stats: Annotated[
        bool,
        typer.Option(
            "--stats", help="Say at the end what each process held, on stderr; slows it down."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The same as JSON, on stderr.")] = False,
) -> None:
    """Run a program on a manager.

    The manager serves every malloc of the program, of its threads and of the programs it starts.
    Works for any dynamically linked program on glibc. Its exit status is passed on.

    Example:

        heapwright fly segregated-fit -- sqlite3 shop.db "select * from orders"
        heapwright fly glibc --set tcache_count=0 --stats -- python3 app.py
    """
    from heapwright.api.flying import fly as flown
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_knobs, tell_ignored
    from heapwright.flight.build import build
    from heapwright.flight.session import unserved

    knobs = parse_knobs(manager, settings or ())
    tell_ignored(manager, knobs)
    counted = stats or json
    with screen.progress(f"compiling {manager}", None):
        build(manager, knobs, statistics=counted)
    if sentence := unserved(command[0]):
        screen.console(stderr=True).print(sentence, style="yellow", soft_wrap=True)
    found = flown(manager, command, knobs, statistics=counted)
    if json:
        about: dict[str, Any] = {"manager": manager, "settings": knobs}
        about |= {"status": found.status, "process": found.process}
        _print_json(about, found.processes)
    elif stats:
        _print_tables(found.processes, found.process)
    raise typer.Exit(found.status)


def _print_json(about: dict[str, Any], ended: list[ProcessStatistics]) -> None:
    """On stderr, for stdout is the program's."""
    import json
    import sys

    from heapwright.report.processes import process_row
    from heapwright.result import SCHEMA_VERSION

    about = {"schema_version": SCHEMA_VERSION} | about
    document = about | {"processes": [process_row(process) for process in ended]}
    print(json.dumps(document, indent=2), file=sys.stderr)


def _print_tables(ended: list[ProcessStatistics], process: int) -> None:
    from heapwright.cli import screen
    from heapwright.report.comparison import paths_sheet
    from heapwright.report.processes import processes_sheet
    from heapwright.report.terminal import print_sheet

    console = screen.console(stderr=True)
    if not ended:
        console.print("No process said what it held: none asked for memory and ended by exit.")
        return
    print_sheet(console, processes_sheet(ended))
    own = [one for one in ended if one.process == process] or ended
    print_sheet(console, paths_sheet(own[-1].paths))
