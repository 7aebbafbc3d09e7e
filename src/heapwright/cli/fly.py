"""`heapwright fly`: run a program on a manager."""

from typing import Annotated

import typer

from heapwright.cli.options import Flown, Knobs


def fly(
    manager: Flown,
    command: Annotated[
        list[str], typer.Argument(metavar="-- CMD...", help="The program and its arguments.")
    ],
    settings: Knobs = None,
) -> None:
    """Run a program on a manager.

    The manager serves every malloc of the program, of its threads and of the programs it starts.
    Works for any dynamically linked program on glibc. Its exit status is passed on.

    Example:

        heapwright fly segregated-fit -- sqlite3 shop.db "select count(*) from orders"
        heapwright fly glibc --set tcache_count=0 -- python3 parse.py big.json
    """
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_knobs
    from heapwright.flight.build import build
    from heapwright.flight.session import fly as run

    knobs = parse_knobs(manager, settings or ())
    with screen.progress(f"compiling {manager}", None):
        library = build(manager, knobs)
    raise typer.Exit(run(library, command))
