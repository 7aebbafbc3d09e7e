"""`heapwright compare`: one trace through several managers, side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heapwright.cli.options import HugePages, Json, MemoryLimit, Settings, Swap, Touch

if TYPE_CHECKING:
    from heapwright.report.document import Compared
    from heapwright.tunnel.compare import Lane


def compare(
    traces: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRACE...",
            help="A trace file, or the name of a synthetic program; or several.",
        ),
    ],
    managers: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Which managers, as `glibc` or `first-fit over glibc`, or `all`; default: all but "
            "those for programs of one kind; "
            "of an object graph all with a collector, and two without.",
        ),
    ] = None,
    settings: Settings = None,
    heap: Annotated[
        str | None,
        typer.Option(
            metavar="1.5x,2x,...",
            help="Give each collector heaps of so many times the most bytes ever live, and draw "
            "time against space.",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page that explains the result.")
    ] = None,
    json: Json = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at once; default: one per processor.")
    ] = None,
    touch: Touch = None,
    huge_pages: HugePages = "never",
    memory_limit: MemoryLimit = None,
    swap: Swap = None,
    references: Annotated[
        bool | None,
        typer.Option(
            "--references/--no-references",
            help="Measure the real systems as well; by default where no --managers are named.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, max=100_000, help="Rows of each timeline.")] = 1000,
) -> None:
    """Replay a trace through several managers, side by side.

    Each manager serves the whole recording; at its peak every resident byte is told apart: live,
    rounding, headers, caches, holes, empty pages kept. Real allocators that are installed are
    measured on the same trace. With --set a manager has a row as it is and one with the setting; a
    knob that is set to several values makes a row for each, several knobs a row for each
    combination. Several traces are replayed one after the other and shown next to each other. With
    --heap one runs at a time, unless --jobs says otherwise, and the real ones are left out. With
    --memory-limit a table says which would be killed under it, when, and what would be swapped.

    Example:

        heapwright compare sqlite3.heap.parquet --html report.html
        heapwright compare before.heap.parquet after.heap.parquet --html page.html
        heapwright compare t.parquet --managers glibc --set glibc.arena_max=2
        heapwright compare t.parquet --set glibc.top_pad=0 --set glibc.top_pad=1M
        heapwright compare t.parquet --managers glibc,buddy --json
        heapwright compare t.parquet --memory-limit 512M --swap 1G
        heapwright compare gcbench --heap 1.5x,2x,3x,5x --html curve.html
    """
    from heapwright.api.comparing import compare as compared
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_variants

    with bars() as progress:
        found = compared(
            traces,
            managers,
            parse_variants(settings or ()),
            heap=heap,
            references=references,
            touch=touch,
            huge_pages=huge_pages,
            memory_limit=memory_limit,
            swap=swap,
            jobs=jobs,
            samples=samples,
            maps=html is not None,
            progress=progress,
        )
    if html is not None:
        found.write_html(html)
    if json:
        screen.print_json(found.to_json())
    for one in found.traces if not json else ():
        if len(traces) > 1:
            name = f"\n{one.trace.path}"
            screen.console().print(name, style="bold", markup=False, soft_wrap=True)
        show(one, html if one is found.traces[-1] else None)
    for sentence in found.failures:
        screen.console(stderr=True).print(sentence, style="yellow", soft_wrap=True)
    if not all(one.results for one in found.traces):
        raise typer.Exit(1)


def show(one: Compared, html: Path | None) -> None:
    """The tables, the verdict, the distance to the optimum, notes, and where the page is."""
    from heapwright.cli import screen
    from heapwright.report.summary import print_comparison

    print_comparison(screen.console(), one, html)


@contextlib.contextmanager
def bars() -> Iterator[Callable[[Sequence[Lane]], None] | None]:
    """Yields what draws a line per lane: its bar and the events done. Nothing off a terminal.

    Drawn by this thread alone: the lanes' processes are forked while the bars are up.
    """
    from heapwright.cli import screen

    console = screen.console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    from rich import progress as rich

    columns = (
        rich.TextColumn("{task.description:<16}"),
        rich.BarColumn(),
        rich.TextColumn("{task.fields[state]}"),
    )
    tasks: list[rich.TaskID] = []
    drawing: list[Sequence[Lane]] = []
    with rich.Progress(*columns, console=console, transient=True, auto_refresh=False) as drawn:

        def draw(lanes: Sequence[Lane]) -> None:
            if not drawing or drawing[0] is not lanes:  # of the next trace
                for task in tasks:
                    drawn.remove_task(task)
                drawing[:], tasks[:] = [lanes], []
                tasks.extend(
                    drawn.add_task(lane.name, total=lane.steps, state="") for lane in lanes
                )
            for task, lane in zip(tasks, lanes, strict=True):
                state = lane.state
                if state == "running":  # half of the steps are the second pass
                    state = f"{lane.done:,} of {lane.steps:,}" if lane.done else "preparing"
                drawn.update(task, completed=lane.done, total=lane.steps, state=state)
            drawn.refresh()

        yield draw
