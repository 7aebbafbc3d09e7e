"""`heapwright demo`: from nothing to a report, with a program that every machine has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

# Orders arrive as JSON; some are kept, letters replace older ones, an archive is made anew.
PROGRAM = """
import json, random
draw = random.Random(1)

def order(number):
    lines = [
        {"article": f"article {draw.randrange(9000)}", "count": draw.randrange(1, 9),
         "price": draw.random()}
        for _ in range(draw.randrange(1, 12))
    ]
    return {"order": number, "customer": f"customer {draw.randrange(500)}", "lines": lines,
            "note": "." * draw.randrange(2000)}

kept, letters = [], {}
for batch in range(8):
    text = json.dumps([order(number) for number in range(800)])
    orders = json.loads(text)
    kept += orders[::10]
    for each in orders[::4]:
        letters[each["customer"]] = json.dumps(each["lines"] * draw.randrange(1, 9))
    del text, orders
    archive = [json.dumps(kept[first : first + 12]) for first in range(0, len(kept), 3)]
print(len(kept), "orders kept,", len(letters), "letters")
"""

MADE_UP_EVENTS = 1_000_000  # of the synthetic program, where recording is impossible


def demo(
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Where the trace and the report go.")
    ] = Path("heapwright-demo"),
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at once; default: one per processor.")
    ] = None,
) -> None:
    """Record a program, replay it through every manager, compare.

    Records this Python while it parses JSON, each of its objects from malloc, and compares every
    manager with the real allocators that are installed. Where recording is impossible a made-up
    program takes its place.

    Example:

        heapwright demo --folder /tmp/first-look
    """
    from heapwright.api.comparing import compare
    from heapwright.cli import screen
    from heapwright.cli.compare import bars, show
    from heapwright.trace.store import Trace
    from heapwright.words import bytes_text

    folder.mkdir(parents=True, exist_ok=True)
    say = screen.console(stderr=True)
    trace = _recorded(folder, say.print) or _made_up(folder)
    opened = Trace.open(trace)
    say.print(
        f"{trace}: {opened.events:,} events, {bytes_text(opened.size_bytes_on_disk)}. "
        "The first replay through a manager compiles it; later ones start at once.",
        markup=False,
        soft_wrap=True,
    )
    with bars() as progress:
        found = compare(opened, jobs=jobs, progress=progress)
    page = folder / "report.html"
    if found.results:
        found.write_html(page)
    for sentence in found.failures:
        say.print(sentence, style="yellow", markup=False, soft_wrap=True)
    show(found.traces[0], page)
    if not found.results:
        raise typer.Exit(1)


def _recorded(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The trace of PROGRAM run by this Python; None, and a sentence, where that is impossible."""
    import os
    import sys

    from heapwright.cli import screen
    from heapwright.errors import HeapwrightError
    from heapwright.trace.recorder.session import record

    trace = folder / "python3.heap.parquet"
    script = folder / "orders.py"
    script.write_text(PROGRAM.lstrip())
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    environment.pop("PYTHONMALLOC", None)  # its own allocator is recorded, and has a twin
    say("Recording: python3 orders.py")
    try:
        with screen.progress("writing the trace", 1000) as advance:
            done = 0

            def progress(name: str, fraction: float) -> None:
                nonlocal done
                advance(int(1000 * fraction) - done)
                done = int(1000 * fraction)

            status, _ = record(
                [sys.executable, "-s", "-S", str(script)],
                trace,
                environment=environment,
                progress=progress,
            )
    except HeapwrightError as error:
        say(f"Recording is not possible here, so a made-up program takes its place: {error}")
        return None
    if status:
        say(f"The program ended with status {status}, so a made-up program takes its place.")
        return None
    return trace


def _made_up(folder: Path) -> Path:
    """The trace of a synthetic program."""
    from heapwright.cli import screen
    from heapwright.trace import programs

    trace = folder / "ramp.heap.parquet"
    with screen.progress("writing a made-up program", MADE_UP_EVENTS) as advance:
        programs.synthesise("ramp", trace, {"events": MADE_UP_EVENTS, "seed": 1}, advance)
    return trace
