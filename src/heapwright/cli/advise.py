"""`heapwright advise`: what to change so that a program holds less memory."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heapwright.cli.options import HugePages, Json, Touch

if TYPE_CHECKING:
    from heapwright.tunnel.compare import Lane

_STEPS = 1000  # of the progress bar of runs
_SIGNALLED = 128  # and the number of the signal: the status of what one ended


def advise(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="TRACE | -- CMD...",
            help="A trace file or the name of a synthetic program; or a program and its arguments, "
            "which is recorded first.",
            show_default=False,
        ),
    ],
    run: Annotated[
        bool,
        typer.Option("--run", help="Run the program under the best few and as it is, and measure."),
    ] = False,
    managers: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Try these alone; default: all that can be deployed."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="end|mean|peak", help="Rank by this alone; default: by the three together."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Of a program: the trace to write.  [default: PROGRAM.heap.parquet]",
            show_default=False,
        ),
    ] = None,
    few: Annotated[
        int, typer.Option(min=1, max=20, help="With --run: how many candidates are run.")
    ] = 3,
    rounds: Annotated[
        int, typer.Option(min=1, max=100, help="With --run: how often each is run.")
    ] = 3,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--for",
            min=0.1,
            metavar="SECONDS",
            help="With --run: end each run after so long, of a program that does not end.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="60s|N",
            help="Search among more settings, for so long or so many trials; needs Optuna.",
            show_default=False,
        ),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            "--memory-limit",
            metavar="SIZE",
            help="First what is not killed under this limit, as 512M.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes at once; default: one per processor.")
    ] = None,
    touch: Touch = None,
    huge_pages: HugePages = "never",
) -> None:
    """Say what to change so that a program holds less memory.

    Tries what can be deployed without touching the program: settings of the malloc that it runs on,
    and other mallocs with theirs. Ranks them by what stays, what is held on average and at the
    peak, against the present state; what is level with it within the uncertainty is no advice. The
    best is printed as lines for a shell, a Dockerfile, systemd and Kubernetes.

    With --run the program is then run for real with those very lines, under the best few and as it
    is, in turns, and what it held is measured from outside. Its output goes nowhere, and it reads
    nothing. After a trace, name the program behind -- unless it is the recorded command.

    Example:

        heapwright advise -- python3 app.py
        heapwright advise app.heap.parquet --by end --json
        heapwright advise app.heap.parquet --budget 60s
        heapwright advise app.heap.parquet --memory-limit 512M
        heapwright advise --run -- python3 app.py
    """
    from heapwright.api.advising import advise as advised
    from heapwright.cli import screen
    from heapwright.report.advice import print_advice

    limit = budget_of(budget)
    trace, command = told_apart(words)
    if trace is None:
        trace = recorded(command, output, endless=run and seconds is None)
    with watching(run) as (watch, told):
        found = advised(
            trace,
            managers,
            by=by,
            touch=touch,
            huge_pages=huge_pages,
            jobs=jobs,
            progress=watch,
            run=(command or True) if run else False,
            few=few,
            rounds=rounds,
            seconds=seconds,
            told=told,
            budget=limit[0],
            trials=limit[1],
            memory_limit=memory_limit,
        )
    if json:
        screen.print_json(found.to_json())
    else:
        print_advice(screen.console(), found)
        for sentence in found.failures:
            screen.console(stderr=True).print(sentence, style="yellow", soft_wrap=True)


def budget_of(text: str | None) -> tuple[float | None, int | None]:
    """Seconds, as 60s or 2m, or a number of trials."""
    from heapwright.errors import HeapwrightError

    if text is None:
        return None, None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([sm])|([1-9][0-9]*)", text.strip())
    if match and match[3]:
        return None, int(match[3])
    if match and float(match[1]) > 0:
        return float(match[1]) * (60 if match[2] == "m" else 1), None
    raise HeapwrightError(f"--budget {text}: write a time, as 60s or 2m, or how many trials.")


def told_apart(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The trace, if the first word is one, and the command that stands behind it or alone."""
    from heapwright.trace import programs

    first = Path(words[0])
    known = words[0] in programs.PROGRAMS + programs.GRAPH_PROGRAMS
    with contextlib.suppress(OSError):
        if first.is_file():
            with first.open("rb") as file:
                known = file.read(4) == b"PAR1"
    if known or first.suffix == ".parquet":
        return first, list(words[1:])
    return None, list(words)


def recorded(command: list[str], output: Path | None, endless: bool) -> Path:
    """Record the command first; where the trace is.

    HeapwrightError where it would be run again `endless`ly: a signal had to end it.
    """
    from heapwright.cli.record import writing
    from heapwright.errors import HeapwrightError
    from heapwright.trace.recorder.session import record

    out = output or Path(f"{Path(command[0]).name}.heap.parquet")
    with writing() as progress:
        status, traces = record(command, out, progress=progress)
    typer.echo(f"{out}: {traces[0].events:,} events of {traces[0].program}", err=True)
    if status:
        typer.echo(f"{command[0]} ended with status {status}.", err=True)
    if status > _SIGNALLED and endless:
        on = shlex.join(["heapwright", "advise", "--run", "--for", "30", "--", str(out), *command])
        raise HeapwrightError(
            "a signal ended it, and it would be run until the next: give --for SECONDS; "
            f"`{on}` goes on from here"
        )
    return traces[0].path


@contextlib.contextmanager
def watching(
    run: bool,
) -> Iterator[tuple[Callable[[Sequence[Lane]], None] | None, Callable[[str, float], None] | None]]:
    """Yields what draws the lanes, and what draws the runs that follow them."""
    from heapwright.cli import screen
    from heapwright.cli.compare import bars

    with contextlib.ExitStack() as lanes, contextlib.ExitStack() as runs:
        watch = lanes.enter_context(bars())
        shown: list[Callable[[float], None]] = []
        done = [0]

        def told(name: str, share: float) -> None:
            if not shown:
                lanes.close()
                shown.append(runs.enter_context(screen.progress("running it", _STEPS)))
            shown[0](share * _STEPS - done[0])
            done[0] = int(share * _STEPS)

        yield watch, told if run else None
