"""A manager set up for the worst-case game: its unit, and the words that make up its state.

unit     k units are asked for as k * unit - overhead bytes, and cost exactly k * unit:
         headers and alignment vanish from the count; learnt by asking fresh heaps
state    every word of the heap's arrays that has ever differed from what it was at boot; so a
         manager can be set back without booting anew, and two states can be told apart
"""

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.adversary import game
from heapwright.compiler.reserve import reserve
from heapwright.machine import Machine, machine
from heapwright.machine.address_space import BREAK, BREAK_LIMIT, LOWEST_MAPPED
from heapwright.managers.registry import Manager
from heapwright.tunnel.bind import bound_to

UNITS_BYTES = (32, 64, 128, 16, 48, 256, 512, 1024, 2048, 4096, 8192)  # tried in this order
OVERHEADS_BYTES = (0, 8, 16, 24, 32)
INEXACT_UNIT_BYTES, INEXACT_OVERHEAD_BYTES = 64, 0  # where none of them is exact

Rules = tuple[int, Sequence[int]]  # most live units, and the sizes that may be asked for

_PAGE = 4096
_SLACK = 1 << 16  # bytes about a zone
_LINE_WORDS = 8  # around a word that changed, that many are taken in
_AHEAD_LINES = 32  # and above one that changed unexpectedly: the heap has grown there
_WANDERINGS, _WANDERED_DOUBLINGS = 150, 3  # so many looks, up to four moves apart
_REACH_UNITS = 12  # for each live unit: so much of the heap is taken in whole


