"""Log-uniform sizes under exponential lifetimes: a heap in statistical equilibrium.

Objects arrive at random and each dies at random, whatever its age, at a rate that keeps about
`live_objects` alive (the queue M/M/infinity). So with n alive the next event is a death with
probability n / (n + live_objects), and every live object is as likely to be the one:

    pick = draw mod (n + live_objects)      pick < n: object number `pick` dies, else one is born

Every power of two between `min_bytes` and `max_bytes` is asked for equally often, which is close
to how programs behave and hard on any allocator that favours one range.

Source     Kleinrock, Queueing Systems I (1975), section 3.4
Omits      phases, correlation of size with lifetime, reallocs, threads
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError
from heapwright.trace.programs.draws import (
    INDEX_LIMIT,
    SIZE_BITS,
    draws,
    log_uniform_curve,
    size_drawn,
)
from heapwright.trace.schema import FREE, MALLOC, Events, events

SUMMARY = "log-uniform sizes, exponential lifetimes: a heap in equilibrium"
SITES = ("log-uniform",)


class Parameters(NamedTuple):
    """What may be chosen."""

    events: int = 1_000_000
    seed: int = 1
    live_objects: int = 10_000  # on average, once it has filled up
    min_bytes: int = 8
    max_bytes: int = 65_536


LIMITS = {
    "events": (1, 1 << 40),
    "seed": (0, (1 << 63) - 1),
    "live_objects": (1, INDEX_LIMIT // 4),
    "min_bytes": (1, 1 << 32),
    "max_bytes": (1, 1 << 32),
}


class Population(NamedTuple):
    """The objects: order[:live] are alive, order[live:] are slots to be used."""

    order: np.ndarray  # int32[slot]  a permutation of the slots
    live: np.ndarray  # int64[1]


def batches(parameters: Parameters) -> Iterator[Events]:
    """The program's events, in batches."""
    if parameters.min_bytes > parameters.max_bytes:
        raise HeapwrightError("log-uniform: min_bytes is larger than max_bytes.")
    return _batches(parameters)


def _batches(parameters: Parameters) -> Iterator[Events]:
    curve = log_uniform_curve(parameters.min_bytes, parameters.max_bytes)
    capacity = min(2 * parameters.live_objects + 64, parameters.events)
    population = Population(np.arange(capacity, dtype=np.int32), np.zeros(1, np.int64))
    for drawn in draws(parameters.seed, parameters.events):
        made = events(
            op=np.empty(len(drawn), np.uint8),
            slot=np.empty(len(drawn), np.int32),
            size=np.empty(len(drawn), np.int64),
        )
        live_and_die(population, curve, drawn, parameters.live_objects, made)
        yield made


@kernel
def live_and_die(population, curve, drawn, target, made):
    """Fill `made` with one event per draw."""
    order, live = population.order, population.live[0]
    for row in range(len(drawn)):
        i = unsigned(row)
        draw = drawn[i]
        pick = (draw >> SIZE_BITS) % (live + target)
        if live == len(order):  # twice the average: never met by chance, but a bound is a bound
            pick = (draw >> SIZE_BITS) % live
        if pick < live:
            live -= 1
            slot = order[unsigned(pick)]
            order[unsigned(pick)] = order[unsigned(live)]
            order[unsigned(live)] = slot
            made.op[i] = FREE
            made.size[i] = 0
        else:
            slot = order[unsigned(live)]
            live += 1
            made.op[i] = MALLOC
            made.size[i] = size_drawn(curve, draw)
        made.slot[i] = slot
    population.live[0] = live
