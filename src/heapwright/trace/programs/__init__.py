"""Synthetic programs: traces made from a few parameters and a seed.

A program is a module with these names, and one line in PROGRAMS or GRAPH_PROGRAMS:

    SUMMARY      one line: what the program does to a heap
    Parameters   NamedTuple of integers with defaults: the size first, and `seed` if it draws any
    LIMITS       the lowest and highest value of each parameter
    SITES        labels of its call sites
    batches(parameters) -> Iterator[Events]        at most BATCH_EVENTS events each; its size is the
                                                   parameter `events`
    run(m: Mutator, parameters) -> notes           instead, of a program with a garbage collector;
                                                   its size is `objects`, about how many it makes;
                                                   sentences to keep with the trace, or None

The same parameters give the same events on every machine: random bits come from PCG64's raw
stream, which NumPy keeps stable, and what is made of them is integer arithmetic (`draws.py`).
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from heapwright.errors import HeapwrightError
from heapwright.trace.mutator import Mutator
from heapwright.trace.schema import NEW, Events
from heapwright.trace.store import TraceWriter

PROGRAMS = (
    "log-uniform",
    "ramp",
    "generations",
    "phases",
    "bursts",
    "producer-consumer",
    "recursion",
    "fleet",
    "robson",
)
GRAPH_PROGRAMS = (
    "binary-trees",
    "gcbench",
    "linked-lists",
    "bitmap-cache",
    "request-server",
    "compiler",
    "red-black-map",
    "python-service",
    "soft-cache",
)


def program(name: str) -> ModuleType:
    """The module of the program called `name`; an unknown name is an error that lists them."""
    known = PROGRAMS + GRAPH_PROGRAMS
    if name not in known:
        raise HeapwrightError(f"no program is named {name!r}; known: {', '.join(known)}.")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def parameters(name: str, chosen: dict[str, int]) -> Any:
    """The program's Parameters with `chosen` over its defaults, each within its limits."""
    module = program(name)
    defaults = module.Parameters()
    for parameter, value in chosen.items():
        if parameter not in defaults._fields:
            known = ", ".join(defaults._fields)
            raise HeapwrightError(f"{name} has no parameter {parameter!r}; it has: {known}.")
        lowest, highest = module.LIMITS[parameter]
        if not lowest <= value <= highest:
            raise HeapwrightError(
                f"{name}: {parameter} is {value:,}, outside {lowest:,} to {highest:,}."
            )
    return defaults._replace(**chosen)


def synthesise(
    name: str,
    output: Path,
    chosen: dict[str, int],
    advance: Callable[[int], None] = lambda made: None,
) -> None:
    """Write the trace of program `name` to `output`; `advance` hears how much more was made.

    That is in the unit of the program's size: events, or objects of a graph program.
    """
    module, filled = program(name), parameters(name, chosen)
    stated = ", ".join(f"{key}={value}" for key, value in filled._asdict().items())
    graph = name in GRAPH_PROGRAMS
    # Parameters that contradict each other fail before the file is there.
    batches = () if graph else module.batches(filled)
    with TraceWriter(output, program=f"{name} ({stated})", kind="synthetic") as writer:
        writer.sites = list(module.SITES)

        def write(events: Events) -> None:
            writer.write(events)
            advance(int((events.op == NEW).sum()) if graph else len(events.op))

        for events in batches:
            write(events)
        if graph:
            with Mutator(write) as mutator:
                told = module.run(mutator, filled)
            for sentence in told or ():
                writer.note(sentence)
