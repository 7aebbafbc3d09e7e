"""`heapwright synthesise`: a trace from parameters and a seed."""

from pathlib import Path
from typing import Annotated

import typer

from heapwright.cli.options import Json
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
    events: Annotated[
        str | None, typer.Option(metavar="COUNT", help="How many events.  [default: 1M]")
    ] = None,
    objects: Annotated[
        str | None,
        typer.Option(metavar="COUNT", help="How many objects, of a graph.  [default: 1M]"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Another seed, another trace.  [default: 1]"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PARAMETER=VALUE", help="Set a parameter; may be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    """Write the trace of a made-up program.

    The same parameters and seed give the same trace on every machine. The programs: log-uniform,
    ramp, generations, phases, bursts, producer-consumer, recursion, fleet (Google's), robson.
    Programs with a garbage collector, whose traces are object graphs: binary-trees, gcbench,
    linked-lists, bitmap-cache, request-server, compiler, red-black-map, soft-cache, python-service.
    Without PROGRAM, all and their parameters are listed.

    Example:

        heapwright synthesise log-uniform --events 10M --seed 1 -o churn.parquet
        heapwright synthesise gcbench --objects 10M
        heapwright synthesise ramp --set live_objects=9k --set survivors_percent=5
        heapwright synthesise --json | jq '.programs[].name'
    """
    from heapwright.cli import screen
    from heapwright.errors import HeapwrightError
    from heapwright.trace.store import Trace
    from heapwright.words import bytes_text

    if program is None:
        _list_programs(json)
        return
    if seed is not None and seed < 0:
        raise HeapwrightError(f"--seed {seed}: a seed is not negative.")
    from heapwright.trace import programs

    module = programs.program(program)
    chosen = parse_parameters(set_ or [])
    for name, value in (("events", events), ("objects", objects)):
        if value is not None:
            chosen[name] = parse_count(value)
    if seed is not None:
        chosen["seed"] = seed
    unit = module.Parameters._fields[0]
    for name in ("events", "objects", "seed"):
        if name in chosen and name not in module.Parameters._fields:
            raise HeapwrightError(
                f"{program} draws nothing: leave out --seed."
                if name == "seed"
                else f"the size of {program} is its {unit}: give --{unit} in place of --{name}."
            )
    size = getattr(programs.parameters(program, chosen), unit)  # complain before a bar is shown
    destination = output or Path(f"{program}.heap.parquet")
    with screen.progress(f"writing {program}", size) as advance:
        programs.synthesise(program, destination, chosen, advance)
    trace = Trace.open(destination)
    if json:
        told = {
            "trace": destination,
            "program": program,
            "parameters": programs.parameters(program, chosen)._asdict(),
            "size_bytes_on_disk": trace.size_bytes_on_disk,
        }
        counts = ("events", "threads", "allocations", "reallocations", "frees", "graph_events")
        peaks = ("peak_live_bytes", "peak_live_objects")
        screen.print_json(told | {name: getattr(trace, name) for name in (*counts, *peaks)})
        return
    size_text = bytes_text(trace.size_bytes_on_disk)
    typer.echo(f"{destination}: {trace.events:,} events, {size_text}")


def _list_programs(json: bool) -> None:
    from heapwright.cli import screen
    from heapwright.report.terminal import print_descriptions
    from heapwright.trace.programs import GRAPH_PROGRAMS, PROGRAMS, program

    modules = {name: program(name) for name in PROGRAMS + GRAPH_PROGRAMS}
    if json:
        rows = [
            {
                "name": name,
                "summary": one.SUMMARY,
                "graph": name in GRAPH_PROGRAMS,
                "parameters": one.Parameters()._asdict(),
                "limits": {key: list(low_high) for key, low_high in one.LIMITS.items()},
            }
            for name, one in modules.items()
        ]
        screen.print_json({"programs": rows})
        return
    headings = ("program", "what it does", "parameters and their defaults")
    told = [(name, one.SUMMARY, one.Parameters()._asdict()) for name, one in modules.items()]
    print_descriptions(screen.console(), headings, told)
