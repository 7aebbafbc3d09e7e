"""`heapwright compare`: one trace through several managers, side by side."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heapwright.cli.options import HugePages, Json, Settings, Touch

if TYPE_CHECKING:
    from heapwright.insight.space_time import Asked
    from heapwright.report.document import Flown
    from heapwright.result import HeapMap
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import Comparison, Lane
    from heapwright.tunnel.keyframes import Keyframes
    from heapwright.tunnel.replay import Conditions

CURVE_TRIES = 7  # replays of each point of a space-time curve: the fastest is drawn


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
            help="Which managers, or `all`; default: all but those for programs of one kind; "
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
    touch: Touch = "all",
    huge_pages: HugePages = "never",
    references: Annotated[
        bool,
        typer.Option("--references/--no-references", help="Measure the real allocators as well."),
    ] = True,
    samples: Annotated[int, typer.Option(min=1, max=100_000, help="Rows of each timeline.")] = 1000,
) -> None:
    """Fly a trace through several managers, side by side.

    Each manager serves the whole recording; at its peak every resident byte is told apart: live,
    rounding, headers, caches, holes, empty pages kept. Real allocators that are installed are
    measured on the same trace. A knob that is set to several values makes a row for each. Several
    traces are flown one after the other and shown next to each other. With --heap one flies at a
    time, unless --jobs says otherwise, and the real ones are left out.

    Example:

        heapwright compare sqlite3.heap.parquet --html report.html
        heapwright compare before.heap.parquet after.heap.parquet --html report.html
        heapwright compare t.heap.parquet --managers glibc,buddy --set glibc.arena_max=2 --json
        heapwright compare t.heap.parquet --set glibc.tcache_count=0 --set glibc.tcache_count=50
        heapwright compare gcbench --heap 1.5x,2x,3x,5x --html curve.html
    """
    # Workers are forked from this process: better while no library has started threads in it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from heapwright.cli import screen
    from heapwright.cli.line_up import curve, line_up, opened_traces
    from heapwright.cli.settings import parse_variants
    from heapwright.report.document import Flown, document
    from heapwright.tunnel.replay import Conditions

    rows = []
    with opened_traces(traces) as opened:
        for trace in opened:
            names, chosen = line_up(trace, managers), parse_variants(settings or ())
            points: list[Asked] = []
            if heap is not None:
                names, chosen, points = curve(trace, names, chosen, heap)
            comparison = flown(
                trace.path,
                names,
                chosen,
                Conditions(touch, huge_pages),
                references=references and heap is None,
                jobs=jobs or (1 if heap is not None else None),
                samples=samples,
                picture=picture_of(trace) if html is not None and heap is None else None,
                tries=CURVE_TRIES if heap is not None else 1,
            )
            rows.append(Flown(trace, comparison.results, comparison.failures, points))
        if html is not None:
            from heapwright.report.html import write_page

            write_page(html, rows)
        if json:
            screen.print_json(document(rows))
        for one in rows if not json else ():
            if len(traces) > 1:
                name = f"\n{one.trace.path}"
                screen.console().print(name, style="bold", markup=False, soft_wrap=True)
            show(one, html if one is rows[-1] else None)
    for one in rows:
        for sentence in one.failures:
            screen.console(stderr=True).print(sentence, style="yellow", soft_wrap=True)
    if not all(one.results for one in rows):
        raise typer.Exit(1)


def flown(
    trace: Path,
    managers: Sequence[str],
    settings: dict[str, list[dict[str, int]]],
    conditions: Conditions,
    *,
    references: bool,
    jobs: int | None,
    samples: int = 1000,
    picture: Callable[[Keyframes], HeapMap] | None = None,
    tries: int = 1,
) -> Comparison:
    """Fly with a bar per lane on stderr."""
    from heapwright.tunnel.compare import compare as side_by_side
    from heapwright.tunnel.compare import twin_lanes

    lanes = twin_lanes(trace, managers, settings, conditions, samples, picture, tries=tries)
    absent: list[str] = []
    if references:
        real, absent = _real_lanes(trace, settings, conditions)
        lanes += real
    with bars() as progress:
        comparison = side_by_side(lanes, jobs, progress)
    comparison.failures += absent
    return comparison


def picture_of(trace: Trace) -> Callable[[Keyframes], HeapMap]:
    """What makes the heap maps of a page about `trace`; its call sites are looked up here, once."""
    from heapwright.insight.heap_map import heap_map

    return partial(heap_map, labels=trace.sites())


def _real_lanes(
    trace: Path, settings: dict[str, list[dict[str, int]]], conditions: Conditions
) -> tuple[list[Lane], list[str]]:
    """A lane for each real system that can be driven here, and what the others lack."""
    from heapwright.errors import HeapwrightError
    from heapwright.references import references

    lanes: list[Lane] = []
    absent = []
    for reference in references():
        for name in reference.names():
            if missing := reference.missing(name):
                absent.append(f"real {name}: not measured, {missing}")
                continue
            try:
                lanes += reference.lanes(name, trace, conditions, settings.get(name, [{}]))
            except HeapwrightError as error:  # no compiler: the twins fly on
                absent.append(f"real {name}: not measured, {error}")
    return lanes, absent


def show(one: Flown, html: Path | None) -> None:
    """The tables, the verdict, the distance to the optimum, and where the page is."""
    from heapwright.cli import screen
    from heapwright.insight.lower_bound import distance_line
    from heapwright.insight.space_time import space_time
    from heapwright.insight.verdict import verdict
    from heapwright.report.table import collectors_table, comparison_table, space_time_table

    if not one.results:
        return
    console = screen.console()
    if one.points:
        console.print(space_time_table(space_time(one.points, one.results)))
    else:
        console.print(comparison_table(one.results))
        if (collectors := collectors_table(one.results)) is not None:
            console.print()
            console.print(collectors)
    judged = verdict(one.results)
    console.print()
    console.print(judged.headline, style="bold", markup=False, soft_wrap=True)
    for reason in [*judged.reasons, distance_line(one.results, one.trace.peak_live_bytes)]:
        console.print(f"  {reason}", markup=False, soft_wrap=True)
    if html is not None:
        console.print(f"\nThe report: {html.resolve()}", markup=False, soft_wrap=True)


@contextlib.contextmanager
def bars() -> Iterator[Callable[[Sequence[Lane]], None] | None]:
    """Yields what draws a line per lane: its bar and the events flown. Nothing off a terminal.

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
    with rich.Progress(*columns, console=console, transient=True, auto_refresh=False) as drawn:

        def draw(lanes: Sequence[Lane]) -> None:
            if not tasks:
                tasks.extend(
                    drawn.add_task(lane.name, total=lane.steps, state="") for lane in lanes
                )
            for task, lane in zip(tasks, lanes, strict=True):
                state = lane.state
                if state == "flying":  # half of the steps are the second pass
                    state = f"{lane.done:,} of {lane.steps:,}" if lane.done else "preparing"
                drawn.update(task, completed=lane.done, total=lane.steps, state=state)
            drawn.refresh()

        yield draw
