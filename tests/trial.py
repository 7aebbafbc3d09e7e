"""Drive a manager one event at a time and hold it to what every manager owes.

trial = Trial("first-fit", {"order": 1})
address, usable = trial.step(MALLOC, slot=0, size=100)
trial.verify()       no overlap, conservation, the manager's and the machine's own checks
trial.decompose()    the parts of resident memory, equal to a naive classification byte by byte

CollectedTrial does the same for a manager with a collector: steps are events of a graph trace, or
of a malloc trace with graph=False.
"""

from bisect import bisect_left, insort
from itertools import pairwise
from typing import Any

import numpy as np

from heapwright.collectors.mutator import mutator
from heapwright.compiler import INTERPRETED
from heapwright.compiler.bare import CHECKED
from heapwright.machine import PAGE_BYTES, machine
from heapwright.machine.address_space import (
    BREAK,
    BREAK_BASE,
    FIRST_BREAK,
    LAZY_FREE,
    LAZY_PAGES,
    LOWEST_MAPPED,
    MAPPED,
    MAPPED_BYTES,
    MAPPED_TOP,
    PAGE_SHIFT,
    RESIDENT,
    RESIDENT_PAGES,
    STRAY_TOUCHES,
)
from heapwright.machine.gaps import check as check_gaps
from heapwright.managers import Manager, named
from heapwright.result import PARTS
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    MALLOC,
    MEMALIGN,
    REALLOC,
    SIZE_LIMIT,
    Events,
    events,
)
from heapwright.tunnel import questions
from heapwright.tunnel.bind import bound_loop
from heapwright.tunnel.ledger import RESIDENT_BYTES, SAMPLE_COLUMNS, ledger

BLOCK_ROWS = 1 << 16
MIN_ALIGN = 16
SLOTS = 1024  # of a collector's loop, which looks at each of them after an event
NO_EVENTS, NO_ROWS = events(), np.zeros((0, 5), np.int64)


