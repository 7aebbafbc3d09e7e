"""What a kernel's trace events tell, put together: requests, objects, caches' names, slabs' pages.

    rows of events ─► which cache an allocation was of: its object's next kmem_cache_free says it,
                      else the call site's others, else its size
                   ─► which page events are a slab's own frames, and left out: an object lies there
                   ─► events of a trace, each with its door

Source     Linux 6.1: include/trace/events/kmem.h
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.trace.doors import CACHE, KMALLOC, PAGES, Door
from heapwright.trace.importers.gfp import UNKNOWN
from heapwright.trace.importers.kernel_notes import Losses
from heapwright.trace.schema import FREE, MALLOC, Events, events

EVENTS = {
    name: number
    for number, name in enumerate(
        (
            *("kmalloc", "kmem_cache_alloc", "kfree", "kmem_cache_free"),
            *("mm_page_alloc", "mm_page_free", "mm_page_free_batched"),
            *("kmalloc_node", "kmem_cache_alloc_node"),
        )
    )
}
NEW_OBJECT, NEW_OF_CACHE, OLD_OBJECT, OLD_OF_CACHE, NEW_PAGES, OLD_PAGES, BATCHED = range(7)
SAME = {7: NEW_OBJECT, 8: NEW_OF_CACHE}  # the same on a node
PAGE_BYTES = 4096
MOST_ORDER = 10
MOST_BYTES = PAGE_BYTES << MOST_ORDER
DIRECT_MAP_STEP = 1 << 28  # bytes: the direct map starts at a multiple, wherever it was put
NEAR = 8  # events between a slab's frames and its first object
BATCH = 1 << 16  # events given out at once
DEFAULT_GFP, MOVABLE, RECLAIMABLE, ACCOUNT = 0xCC0, 0xCCA, 0x10, 0x400000


class Row(NamedTuple):
    """One trace event; an array of its own for each column."""

    kind: int  # one of NEW_OBJECT ...
    key: int  # an object's address as printed, a page's frame
    size: int  # bytes asked for; of pages the order
    room: int  # bytes given; of pages the migrate type
    gfp: int  # UNKNOWN where not told
    site: int  # row of `Heard.sites`; -1
    name: int  # row of `Heard.names`; -1
    cpu: int
    time_ns: int


class Heard:
    """Rows as they come in, then the events that they tell of."""

    def __init__(self) -> None:
        self.columns = Row(*(array("q") for _ in Row._fields))  # type: ignore[arg-type]
        self.sites: list[str] = []
        self.names: list[str] = []
        self.doors: list[Door] = []
        self.losses = Losses()
        self._numbers: dict[str, dict[str, int]] = {"site": {}, "name": {}}

    def number(self, table: str, text: str) -> int:
        """Row of a call site's or a cache's name; -1 of none."""
        if not text:
            return -1
        known = self._numbers[table]
        if text not in known:
            known[text] = len(known)
            (self.sites if table == "site" else self.names).append(text)
        return known[text]

    def add(self, row: Row) -> None:
        """One more event."""
        for column, value in zip(self.columns, row, strict=True):
            column.append(value)  # type: ignore[attr-defined]

    def events(self) -> Iterator[Events]:
        """The trace's events; complete once no more rows come."""
        if not len(self.columns.kind):  # type: ignore[arg-type]
            return
        rows = np.array([np.frombuffer(column, np.int64) for column in self.columns])  # type: ignore
        times = rows[Row._fields.index("time_ns")]
        if (np.diff(times) < 0).any():  # pages of several processors, one after another
            rows = rows[:, np.argsort(times, kind="stable")]
        told = Row(*rows.tolist())
        batch: list[tuple[int, ...]] = []
        for event in _Teller(self, told).events():
            batch.append(event)
            if len(batch) == BATCH:
                yield _packed(batch)
                batch = []
        if batch:
            yield _packed(batch)


def _packed(rows: list[tuple[int, ...]]) -> Events:
    names = ("op", "slot", "size", "thread", "site", "time_ns", "address", "slack", "field")
    return events(**dict(zip(names, np.array(rows, np.int64).T, strict=True)))


