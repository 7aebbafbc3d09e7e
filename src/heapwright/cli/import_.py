"""`heapwright import`: another tool's recording becomes a trace."""

from pathlib import Path
from typing import Annotated

import typer

from heapwright.cli.options import Json, Output


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The recording.", show_default=False)
    ],
    output: Output,
    map_: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN,...",
            help="Of a table: its columns for op, object, old, size, align, thread, site.",
        ),
    ] = None,
    guess_reallocs: Annotated[
        bool | None,
        typer.Option(
            "--guess-reallocs/--no-guess-reallocs",
            help="Join a free and an allocation that may be a realloc.  "
            "[default: of memray, whose allocation says so; not of heaptrack]",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Turn a recording of another tool into a trace.

    The format is recognised by the file's content, plain or packed by gzip, zstd or zip: captures
    of memray, heaptrack, glibc's mtrace, valgrind --trace-malloc=yes, ltrace, Mozilla's logalloc,
    Android's memory_replay, the CS:APP malloc lab, PyTorch's snapshots of GPU memory, the Linux
    kernel's kmem events of ftrace or trace-cmd, and tables in CSV or Parquet. What the format
    cannot tell, and what was not taken literally, is told in notes that `info` shows again.

    Example:

        memray run -o app.bin app.py && heapwright import app.bin -o a.parquet
        heaptrack --raw -o app ./app && heapwright import app.raw.zst -o a.parquet
        heapwright import app.raw.zst --guess-reallocs -o app.heap.parquet
        valgrind --trace-malloc=yes --log-file=app.log ./app
        heapwright import app.log -o app.heap.parquet
        heapwright import snapshot.pickle -o gpu.heap.parquet
        trace-cmd record -e kmem sleep 1 && trace-cmd report > kernel.txt
        heapwright import kernel.txt -o kernel.heap.parquet
        heapwright import events.csv --map op=kind,object=address -o app.parquet
    """
    from heapwright.cli import screen
    from heapwright.trace.importers import import_file
    from heapwright.trace.importers.tabular import parse_map
    from heapwright.trace.store import Trace
    from heapwright.words import bytes_text, counted

    columns = parse_map(map_) if map_ else None
    with screen.progress(f"importing {file.name}", 1) as advance:
        import_file(file, output, advance, columns, guess_reallocs)
    trace = Trace.open(output)
    if json:
        told = {"trace": output, "program": trace.program, "events": trace.events}
        told |= {"allocations": trace.allocations, "reallocations": trace.reallocations}
        told |= {"frees": trace.frees, "refused": trace.refused, "threads": trace.threads}
        told |= {"peak_live_bytes": trace.peak_live_bytes, "notes": trace.notes}
        screen.print_json(told | {"unmatched_frees": trace.unmatched_frees})
        return
    typer.echo(
        f"{output}: {counted(trace.events, 'event')}, {counted(trace.threads, 'thread')}, "
        f"peak live {bytes_text(trace.peak_live_bytes)}, "
        f"{counted(trace.unmatched_frees, 'unmatched free')}"
    )
    screen.show_notes(trace.notes)
