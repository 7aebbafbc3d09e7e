"""The slab allocator's twin beside a recording of a real kernel at work, object by object.

    SLABS label ... K cache  k its address  c, p, n slabs and free objects  O who owns a frame

A new slab's frames and its first object are taken from the recording, as are the caches of objects;
every other object is the twin's own answer. After a miss the kernel's object is taken instead.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heapwright.linux import slub as words
from heapwright.linux.caches import Cache, slub_of
from heapwright.linux.frames import (
    CPU_COUNT,
    CPU_HIGH,
    FREE,
    LOW_LISTS,
    NONE,
    Pages,
    cpu_list_of,
    link_first,
)
from heapwright.linux.geometry import KMALLOC_MOST
from heapwright.linux.recorded.events import Event
from heapwright.linux.recorded.objects import cache_of
from heapwright.linux.slub import CACHE_WORDS, Slub
from heapwright.linux.zones import add_zone, empty
from heapwright.machine import load, machine, store

DIRECT_MAP = 0xFFFF888000000000
LOOK_AHEAD = 3  # of a bulk free, for objects of one slab


OBSERVED = Slub.WORDS.index("observed")  # type: ignore[attr-defined]


@dataclass
class Slabs:
    """All caches of a kernel at one moment."""

    caches: list[Cache] = field(default_factory=list)
    number: dict[str, int] = field(default_factory=dict)  # by the cache's address, in hex
    rows: list[tuple[int, str, list[int], list[int]]] = field(default_factory=list)
    owners: dict[int, str] = field(default_factory=dict)  # of a slab's first frame


def snapshots(lines: Iterable[str]) -> dict[str, Slabs]:
    """Those of a dump by their labels."""
    found: dict[str, Slabs] = {}
    held: Slabs | None = None
    for line in lines:
        row = line.split()
        if not row:
            continue
        if row[0] == "SLABS":
            held = found[row[1]] = Slabs()
        elif row[0] == "ENDSLABS":
            held = None
        elif held is None:
            continue
        elif row[0] == "K" and row[1] == "name":
            held.caches.append(cache_of(row))
        elif row[0] == "k":
            held.number[row[1]] = len(held.caches) - 1
        elif row[0] in ("c", "C", "p", "n"):
            at = row.index(":")
            free = [int(each) for each in row[at + 1 :]]
            held.rows.append((len(held.caches) - 1, row[0], [int(e) for e in row[1:at]], free))
        elif row[0] == "O":
            held.owners |= {int(p): k for p, _, k in (each.partition(":") for each in row[1:])}
    return found


def _link(slub: Slub, number: int, slab: int, free: Sequence[int]) -> int:
    """Link a slab's free objects; address of the first, 0 of none."""
    row = slub.cache[number * CACHE_WORDS : (number + 1) * CACHE_WORDS]
    size, offset = int(row[words.SIZE]), int(row[words.OFFSET])
    base = int(slub.pages.fields[0]) + (slab << 12)
    places = [base + each * size for each in free]
    for place, after in zip(places, [*places[1:], 0][: len(places)], strict=True):
        store(slub.pages.machine, place + offset, after)
    return places[0] if places else 0


def _own(slub: Slub, number: int, slab: int, inuse: int) -> None:
    """A slab of a cache."""
    row = slub.cache[number * CACHE_WORDS : (number + 1) * CACHE_WORDS]
    order = int(row[words.ORDER])
    slub.head[slab : slab + (1 << order)] = slab
    slub.owner[slab : slab + (1 << order)] = number
    slub.order[slab], slub.objects[slab], slub.inuse[slab] = order, row[words.OBJECTS], inuse


def slub_at(held: Slabs, frames: int) -> Slub:
    """The twin's state at a snapshot; frames come only from those that `offer` puts there."""
    pages = empty(machine(), frames, huge_lists=False)
    z = add_zone(pages, 1, 0, frames)
    pages.zone[z + FREE], pages.filled[0] = 1 << 40, 1 << 10  # no watermark is near
    pages.zone[z + CPU_HIGH] = 1 << 40  # nothing is drained
    slub = slub_of(pages, held.caches)
    for slab, address in held.owners.items():
        if address in held.number:
            number = held.number[address]
            _own(slub, number, slab, held.caches[number].layout.objects)
    last: dict[int, int] = {}
    for number, kind, (slab, _, inuse, frozen, length), free in held.rows:
        row = slub.cache[number * CACHE_WORDS : (number + 1) * CACHE_WORDS]
        _own(slub, number, slab, inuse)
        slub.frozen[slab], slub.slabs[slab] = frozen, length
        first = _link(slub, number, slab, free)
        if kind == "c":
            row[words.CPU_SLAB], row[words.CPU_FREE] = slab, first
        else:
            slub.free[slab] = first
        if kind == "n":
            words.append(slub, number * CACHE_WORDS, slab)
        elif kind == "p":
            if number in last:
                slub.next[last[number]] = slab
            else:
                row[words.CPU_PARTIAL] = slab
            slub.next[slab] = NONE
            last[number] = slab
    return slub


