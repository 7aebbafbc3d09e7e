"""Generations: most objects die young, and those that do not live very long.

    births    young_percent of all │ a tenth as likely: middle-aged │ the rest of the rest: old
    lifetime  1                    │ 16                             │ 256      relative means

Each generation is in equilibrium by itself: its objects die at random, whatever their age, at a
rate that is theirs (the queue M/M/infinity). The old make up most of the heap, the young most of
the traffic, so an allocator that lays both side by side strands holes between survivors.

Source     Ungar, "Generation scavenging", 1984 (most objects die young); Barrett and Zorn, "Using
           lifetime predictors to improve memory allocation performance", PLDI 1993
Omits      sizes that depend on lifetime, reallocs, threads
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

SUMMARY = "most objects die young, survivors live long: three generations in equilibrium"
SITES = ("young", "middle-aged", "old")
GENERATIONS = 3
HASTE = (256, 16, 1)  # how fast an object of each generation dies


class Parameters(NamedTuple):
    """What may be chosen."""

    events: int = 1_000_000
    seed: int = 1
    live_objects: int = 20_000  # on average, once it has filled up
    young_percent: int = 90  # of the births
    min_bytes: int = 16
    max_bytes: int = 4_096


LIMITS = {
    "events": (1, 1 << 40),
    "seed": (0, (1 << 63) - 1),
    "live_objects": (1, INDEX_LIMIT >> 10),
    "young_percent": (1, 99),
    "min_bytes": (1, 1 << 32),
    "max_bytes": (1, 1 << 32),
}


class Population(NamedTuple):
    """Objects of all generations, and what governs them."""

    order: np.ndarray  # int32[generation * capacity + i]  slots of the living
    spare: np.ndarray  # int32[slot]  unused slots, a stack whose top is the lowest at first
    living: np.ndarray  # int64[GENERATIONS + 1]  alive in each; last: height of `spare`
    birth: np.ndarray  # int64[GENERATIONS]  weight of a birth
    haste: np.ndarray  # int64[GENERATIONS]  weight of the death of one object


def batches(parameters: Parameters) -> Iterator[Events]:
    """The program's events, in batches."""
    if parameters.min_bytes > parameters.max_bytes:
        raise HeapwrightError("generations: min_bytes is larger than max_bytes.")
    return _batches(parameters)


def birth_weights(parameters: Parameters) -> list[int]:
    """Weight of a birth in each generation: with these, live_objects are alive on average."""
    young = 1000 * parameters.young_percent
    middle = (100_000 - young) * 10 // 11
    shares = (young, middle, 100_000 - young - middle)
    alive = sum(share / haste for share, haste in zip(shares, HASTE, strict=True))
    return [max(1, int(share * parameters.live_objects / alive)) for share in shares]


def _batches(parameters: Parameters) -> Iterator[Events]:
    curve = log_uniform_curve(parameters.min_bytes, parameters.max_bytes)
    capacity = min(2 * parameters.live_objects + 64, parameters.events)
    population = Population(
        np.zeros(GENERATIONS * capacity, np.int32),
        np.arange(capacity, dtype=np.int32)[::-1].copy(),
        np.array([0, 0, 0, capacity], np.int64),
        np.array(birth_weights(parameters), np.int64),
        np.array(HASTE, np.int64),
    )
    for drawn in draws(parameters.seed, parameters.events):
        made = events(
            op=np.empty(len(drawn), np.uint8),
            slot=np.empty(len(drawn), np.int32),
            size=np.empty(len(drawn), np.int64),
            site=np.empty(len(drawn), np.int32),
        )
        live_and_die(population, curve, drawn, made)
        yield made


@kernel
def live_and_die(population, curve, drawn, made):
    """Fill `made` with one event per draw."""
    order, spare, living = population.order, population.spare, population.living
    birth, haste = population.birth, population.haste
    capacity = len(spare)
    for row in range(len(drawn)):
        i = unsigned(row)
        draw = drawn[i]
        births = birth[0] + birth[1] + birth[2]
        if living[GENERATIONS] == 0:  # never met by chance, but a bound is a bound
            births = 0
        deaths = living[0] * haste[0] + living[1] * haste[1] + living[2] * haste[2]
        pick = (draw >> SIZE_BITS) % (births + deaths)
        kind = 0
        if pick < births:
            while pick >= birth[kind]:
                pick -= birth[kind]
                kind += 1
            living[GENERATIONS] -= 1
            slot = spare[living[GENERATIONS]]
            order[kind * capacity + living[kind]] = slot
            living[kind] += 1
            made.op[i], made.size[i], made.site[i] = MALLOC, size_drawn(curve, draw), kind
        else:
            pick -= births
            while pick >= living[kind] * haste[kind]:
                pick -= living[kind] * haste[kind]
                kind += 1
            place = kind * capacity + pick // haste[kind]
            living[kind] -= 1
            slot = order[place]
            order[place] = order[kind * capacity + living[kind]]
            spare[living[GENERATIONS]] = slot
            living[GENERATIONS] += 1
            made.op[i], made.size[i], made.site[i] = FREE, 0, -1
        made.slot[i] = slot
