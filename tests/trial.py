"""Drive a manager one event at a time and hold it to what every manager owes.

trial = Trial("first-fit", {"order": 1})
address, usable = trial.step(MALLOC, slot=0, size=100)
trial.verify()       no overlap, conservation, the manager's and the machine's own checks
trial.decompose()    the parts of resident memory, equal to a naive classification byte by byte
"""

from bisect import bisect_left, insort
from typing import Any

import numpy as np

from heapwright.machine import PAGE_BYTES, machine
from heapwright.machine.address_space import (
    BREAK,
    BREAK_BASE,
    LOWEST_MAPPED,
    MAPPED,
    MAPPED_BYTES,
    MAPPED_TOP,
    PAGE_SHIFT,
    RESIDENT,
    STRAY_TOUCHES,
)
from heapwright.machine.address_space import check as check_machine
from heapwright.managers import named
from heapwright.trace.schema import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, Events, events
from heapwright.tunnel.bind import bound_loop

BLOCK_ROWS = 1 << 16
MIN_ALIGN = 16


class Trial:
    """A booted manager, its loop, and Python's own account of what lives where."""

    def __init__(self, name: str, settings: dict[str, int] | None = None, slots: int = 4096):
        manager = named(name)
        self.module: Any = manager.module
        self.loop: Any = bound_loop(manager)
        self.machine = machine()
        self.heap = self.module.boot(self.machine, manager.configured(settings or {}))
        objects = self.loop.Objects(np.zeros(slots, np.int64), np.zeros(slots, np.int64))
        self.run = self.loop.Run(objects, np.zeros(self.loop.PROGRESS, np.int64))
        self.run.progress[self.loop.TOUCH] = 1
        columns = (np.zeros(len(self.machine.pages), np.int16) for _ in range(4))
        self.ledger = self.loop.Ledger(*columns, np.zeros((BLOCK_ROWS, 2), np.int64))
        self.live: dict[int, tuple[int, int, int]] = {}  # slot: address, size, usable
        self.extents: list[tuple[int, int]] = []  # (start, past) in ascending order
        self.extent_of: dict[int, tuple[int, int]] = {}  # slot: its row of `extents`

    def fly(self, batch: Events) -> np.ndarray:
        """Fly a batch; int64[event, 2]: address and usable bytes of each event's object."""
        placed = np.zeros((len(batch.op), 2), np.int64)
        self.loop.survey(self.heap, self.run, batch, self.ledger, placed)
        return placed

    def step(
        self, op: int, slot: int, size: int = 0, align: int = 0, thread: int = 0
    ) -> tuple[int, int]:
        """Fly one event, verify what it gave, and enter it in the account."""
        batch = events(op=[op], slot=[slot], size=[size], align=[align], thread=[thread])
        address, usable = (int(value) for value in self.fly(batch)[0])
        old = self.live.get(slot)
        if op == REALLOC and old and self.run.objects.size[slot] != size:
            assert (address, usable) == (old[0], old[2]), "a refused realloc moved its block"
            size = old[1]
        if op in (FREE, REALLOC) and old:
            self.extents.remove(self.extent_of.pop(slot))
            del self.live[slot]
        if address:
            self._enter(slot, address, size, usable)
            assert address % max(MIN_ALIGN, 1 << align) == 0, f"{address:#x} is not aligned"
        return address, usable

    def _enter(self, slot: int, address: int, size: int, usable: int) -> None:
        start, length = (int(value) for value in self.module.extent(self.heap, address, size))
        past = start + length
        assert usable >= size, f"{usable} usable bytes of {size}"
        assert start <= address and address + usable <= past, "the extent misses user bytes"
        pages = self.machine.pages[start >> PAGE_SHIFT : (past - 1 >> PAGE_SHIFT) + 1]
        assert (pages & MAPPED).all(), "a block lies outside mapped memory"
        row = bisect_left(self.extents, (start, past))
        if row:
            assert self.extents[row - 1][1] <= start, "blocks overlap"
        if row < len(self.extents):
            assert past <= self.extents[row][0], "blocks overlap"
        insort(self.extents, (start, past))
        self.extent_of[slot] = start, past
        self.live[slot] = address, size, usable

    def verify(self) -> None:
        """The manager's and the machine's invariants, and no touch of unmapped memory."""
        broken = self.module.check(self.heap)
        assert broken == 0, f"invariant {broken} is broken"
        assert check_machine(self.machine) == 0
        assert self.machine.meters[STRAY_TOUCHES] == 0

    def free_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows (start, bytes) of `cached` and of `metadata`."""
        rows = []
        for verb in (self.module.cached, self.module.metadata):
            blocks = np.zeros((BLOCK_ROWS, 2), np.int64)
            rows.append(blocks[: verb(self.heap, blocks)])
        return rows[0], rows[1]

    def decompose(self) -> dict[str, int]:
        """The parts of resident memory; they equal a classification of every byte by hand."""
        loop = self.loop
        sample = np.zeros(loop.SAMPLE_COLUMNS, np.int64)
        assert loop.decompose(self.heap, self.ledger, sample) == 0
        parts = {
            name: int(sample[getattr(loop, name.upper())])
            for name in ("live", "rounding", "header", "cached", "partial", "retained", "garbage")
        }
        assert sum(parts.values()) == sample[loop.RESIDENT_BYTES]
        assert parts == self._classify()
        assert int(self.run.progress[loop.LIVE_BYTES]) == sum(row[1] for row in self.live.values())
        return parts

    def _classify(self) -> dict[str, int]:
        """Write down what each byte of mapped memory is, one block after another."""
        meters = self.machine.meters
        zones = [(BREAK_BASE, -(-int(meters[BREAK]) // PAGE_BYTES) * PAGE_BYTES)]
        zones.append((int(meters[LOWEST_MAPPED]), MAPPED_TOP))
        kinds = [np.zeros(past - start, np.uint8) for start, past in zones]
        LIVE, ROUNDING, HEADER, CACHED = range(1, 5)  # 0: free

        def paint(start: int, length: int, kind: int) -> None:
            if length == 0:
                return
            zone = 0 if start < zones[0][1] else 1
            first = start - zones[zone][0]
            assert first >= 0 and first + length <= len(kinds[zone]), "outside mapped memory"
            pages = self.machine.pages[start >> PAGE_SHIFT : -(-(start + length) // PAGE_BYTES)]
            assert (pages & MAPPED).all(), "outside mapped memory"
            assert not kinds[zone][first : first + length].any(), "bytes counted twice"
            kinds[zone][first : first + length] = kind

        for slot, (address, size, usable) in self.live.items():
            start, past = self.extent_of[slot]
            paint(start, address - start, HEADER)
            paint(address, size, LIVE)
            paint(address + size, usable - size, ROUNDING)
            paint(address + usable, past - address - usable, HEADER)
        cached, own = self.free_rows()
        for start, length in cached.tolist():
            paint(start, length, CACHED)
        for start, length in own.tolist():
            paint(start, length, HEADER)
        counts = np.zeros(6, np.int64)  # free bytes of pages without a live byte come last
        mapped = 0
        for (start, past), kind in zip(zones, kinds, strict=True):
            flags = self.machine.pages[start >> PAGE_SHIFT : past >> PAGE_SHIFT]
            mapped += int((flags & MAPPED != 0).sum()) * PAGE_BYTES
            pages = kind.reshape(-1, PAGE_BYTES)[flags & RESIDENT != 0]
            with_live = (pages == LIVE).any(axis=1)
            counts[:5] += np.bincount(pages[with_live].ravel(), minlength=5)
            without = np.bincount(pages[~with_live].ravel(), minlength=5)
            counts[1:5] += without[1:]
            counts[5] += without[0]
        assert mapped == meters[MAPPED_BYTES]
        names = ("partial", "live", "rounding", "header", "cached", "retained")
        return dict(zip(names, counts.tolist(), strict=True)) | {"garbage": 0}


__all__ = ["CALLOC", "FREE", "MALLOC", "MEMALIGN", "REALLOC", "Trial"]