class _Teller:
    """One pass over the rows."""

    def __init__(self, heard: Heard, rows: Row) -> None:
        self.heard, self.rows, self.losses = heard, rows, heard.losses
        self.count = len(rows.kind)  # type: ignore[arg-type]
        self.cache_of = self._caches()
        self.base = self._direct_map()
        self.left_out = self._slab_pages()
        self.doors: dict[Door, int] = {}
        self.slot: dict[tuple[bool, int], int] = {}  # (whether pages, key): of what is live
        self.spare: list[int] = []
        self.slots = 0
        self.cpus: dict[int, int] = {}

    def _caches(self) -> dict[int, int]:
        """Of each allocation from a dedicated cache, whose it is: row of the names."""
        kinds, keys, names = self.rows.kind, self.rows.key, self.rows.name
        found, later = dict[int, int](), dict[int, int]()
        at_site: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
        for i in reversed(range(self.count)):
            kind, key = kinds[i], keys[i]  # type: ignore[index]
            if kind == OLD_OF_CACHE:
                later[key] = names[i]  # type: ignore[index]
            elif kind in (OLD_OBJECT, NEW_OBJECT):
                later.pop(key, None)
            elif kind == NEW_OF_CACHE:
                name = names[i] if names[i] >= 0 else later.pop(key, -1)  # type: ignore[index]
                later.pop(key, None)
                if name >= 0:
                    found[i] = name
                    at_site[self._where(i)][name] += 1
        usual = {where: names.most_common(1)[0][0] for where, names in at_site.items()}
        for i in range(self.count):
            if kinds[i] == NEW_OF_CACHE and i not in found:  # type: ignore[index]
                name = usual.get(self._where(i), -1)
                if name >= 0:
                    self.losses.by_site += 1
                else:
                    self.losses.unnamed += 1
                    room = self.rows.room[i]  # type: ignore[index]
                    name = self.heard.number("name", f"unnamed-{room}")
                found[i] = name
        return found

    def _where(self, i: int) -> tuple[int, int]:
        return self.rows.site[i], self.rows.room[i]  # type: ignore[index]

    def _direct_map(self) -> int | None:
        """Address of frame 0 in the kernel's direct map, as printed; None where it cannot be told:
        a slab's first object lies in the frames that came just before it."""
        votes: Counter[int] = Counter()
        near: list[tuple[int, int, int]] = []
        for i in range(self.count):
            kind, key = self.rows.kind[i], self.rows.key[i]  # type: ignore[index]
            if kind == NEW_PAGES and key > 0:
                near = [*near[-3:], (i, key, self.rows.size[i])]  # type: ignore[index]
            elif kind in (NEW_OBJECT, NEW_OF_CACHE):
                for at, frame, order in near:
                    if i - at <= NEAR:
                        first = (key & -PAGE_BYTES) - frame * PAGE_BYTES
                        base = first & -DIRECT_MAP_STEP
                        if 0 <= first - base < PAGE_BYTES << order and base > 0:
                            votes[base] += 1
        return votes.most_common(1)[0][0] if votes else None

    def _slab_pages(self) -> set[int]:
        """Rows of page events that are not the program's: a slab's frames, or a large object's; and
        frees of an order-0 page that are done only when the batch is."""
        out, live = set[int](), dict[int, tuple[int, int, int]]()
        objects = pages = False
        for i in range(self.count):
            kind, key = self.rows.kind[i], self.rows.key[i]  # type: ignore[index]
            if kind == NEW_PAGES:
                pages = True
                live[key] = i, self.rows.size[i], 0  # type: ignore[index]
            elif kind == OLD_PAGES:
                at, _, used = live.pop(key, (-1, 0, 0))
                if used:
                    out |= {at, i}
            elif kind in (NEW_OBJECT, NEW_OF_CACHE) and key:
                objects = True
                self._mark(live, key)
        out |= {at for at, _, used in live.values() if used}
        if objects and pages and self.base is None:
            everything = (NEW_PAGES, OLD_PAGES, BATCHED)
            rows = {i for i in range(self.count) if self.rows.kind[i] in everything}  # type: ignore
            self.losses.hidden_pages += len(rows)
            return rows
        self.losses.slab_pages += len(out)
        return out | self._waiting()

    def _mark(self, live: dict[int, tuple[int, int, int]], key: int) -> None:
        """The frames around an object are a slab's."""
        if self.base is None:
            return
        frame = (key - self.base) // PAGE_BYTES
        for order in range(MOST_ORDER + 1):
            head = frame >> order << order
            if head in live and live[head][1] >= order:
                live[head] = *live[head][:2], 1
                return

    def _waiting(self) -> set[int]:
        """Frees of single pages that are logged once more when their batch is done."""
        out, later = set[int](), set[int]()
        for i in reversed(range(self.count)):
            kind, key = self.rows.kind[i], self.rows.key[i]  # type: ignore[index]
            if kind == BATCHED:
                later.add(key)
            elif kind == OLD_PAGES and key in later and self.rows.size[i] == 0:  # type: ignore[index]
                later.discard(key)
                out.add(i)
            elif kind == NEW_PAGES:
                later.discard(key)
        return out

    def events(self) -> Iterator[tuple[int, ...]]:
        """Rows (op, slot, size, thread, site, time_ns, address, slack, field)."""
        for i in range(self.count):
            if i in self.left_out:
                continue
            row = Row(*(column[i] for column in self.rows))  # type: ignore[index]
            if row.kind in (NEW_OBJECT, NEW_OF_CACHE, NEW_PAGES):
                yield from self._born(i, row)
            else:
                yield from self._dead(row)
        self.heard.doors += self.doors

    def _dead(self, row: Row) -> Iterator[tuple[int, ...]]:
        """A free: of what was seen allocated."""
        pages = row.kind in (OLD_PAGES, BATCHED)
        if not pages and row.key == 0:
            return
        slot = self.slot.pop((pages, row.key), -1)
        if slot < 0:
            self.losses.unmatched += row.kind != BATCHED
            return
        self.spare.append(slot)
        yield FREE, slot, 0, self._cpu(row), row.site, row.time_ns, 0, -1, 0

    def _born(self, i: int, row: Row) -> Iterator[tuple[int, ...]]:
        """An allocation, or a refusal."""
        pages = row.kind == NEW_PAGES
        size = PAGE_BYTES << row.size if pages else row.size
        door = self._door(i, row)
        told = self._cpu(row), row.site, row.time_ns
        if row.key <= 0:  # refused
            yield MALLOC, -1, size, *told, 0, -1, door
            return
        if (pages, row.key) in self.slot:
            self.losses.reborn += 1
            yield from self._dead(row._replace(kind=OLD_PAGES if pages else OLD_OBJECT))
        if self.spare:
            slot = self.spare.pop()
        else:
            slot, self.slots = self.slots, self.slots + 1
        self.slot[pages, row.key] = slot
        address = row.key * PAGE_BYTES if pages else row.key - (self.base or row.key)
        address = max(address, 0) if address < 1 << 52 else 0
        yield MALLOC, slot, size, *told, address, 0 if pages else row.room - size, door

    def _cpu(self, row: Row) -> int:
        return self.cpus.setdefault(row.cpu, len(self.cpus))

    def _door(self, i: int, row: Row) -> int:
        """The number of a request's door, from 1."""
        gfp = row.gfp
        if gfp == UNKNOWN:
            self.losses.no_flags += 1
            gfp = DEFAULT_GFP
            if row.kind == NEW_PAGES:
                gfp = MOVABLE if row.room == 1 else gfp | (RECLAIMABLE if row.room == 2 else 0)
        if row.kind == NEW_PAGES:
            door = Door(PAGES, gfp)
        elif row.kind == NEW_OBJECT:
            door = Door(KMALLOC, gfp)
        else:
            name = self.heard.names[self.cache_of[i]]
            door = Door(CACHE, gfp, name, row.room)
        return self.doors.setdefault(door, len(self.doors) + 1)


def sound(row: Row) -> Row | None:
    """The row with its kind as it counts; None of one that no kernel writes."""
    row = row._replace(kind=SAME.get(row.kind, row.kind))
    if max(map(abs, row._replace(key=0))) >= 1 << 63:
        return None
    pages = row.kind in (NEW_PAGES, OLD_PAGES, BATCHED)
    if pages and not (0 <= row.size <= MOST_ORDER and row.key < 1 << 40):
        return None
    if not pages and not 0 <= row.size <= max(row.room, 0) <= MOST_BYTES:
        return None if row.kind in (NEW_OBJECT, NEW_OF_CACHE) else row
    if row.kind == NEW_OF_CACHE and row.room <= 0:
        return None
    if not 0 <= row.key < 1 << 64 or not 0 <= row.time_ns < 1 << 62 or not 0 <= row.cpu < 1 << 16:
        return None
    return row._replace(key=row.key & ((1 << 63) - 1))


def nothing(path: object) -> HeapwrightError:
    """The sentence for a file without a kmem event."""
    return HeapwrightError(
        f"{path} holds no request: record the kernel's kmem events, as `echo 1 > "
        "/sys/kernel/tracing/events/kmem/enable` does"
    )
