"""`heapwright sweep`: traces x managers x settings, a row for each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heapwright.cli.options import Json

if TYPE_CHECKING:
    from heapwright.api.sweeping import Progress, Sweep


def sweep(
    spec: Annotated[
        Path, typer.Argument(metavar="SPEC.toml", help="What to replay.", show_default=False)
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The Parquet file of rows: a path, or what fsspec writes, as s3://bucket/rows."
            "  [default: SPEC's output, else SPEC.rows.parquet]",
            show_default=False,
        ),
    ] = None,
    best: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Print the rows with the least of it, by trace."),
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many of them.")] = 5,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="tcp://...", help="A Dask cluster that does the work."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at once; default: one per processor.")
    ] = None,
    json: Json = False,
) -> None:
    """Replay many traces through many managers at many settings.

    SPEC says which; every combination is a row of one Parquet file. Each row is kept as soon as it
    is made: a sweep that was killed, or whose SPEC has grown, goes on where it was, and one that
    is complete runs nothing. With --scheduler the workers of a Dask cluster replay; they must see
    the traces under the same paths.

    Example:

        heapwright sweep nightly.toml
        heapwright sweep nightly.toml --best end_bytes
        heapwright sweep nightly.toml --scheduler tcp://10.0.0.1:8786
        heapwright sweep nightly.toml -o s3://runs/nightly.parquet
    """
    from heapwright.api.sweeping import sweep as swept
    from heapwright.cli import screen

    with bar() as progress:
        found = swept(spec, output, scheduler=scheduler, jobs=jobs, progress=progress)
    chosen = found.best(best, top) if best is not None else None
    if json:
        document = found.to_json()
        if chosen is not None:
            keys = {row["key"] for rows in chosen.values() for row in rows}
            document["rows"] = [row for row in document["rows"] if row["key"] in keys]
        screen.print_json(document)
    else:
        _show(found, chosen, best or "")
    for sentence in found.failures:
        screen.console(stderr=True).print(sentence, style="yellow", markup=False, soft_wrap=True)
    if found.rows and len(found.failures) == len(found.rows):
        raise typer.Exit(1)


def _show(found: Sweep, chosen: dict[str, list[dict[str, object]]] | None, by: str) -> None:
    from heapwright.cli import screen
    from heapwright.report.sweep import best_sheet
    from heapwright.report.terminal import print_sheet
    from heapwright.words import counted

    console = screen.console()
    for trace, rows in (chosen or {}).items():
        print_sheet(console, best_sheet(trace, rows, by))
        console.print()
    failed = f", {len(found.failures):,} of them failed" if found.failures else ""
    line = f"{found.output}: {counted(len(found.rows), 'row')}, {found.made:,} made now{failed}"
    console.print(line, markup=False, soft_wrap=True)
    if chosen is None:
        console.print(
            "--best end_bytes prints the best of each trace.", style="dim", soft_wrap=True
        )


@contextlib.contextmanager
def bar() -> Iterator[Callable[[Progress], None] | None]:
    """Yields what draws the rows done and what runs; nothing off a terminal. Drawn by this thread
    alone: workers are forked while it is up."""
    from heapwright.cli import screen

    console = screen.console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    from rich import progress as rich

    columns = (
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(),
        rich.TextColumn("{task.description}"),
    )
    with rich.Progress(*columns, console=console, transient=True, auto_refresh=False) as drawn:
        task = drawn.add_task("", total=None)

        def draw(state: Progress) -> None:
            failed = f"{state.failed} failed  " if state.failed else ""
            drawn.update(
                task,
                total=state.total,
                completed=state.kept + state.done,
                description=failed + ", ".join(state.running[:2]),
            )
            drawn.refresh()

        yield draw
