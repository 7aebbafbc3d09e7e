"""What a replay keeps for a picture of the heap: every page at some moments, all objects at two.

    events up to them   ─► birth and call site of each slot's object ─┐
    a keyframe          ─► level of each page, compressed            ─┼─► Keyframes
    the peak, the end   ─► live and free bytes of each page          ─┘

It reads the ledger and the machine's pages between events: the replay loop knows nothing of it.
"""

import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import (
    BREAK,
    BREAK_BASE,
    LOWEST_MAPPED,
    MAPPED,
    MAPPED_TOP,
    PAGE_SHIFT,
    RESIDENT,
)
from heapwright.result import (
    ABSENT_LEVEL,
    EMPTY_LEVEL,
    LIVE_STEPS,
    UNMAPPED_LEVEL,
    Blocks,
)
from heapwright.trace.schema import MALLOC, MEMALIGN, NEW, REALLOC, Events

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

KEYFRAMES = 60
ZONES = 2  # the heap that brk moves, and the mapped areas


@kernel
def note(events, birth, site, first):  # type: ignore[no-untyped-def]
    """Write birth and call site of each object that `events`, from event `first` on, allocate.

    A realloc changes the call site alone.
    """
    sited = len(events.site) > 0
    for row in range(len(events.op)):
        i = unsigned(row)
        op, slot = events.op[i], np.int64(events.slot[i])
        if slot < 0 or not (MALLOC <= op <= MEMALIGN or op == NEW):
            continue
        if op != REALLOC:
            birth[unsigned(slot)] = first + row
        if sited:
            site[unsigned(slot)] = events.site[i]


class Taken(NamedTuple):
    """The heap at one moment, page by page and object by object."""

    zones: list[tuple[int, np.ndarray, np.ndarray]]  # first page, live and free bytes of each page
    blocks: Blocks


class Keyframes:
    """Filled by one survey; read by `pages`, `levels`, `bytes_at` and `taken`.

    `peak_event`, and `end_event` if the trace has one, are the moments of which all is kept.
    """

    def __init__(
        self, trace: "Trace", stops: np.ndarray, peak_event: int, end_event: int = -1
    ) -> None:
        spread = np.linspace(0, len(stops) - 1, min(KEYFRAMES, len(stops))).astype(np.int64)
        self._whole = {peak_event, end_event} & set(stops.tolist())
        self.events = np.union1d(stops[spread], sorted(self._whole))  # int64[frame]
        self.peak_event, self.end_event = peak_event, end_event
        self._zones: list[list[tuple[int, bytes]]] = []  # [frame][zone], first page and levels
        self._birth = np.zeros(trace.slots, np.int64)  # event
        self._site = np.full(trace.slots, -1, np.int32)
        self.taken: dict[int, Taken] = {}  # by event

    @property
    def blocks(self) -> Blocks:
        """The objects at the peak."""
        return self.taken[self.peak_event].blocks

    def follow(self, events: Events, first: int) -> None:
        """Note who allocated what among `events`, whose first is event `first`."""
        if len(self.taken) < len(self._whole):
            note(events, self._birth, self._site, first)

    def take(self, event: int, heap: Any, objects: Any, ledger: Any) -> None:
        """The state after `event`, if it is one of the keyframes: of the heap, of what lives at
        which address, and of the ledger."""
        if len(self._zones) == len(self.events) or event != self.events[len(self._zones)]:
            return
        self._zones.append(
            [
                (first, _packed(_levels(heap.machine.pages, ledger.live, first, past)))
                for first, past in _zones(heap.machine.meters)
            ]
        )
        if event in self._whole:
            self.taken[event] = self._take(event, heap, objects, ledger)

    def pages(self) -> np.ndarray:
        """int64[page]: numbers of the pages mapped at any keyframe, ascending."""
        found = []
        for zone in range(ZONES):
            frames = [(z[zone][0], _unpacked(z[zone][1])) for z in self._zones]
            low = min(first for first, _ in frames)
            high = max(first + len(levels) for first, levels in frames)
            mapped = np.zeros(high - low, bool)
            for first, levels in frames:
                mapped[first - low : first - low + len(levels)] |= levels != UNMAPPED_LEVEL
            found.append(np.flatnonzero(mapped) + low)
        return np.concatenate(found)

    def levels(self, frame: int, pages: np.ndarray) -> np.ndarray:
        """uint8[page]: the levels of `pages` at a keyframe."""
        found = np.zeros(len(pages), np.uint8)
        for first, packed in self._zones[frame]:
            _spread(_unpacked(packed), first, pages, found)
        return found

    def bytes_at(self, event: int, pages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int16[page] twice: live bytes, and those neither in a block nor in a cache, if resident.

        The latter are `partial` where there are live ones and otherwise `retained`. `event` is one
        of which all is kept.
        """
        live, free = np.zeros(len(pages), np.int16), np.zeros(len(pages), np.int16)
        for first, zone_live, zone_free in self.taken[event].zones:
            _spread(zone_live, first, pages, live)
            _spread(zone_free, first, pages, free)
        return live, free

    def _take(self, event: int, heap: Any, objects: Any, ledger: Any) -> Taken:
        """Pages and objects."""
        zones = []
        for first, past in _zones(heap.machine.meters):
            resident = heap.machine.pages[first:past] & RESIDENT != 0
            free = np.where(resident, ledger.free[first:past], 0).astype(np.int16)
            zones.append((first, ledger.live[first:past].copy(), free))
        slots = np.flatnonzero(objects.address)
        slots = slots[np.argsort(objects.address[slots])]
        blocks = Blocks(
            address=objects.address[slots],
            size=objects.size[slots],
            age=event - self._birth[slots],
            site=self._site[slots],
        )
        return Taken(zones, blocks)


def _zones(meters: np.ndarray) -> list[tuple[int, int]]:
    """First page and the one past the last of each zone."""
    top = (int(meters[BREAK]) + PAGE_BYTES - 1) >> PAGE_SHIFT
    return [
        (BREAK_BASE >> PAGE_SHIFT, top),
        (int(meters[LOWEST_MAPPED]) >> PAGE_SHIFT, MAPPED_TOP >> PAGE_SHIFT),
    ]


def _levels(flags: np.ndarray, live: np.ndarray, first: int, past: int) -> np.ndarray:
    """uint8[past - first]: the level of each page."""
    flags, live = flags[first:past], live[first:past]
    steps = (live + (PAGE_BYTES // LIVE_STEPS - 1)) // (PAGE_BYTES // LIVE_STEPS)
    resident = EMPTY_LEVEL + steps
    absent = np.where(flags & MAPPED, ABSENT_LEVEL, UNMAPPED_LEVEL)
    return np.where(flags & RESIDENT, resident, absent).astype(np.uint8)


def _packed(levels: np.ndarray) -> bytes:
    return zlib.compress(levels.tobytes(), 1)


def _unpacked(packed: bytes) -> np.ndarray:
    return np.frombuffer(zlib.decompress(packed), np.uint8)


def _spread(column: np.ndarray, first: int, pages: np.ndarray, found: np.ndarray) -> None:
    """Write to `found` what `column`, which starts at page `first`, says of `pages`."""
    low, high = np.searchsorted(pages, [first, first + len(column)])
    found[low:high] = column[pages[low:high] - first]