class Subject:
    """A booted manager and its game; nothing is live."""

    def __init__(
        self, manager: Manager, settings: Mapping[str, int], rules: Rules, unit: tuple[int, int]
    ) -> None:
        """`unit`: bytes of a unit and the overhead of a request, see above."""
        most_live, sizes = rules
        self.loop: Any = bound_to(manager, Path(game.__file__))
        self.heap = manager.module.boot(_space(), manager.configured(dict(settings)))
        self.image: dict[int, np.ndarray] = {}  # at boot: words by address, where resident
        self.words = np.zeros(0, np.int64)  # addresses of the state's words
        fields = np.zeros(self.loop.FIELDS, np.int64)
        fields[self.loop.UNIT], fields[self.loop.OVERHEAD] = unit
        fields[self.loop.MOST_LIVE], fields[self.loop.KINDS] = most_live, len(sizes)
        state = self.loop.State(*(np.zeros(1, np.int64) for _ in range(4)))
        kinds = np.array(sizes, np.int64)
        self.game = self.loop.Game(state, self.nodes(1), *_slots(most_live), kinds, fields)

    def nodes(self, rows: int) -> Any:
        """Room for `rows` states, a power of two, holding boot alone."""
        columns = [reserve(rows, kind) for kind in (np.int32, np.int32, np.int64, np.int64)]
        return self.loop.Nodes(*columns, reserve(2 * rows, np.int32))

    def play(self, moves: Sequence[int]) -> np.ndarray:
        """Make moves; int64[move, 2], start and bytes of each block that was asked for."""
        return self.act(self.game, self.loop.PLAY, np.array(moves, np.int64))

    def act(self, game: Any, verb: int, numbers: np.ndarray) -> np.ndarray:
        """The loop's `act` with `game`; int64[move, 2] of PLAY, else without rows."""
        placed = np.zeros((len(numbers) if verb == self.loop.PLAY else 0, 2), np.int64)
        self.loop.act(self.heap, game, verb, numbers, placed)
        return placed

    def begin(self, low: tuple[int, int]) -> None:
        """Measure from `low`: where blocks begin in the heap of brk and in mapped areas. Where any
        lie in those, what counts is what the machine has given."""
        loop, fields = self.loop, self.game.fields
        fields[loop.TAKES_AREAS] = low[1] > 0
        fields[loop.LOW], fields[loop.MAPPED_LOW] = low
        fields[loop.HIGH], fields[loop.MAPPED_HIGH] = low
        fields[loop.LOWEST], fields[loop.MAPPED_LOWEST] = low

    def learn(self, low: tuple[int, int]) -> None:
        """Find the state's words by playing at random, with twice the live units of the game.

        `low` as from `beginnings`.
        """
        game, loop, fields = self.game, self.loop, self.game.fields
        self.image = {start: words.copy() for start, words in self._resident()}
        most = int(fields[loop.MOST_LIVE])
        wide = game._replace(
            **dict(zip(("address", "units", "path"), _slots(2 * most), strict=True))
        )
        self.begin(low)
        fields[loop.MOST_LIVE] = 2 * most
        random, changed = np.random.default_rng(1), [self.words]
        for _ in range(_WANDERINGS):
            draws = random.integers(0, 1 << 40, 1 << random.integers(0, _WANDERED_DOUBLINGS))
            self.act(wide, loop.WANDER, draws)
            changed.append(self._changed())
        fields[loop.MOST_LIVE] = most
        # Where blocks lie a word may be a header for a move and then be cleared: take in all.
        words = self.heap.machine.words.ctypes.data
        reach = _REACH_UNITS * most * int(fields[loop.UNIT])
        highs = fields[[loop.HIGH, loop.MAPPED_HIGH]].tolist()
        lowests = fields[[loop.LOWEST, loop.MAPPED_LOWEST]].tolist()
        for start, high, lowest in zip(low, highs, lowests, strict=True):
            if high > lowest:
                below = (max(lowest, start - reach) & ~15) - 8 * _LINE_WORDS
                above = min(high, start + reach) + 8 * _LINE_WORDS
                changed.append(words + np.arange(below, above, 8))
        self._take(np.concatenate(changed))
        loop.reset(self.game)

    def watch(self) -> bool:
        """Back at boot: whether a word outside the known state has changed; it is taken in, and
        what was found so far may be wrong."""
        self.loop.reset(self.game)
        changed = np.setdiff1d(self._changed(), self.words)
        if not len(changed):
            return False
        ahead = changed[:, None] + 8 * _LINE_WORDS * np.arange(1 + _AHEAD_LINES)
        self._take(np.concatenate([self.words, ahead.ravel()]))
        self.loop.reset(self.game)
        return True

    def _take(self, words: np.ndarray) -> None:
        """Make `words`, and the lines around them, the state."""
        spans = [(start, start + nbytes) for start, nbytes in self._arrays()]
        lines = np.unique(words & ~(8 * _LINE_WORDS - 1))
        around = (lines[:, None] + 8 * np.arange(_LINE_WORDS)).ravel()
        inside = np.zeros(len(around), bool)
        for start, past in spans:
            inside |= (start <= around) & (around < past)
        self.words = around[inside]
        counts = np.zeros(len(self.words), bool)  # counters decide nothing
        for array in (self.heap.paths, self.heap.machine.meters):
            start = array.ctypes.data
            counts |= (start <= self.words) & (self.words < start + array.nbytes)
        counts &= self.words != self.heap.machine.meters.ctypes.data + 8 * BREAK
        ordered = np.concatenate([self.words[~counts], self.words[counts]])
        boot = np.zeros(len(ordered), np.int64)
        for start, content in self.image.items():
            hits = (start <= ordered) & (ordered < start + content.nbytes)
            boot[hits] = content[(ordered[hits] - start) >> 3]
        base = int(ordered.min())
        state = self.loop.State(
            _memory(base, int(ordered.max()) + 8 - base),
            (ordered - base) >> 3,
            boot,
            np.zeros(len(ordered), np.int64),
        )
        self.game = self.game._replace(state=state)
        self.game.fields[self.loop.WORDS] = len(ordered)
        self.game.fields[self.loop.HASHED] = int((~counts).sum())

    def _arrays(self) -> Iterator[tuple[int, int]]:
        """Address and bytes, whole words, of each array of the heap."""
        seen = set()
        for array in _arrays_in(self.heap):
            if array.nbytes and array.ctypes.data not in seen:
                seen.add(array.ctypes.data)
                yield array.ctypes.data, (array.nbytes + 7) & ~7

    def _resident(self) -> Iterator[tuple[int, np.ndarray]]:
        """(address, words) of the parts of the heap's arrays that have physical memory."""
        for start, nbytes in self._arrays():
            parts = [(start, start + nbytes)]
            if start == self.heap.machine.words.ctypes.data:  # between its zones lies nothing
                zone = int(self.heap.machine.meters[LOWEST_MAPPED])
                parts = [(start, start + int(self.heap.machine.meters[BREAK]) + _SLACK)]
                parts.append((start + zone - _SLACK, start + nbytes))
            for low, high in parts:
                first = low & ~(_PAGE - 1)
                flags = _in_core(first, (high - first + _PAGE - 1) // _PAGE)
                for page in np.flatnonzero(flags).tolist():
                    at, past = max(low, first + page * _PAGE), first + (page + 1) * _PAGE
                    yield at, _memory(at, min(high, past) - at)

    def _changed(self) -> np.ndarray:
        """Addresses of the words that differ from what they were at boot."""
        found = []
        for start, words in self._resident():
            before = self.image.get(start)
            differs = np.flatnonzero(words if before is None else words != before)
            if len(differs):
                found.append(start + 8 * differs)
        return np.concatenate(found) if found else np.zeros(0, np.int64)


def beginnings(
    manager: Manager, settings: Mapping[str, int], unit: tuple[int, int], sizes: Sequence[int]
) -> tuple[int, int]:
    """Where a fresh heap's lowest block begins: in the heap of brk, and in mapped areas; 0 where
    the first blocks lie in the other."""
    starts = []
    for size in sizes:
        subject = Subject(manager, settings, (size, sizes), unit)
        starts += subject.play([size])[:, 0].tolist()
    below = [start for start in starts if 0 < start < BREAK_LIMIT]
    above = [start for start in starts if start >= BREAK_LIMIT]
    return min(below, default=0), min(above, default=0)


def unit_of(
    manager: Manager, settings: Mapping[str, int], sizes: Sequence[int]
) -> tuple[int, int] | None:
    """The first (unit, overhead) for which k units cost exactly k * unit bytes for every k of
    `sizes`, on a fresh heap and one after the other; None if there is none."""
    for unit in UNITS_BYTES:
        for overhead in OVERHEADS_BYTES:
            if overhead >= unit:
                continue
            subject = Subject(manager, settings, (sum(sizes), sizes), (unit, overhead))
            placed = subject.play(list(sizes))
            if placed[:, 1].tolist() == [size * unit for size in sizes]:
                return unit, overhead
    return None


def _space() -> Machine:
    """A machine of which memory holds what is written alone. NumPy's zeros may lie in memory that
    something else has left, which is cleared: 5,000 pages to look through for a change in one."""
    space = machine()
    gaps = space.gaps._replace(start=_apart(space.gaps.start), end=_apart(space.gaps.end))
    return space._replace(pages=_apart(space.pages), gaps=gaps)


def _apart(array: np.ndarray) -> np.ndarray:
    """A copy in memory of its own, where there is any only of what is not 0."""
    copy, written = reserve(len(array), array.dtype), np.flatnonzero(array)
    copy[written] = array[written]
    return copy


def _slots(most_live: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Game's address, units and path."""
    return np.zeros(most_live, np.int64), np.zeros(most_live, np.int64), np.zeros(4096, np.int64)


def _arrays_in(state: Any) -> Iterator[np.ndarray]:
    if isinstance(state, np.ndarray):
        yield state
    elif isinstance(state, tuple):
        for member in state:
            yield from _arrays_in(member)


class _Interface:
    def __init__(self, address: int, nbytes: int) -> None:
        self.__array_interface__ = {
            "data": (address, False),
            "shape": (nbytes // 8,),
            "typestr": "<i8",
            "version": 3,
        }


def _memory(address: int, nbytes: int) -> np.ndarray:
    """The process's own memory as words."""
    return np.asarray(_Interface(address, nbytes))


def _in_core(address: int, pages: int) -> np.ndarray:
    """bool[page]: which pages from `address` on have physical memory."""
    flags = np.zeros(pages, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    error = libc.mincore(
        ctypes.c_void_p(address),
        ctypes.c_size_t(pages * _PAGE),
        flags.ctypes.data_as(ctypes.c_void_p),
    )
    if error:
        raise OSError(ctypes.get_errno(), "mincore")
    return (flags & 1).astype(bool)
