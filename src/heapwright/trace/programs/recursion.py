"""A recursive program: what was allocated last is freed first, without exception.

    depth  live_objects ┤      ╱╲            ╱▔╲
                        │  ╱╲ ╱  ╲    ╱╲    ╱   ╲
                      0 ┤─╱──╲────╲──╱──╲──╱─────╲──► events

The program descends or returns towards a depth that it chooses anew every few dozen events. It
needs no allocator at all: a stack holds it without waste, so whatever a general one takes beyond
the live bytes is the price of generality.

Source     Wilson et al. 1995, section 2.4, on stack-like "ramps"; alloca(3)
Omits      objects that outlive their caller, threads
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

SUMMARY = "last allocated, first freed: fits a stack without waste"
SITES = ("recursion",)
PATIENCE = 64  # a new depth is chosen once in so many events, on average
RESOLVE = 4  # one event in so many goes against the chosen direction


class Parameters(NamedTuple):
    """What may be chosen."""

    events: int = 1_000_000
    seed: int = 1
    live_objects: int = 2_000  # at the greatest depth
    min_bytes: int = 16
    max_bytes: int = 2_048


LIMITS = {
    "events": (1, 1 << 40),
    "seed": (0, (1 << 63) - 1),
    "live_objects": (1, INDEX_LIMIT // 4),
    "min_bytes": (1, 1 << 32),
    "max_bytes": (1, 1 << 32),
}


def batches(parameters: Parameters) -> Iterator[Events]:
    """The program's events, in batches."""
    if parameters.min_bytes > parameters.max_bytes:
        raise HeapwrightError("recursion: min_bytes is larger than max_bytes.")
    return _batches(parameters)


def _batches(parameters: Parameters) -> Iterator[Events]:
    curve = log_uniform_curve(parameters.min_bytes, parameters.max_bytes)
    depths = np.zeros(2, np.int64)
    for drawn in draws(parameters.seed, parameters.events):
        made = events(
            op=np.empty(len(drawn), np.uint8),
            slot=np.empty(len(drawn), np.int32),
            size=np.empty(len(drawn), np.int64),
        )
        descend_and_return(depths, curve, drawn, parameters.live_objects, made)
        yield made


@kernel
def descend_and_return(depths, curve, drawn, deepest, made):
    """Fill `made` with one event per draw; `depths`, int64[2], are the present and chosen one."""
    for row in range(len(drawn)):
        i = unsigned(row)
        draw = drawn[i]
        index = draw >> SIZE_BITS
        if depths[0] == depths[1] or index % PATIENCE == 0:
            depths[1] = (index // PATIENCE) % (deepest + 1)
        down = (depths[0] < depths[1]) != ((index >> 8) % RESOLVE == 0)
        if depths[0] == 0 or (down and depths[0] < deepest):
            made.op[i], made.size[i], made.slot[i] = MALLOC, size_drawn(curve, draw), depths[0]
            depths[0] += 1
        else:
            depths[0] -= 1
            made.op[i], made.size[i], made.slot[i] = FREE, 0, depths[0]
