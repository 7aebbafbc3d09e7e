"""`heapwright recover`: traces of a recording that was left behind."""

from pathlib import Path
from typing import Annotated

import typer


def recover(
    log: Annotated[
        Path,
        typer.Argument(
            metavar="LOG",
            help="The folder .OUT.recording-... that was left, or OUT: then it lies beside.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The trace to write.  [default: the one that was to be written]",
        ),
    ] = None,
) -> None:
    """Write the trace of a recording that was interrupted.

    `heapwright record` keeps the log of a running program in a folder beside the trace that it is
    going to write. When it is killed, or stopped while it writes, the folder stays and holds every
    event up to then, also of a program that still runs. It goes when the trace is written, unless
    something still writes there: then it can be recovered again.

    Example:

        heapwright recover app.heap.parquet
        heapwright recover .app.heap.parquet.recording-x3k9_q2l -o a.heap.parquet
    """
    from heapwright.cli.record import show, writing
    from heapwright.trace.recorder.session import recover as recovered

    with writing() as progress:
        traces = recovered(log, output, progress=progress)
    show(traces)
    raise typer.Exit(any(trace.cut for trace in traces))
