"""`heapwright record`: run a program, keep what it allocates."""

from pathlib import Path
from typing import Annotated

import typer

_STEPS = 1000  # of the progress bar


def record(
    command: Annotated[
        list[str], typer.Argument(metavar="-- CMD...", help="The program and its arguments.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The trace to write.  [default: PROGRAM.heap.parquet]",
        ),
    ] = None,
    children: Annotated[
        bool,
        typer.Option("--children", help="Follow forks and execs: a trace for each beside OUT."),
    ] = False,
) -> None:
    """Record what a program allocates.

    Works for any dynamically linked program on glibc. Its exit status is passed on. Ctrl-C goes
    to the program; what it did until then is kept, as after a crash or a kill.

    Example:

        heapwright record -o json.heap.parquet -- python3 parse.py big.json
        heapwright record --children -- make -j2
    """
    import contextlib

    from heapwright.cli import screen
    from heapwright.insight.words import bytes_text
    from heapwright.trace.recorder.session import record as run

    out = output or Path(f"{Path(command[0]).name}.heap.parquet")
    with contextlib.ExitStack() as bars:
        shown: dict[str, tuple[object, int]] = {}

        def progress(name: str, fraction: float) -> None:
            if name not in shown:
                bars.close()
                shown[name] = (bars.enter_context(screen.progress(f"writing {name}", _STEPS)), 0)
            advance, done = shown[name]
            shown[name] = (advance, int(fraction * _STEPS))
            advance(shown[name][1] - done)  # type: ignore[operator]

        status, traces = run(command, out, children=children, progress=progress)
    for trace in traces:
        unmatched = f", {trace.unmatched_frees:,} unmatched frees" if trace.unmatched_frees else ""
        size = bytes_text(trace.path.stat().st_size)
        typer.echo(f"{trace.path}: {trace.events:,} events of {trace.program}{unmatched}, {size}")
    raise typer.Exit(status)
