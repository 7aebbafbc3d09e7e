"""Bursts: requests arrive, each allocates a batch of objects, and a batch dies as a whole.

    live objects
      live_objects ┤   ╱▏ ╱▏   ╱▏  a burst of births, and later the death
                   │ ╱▏ ╲╱ ╲▏╱▏    of some other batch, oldest object first
                 0 └────────────► events

A batch has between 1 and 2 x burst_objects - 1 objects, all born in a row. When the next batch
would exceed live_objects, one of those alive, chosen at random, is freed in the order of birth.
So memory that was allocated together is free together, but the batches between outlive it.

Source     Wilson et al. 1995, section 2.4, on objects that are born and die in clumps; servers that
           answer requests
Omits      a batch's objects that outlive it, reallocs, threads
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

SUMMARY = "batches of objects that are born in a burst and die together, at random times"
SITES = ("bursts",)


class Parameters(NamedTuple):
    """What may be chosen."""

    events: int = 1_000_000
    seed: int = 1
    live_objects: int = 20_000  # at most
    burst_objects: int = 200  # of a batch, on average
    min_bytes: int = 16
    max_bytes: int = 8_192


LIMITS = {
    "events": (1, 1 << 40),
    "seed": (0, (1 << 63) - 1),
    "live_objects": (1, INDEX_LIMIT // 4),
    "burst_objects": (1, INDEX_LIMIT // 4),
    "min_bytes": (1, 1 << 32),
    "max_bytes": (1, 1 << 32),
}

LIVE, BATCHES, BIRTHS_LEFT, DYING, LAST, FIELDS = range(6)


class Batches(NamedTuple):
    """The batches alive, each a chain of slots in the order of birth."""

    first: np.ndarray  # int32[batch]  its oldest slot
    after: np.ndarray  # int32[slot]  the next slot of the same batch, -1: none
    spare: np.ndarray  # int32[slot]  unused slots, a stack whose top is the lowest at first
    fields: np.ndarray  # int64[FIELDS]  LIVE: objects; BATCHES: alive; BIRTHS_LEFT: of the newest;
    # DYING: slot of the next object to be freed, -1: none; LAST: slot of the newest object


def batches(parameters: Parameters) -> Iterator[Events]:
    """The program's events, in batches."""
    if parameters.min_bytes > parameters.max_bytes:
        raise HeapwrightError("bursts: min_bytes is larger than max_bytes.")
    return _batches(parameters)


def _batches(parameters: Parameters) -> Iterator[Events]:
    curve = log_uniform_curve(parameters.min_bytes, parameters.max_bytes)
    most = parameters.live_objects
    clumps = Batches(
        np.zeros(most, np.int32),
        np.zeros(most, np.int32),
        np.arange(most, dtype=np.int32)[::-1].copy(),
        np.array([0, 0, 0, -1, -1], np.int64),
    )
    for drawn in draws(parameters.seed, parameters.events):
        made = events(
            op=np.empty(len(drawn), np.uint8),
            slot=np.empty(len(drawn), np.int32),
            size=np.empty(len(drawn), np.int64),
        )
        come_and_go(clumps, curve, drawn, parameters.burst_objects, made)
        yield made


@kernel
def come_and_go(clumps, curve, drawn, mean, made):
    """Fill `made` with one event per draw."""
    first, after, spare, fields = clumps
    most = len(spare)
    for row in range(len(drawn)):
        i = unsigned(row)
        draw = drawn[i]
        index = draw >> SIZE_BITS
        fresh = False
        if fields[DYING] < 0 and fields[BIRTHS_LEFT] == 0:
            wanted = min(1 + index % (2 * mean - 1), most)
            if fields[LIVE] + wanted > most:
                chosen = (index >> 4) % fields[BATCHES]
                fields[BATCHES] -= 1
                fields[DYING] = first[chosen]
                first[chosen] = first[fields[BATCHES]]
            else:
                fields[BIRTHS_LEFT], fresh = wanted, True
        if fields[DYING] >= 0:
            slot = fields[DYING]
            fields[DYING] = after[slot]
            fields[LIVE] -= 1
            spare[most - 1 - fields[LIVE]] = slot
            made.op[i], made.size[i] = FREE, 0
        else:
            slot = np.int64(spare[most - 1 - fields[LIVE]])
            fields[LIVE] += 1
            fields[BIRTHS_LEFT] -= 1
            after[slot] = -1
            if fresh:
                first[fields[BATCHES]] = slot
                fields[BATCHES] += 1
            else:
                after[fields[LAST]] = slot
            fields[LAST] = slot
            made.op[i], made.size[i] = MALLOC, size_drawn(curve, draw)
        made.slot[i] = slot
