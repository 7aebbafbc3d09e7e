"""The state of HotSpot's G1 heap: equal regions, of which some are young.

    │ own: JVM, table │ eden │ old │ survivor │ humongous, its start │ rest │ free │ ...

Terms      humongous: an object of more than half a region, which has regions of its own; chosen: a
           region that the collection at hand empties; retained: the eden region before the current
           one, which has room left and is tried first
           card: 1, some reference in it may lead to young; 2, to another old region; 4, it waits
           in a buffer for the next collection
           tracked: a humongous object that young collections may free
Invariant  blocks tile each region in use up to its top
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import write_row
from heapwright.collectors.hotspot.evacuating import BUFFERS
from heapwright.collectors.hotspot.layout import Java
from heapwright.collectors.log import Log
from heapwright.collectors.mark import MarkStack
from heapwright.collectors.mutator import Mutator
from heapwright.collectors.references import References
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record
from heapwright.compiler.reserve import reserve
from heapwright.machine import Machine

FREE, EDEN, SURVIVOR, OLD, HUMONGOUS, REST, OWN = range(7)  # kinds of regions
KINDS = 7
TO_YOUNG, TO_OLD, LOGGED = 1, 2, 4  # bits of a card
UNLOGGED, BY_PROGRAM, BY_COLLECTION = range(3)  # who notes cards; see logged.py
IDLE, REQUESTED, MARKING, PREPARED, MIXED = range(5)  # phases of the concurrent cycle


class Regions(NamedTuple):
    """The table of regions."""

    kind: np.ndarray  # int64[region]
    top: np.ndarray  # int64[region]  address after the last block; of the one in use, see `bump`
    live: np.ndarray  # int64[region]  bytes that lived when marking began
    marked_top: np.ndarray  # int64[region]  top when marking began; above it all counts as live
    chosen: np.ndarray  # int64[region]  1: emptied by the collection at hand; 2: of it, some stays;
    # 3: of a full one, nothing moves
    owner: np.ndarray  # int64[region]  slot of the humongous object's birth; ~slot: not tracked
    scan_top: (
        np.ndarray
    )  # int64[region]  how far the collection at hand looks at cards; 0 not at all
    candidates: np.ndarray  # int64[region]  old ones by gain, the best first; those left to empty
    stamp: np.ndarray  # int64[region]  place of its first logged card; see logged.py
    order: np.ndarray  # int64[region]  of a collection: as it looks at their cards
    counts: np.ndarray  # int64[KINDS]  regions of each kind


def regions(total: int) -> Regions:
    """All free."""
    rows = (reserve(total + 1, np.int64) for _ in range(10))
    counts = np.zeros(KINDS, np.int64)
    counts[FREE] = total
    return Regions(*rows, counts)


@record(
    "region_shift",
    "region_bytes",
    "total",  # regions
    "own",  # regions of the JVM's own and the table, the first ones
    "shared",  # the one of them of which a full collection fills the rest with objects; -1 none
    "shared_from",  # address from which on they lie there
    "first",  # region from which on objects may lie
    "lowest_free",  # no lower region is free
    "highest_free",  # and no higher one
    "bump",  # in the current eden region: next byte, and its end
    "bump_end",
    "kept",  # in the retained region, likewise
    "kept_end",
    "current",  # region, -1 none
    "retained",  # region, -1 none
    "fixed_young",  # regions, 0: as the pause goal allows
    "young_target",  # regions of eden and survivors together
    "most_survivors",  # regions
    "survivor_ratio",
    "target_percent",
    "threshold",  # age at which this collection promotes
    "most_threshold",
    "ihop_percent",
    "phase",  # of the concurrent cycle
    "marking_left",  # bytes that the program allocates before marking is over
    "marking_work",  # hundredths of a byte marked while it allocates one
    "candidate",  # next row of candidates
    "candidate_count",
    "waste_percent",
    "live_percent",
    "count_target",
    "old_percent",  # of the heap's regions: the most old ones of one mixed collection
    "goal_us",  # of a pause
    "base_us",  # of a pause that copies nothing
    "copied_per_us",  # bytes
    "survival",  # thousandths of eden's bytes that survive, on average
    "least_percent",
    "most_percent",
    *BUFFERS,  # of a survivor region, of an old one
    "to_region",  # survivor region that is copied to, -1 none
    "to_old",  # old region that is copied to, kept between collections; -1 none
    "survivors_full",  # no further region of survivors; 2: and no buffer
    "grey",  # entries of `stack` that an evacuation still has to look at
    "old_full",
    "failed",  # some object had no room
    "fulls",
    "emptied",  # survivor regions that the collection at hand empties
    "logging",  # who notes cards
    "logged",  # cards logged by it since the last collection, or in this one
)
class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    java: Java
    regions: Regions
    stack: MarkStack  # grey objects of marking; of an evacuation, places of references
    ages: np.ndarray  # int64[AGES]  of the last collection
    shown_ages: np.ndarray  # int64[AGES]  as last published
    history: np.ndarray  # int64[...]  see history.py
    references: References
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel(inline=True)
def region_of(heap, address):
    """The region that the object lies in; its header, so that one of no bytes counts."""
    return (address - 16 - heap.java.base) >> heap.region_shift


@kernel(inline=True)
def start_of(heap, region):
    """Where a region begins."""
    return heap.java.base + (region << heap.region_shift)


@kernel(inline=True)
def objects_of(heap, region):
    """Where the objects of a region begin."""
    return heap.shared_from if region == heap.shared else start_of(heap, region)


@kernel(inline=True)
def has_objects(heap, region):
    """Whether blocks begin in the region."""
    kind = heap.regions.kind[unsigned(region)]
    return FREE < kind < REST or region == heap.shared


@kernel
def take_region(heap, kind):
    """The lowest free region for this kind, of young ones the highest; -1 if there is none."""
    table = heap.regions
    if not table.counts[FREE]:
        return -1
    if kind < OLD:
        region = heap.highest_free
        while table.kind[unsigned(region)] != FREE:
            region -= 1
        heap.highest_free = region
    else:
        region = heap.lowest_free
        while table.kind[unsigned(region)] != FREE:
            region += 1
        heap.lowest_free = region
    set_kind(heap, region, kind)
    table.top[unsigned(region)] = start_of(heap, region)
    table.marked_top[unsigned(region)] = start_of(heap, region)
    table.live[unsigned(region)] = 0
    return region


@kernel
def take_run(heap, slot, need):
    """A block in the lowest run of free regions that has room."""
    table = heap.regions
    wanted = (need + heap.region_bytes - 1) >> heap.region_shift
    run = 0
    for region in range(heap.lowest_free, heap.total):
        run = run + 1 if table.kind[unsigned(region)] == FREE else 0
        if run == wanted:
            first = region + 1 - wanted
            for one in range(first, region + 1):
                set_kind(heap, one, HUMONGOUS if one == first else REST)
                table.top[unsigned(one)] = start_of(heap, one)
            start = start_of(heap, first)
            table.top[unsigned(first)] = start + need
            table.live[unsigned(first)], table.marked_top[unsigned(first)] = 0, start
            table.owner[unsigned(first)] = slot
            return start
    return 0


@kernel
def set_kind(heap, region, kind):
    """Let a region be of this kind."""
    table = heap.regions
    table.counts[unsigned(table.kind[unsigned(region)])] -= 1
    table.counts[unsigned(kind)] += 1
    table.kind[unsigned(region)] = kind


@kernel
def free_region(heap, region):
    """Nothing lives in it any longer."""
    if heap.regions.kind[unsigned(region)] >= OLD:
        first = region << (heap.region_shift - 9)
        for card in range(first, first + (heap.region_bytes >> 9)):
            heap.java.cards[unsigned(card)] = 0
    set_kind(heap, region, FREE)
    heap.regions.chosen[unsigned(region)] = 0
    heap.regions.stamp[unsigned(region)] = 0
    heap.lowest_free = min(heap.lowest_free, region)
    heap.highest_free = max(heap.highest_free, region)


@kernel
def settle_tops(heap):
    """Write the tops of the eden regions in use."""
    if heap.current >= 0:
        heap.regions.top[unsigned(heap.current)] = heap.bump
    if heap.retained >= 0:
        heap.regions.top[unsigned(heap.retained)] = heap.kept


@kernel
def occupied(heap):
    """Bytes of all objects, dead or alive, without the JVM's own and the table."""
    settle_tops(heap)
    table, bytes_ = heap.regions, 0
    for region in range(heap.first, heap.total):
        if has_objects(heap, region):
            bytes_ += table.top[unsigned(region)] - objects_of(heap, region)
    return bytes_


