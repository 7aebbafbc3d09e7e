"""`heapwright build`: a manager as a shared object."""

from pathlib import Path
from typing import Annotated

import typer

from heapwright.cli.options import Flown, Knobs


def build(
    manager: Flown,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The shared object to write.  [default: libMANAGER.so]",
        ),
    ] = None,
    settings: Knobs = None,
) -> None:
    """Compile a manager into a shared object that serves malloc.

    The object exports malloc, free and their friends, and needs neither Python nor heapwright:
    preload it, or link a program with it. Settings are compiled in. Needs a linker and, to run,
    Linux on x86-64 with glibc.

    Example:

        heapwright build segregated-fit -o libsegregated.so
        heapwright build glibc --set tcache_count=0 -o libnocache.so
    """
    from heapwright.api.flying import build as built
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_knobs, tell_ignored
    from heapwright.words import bytes_text

    knobs = parse_knobs(manager, settings or ())
    tell_ignored(manager, knobs)
    out = output or Path(f"lib{'-'.join(manager.split())}.so")
    with screen.progress(f"compiling {manager}", None):
        built(manager, out, knobs)
    typer.echo(f"{out}: {bytes_text(out.stat().st_size)}")