class Trial:
    """A booted manager, its loop, and Python's own account of what lives where."""

    graph = False  # whether the manager is told of no death

    def __init__(self, name: str, settings: dict[str, int] | None = None, slots: int = 4096):
        self._boot(named(name), settings or {}, slots)

    def _boot(self, manager: Manager, settings: dict[str, int], slots: int, *more: Any) -> None:
        template = "graph_loop" if self.graph else "loop"
        self.module: Any = manager.module
        self.loop: Any = bound_loop(manager, template)
        self.machine = machine()
        self.heap = self.module.boot(self.machine, manager.configured(settings), *more)
        self.run = self.loop.start(self.heap, slots)
        self.run.progress[self.loop.TOUCH] = SIZE_LIMIT
        self.ledger = ledger(len(self.machine.pages), BLOCK_ROWS)
        self.sample = np.zeros(SAMPLE_COLUMNS, np.int64)
        self.live: dict[int, tuple[int, int, int]] = {}  # slot: address, size, usable
        self.extents: list[tuple[int, int]] = []  # (start, past) in ascending order
        self.extent_of: dict[int, tuple[int, int]] = {}  # slot: its row of `extents`

    def ask(self, question: int, rows: np.ndarray = NO_ROWS, batch: Events = NO_EVENTS) -> int:
        """What the manager answers; see `questions`."""
        account = (self.ledger, rows, self.sample)
        return int(self.loop.asked(self.heap, self.run, batch, account, question))

    def free_at(self, address: int) -> None:
        """What the program frees by mistake."""
        self.ask(questions.FREED, np.array([[address, 0]]))

    def trim(self) -> int:
        """What the manager says to malloc_trim(0)."""
        return self.ask(questions.TRIMMED)

    def replay(self, batch: Events) -> np.ndarray:
        """Fly a batch; int64[event, 2]: address and usable bytes of each event's object."""
        placed = np.zeros((len(batch.op), 2), np.int64)
        if CHECKED or INTERPRETED or self.graph:
            self.ask(questions.SURVEY, placed, batch)
        else:  # as shipped little is asked, and replays compile this as well
            self.loop.survey(self.heap, self.run, batch, self.ledger, placed)
        return placed

    def step(
        self, op: int, slot: int, size: int = 0, align: int = 0, thread: int = 0
    ) -> tuple[int, int]:
        """Fly one event, verify what it gave, and enter it in the account."""
        batch = events(op=[op], slot=[slot], size=[size], align=[align], thread=[thread])
        row = np.zeros((1, 5), np.int64)
        self.ask(questions.STEP, row, batch)
        address, usable, *found = row[0].tolist()
        old = self.live.get(slot)
        if op == REALLOC and old and self.run.objects.size[slot] != size:
            assert (address, usable) == (old[0], old[2]), "a refused realloc moved its block"
            size = old[1]
        if op in (FREE, REALLOC) and old:
            self.extents.remove(self.extent_of.pop(slot))
            del self.live[slot]
        if address:
            self._enter(slot, address, size, usable, found)
            self._check_alignment(address, usable, size, align)
        return address, usable

    def churn(self, rows: list[tuple[int, int, int, int]]) -> None:
        """Fly rows (op, slot, size, thread) of MALLOC and FREE in one batch, ten times as fast as
        steps: what each block's owner may use overlaps no other's; the whole extents of those that
        live are entered at the end."""
        columns = zip(("op", "slot", "size", "thread"), zip(*rows, strict=True), strict=True)
        placed = self.replay(events(**{name: np.array(values) for name, values in columns}))
        used = sorted((address, address + usable) for address, _, usable in self.live.values())
        before, fresh = dict(self.live), {}  # slot: address, size, usable
        for (op, slot, size, _), (address, usable) in zip(rows, placed.tolist(), strict=True):
            if op == FREE:
                dead = fresh.pop(slot, None) or before.pop(slot, None)
                if dead:  # and not refused
                    used.remove((dead[0], dead[0] + dead[2]))
            elif address:
                self._check_alignment(address, usable, size)
                row = bisect_left(used, (address, address + usable))
                assert row == 0 or used[row - 1][1] <= address, "blocks overlap"
                assert row == len(used) or address + usable <= used[row][0], "blocks overlap"
                used.insert(row, (address, address + usable))
                fresh[slot] = address, size, usable
        for slot in self.live.keys() - before.keys():
            self.extents.remove(self.extent_of.pop(slot))
            del self.live[slot]
        self._enter_all(fresh)

    def _check_alignment(self, address: int, usable: int, size: int, align: int = 0) -> None:
        least = MIN_ALIGN if usable >= MIN_ALIGN else 8  # what fits in 8 bytes needs no more
        misaligned = getattr(self.module, "misaligned", lambda size, align: False)
        if not misaligned(size, 1 << align):
            assert address % max(least, 1 << align) == 0, f"{address:#x} is not aligned"

    def _enter_all(self, blocks: dict[int, tuple[int, int, int]]) -> None:
        """Enter (address, size, usable bytes) of slots; usable -1 as the manager says."""
        rows = np.zeros((len(blocks), 5), np.int64)
        if blocks:
            rows[:, :2] = [block[:2] for block in blocks.values()]
        self.ask(questions.EXTENTS, rows)
        for (slot, (address, size, usable)), (_, _, *found) in zip(
            blocks.items(), rows.tolist(), strict=True
        ):
            self._enter(slot, address, size, found[2] if usable < 0 else usable, found)

    def block_of(self, address: int, size: int) -> tuple[int, int]:
        """Start and bytes of a live block."""
        rows = np.array([[address, size, 0, 0, 0]])
        self.ask(questions.EXTENTS, rows)
        return int(rows[0, 2]), int(rows[0, 3])

    def _enter(self, slot: int, address: int, size: int, usable: int, found: list[int]) -> None:
        """Enter one, of which `found` says start, bytes and usable bytes."""
        start, length, told = found
        past = start + length
        assert told == usable
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
        broken = self.broken()
        assert broken == 0, f"invariant {broken} is broken"
        assert self._machine_broken() == 0
        assert self.machine.meters[STRAY_TOUCHES] == 0

    def _machine_broken(self) -> int:
        """As the machine's own `check`, which walks page by page."""
        pages, meters = self.machine.pages, self.machine.meters
        ends = (meters[FIRST_BREAK], meters[BREAK] + PAGE_BYTES - 1)
        ends += (meters[LOWEST_MAPPED], MAPPED_TOP)
        heap, zone = (pages[ends[n] >> PAGE_SHIFT : ends[n + 1] >> PAGE_SHIFT] for n in (0, 2))

        def count(flags: int) -> int:
            return sum(int(np.count_nonzero(part & flags == flags)) for part in (heap, zone))

        found = (count(RESIDENT | MAPPED), count(MAPPED) * PAGE_BYTES, count(LAZY_FREE))
        told = (meters[RESIDENT_PAGES], meters[MAPPED_BYTES], meters[LAZY_PAGES])
        for number, pair in enumerate(zip(found, told, strict=True), 1):
            if pair[0] != pair[1]:
                return number
        return 0 if check_gaps(self.machine.gaps) else 4

    def broken(self) -> int:
        """Number of the manager's invariant that is broken."""
        return self.ask(questions.BROKEN)

    def rows(self, verb: str) -> list[list[int]]:
        """Rows (start, bytes) of `cached`, `metadata` or `vacant`; none of a verb it has not."""
        if verb == "vacant" and not self.graph:
            return []
        blocks = np.zeros((BLOCK_ROWS, 2), np.int64)
        kind = getattr(questions, verb.upper())
        return blocks[: self.ask(kind, blocks)].tolist()

    def decompose(self) -> dict[str, int]:
        """The parts of resident memory; they equal a classification of every byte by hand."""
        assert self.ask(questions.PARTS) == 0
        parts = dict(zip(PARTS, self.sample[RESIDENT_BYTES + 1 :].tolist(), strict=True))
        assert sum(parts.values()) == self.sample[RESIDENT_BYTES]
        assert parts == self._classify()
        assert int(self.run.progress[self.loop.LIVE_BYTES]) == sum(
            row[1] for row in self.live.values()
        )
        return parts

    def _classify(self) -> dict[str, int]:
        """Write down what each byte of resident memory is, one block after another. Of what is not
        resident nothing is counted: there it is enough that no two blocks overlap."""
        meters, flags = self.machine.meters, self.machine.pages
        zones = [(BREAK_BASE, -(-int(meters[BREAK]) // PAGE_BYTES) * PAGE_BYTES)]
        zones.append((int(meters[LOWEST_MAPPED]), MAPPED_TOP))
        spans = [slice(start >> PAGE_SHIFT, past >> PAGE_SHIFT) for start, past in zones]
        resident = [flags[span] & RESIDENT != 0 for span in spans]
        # Of each page, and of each zone's end, how many resident ones of the zone lie below.
        below = [np.concatenate([[0], np.cumsum(held)]) for held in resident]
        kinds = [np.zeros(int(count[-1]) * PAGE_BYTES, np.uint8) for count in below]
        painted: list[tuple[int, int]] = []
        LIVE, ROUNDING, HEADER, CACHED, VACANT = range(1, 6)  # 0: what is left

        def place(zone: int, address: int) -> int:
            """Where a byte lies among the resident ones of its zone; one that is not, the next."""
            page, within = divmod(address - zones[zone][0], PAGE_BYTES)
            held = within and resident[zone][page]
            return int(below[zone][page]) * PAGE_BYTES + (within if held else 0)

        def paint(start: int, length: int, kind: int) -> None:
            if length == 0:
                return
            zone = 0 if start < zones[0][1] else 1
            past = start + length
            assert zones[zone][0] <= start and past <= zones[zone][1], "outside mapped memory"
            pages = flags[start >> PAGE_SHIFT : -(-past // PAGE_BYTES)]
            assert (pages & MAPPED).all(), "outside mapped memory"
            painted.append((start, past))
            bytes_ = kinds[zone][place(zone, start) : place(zone, past)]
            assert not bytes_.any(), "bytes counted twice"
            bytes_[:] = kind

        for slot, (address, size, usable) in self.live.items():
            start, past = self.extent_of[slot]
            paint(start, address - start, HEADER)
            paint(address, size, LIVE)
            paint(address + size, usable - size, ROUNDING)
            paint(address + usable, past - address - usable, HEADER)
        for verb, kind in (("cached", CACHED), ("metadata", HEADER), ("vacant", VACANT)):
            for start, length in self.rows(verb):
                paint(start, length, kind)
        painted.sort()
        assert all(one[1] <= next_[0] for one, next_ in pairwise(painted)), "bytes counted twice"
        left = "garbage" if self.graph else "free"
        names = (left, "live", "rounding", "header", "cached", "free")
        parts = dict.fromkeys((*names, "partial", "retained", "garbage"), 0)
        for kind_of in kinds:
            pages = kind_of.reshape(-1, PAGE_BYTES)
            with_live = (pages == LIVE).any(axis=1)
            for chosen, free in ((with_live, "partial"), (~with_live, "retained")):
                counts = np.bincount(pages[chosen].ravel(), minlength=len(names)).tolist()
                for name, count in zip(names, counts, strict=True):
                    parts[free if name == "free" else name] += count
        del parts["free"]
        mapped = sum(int(np.count_nonzero(flags[span] & MAPPED)) for span in spans)
        assert mapped * PAGE_BYTES == meters[MAPPED_BYTES]
        return parts


def broken(twin: Any) -> int:
    """Number of the invariant that is broken in what replayed a trace."""
    account = (ledger(1, 1), NO_ROWS, np.zeros(SAMPLE_COLUMNS, np.int64))
    return int(twin.loop.asked(twin.heap, twin.run, NO_EVENTS, account, questions.BROKEN))


class CollectedTrial(Trial):
    """The same for a manager with a collector. `step` takes an event of a graph trace, or, with
    graph=False, of a malloc trace; objects may move at each."""

    graph = True

    def __init__(
        self,
        name: str,
        settings: dict[str, int] | None = None,
        slots: int = SLOTS,
        roots: int = 4096,
        *,
        graph: bool = True,
        references: int = 0,
    ):
        self.held = mutator(slots, roots, every_handle=not graph, references=references)
        self.sizes: dict[int, int] = {}  # of the live, by slot
        super().__init__(name, settings, slots)

    def _boot(self, manager: Manager, settings: dict[str, int], slots: int, *more: Any) -> None:
        super()._boot(manager, settings, slots, self.held, *more)

    def step(self, op: int, slot: int, size: int = 0, field: int = 0, target: int = -1) -> int:
        """Fly one event; the address of the object it made, 0 if none. Fails when it is dead."""
        columns = {"op": op, "slot": slot, "size": size, "field": field, "target": target}
        batch = events(**{name: [value] for name, value in columns.items()})
        address = int(self.replay(batch)[0, 0])
        assert not self.run.progress[self.loop.REFUSED], "out of memory"
        if op == FREE:
            self.sizes.pop(slot)
        elif address:
            self.sizes[slot] = size
        return address

    def verify(self) -> None:
        """Each live object has a block of its own in mapped memory, large enough; and `Trial`'s."""
        self.live, self.extent_of, self.extents = {}, {}, []
        assert np.count_nonzero(self.held.handles) == len(self.sizes)
        addresses = self.held.handles[list(self.sizes)].tolist()
        self._enter_all(
            {
                slot: (address, size, -1)
                for (slot, size), address in zip(self.sizes.items(), addresses, strict=True)
            }
        )
        super().verify()

    def collect_all(self) -> None:
        """A full collection, between two events."""
        self.ask(questions.COLLECT)

    def decompose(self) -> dict[str, int]:
        """As of `Trial`."""
        self.verify()
        return super().decompose()


__all__ = ["CALLOC", "FREE", "MALLOC", "MEMALIGN", "REALLOC", "CollectedTrial", "Trial"]
