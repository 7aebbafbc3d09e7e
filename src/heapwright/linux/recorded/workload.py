"""The page allocator's twin beside a recording of a real kernel at work, frame by frame.

    events ─► alloc, free, bulk, drain, kswapd's course ─► the twin's frame, beside the kernel's

After a miss the twin is set right: its own frame goes back and the kernel's is taken, so that one
miss is one miss. Not in the events, and so supplied: the zone a request was served from, where the
watermarks alone do not say it; which pages are on LRU lists (those for movable single pages).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from heapwright.linux import frames as words
from heapwright.linux.buddy import count_free, give, put, take_out
from heapwright.linux.frames import NONE, ORDERS, ZONE_WORDS, Pages, block_kind, link_first, unlink
from heapwright.linux.page_alloc import (
    ANYONE,
    FREEING,
    RECLAIMED,
    alloc_pages,
    chosen_zone,
    free_pages,
    from_zone,
)
from heapwright.linux.per_cpu import drain, kept, order_of_list
from heapwright.linux.recorded.dump import Snapshot, different, pages_of
from heapwright.linux.recorded.events import Event
from heapwright.linux.zones import ZONES_WORD

REFUSED = (1 << 64) - 1
VMEMMAP, DESCRIPTOR_BYTES = 0xFFFFEA0000000000, 64


@dataclass
class Workload:
    """How a recording went."""

    events: int = 0
    allocations: int = 0
    exact: int = 0  # the zone and the frame
    in_zone: int = 0  # the frame, given the zone
    refused: int = 0
    refused_alike: int = 0
    first: str = ""
    different: list[str] = field(default_factory=list)  # from the snapshot at the end
    counts: Counter[str] = field(default_factory=Counter)


class _Course:
    """The twin on its way through the events."""

    def __init__(self, pages: Pages) -> None:
        self.pages, self.told = pages, Workload()
        rows = range(int(pages.fields[ZONES_WORD]))
        self.rows = [number * ZONE_WORDS for number in rows]
        self.threshold = {z: int(pages.zone[z + words.THRESHOLD]) for z in self.rows}
        self.boost: dict[int, int] = {}
        self.kswapd: Any = None
        self.reclaiming: dict[Any, int] = {}  # who reclaims, or has just done so
        self.bulk: dict[str, Any] = {}

    def row(self, frame: int) -> int:
        """The row of a frame's zone."""
        return int(words.zone_row(self.pages, frame))

    def alloc(self, row: int, fields: dict[str, Any], aside: bool) -> None:
        """A request and what the kernel answered."""
        told, pid = self.told, fields.get("common_pid")
        order, gfp, frame = fields["order"], fields["gfp_flags"], fields["pfn"]
        asker = ANYONE
        if not aside and (pid == self.kswapd or self.reclaiming.get(pid) == FREEING):
            asker = FREEING
        elif not aside and self.reclaiming.get(pid) == RECLAIMED:
            asker = RECLAIMED
        gfp = gfp & ~0x18 | fields["migratetype"] << 3
        mine = int(chosen_zone(self.pages, order, fields["gfp_flags"], asker))
        if frame == REFUSED:
            told.refused += 1
            told.refused_alike += mine == NONE
            return
        told.allocations += 1
        z = self.row(frame)
        got = int(from_zone(self.pages, z, order, gfp, 0 if asker == ANYONE else 1))
        told.in_zone += got == frame
        told.exact += got == frame and mine == z
        if asker == RECLAIMED:
            self.reclaiming.pop(pid)
        if got != frame:
            told.first = told.first or f"event {row}: frame {got}, not {frame}"
            if got != NONE:
                self.undo(got, order)
            self.take(frame, order)
        if fields["migratetype"] == 1 and order == 0:
            self.pages.on_lru[frame] = 1

    def undo(self, frame: int, order: int) -> None:
        """A frame that the kernel did not give goes back to the front of its list."""
        pages, z = self.pages, self.row(frame)
        kind = int(block_kind(pages, frame))
        if kept(pages, order):
            index = 3 * order + min(kind, 2) if order <= 3 else words.LOW_LISTS + (kind == 1)
            link_first(pages, words.cpu_list_of(pages, z, index), frame)
            pages.kind[frame] = kind
            pages.zone[z + words.CPU_COUNT] += 1 << order
        else:
            give(pages, z, frame, order, kind)

    def take(self, frame: int, order: int) -> None:
        """The kernel's frame out of wherever the twin has it."""
        pages, z = self.pages, self.row(frame)
        for index in range(words.CPU_LISTS):
            head = int(words.cpu_list_of(pages, z, index))
            node = int(pages.next[head])
            while node != head:
                if node == frame:
                    unlink(pages, frame)
                    pages.zone[z + words.CPU_COUNT] -= 1 << int(order_of_list(pages, index))
                    return
                node = int(pages.next[node])
        for large in range(order, ORDERS):
            block = frame >> large << large
            if int(pages.order[block]) == large:
                kind = int(pages.kind[block])
                take_out(pages, z, block)
                count_free(pages, z, -(1 << order))
                while large > order:
                    large -= 1  # noqa: PLW2901 the halves that stay free
                    half = block + (1 << large)
                    if frame >= half:
                        put(pages, z, block, large, kind)
                        block = half
                    else:
                        put(pages, z, half, large, kind)
                return

    def isolated(self, fields: dict[str, Any]) -> None:
        """Compaction takes a free block away."""
        page = fields.get("page")
        if page is None:
            return
        frame = (page - VMEMMAP) // DESCRIPTOR_BYTES
        if int(self.pages.order[frame]) == fields["order"]:
            z = self.row(frame)
            take_out(self.pages, z, frame)
            count_free(self.pages, z, -(1 << fields["order"]))

    def other(self, name: str, fields: dict[str, Any], before: Event | None) -> None:
        """What is no request of its own."""
        pages, zone, pid = self.pages, self.pages.zone, fields.get("common_pid")
        if name == "bulkp":
            self.bulk = fields
        elif name == "bulkr" and self.bulk:
            if fields["got"] == 1 and before and before[1] == "mm_page_alloc":
                return  # it fell back to a request that was logged
            for _ in range(max(fields["got"], 0)):
                alloc_pages(pages, 0, self.bulk["gfp"], ANYONE)
                self.told.counts["in bulk"] += 1
        elif name == "isofree":
            self.isolated(fields)
        for z in self.rows:
            if name == "kswb":
                zone[z + words.RECLAIMING], self.boost[z] = 1, int(zone[z + words.BOOST])
            elif name == "kswe":
                zone[z + words.RECLAIMING] = 0
                zone[z + words.BOOST] -= min(int(zone[z + words.BOOST]), self.boost.get(z, 0))
            elif name == "mm_vmscan_kswapd_sleep":
                self.kswapd, zone[z + words.THRESHOLD] = pid, self.threshold[z]
            elif name == "mm_vmscan_kswapd_wake":
                self.kswapd = pid
                room = int(zone[z + words.LOW] - zone[z + words.MIN])
                if self.threshold[z] > room:
                    zone[z + words.THRESHOLD] = max(1, min(125, room))
            elif name == "vmref":
                zone[z + words.FREE] += zone[z + words.DRIFT]
                zone[z + words.DRIFT] = 0
            elif name == "drain" and zone[z + words.CPU_COUNT]:
                drain(pages, z, int(zone[z + words.CPU_COUNT]), 0)
        if name in ("mm_vmscan_direct_reclaim_begin", "mm_vmscan_memcg_reclaim_begin"):
            self.reclaiming[pid] = FREEING
        elif name == "mm_vmscan_direct_reclaim_end":
            self.reclaiming[pid] = RECLAIMED
        elif name == "mm_vmscan_memcg_reclaim_end":
            self.reclaiming.pop(pid, 0)


