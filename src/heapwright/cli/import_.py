"""`heapwright import`: another tool's recording becomes a trace."""

from pathlib import Path
from typing import Annotated

import typer

from heapwright.cli.options import Output


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The recording.", show_default=False)
    ],
    output: Output,
) -> None:
    """Turn a recording of another tool into a trace.

    The format is recognised by the file's content. Known are captures of memray (memray run).

    Example:

        memray run -o app.bin app.py
        heapwright import app.bin -o app.heap.parquet
    """
    from heapwright.cli import screen
    from heapwright.insight.words import bytes_text
    from heapwright.trace.importers import import_file
    from heapwright.trace.store import Trace

    with screen.progress(f"importing {file.name}", 1) as advance:
        import_file(file, output, advance)
    trace = Trace.open(output)
    typer.echo(
        f"{output}: {trace.events:,} events, {trace.threads:,} threads, peak live "
        f"{bytes_text(trace.peak_live_bytes)}, {trace.unmatched_frees:,} unmatched frees"
    )
    for note in trace.notes:
        typer.echo(f"note: {note}")
