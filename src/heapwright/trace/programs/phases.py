"""Phases: the heap fills and empties again and again, each time with sizes of another range.

    live objects
      live_objects ┤  ╱▔▔▔▔╲      ╱▔▔▔▔╲      ╱▔▔▔▔╲
                   │ ╱      ╲    ╱      ╲    ╱      ╲
      survivors    ┤╱        ╲__╱        ╲__╱        ╲__
                   └───────────┴───────────┴───────────► events
                     sizes: low    sizes: high   sizes: middle

In the first three quarters of a phase the heap is on its way to live_objects, in the last to the
survivors, random ones of this phase and of those before. The range of sizes is cut into as many
parts as there are phases, evenly by logarithm, and each phase asks for one part, in an order that
the seed chooses. So each phase finds the holes of another one's sizes.

Source     Wilson et al. 1995, section 2.3: programs work in phases, and fragmentation is made where
           one ends; compilers and servers that load, work and unload
Omits      correlation of size with lifetime within a phase, reallocs, threads
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.trace.programs.draws import INDEX_LIMIT, draws, log_uniform_curve
from heapwright.trace.programs.log_uniform import Population, live_and_die
from heapwright.trace.schema import Events, events

SUMMARY = "a heap that fills and empties in phases, each with sizes of its own"
SITES = tuple(f"phase {number}" for number in range(64))


class Parameters(NamedTuple):
    """What may be chosen."""

    events: int = 1_000_000
    seed: int = 1
    live_objects: int = 20_000  # at the height of a phase
    phases: int = 8
    survivors_percent: int = 5  # of live_objects, at a phase's end
    min_bytes: int = 16
    max_bytes: int = 16_384


LIMITS = {
    "events": (1, 1 << 40),
    "seed": (0, (1 << 63) - 1),
    "live_objects": (1, INDEX_LIMIT // 4),
    "phases": (1, len(SITES)),
    "survivors_percent": (0, 100),
    "min_bytes": (1, 1 << 32),
    "max_bytes": (1, 1 << 32),
}


def batches(parameters: Parameters) -> Iterator[Events]:
    """The program's events, in batches."""
    if parameters.min_bytes > parameters.max_bytes:
        raise HeapwrightError("phases: min_bytes is larger than max_bytes.")
    return _batches(parameters)


def stretches(parameters: Parameters) -> Iterator[tuple[int, int, int]]:
    """(phase, events, live objects on the way to) of each stretch, in order."""
    survivors = parameters.live_objects * parameters.survivors_percent // 100
    for phase in range(parameters.phases):
        first = parameters.events * phase // parameters.phases
        past = parameters.events * (phase + 1) // parameters.phases
        turn = first + (past - first) * 3 // 4
        yield phase, turn - first, parameters.live_objects
        yield phase, past - turn, max(1, survivors)


def _batches(parameters: Parameters) -> Iterator[Events]:
    count = parameters.phases
    whole = log_uniform_curve(parameters.min_bytes, parameters.max_bytes) >> 16
    steps = [whole[(len(whole) - 1) * part // count] for part in range(count + 1)]
    order = np.argsort(next(draws(parameters.seed, count)), kind="stable").tolist()
    curves = [log_uniform_curve(int(a), max(int(a), int(b) - 1)) for a, b in pairwise(steps)]
    capacity = min(2 * parameters.live_objects + 64, parameters.events)
    population = Population(np.arange(capacity, dtype=np.int32), np.zeros(1, np.int64))
    drawn, used = np.zeros(0, np.int64), 0
    stream = draws(parameters.seed, parameters.events)
    for phase, length, target in stretches(parameters):
        remaining = length
        while remaining:
            if used == len(drawn):
                drawn, used = next(stream), 0
            part = drawn[used : used + remaining]
            made = events(
                op=np.empty(len(part), np.uint8),
                slot=np.empty(len(part), np.int32),
                size=np.empty(len(part), np.int64),
            )
            live_and_die(population, curves[order[phase]], part, target, made)
            yield made._replace(site=np.where(made.size, phase, -1).astype(np.int32))
            used += len(part)
            remaining -= len(part)