def _batched(events: Sequence[Event]) -> set[int]:
    """Frees of single pages that are done only with their batch, which is logged after them."""
    found, waiting = set[int](), set[int]()
    for row in range(len(events) - 1, -1, -1):
        _, name, fields = events[row]
        if name == "mm_page_free_batched":
            waiting.add(fields["pfn"])
        elif name == "mm_page_free" and fields["order"] == 0 and fields["pfn"] in waiting:
            waiting.discard(fields["pfn"])
            found.add(row)
    return found


def replayed(first: Snapshot, events: Sequence[Event], last: Snapshot) -> Workload:
    """The events between two snapshots on the twin."""
    course = _Course(pages_of(first))
    late = _batched(events)
    for row, (_, name, fields) in enumerate(events):
        if name == "mm_page_alloc":
            course.alloc(row, fields, bool(fields.get("common_flags", 0) & 0x18))
        elif name == "mm_page_free":
            course.pages.on_lru[fields["pfn"]] = 0
            if row not in late:
                free_pages(course.pages, fields["pfn"], fields["order"])
        elif name == "mm_page_free_batched":
            free_pages(course.pages, fields["pfn"], 0)
        else:
            course.other(name, fields, events[row - 1] if row else None)
    told = course.told
    told.events, told.different = len(events), different(course.pages, last)
    return told
