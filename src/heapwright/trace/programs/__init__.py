"""Synthetic programs: traces made from a few parameters and a seed.

A program is a module with these names, and one line in PROGRAMS:

    SUMMARY      one line: what the program does to a heap
    Parameters   NamedTuple of integers with defaults, `events` and `seed` first
    LIMITS       the lowest and highest value of each parameter
    SITES        labels of its call sites
    batches(parameters) -> Iterator[Events]        at most BATCH_EVENTS events each

The same parameters give the same events on every machine: random bits come from PCG64's raw
stream, which NumPy keeps stable, and what is made of them is integer arithmetic (`draws.py`).
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from heapwright.errors import HeapwrightError
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


def program(name: str) -> ModuleType:
    """The module of the program called `name`; an unknown name is an error that lists them."""
    if name not in PROGRAMS:
        raise HeapwrightError(f"no program is named {name!r}; known: {', '.join(PROGRAMS)}.")
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
    advance: Callable[[int], None] = lambda events: None,
) -> None:
    """Write the trace of program `name` to `output`; `advance` hears of each batch written."""
    module, filled = program(name), parameters(name, chosen)
    stated = ", ".join(f"{key}={value}" for key, value in filled._asdict().items())
    batches = module.batches(filled)  # parameters that contradict each other fail before the file
    with TraceWriter(output, program=f"{name} ({stated})", kind="synthetic") as writer:
        writer.sites = list(module.SITES)
        for events in batches:
            writer.write(events)
            advance(len(events.op))
