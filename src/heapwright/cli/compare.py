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
    from heapwright.result import HeapMap
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import Comparison, Lane
    from heapwright.tunnel.flight import Conditions
    from heapwright.tunnel.keyframes import Film


def compare(
    traces: Annotated[
        list[Path], typer.Argument(metavar="TRACE...", help="A trace file, or several.")
    ],
    managers: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Which managers, or `all`; default: all but those for programs of one kind.",
        ),
    ] = None,
    settings: Settings = None,
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
    traces are flown one after the other and shown next to each other.

    Example:

        heapwright compare sqlite3.heap.parquet --html report.html
        heapwright compare before.heap.parquet after.heap.parquet --html report.html
        heapwright compare t.heap.parquet --managers glibc,buddy --set glibc.arena_max=2 --json
        heapwright compare t.heap.parquet --set glibc.tcache_count=0 --set glibc.tcache_count=50
    """
    # Workers are forked from this process: better while no library has started threads in it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from heapwright.cli import screen
    from heapwright.cli.settings import parse_variants
    from heapwright.report.document import Flown, document
    from heapwright.trace.store import Trace
    from heapwright.tunnel.flight import Conditions

    opened = [Trace.open(trace) for trace in traces]
    comparisons = [
        flown(
            trace,
            managers.split(",") if managers else None,
            parse_variants(settings or ()),
            Conditions(touch, huge_pages),
            references=references,
            jobs=jobs,
            samples=samples,
            develop=developer(one) if html is not None else None,
        )
        for trace, one in zip(traces, opened, strict=True)
    ]
    rows = [
        Flown(trace, comparison.results, comparison.failures)
        for trace, comparison in zip(opened, comparisons, strict=True)
    ]
    if html is not None:
        from heapwright.report.html import write_page

        write_page(html, rows)
    if json:
        screen.print_json(document(rows))
    else:
        for trace, comparison in zip(opened, comparisons, strict=True):
            if len(traces) > 1:
                name = f"\n{trace.path}"
                screen.console().print(name, style="bold", markup=False, soft_wrap=True)
            page = html if trace is opened[-1] else None
            show(comparison, page, trace.peak_live_bytes)
    for comparison in comparisons:
        for sentence in comparison.failures:
            screen.console(stderr=True).print(sentence, style="yellow", soft_wrap=True)
    if not all(comparison.results for comparison in comparisons):
        raise typer.Exit(1)


def flown(
    trace: Path,
    managers: list[str] | None,
    settings: dict[str, list[dict[str, int]]],
    conditions: Conditions,
    *,
    references: bool,
    jobs: int | None,
    samples: int = 1000,
    develop: Callable[[Film], HeapMap] | None = None,
) -> Comparison:
    """Fly with a bar per lane on stderr; `managers` None means the usual ones, "all" every one."""
    from heapwright.managers.registry import managers as registered
    from heapwright.managers.registry import usual
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import compare as side_by_side
    from heapwright.tunnel.compare import twin_lanes

    usual_ones = usual(graph=Trace.open(trace).graph)
    names = [name.strip() for name in managers] if managers else usual_ones
    if names == ["all"]:
        names = list(registered())
    lanes = twin_lanes(trace, names, settings, conditions, samples, develop)
    absent: list[str] = []
    if references:
        real, absent = _real_lanes(trace, settings, conditions)
        lanes += real
    with bars() as progress:
        comparison = side_by_side(lanes, jobs, progress)
    comparison.failures += absent
    return comparison


def developer(trace: Trace) -> Callable[[Film], HeapMap]:
    """What makes the heap maps of a page about `trace`; its call sites are looked up here, once."""
    from heapwright.insight.heap_map import heap_map

    return partial(heap_map, labels=trace.sites())


def _real_lanes(
    trace: Path, settings: dict[str, list[dict[str, int]]], conditions: Conditions
) -> tuple[list[Lane], list[str]]:
    """A lane for each real allocator that is installed, and what the others lack."""
    from heapwright.errors import HeapwrightError
    from heapwright.references import go_build, systems
    from heapwright.tunnel.measured import measured_lanes
    from heapwright.tunnel.measured_go import go_lane

    found = systems.available()
    absent = [f"real {one.name}: not measured, {one.missing}" for one in found if one.missing]
    lanes = []
    if go_build.missing():
        absent.append(f"real go: not measured, {go_build.missing()}")
    else:
        lanes = [go_lane(trace, conditions, knobs) for knobs in settings.get("go", [{}])]
    try:
        here = [one.name for one in found if not one.missing]
        for name in here:
            for knobs in settings.get(name, [{}]):
                lanes += measured_lanes(trace, [name], conditions, {name: knobs})
        return lanes, absent
    except HeapwrightError as error:  # no compiler: the twins fly on
        return lanes, [*absent, f"the real allocators were not measured: {error}"]


def show(comparison: Comparison, html: Path | None, bound_bytes: int) -> None:
    """The table, the verdict, the distance to the optimum, and where the page is."""
    from heapwright.cli import screen
    from heapwright.insight.lower_bound import distance_line
    from heapwright.insight.verdict import verdict
    from heapwright.report.table import collectors_table, comparison_table

    if not comparison.results:
        return
    console = screen.console()
    judged = verdict(comparison.results)
    console.print(comparison_table(comparison.results))
    if (collectors := collectors_table(comparison.results)) is not None:
        console.print()
        console.print(collectors)
    console.print()
    console.print(judged.headline, style="bold", markup=False, soft_wrap=True)
    for reason in [*judged.reasons, distance_line(comparison.results, bound_bytes)]:
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