@kernel(inline=True)
def is_young(heap, address):
    """Whether the object lies in a young region."""
    return 0 < heap.regions.kind[unsigned(region_of(heap, address))] < OLD


@kernel(inline=True)
def note_card(heap, place, target):
    """A reference at `place`, outside young, leads to `target` now."""
    java = heap.java
    region = (place - java.base) >> heap.region_shift
    other = region_of(heap, target)
    if region != other:
        card = unsigned(place - java.base) >> unsigned(9)
        java.cards[card] |= TO_YOUNG if is_young(heap, target) else TO_OLD
        if heap.logging == BY_COLLECTION:
            if is_tracked(heap, other):
                java.cards[card] |= LOGGED
                heap.logged += 1
                heap.regions.stamp[unsigned(region)] = -heap.logged
        elif heap.logging and not java.cards[card] & LOGGED:
            java.cards[card] |= LOGGED
            _log(heap, region)


@kernel(inline=True)
def is_tracked(heap, region):
    """Whether references to the region are remembered without marking: a young one, or a humongous
    one that no full collection has seen."""
    kind = heap.regions.kind[unsigned(region)]
    return kind < OLD or (kind == HUMONGOUS and heap.regions.owner[unsigned(region)] >= 0)


@kernel
def _log(heap, region):
    """The program fills its buffer from the end."""
    count, stamp = heap.logged, heap.regions.stamp[unsigned(region)]
    if stamp == 0 or (stamp > 0 and (stamp - 1) >> 8 == count >> 8):
        heap.regions.stamp[unsigned(region)] = (count | 255) + 1 - (count & 255)
    heap.logged = count + 1


@kernel
def vacant(heap, blocks):
    """What lies above the top of each region."""
    if not heap.java.base:
        return 0
    settle_tops(heap)
    rows, table = 0, heap.regions
    for region in range(heap.first, heap.total):
        kind, start = table.kind[unsigned(region)], start_of(heap, region)
        top, end = table.top[unsigned(region)], start + heap.region_bytes
        if kind == FREE:
            rows = write_row(blocks, rows, start, heap.region_bytes)
        elif kind == HUMONGOUS:
            end = start + (
                (top - start + heap.region_bytes - 1) >> heap.region_shift << (heap.region_shift)
            )
            rows = write_row(blocks, rows, top, end - top)
        elif kind != REST and (kind != OWN or region == heap.shared):
            rows = write_row(blocks, rows, top, end - top)
    return rows
