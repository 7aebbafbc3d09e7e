"""The fleet: sizes and lifetimes of ten programs of Google's fleet, in steady state.

    birth   a size is chosen by its published rate of allocation
    death   of an object of size s at a rate that keeps the published number of them alive:
            rate of deaths of one object = allocation rate of s / live objects of s   (Little's law)

The first events only allocate, by the published numbers of live objects, until live_objects are
alive; then each size is in equilibrium by itself (the queue M/M/infinity). An event is chosen by
weight: a birth, or an object, found through buckets of objects whose weights lie within a factor
of two. An object weighs its bucket's upper bound and its death is dismissed as often as that is
too much (thinning), so each event costs a few steps, whatever the number of sizes.

Source     `fleetbench.csv`, whose header names authors, licence and origin; the steady state is
           that of fleetbench's TCMalloc benchmark; Lewis and Shedler, "Simulation of nonhomogeneous
           Poisson processes by thinning", 1979
Omits      sizes above max_bytes, a very few of which are published; threads; sized deletes
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length
from heapwright.errors import HeapwrightError
from heapwright.trace.programs.draws import draws
from heapwright.trace.schema import FREE, MALLOC, Events, events

SUMMARY = "sizes and lifetimes published of ten programs of Google's fleet"
PROFILES = 10
SITES = ("fleet",)
BIRTH_BITS = 34  # all births together weigh 2^34
BUCKETS = 40
LEAST_DRAWS = 1 << 10


class Parameters(NamedTuple):
    """What may be chosen."""

    events: int = 1_000_000
    seed: int = 1
    live_objects: int = 50_000  # on average, once it has filled up
    profile: int = 0  # number of the program
    max_bytes: int = 16 << 20  # larger sizes are left out


LIMITS = {
    "events": (1, 1 << 40),
    "seed": (0, (1 << 63) - 1),
    "live_objects": (1, 1 << 24),
    "profile": (0, PROFILES - 1),
    "max_bytes": (4_096, 1 << 40),
}


class Sizes(NamedTuple):
    """The sizes of a profile."""

    size: np.ndarray  # int64[kind], bytes
    births: np.ndarray  # int64[kind]  cumulated weights of births; the last is the whole
    living: np.ndarray  # int64[kind]  the same of live objects, for the start
    weight: np.ndarray  # int64[kind]  of the death of one object


class Population(NamedTuple):
    """Objects alive, in buckets by weight: bucket b has weights from 2^(b-1) to 2^b - 1."""

    kind_of: np.ndarray  # int16[slot]
    order: np.ndarray  # int32[place]  slots; each bucket's places follow those of the one before
    start: np.ndarray  # int64[bucket + 1]  its first place
    living: np.ndarray  # int64[bucket]  objects in it
    spare: np.ndarray  # int32[slot]  unused slots, a stack whose top is the lowest at first


def published(profile: int) -> np.ndarray:
    """float64[kind, 3]: size in bytes, rate of allocation, live objects, of one program."""
    with (Path(__file__).parent / "fleetbench.csv").open() as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return np.array(
            [
                [float(row[name]) for name in ("size_bytes", "allocation_rate", "live_objects")]
                for row in rows
                if int(row["profile"]) == profile
            ]
        )


def sizes_of(parameters: Parameters) -> Sizes:
    """The profile's sizes with integer weights for `live_objects` alive on average."""
    rows = published(parameters.profile)
    rows = rows[(rows[:, 0] <= parameters.max_bytes) & (rows[:, 1] > 0) & (rows[:, 2] > 0)]
    if not len(rows):
        raise HeapwrightError(f"fleet: profile {parameters.profile} has no size up to max_bytes.")
    rate, live = rows[:, 1] / sum(rows[:, 1].tolist()), rows[:, 2] / sum(rows[:, 2].tolist())
    births = np.maximum(1, (rate * (1 << BIRTH_BITS)).astype(np.int64))
    living = np.maximum(1, (live * (1 << BIRTH_BITS)).astype(np.int64))
    expected = live * parameters.live_objects
    weight = np.clip((births / expected).astype(np.int64), 1, (1 << (BUCKETS - 1)) - 1)
    return Sizes(rows[:, 0].astype(np.int64), np.cumsum(births), np.cumsum(living), weight)