def state_of(slub: Slub, caches: Sequence[Cache]) -> dict[str, Any]:
    """Each cache's slabs and free objects in their order."""
    told = {}
    for number, cache in enumerate(caches):
        row = slub.cache[number * CACHE_WORDS : (number + 1) * CACHE_WORDS]

        def free(address: int, row: np.ndarray = row) -> list[int]:
            found = []
            while address:
                found.append(address)
                address = int(load(slub.pages.machine, address + int(row[words.OFFSET])))
            return found

        partial, slab = [], int(row[words.CPU_PARTIAL])
        while slab != NONE:
            partial.append((slab, free(int(slub.free[slab]))))
            slab = int(slub.next[slab])
        node, head = [], len(slub.pages.order) + number
        slab = int(slub.next[head])
        while slab != head:
            node.append((slab, free(int(slub.free[slab]))))
            slab = int(slub.next[slab])
        told[cache.name] = (int(row[words.CPU_SLAB]), free(int(row[words.CPU_FREE])), partial, node)
    return told


@dataclass
class AtWork:
    """How a recording went."""

    caches: int = 0
    allocations: int = 0
    exact: int = 0
    new_slabs: int = 0
    first: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    different: list[str] = field(default_factory=list)  # caches whose slabs are not the kernel's


def _kmalloc(fields: dict[str, Any]) -> str:
    """The name of the general cache that an event's object is of."""
    gfp, room = fields["gfp_flags"], fields["bytes_alloc"]
    kind = "dma-" if gfp & 1 else "rcl-" if gfp & 0x10 else "cg-" if gfp & 0x400000 else ""
    return f"kmalloc-{kind}{room if room < 1024 else f'{room >> 10}k'}"


def _caches_of(events: Sequence[Event], known: dict[str, int]) -> dict[int, str]:
    """Of each allocation its cache's name: told by the object's free, or by its call site."""
    found, later = dict[int, str](), dict[int, str]()
    sites: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for row in range(len(events) - 1, -1, -1):
        _, name, fields = events[row]
        if name == "kmem_cache_free":
            later[fields["ptr"]] = fields["name"]
        elif name == "kfree":
            later.pop(fields["ptr"], None)
        elif name == "kmem_cache_alloc" and (told := later.pop(fields["ptr"], "")):
            found[row] = told
            sites[fields["call_site"], fields["bytes_req"]][told] += 1
    for row, (_, name, fields) in enumerate(events):
        if name == "kmalloc" and fields["bytes_alloc"] <= KMALLOC_MOST:
            found[row] = _kmalloc(fields)
        elif name == "kmem_cache_alloc" and row not in found:
            usual = sites[fields["call_site"], fields["bytes_req"]].most_common(1)
            if usual:
                found[row] = usual[0][0]
    return {row: name for row, name in found.items() if name in known}


