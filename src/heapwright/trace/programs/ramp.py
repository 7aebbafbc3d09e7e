"""A ramp of growing memory, then a change of phase to other sizes.

    live objects              first kind             second kind
      live_objects ┤             ╱│╲                    ╱
                   │          ╱   │  ╲              ╱
                   │       ╱      │    ╲        ╱
                   │    ╱         │      ╲__╱__________ survivors_percent
                 0 └─────────────────────────────────────► events
                                half   5/8              end

Each kind follows its target; when it is at its target, births and deaths of random objects take
turns. The survivors of the first kind lie scattered over what was the whole heap, so the second
kind, whose sizes differ, finds holes that do not fit: the classic recipe for fragmentation.

Source     Robson 1977 and Wilson et al. 1995, section 2.3, on phases and fragmentation
Omits      correlation of size with lifetime within a phase, reallocs, threads
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

SUMMARY = "memory that ramps up, then a phase of other sizes among scattered survivors"
SITES = ("ramp: first phase", "ramp: second phase")


class Parameters(NamedTuple):
    """What may be chosen."""

    events: int = 1_000_000
    seed: int = 1
    live_objects: int = 50_000  # of each kind at the top of its ramp
    survivors_percent: int = 10  # of the first kind, through the second phase
    first_min_bytes: int = 16
    first_max_bytes: int = 256
    second_min_bytes: int = 300
    second_max_bytes: int = 4_096


LIMITS = {
    "events": (1, 1 << 40),
    "seed": (0, (1 << 63) - 1),
    "live_objects": (1, INDEX_LIMIT // 4),
    "survivors_percent": (0, 100),
    "first_min_bytes": (1, 1 << 32),
    "first_max_bytes": (1, 1 << 32),
    "second_min_bytes": (1, 1 << 32),
    "second_max_bytes": (1, 1 << 32),
}


class Population(NamedTuple):
    """order[:n] is the first kind, order[n:n+m] the second, the rest are slots to be used."""

    order: np.ndarray  # int32[slot]  a permutation of the slots
    living: np.ndarray  # int64[2]  n and m


class Plan(NamedTuple):
    """How each kind is to grow."""

    curves: tuple[np.ndarray, np.ndarray]  # int64[1025]  sizes of each kind
    events: int
    top: int  # live objects of a kind at the top
    survivors: int


def batches(parameters: Parameters) -> Iterator[Events]:
    """The program's events, in batches."""
    for kind in ("first", "second"):
        if getattr(parameters, f"{kind}_min_bytes") > getattr(parameters, f"{kind}_max_bytes"):
            raise HeapwrightError(f"ramp: {kind}_min_bytes is larger than {kind}_max_bytes.")
    return _batches(parameters)


def _batches(parameters: Parameters) -> Iterator[Events]:
    plan = Plan(
        (
            log_uniform_curve(parameters.first_min_bytes, parameters.first_max_bytes),
            log_uniform_curve(parameters.second_min_bytes, parameters.second_max_bytes),
        ),
        parameters.events,
        parameters.live_objects,
        parameters.live_objects * parameters.survivors_percent // 100,
    )
    capacity = min(2 * parameters.live_objects + 4, parameters.events)
    population = Population(np.arange(capacity, dtype=np.int32), np.zeros(2, np.int64))
    first = 0
    for drawn in draws(parameters.seed, parameters.events):
        made = events(
            op=np.empty(len(drawn), np.uint8),
            slot=np.empty(len(drawn), np.int32),
            size=np.empty(len(drawn), np.int64),
            site=np.empty(len(drawn), np.int32),
        )
        climb(population, plan, drawn, first, made)
        first += len(drawn)
        yield made


@kernel
def climb(population, plan, drawn, first, made):
    """Fill `made` with one event per draw; the first is event number `first`."""
    living = population.living
    half = (plan.events + 1) // 2
    for row in range(len(drawn)):
        i = unsigned(row)
        event = first + row
        kind = 0 if event < half else 1
        if kind == 0:
            target = plan.top * event // half + 1
        else:
            target = plan.top * (event - half) // half + 1
            fall = max(1, half // 4)  # events over which the first kind dies
            left = max(0, fall - (event - half))
            if living[0] > plan.survivors + (plan.top - plan.survivors) * left // fall:
                kind, target = 0, 0
        index = drawn[i] >> SIZE_BITS
        if living[kind] >= target:
            made.op[i], made.size[i] = FREE, 0
            made.slot[i] = _die(population, kind, index % living[kind])
            made.site[i] = -1
        else:
            made.op[i], made.size[i] = MALLOC, size_drawn(plan.curves[kind], drawn[i])
            made.slot[i] = _be_born(population, kind)
            made.site[i] = kind


@kernel
def _die(population, kind, pick):
    """Slot of object number `pick` of its kind, which joins the unused ones."""
    order, living = population.order, population.living
    if kind == 1:
        pick += living[0]
    slot, last = order[pick], living[0] - 1
    if kind == 0:  # its place goes to the last of its kind, that place to the last of the other
        order[pick] = order[last]
        pick = last
    last = living[0] + living[1] - 1
    order[pick] = order[last]
    order[last] = slot
    living[kind] -= 1
    return slot


@kernel
def _be_born(population, kind):
    """Slot of a new object of `kind`."""
    order, living = population.order, population.living
    end = living[0] + living[1]
    slot = order[end]
    if kind == 0:  # the first of the other kind makes room
        order[end] = order[living[0]]
        order[living[0]] = slot
    living[kind] += 1
    return slot