def batches(parameters: Parameters) -> Iterator[Events]:
    """The program's events, in batches."""
    return _batches(parameters, sizes_of(parameters))


def _population(parameters: Parameters, sizes: Sizes) -> Population:
    """Nobody, with room in each bucket for twice what it holds on average."""
    births = np.diff(sizes.births, prepend=0)
    bucket = np.array([weight.bit_length() for weight in sizes.weight.tolist()])
    room = np.zeros(BUCKETS, np.int64)
    expected = np.maximum(
        births / sizes.weight,
        np.diff(sizes.living, prepend=0) / sizes.living[-1] * parameters.live_objects,
    )
    np.add.at(room, bucket, np.ceil(expected).astype(np.int64))
    room = np.where(room > 0, np.minimum(2 * room + 64, parameters.events), 0)
    slots = min(int(room.sum()), parameters.events)
    return Population(
        np.zeros(slots, np.int16),
        np.zeros(int(room.sum()), np.int32),
        np.concatenate([[0], np.cumsum(room)]),
        np.zeros(BUCKETS, np.int64),
        np.arange(slots, dtype=np.int32)[::-1].copy(),
    )


def _batches(parameters: Parameters, sizes: Sizes) -> Iterator[Events]:
    population = _population(parameters, sizes)
    filling = min(parameters.live_objects, parameters.events)
    written = 0
    every = draws(parameters.seed, 1 << 62)  # more than are used: some give no event
    drawn = np.zeros(0, np.int64)
    while written < parameters.events:
        drawn = drawn if len(drawn) else next(every)
        most = LEAST_DRAWS + 2 * (parameters.events - written)  # of a short run not all are asked
        part, drawn = drawn[:most], drawn[most:]
        made = events(
            op=np.empty(len(part), np.uint8),
            slot=np.empty(len(part), np.int32),
            size=np.empty(len(part), np.int64),
        )
        count = live_and_die(sizes, population, part, filling - written, made)
        count = min(count, parameters.events - written)
        if count:
            yield Events(*(column[:count] for column in made))
        written += count


@kernel
def kind_at(cumulated, pick):
    """The first kind whose cumulated weight is above `pick`."""
    low, high = 0, len(cumulated) - 1
    while low < high:
        middle = (low + high) >> 1
        if cumulated[unsigned(middle)] <= pick:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def live_and_die(sizes, population, drawn, filling, made):
    """Write an event for each draw that gives one, the first `filling` of them births by the
    numbers of live objects; the number of events."""
    kind_of, order, start, living, spare = population
    alive = 0
    for bucket in range(BUCKETS):
        alive += living[bucket]
    count = 0
    for row in range(len(drawn)):
        draw = drawn[unsigned(row)]
        births = sizes.births[len(sizes.births) - 1]
        deaths = 0
        for bucket in range(BUCKETS):
            deaths += living[unsigned(bucket)] << bucket
        i = unsigned(count)
        pick = draw % (births + deaths)
        if count < filling or pick < births:
            if count < filling:
                kind = kind_at(sizes.living, draw % sizes.living[len(sizes.living) - 1])
            else:
                kind = kind_at(sizes.births, pick)
            bucket = bit_length(sizes.weight[kind])
            place = start[bucket] + living[bucket]
            if place == start[bucket + 1] or alive == len(spare):
                continue  # twice the average: never met by chance, but a bound is a bound
            alive += 1
            slot = np.int64(spare[len(spare) - alive])
            order[place] = slot
            kind_of[slot] = kind
            living[bucket] += 1
            made.op[i], made.size[i] = MALLOC, sizes.size[kind]
        else:
            pick -= births
            bucket = 0
            while pick >= living[unsigned(bucket)] << bucket:
                pick -= living[unsigned(bucket)] << bucket
                bucket += 1
            place = start[bucket] + (pick >> bucket)
            slot = np.int64(order[place])
            if pick & ((1 << bucket) - 1) >= sizes.weight[kind_of[slot]]:
                continue  # thinning
            living[bucket] -= 1
            order[place] = order[start[bucket] + living[bucket]]
            spare[len(spare) - alive] = slot
            alive -= 1
            made.op[i], made.size[i] = FREE, 0
        made.slot[i] = slot
        count += 1
    return count