class _Course:
    """The twin on its way."""

    def __init__(self, first: Slabs, last: Slabs, events: Sequence[Event], frames: int) -> None:
        self.first, self.last, self.events = first, last, events
        self.slub = slub_at(first, frames)
        self.base = int(self.slub.pages.fields[0])
        self.named = {cache.name: number for number, cache in enumerate(first.caches)}
        self.cache_of = _caches_of(events, self.named)
        self.told = AtWork(len(first.caches))
        self.fresh: dict[int, list[int]] = defaultdict(list)  # first objects of slabs made since
        self.bulk: dict[str, Any] = {}
        self.final = {
            frame: last.caches[last.number[key]].name
            for frame, key in last.owners.items()
            if key in last.number
        }

    def address(self, pointer: int) -> int:
        """The twin's address of a kernel's object."""
        return pointer - DIRECT_MAP + self.base

    def offer(self, number: int, address: int) -> None:
        """Put the frames of the kernel's new slab where the twin takes its next ones."""
        row = self.slub.cache[number * CACHE_WORDS :]
        order = int(row[words.ORDER])
        frame = (address - self.base >> 12) >> order << order
        pages, kind = self.slub.pages, int(row[words.GFP]) >> 3 & 3
        _first_in_list(pages, order, kind, frame)

    def alloc(self, number: int, want: int) -> int:
        """The twin's object; a new slab is the one that the kernel made."""
        row = self.slub.cache[number * CACHE_WORDS : (number + 1) * CACHE_WORDS]
        slab = int(row[words.CPU_SLAB])
        empty_ = slab == NONE or not self.slub.free[slab]
        if not row[words.CPU_FREE] and empty_ and row[words.CPU_PARTIAL] == NONE:
            if not row[words.PARTIALS]:
                seen = self.fresh[number].pop(0) if self.fresh[number] else want
                if not seen:
                    return 0
                self.told.new_slabs += 1
                self.slub.fields[OBSERVED] = seen
                self.offer(number, seen)
        return int(words.alloc(self.slub, number * CACHE_WORDS, 0x800))

    def free(self, pointer: int) -> None:
        """An object back, if the twin has it out."""
        address = self.address(pointer)
        frame = address - self.base >> 12
        if not 0 <= frame < len(self.slub.owner) or self.slub.owner[frame] < 0:
            self.told.counts["frees of objects from before"] += 1
            return
        if self._free_link(address) is None:
            words.free(self.slub, address)
        else:
            self.told.counts["frees of what is free"] += 1

    def _free_link(self, address: int) -> tuple[np.ndarray | None, int] | None:
        """What points to a free object: a word of an array, or (None, the object before it)."""
        slub = self.slub
        slab = int(slub.head[address - self.base >> 12])
        c = int(slub.owner[slab]) * CACHE_WORDS
        offset = int(slub.cache[c + words.OFFSET])
        starts = [slub.free[slab : slab + 1]]
        if int(slub.cache[c + words.CPU_SLAB]) == slab:
            starts.append(slub.cache[c + words.CPU_FREE : c + words.CPU_FREE + 1])
        for start in starts:
            at, before = int(start[0]), 0
            for _ in range(int(slub.objects[slab]) + 1):
                if at in (0, address):
                    break
                before, at = at, int(load(slub.pages.machine, at + offset))
            if at == address:
                return (None, before + offset) if before else (start, 0)
        return None

    def set_right(self, number: int, got: int, want: int) -> None:
        """After a miss: the twin's object is free, first of its list, and the kernel's is not."""
        slub = self.slub
        if got:
            words.free(slub, got)
        if int(slub.owner[want - self.base >> 12]) != number:
            return
        found = self._free_link(want)
        if found is None:
            return
        offset = int(slub.cache[number * CACHE_WORDS + words.OFFSET])
        after = int(load(slub.pages.machine, want + offset))
        array, place = found
        if array is None:
            store(slub.pages.machine, place, after)
        else:
            array[0] = after

    def object(self, row: int, fields: dict[str, Any]) -> None:
        """An allocation and what the kernel answered."""
        if not fields["ptr"]:
            return
        want = self.address(fields["ptr"])
        name = self.cache_of.get(row)
        if name is None and fields["bytes_alloc"] <= KMALLOC_MOST:
            name = self._by_frame(want, fields)
        if name is None:
            self.told.counts["large, or of no known cache"] += 1
            return
        self.told.allocations += 1
        got = self.alloc(self.named[name], want)
        self.told.exact += got == want
        if got != want:
            self.told.first = self.told.first or f"event {row}: {name}"
            self.told.counts["misses"] += 1
            self.set_right(self.named[name], got, want)

    def _by_frame(self, address: int, fields: dict[str, Any]) -> str | None:
        """The cache that the frame is of, now or in the end."""
        frame = address - self.base >> 12
        number = int(self.slub.owner[frame])
        if number >= 0:
            cache = self.first.caches[number]
            if cache.layout.object_size == fields["bytes_req"]:
                return cache.name
        name = self.final.get(frame)
        return name if name in self.named else None

    def freed_in_bulk(self, fields: dict[str, Any]) -> None:
        """kmem_cache_free_bulk: from the end, objects of one slab together, in turned order."""
        held = np.frombuffer(fields["a"], "<u8")[: fields["n"]].tolist()
        left = len(held)
        while left:
            left -= 1
            slab, group, same, look = self._slab(held[left]), [held[left]], left, LOOK_AHEAD
            while left:
                left -= 1
                if self._slab(held[left]) == slab:
                    group.append(held[left])
                    same -= 1
                    held[left], held[same] = held[same], held[left]
                    continue
                look -= 1
                if not look:
                    break
            left = same
            for pointer in reversed(group):
                self.free(pointer)

    def _slab(self, pointer: int) -> int:
        return int(self.slub.head[self.address(pointer) - self.base >> 12])


def _first_in_list(pages: Pages, order: int, kind: int, frame: int) -> None:
    """A block at the front of the processor's list."""
    index = 3 * order + kind if order <= 3 else LOW_LISTS
    link_first(pages, cpu_list_of(pages, 0, index), frame)
    pages.kind[frame] = kind
    pages.zone[CPU_COUNT] += 1 << order


def replayed(first: Slabs, events: Sequence[Event], last: Slabs, frames: int) -> AtWork:
    """The events between two snapshots on the twin, in a machine of so many frames."""
    course = _Course(first, last, events, frames)
    for row, (_, name, fields) in enumerate(events):
        if name in ("kmalloc", "kmem_cache_alloc"):
            course.object(row, fields)
        elif name in ("kfree", "kmem_cache_free") and fields["ptr"] > 4096:
            course.free(fields["ptr"])
        elif name == "kfb":
            course.freed_in_bulk(fields)
        elif name == "kabp":
            course.bulk = fields
        elif name == "aslab":
            number = first.number.get(f"{fields['s']:x}")
            if number is not None:
                course.fresh[number].append(course.address(fields["fl"]))
        elif name == "kab" and course.bulk:
            number = first.number.get(f"{course.bulk['s']:x}")
            for _ in range(fields["n"] if number is not None else 0):
                course.alloc(number, 0)  # type: ignore[arg-type]
    told = course.told
    mine, real = state_of(course.slub, first.caches), state_of(slub_at(last, frames), last.caches)
    told.different = sorted(name for name in real if mine.get(name) != real[name])
    return told
