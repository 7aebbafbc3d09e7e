"""`heapwright synthesise`: a trace from parameters and a seed."""

from pathlib import Path
from typing import Annotated

import typer

from heapwright.cli.settings import parse_count, parse_parameters


def synthesise(
    program: Annotated[
        str | None, typer.Argument(metavar="PROGRAM", help="Which; without it they are listed.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The trace to write.  [default: PROGRAM.heap.parquet]",
        ),
    ] = None,
    events: Annotated[str, typer.Option(metavar="COUNT", help="How many events.")] = "1M",
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed, another trace.")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PARAMETER=VALUE", help="Set a parameter; may be repeated."),
    ] = None,
) -> None:
    """Write the trace of a made-up program.

    The same parameters and seed give the same trace on every machine. The programs: log-uniform,
    ramp, generations, phases, bursts, producer-consumer, recursion, fleet (Google's), robson.
    Without PROGRAM, they and their parameters are listed.

    Example:

        heapwright synthesise log-uniform --events 10M --seed 1 -o churn.heap.parquet
        heapwright synthesise ramp --set live_objects=200_000 --set survivors_percent=5
    """
    from heapwright.cli import screen
    from heapwright.errors import HeapwrightError
    from heapwright.insight.words import bytes_text

    if program is None:
        _list_programs()
        return
    if seed < 0:
        raise HeapwrightError(f"--seed {seed}: a seed is not negative.")
    chosen = {"events": parse_count(events), "seed": seed, **parse_parameters(set_ or [])}
    from heapwright.trace import programs

    programs.parameters(program, chosen)  # complain before anything is shown
    destination = output or Path(f"{program}.heap.parquet")
    with screen.progress(f"writing {program}", chosen["events"]) as advance:
        programs.synthesise(program, destination, chosen, advance)
    written = f"{chosen['events']:,} events, {bytes_text(destination.stat().st_size)}"
    typer.echo(f"{destination}: {written}")


def _list_programs() -> None:
    from rich.table import Table

    from heapwright.cli import screen
    from heapwright.trace.programs import PROGRAMS, program

    table = Table("program", "what it does", "parameters and their defaults")
    for name in PROGRAMS:
        module = program(name)
        defaults = module.Parameters()._asdict()
        table.add_row(
            f"[bold]{name}[/]",
            module.SUMMARY,
            "\n".join(f"{parameter} = {value:,}" for parameter, value in defaults.items()),
        )
    screen.console().print(table)
