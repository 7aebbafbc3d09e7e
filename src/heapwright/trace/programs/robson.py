"""Robson's adversary: the program that forces any allocator to spread, played against first fit.

    step 0   live_objects blocks of one unit
    step i   keep the blocks that cover a place f modulo 2^i, free all others,
             and ask for as many blocks of 2^i units as the live limit allows
             f is the one of two continuations of the last f that keeps the most room blocked

After log2 n steps no allocator that cannot move blocks has got by with less than
M (1 + log2(n) / 2) - n + 1 units, M the live units; `doublings` is log2 n. The choices depend on
where the blocks lie, and a trace cannot ask: the program assumes first fit, lowest address first,
on blocks of unit_bytes with header_bytes inside. First fit with such blocks (`first-fit`, whose
heads have 8 bytes) suffers exactly; others suffer as far as they place blocks alike. When it is
done it frees everything and begins anew; the order of frees is random.

Source     Robson, "An estimate of the store size necessary for dynamic storage allocation", JACM
           1971, and "Bounds for some functions concerning dynamic storage allocation", JACM 1974
Omits      sizes that are not powers of two, which can force first fit further still
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.trace.programs.draws import BATCH_EVENTS, draws
from heapwright.trace.schema import FREE, MALLOC, Events, events

SUMMARY = "the adversary that forces every allocator to spread, played against first fit"
MOST_DOUBLINGS = 20
SITES = tuple(f"robson: blocks of {1 << step} units" for step in range(MOST_DOUBLINGS + 1))


class Parameters(NamedTuple):
    """What may be chosen."""

    events: int = 1_000_000
    seed: int = 1
    live_objects: int = 4_096  # M: units live at most, and blocks of one unit to begin with
    doublings: int = 6  # log2 of the largest block's units
    unit_bytes: int = 64
    header_bytes: int = 8  # of each block, not asked for


LIMITS = {
    "events": (1, 1 << 40),
    "seed": (0, (1 << 63) - 1),
    "live_objects": (1, 1 << 20),
    "doublings": (1, MOST_DOUBLINGS),
    "unit_bytes": (1, 1 << 16),
    "header_bytes": (0, 1 << 16),
}


class Blocks(NamedTuple):
    """Blocks alive, by ascending address."""

    start: np.ndarray  # int64[block]  units
    length: np.ndarray  # int64[block]  units
    slot: np.ndarray  # int64[block]


def batches(parameters: Parameters) -> Iterator[Events]:
    """The program's events, in batches."""
    if parameters.header_bytes >= parameters.unit_bytes:
        raise HeapwrightError("robson: header_bytes is not smaller than unit_bytes.")
    return _batches(parameters)


def _batches(parameters: Parameters) -> Iterator[Events]:
    left, game = parameters.events, 0
    while left:
        for made in _game(parameters, game):
            part = Events(*(column[:left] for column in made))
            if len(part.op):
                yield part
            left -= len(part.op)
            if not left:
                return
        game += 1


def _game(parameters: Parameters, game: int) -> Iterator[Events]:
    """One play from the empty heap to the empty heap."""
    most, offset = parameters.live_objects, 0
    blocks = Blocks(*(np.zeros(0, np.int64) for _ in range(3)))
    spare = np.arange(most)
    for step in range(parameters.doublings + 1):
        chunk, doomed = 1 << step, np.zeros(0, bool)
        if step:
            covering = {f: _covers(blocks, chunk, f) for f in (offset, offset + chunk // 2)}
            blocked = {f: int((chunk - blocks.length)[kept].sum()) for f, kept in covering.items()}
            offset = max(blocked, key=lambda f: (blocked[f], -f))
            doomed = ~covering[offset]
            yield from _frees(blocks.slot[doomed], (parameters.seed, game, step))
            spare = np.sort(np.concatenate([spare, blocks.slot[doomed]]))
            blocks = Blocks(*(column[~doomed] for column in blocks))
        count = (most - int(blocks.length.sum())) // chunk
        fresh = Blocks(_first_fit(blocks, chunk, count), np.full(count, chunk), spare[:count])
        spare = spare[count:]
        size = chunk * parameters.unit_bytes - parameters.header_bytes
        yield from _births(fresh.slot, size, step)
        both = Blocks(*map(np.concatenate, zip(blocks, fresh, strict=True)))
        order = np.argsort(both.start, kind="stable")
        blocks = Blocks(*(column[order] for column in both))
    yield from _frees(blocks.slot, (parameters.seed, game, parameters.doublings + 1))


def _covers(blocks: Blocks, chunk: int, offset: int) -> np.ndarray:
    """bool[block]: whether it covers a place that is `offset` modulo `chunk`."""
    first = blocks.start + (offset - blocks.start) % chunk  # such a place from its start on
    return first < blocks.start + blocks.length


def _first_fit(blocks: Blocks, chunk: int, count: int) -> np.ndarray:
    """int64[count]: where first fit puts `count` blocks of `chunk` units, one after another."""
    ends = blocks.start + blocks.length
    below = np.concatenate([[0], ends])  # the free ranges; the last one has no end
    room = np.append(blocks.start - below[:-1], count * chunk) // chunk
    before = np.cumsum(room) - room
    fitting = np.clip(count - before, 0, room)
    within = np.arange(count) - np.repeat(before, fitting)
    return np.repeat(below, fitting) + within * chunk


def _births(slots: np.ndarray, size: int, step: int) -> Iterator[Events]:
    for first in range(0, len(slots), BATCH_EVENTS):
        part = slots[first : first + BATCH_EVENTS]
        count = len(part)
        yield events(
            op=np.full(count, MALLOC),
            slot=part,
            size=np.full(count, size),
            site=np.full(count, step),
        )


def _frees(slots: np.ndarray, seeds: tuple[int, int, int]) -> Iterator[Events]:
    seed, game, step = seeds
    stream = draws((seed << 40 | game << 8 | step) + 1, len(slots))
    keys = np.concatenate([np.zeros(0, np.int64), *stream])
    slots = slots[np.argsort(keys, kind="stable")]
    for first in range(0, len(slots), BATCH_EVENTS):
        part = slots[first : first + BATCH_EVENTS]
        count = len(part)
        yield events(
            op=np.full(count, FREE),
            slot=part,
            size=np.zeros(count),
            site=np.full(count, -1),
        )
