"""A heap of equal regions: bumped into one at a time, and emptied where little lives.

    │ used │ used, newest: bump ─► │ free │ large ... │ part │ free │ used │         END = break

    find      after marking: in each used region every run of dead objects becomes a hole, marks are
              cleared, and what lives is counted; a region in which nothing lives is free
    evacuate  the emptiest regions: their objects move to fresh regions; then every reference that
              leads into an emptied region is redirected by the address left in the old header

Terms      region: 2^SHIFT bytes; large: a run of regions for one object, which never moves; chosen:
           about to be emptied; hole: as in allocators/holes.py, but in no list
Invariant  blocks tile each used region up to its top (check: 1); the counts of free regions and of
           regions are true (2); a free region is free of references to it (the manager's check)
Source     Detlefs, Flood, Heller and Printezis, "Garbage-first garbage collection", ISMM 2004;
           Blackburn and McKinley, "Immix", PLDI 2008
Omits      remembered sets between regions: references are redirected in one walk over the heap;
           bumping into the holes of used regions, as Immix does; the region table's own memory
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.holes import GRANULES_MASK, granules_of, is_hole, vacate
from heapwright.allocators.linear import BASE, LIMIT, TOP, Region, bump
from heapwright.collectors.log import COPIED_BYTES, COPIED_OBJECTS, SWEPT_BYTES, SWEPT_OBJECTS
from heapwright.collectors.mutator import moved, reclaimed
from heapwright.collectors.objects import (
    GRANULE_BYTES,
    HEADER_BYTES,
    MARK,
    SLOT_MASK,
    WORD_BYTES,
    fields_of,
    forward,
    forwarded,
    move,
)
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.reserve import reserve
from heapwright.machine import brk, load, madvise, store, touch
from heapwright.machine.address_space import ADVISE_DONTNEED, BREAK_BASE, BREAK_LIMIT

FREE, USED, LARGE, PART, CHOSEN = range(5)  # kinds
LEAST_SHIFT, MOST_SHIFT = 14, 26  # 16 KiB to 64 MiB
ALL_BUT_FULL_PART = 16  # of which less than one part does not live

SHIFT, COUNT, FREE_COUNT, LOWEST_FREE, MOST, KEEP_PAGES, FIELDS = range(7)


class Regions(NamedTuple):
    """The table, and the region that is bumped into."""

    kind: np.ndarray  # int64[region]
    top: np.ndarray  # int64[region]  address after the last block; of the newest, see `newest`
    live: np.ndarray  # int64[region]  bytes that `find` found alive
    newest: Region
    fields: np.ndarray  # int64[FIELDS]  COUNT of regions below the break; MOST: 0, no limit;
    # LOWEST_FREE: no lower region is free


def regions(shift, most, keep_pages):
    """No regions yet; at most `most`, 0: as many as the machine has room for."""
    rows = (BREAK_LIMIT - BREAK_BASE) >> shift
    fields = np.zeros(FIELDS, np.int64)
    fields[SHIFT], fields[MOST], fields[KEEP_PAGES] = shift, most, keep_pages
    table = (reserve(rows + 1, np.int64) for _ in range(3))  # one that is never used ends them
    return Regions(*table, Region(np.zeros(3, np.int64)), fields)


@kernel(inline=True)
def region_of(regions, address):
    """Number of the region that the address lies in."""
    return (address - BREAK_BASE) >> regions.fields[SHIFT]


@kernel(inline=True)
def base_of(regions, region):
    """Address of its first byte."""
    return BREAK_BASE + (region << regions.fields[SHIFT])


@kernel
def used(regions):
    """Regions that are not free."""
    return regions.fields[COUNT] - regions.fields[FREE_COUNT]


@kernel
def take(machine, regions, count, beyond):
    """Number of the first of `count` free regions in a row, taken from the heap or added to it, as
    far as MOST, or `beyond` it, allows; -1 if there are none."""
    fields = regions.fields
    first = run = fields[LOWEST_FREE]
    while run < fields[COUNT] and run - first < count:
        run += 1
        if regions.kind[unsigned(run - 1)] != FREE:
            first = run
    missing = first + count - run
    if missing:
        past = fields[COUNT] + missing
        if (fields[MOST] and past > fields[MOST] and not beyond) or not _extend(
            machine, regions, past
        ):
            return -1
    for region in range(first, first + count):
        regions.kind[unsigned(region)] = PART
    fields[FREE_COUNT] -= count
    if count == 1 or first == fields[LOWEST_FREE]:
        fields[LOWEST_FREE] = first + count
    return first


@kernel
def _extend(machine, regions, count):
    """Move the break so that there are `count` regions; whether the system allows it."""
    end = base_of(regions, count)
    if end > BREAK_LIMIT or brk(machine, end) != end:
        return False
    regions.fields[FREE_COUNT] += count - regions.fields[COUNT]
    regions.fields[COUNT] = count
    return True


@kernel
def retire(regions):
    """Write down how far the newest region is filled; there is none then."""
    newest = regions.newest.fields
    if newest[LIMIT]:
        region = unsigned(region_of(regions, newest[BASE]))
        regions.top[region], regions.live[region] = newest[TOP], newest[TOP] - newest[BASE]
    newest[BASE] = newest[TOP] = newest[LIMIT] = 0


@kernel
def open_region(machine, regions, beyond):
    """Make a free region the newest; whether there is one."""
    region = take(machine, regions, 1, beyond)
    if region < 0:
        return False
    retire(regions)
    regions.kind[unsigned(region)] = USED
    newest = regions.newest.fields
    newest[BASE] = newest[TOP] = base_of(regions, region)
    newest[LIMIT] = base_of(regions, region + 1)
    return True


@kernel
def take_large(machine, regions, need):
    """A block of `need` bytes in regions of its own; 0 if there are none."""
    count = (need + (1 << regions.fields[SHIFT]) - 1) >> regions.fields[SHIFT]
    region = take(machine, regions, count, False)
    if region < 0:
        return 0
    regions.kind[unsigned(region)] = LARGE
    block = base_of(regions, region)
    regions.top[unsigned(region)] = block + need
    return block


@kernel
def _release(machine, regions, region):
    """Make a region, or all of a large object's, free."""
    fields, past = regions.fields, region + 1
    if regions.kind[unsigned(region)] == LARGE:
        while past < fields[COUNT] and regions.kind[unsigned(past)] == PART:
            past += 1
    for number in range(region, past):
        regions.kind[unsigned(number)] = FREE
    fields[FREE_COUNT] += past - region
    fields[LOWEST_FREE] = min(fields[LOWEST_FREE], region)
    if not fields[KEEP_PAGES]:
        length = (past - region) << fields[SHIFT]
        madvise(machine, base_of(regions, region), length, ADVISE_DONTNEED)


@kernel
def find(machine, regions, mutator, log):
    """After marking: make the dead holes, count what lives, free what is empty."""
    retire(regions)
    for region in range(regions.fields[COUNT]):
        kind = regions.kind[unsigned(region)]
        if kind in (USED, LARGE):
            _find_in(machine, regions, region, mutator, log)
            if not regions.live[unsigned(region)]:
                _release(machine, regions, region)


@kernel
def _find_in(machine, regions, region, mutator, log):
    """The same for one region."""
    block, past = base_of(regions, region), regions.top[unsigned(region)]
    run = live = dead_objects = dead_bytes = 0
    while block < past:
        header, state = load(machine, block), load(machine, block + 8)
        size = (state & GRANULES_MASK) << 4
        if state < 0 and header >= 0:
            store(machine, block + 8, state & ~MARK)
            live += size
            if run:
                vacate(machine, run, block - run, 0)
                run = 0
        else:
            if header >= 0:
                dead_objects += 1
                dead_bytes += size
                reclaimed(mutator, header & SLOT_MASK, block + HEADER_BYTES)
            if not run:
                run = block
        block += size
    if run:
        regions.top[unsigned(region)] = run
    regions.live[unsigned(region)] = live
    log.totals[SWEPT_OBJECTS] += dead_objects
    log.totals[SWEPT_BYTES] += dead_bytes


@kernel
def evacuate(machine, regions, mutator, log, most_percent):
    """After `find`: empty the emptiest regions, of which at most `most_percent` lives, as far as
    free regions can hold their objects. Returns how many."""
    chosen = _choose(regions, most_percent)
    if not chosen:
        return 0
    for region in range(regions.fields[COUNT]):
        if regions.kind[unsigned(region)] == CHOSEN:
            _empty(machine, regions, region, mutator, log)
    for region in range(regions.fields[COUNT]):
        kind = regions.kind[unsigned(region)]
        if kind in (USED, LARGE):
            _redirect(machine, regions, region)
    for region in range(regions.fields[COUNT]):
        if regions.kind[unsigned(region)] == CHOSEN:
            _release(machine, regions, region)
    give_back(machine, regions)
    return chosen


@kernel
def _choose(regions, most_percent):
    """Mark the regions to empty, the emptiest first; how many. One that is all but full is worth
    nothing. What a target region cannot hold at its end is not reckoned with: `_empty` borrows."""
    fields, newest = regions.fields, regions.newest.fields
    size = 1 << fields[SHIFT]
    targets = max(fields[MOST], fields[COUNT]) - used(regions)
    if not fields[MOST]:
        targets = fields[COUNT]
    room = (targets << fields[SHIFT]) + newest[LIMIT] - newest[TOP]
    chosen = 0
    for percent in range(most_percent + 1):
        for region in range(fields[COUNT]):
            live = regions.live[unsigned(region)]
            if regions.kind[unsigned(region)] != USED or live * 100 // size != percent:
                continue
            all_but_full = size - live < size // ALL_BUT_FULL_PART
            if not all_but_full and base_of(regions, region) != newest[BASE] and live <= room:
                regions.kind[unsigned(region)] = CHOSEN
                room -= live
                chosen += 1
    return chosen


@kernel
def give_back(machine, regions):
    """Lower the break over borrowed regions that are free again."""
    fields = regions.fields
    count = fields[COUNT]
    while fields[MOST] and count > fields[MOST] and regions.kind[unsigned(count - 1)] == FREE:
        count -= 1
    if count < fields[COUNT]:
        brk(machine, base_of(regions, count))
        fields[FREE_COUNT] -= fields[COUNT] - count
        fields[COUNT] = count
        fields[LOWEST_FREE] = min(fields[LOWEST_FREE], count)


@kernel
def _empty(machine, regions, region, mutator, log):
    """Move the objects of a chosen region to the newest one."""
    block, past = base_of(regions, region), regions.top[unsigned(region)]
    while block < past:
        size = granules_of(machine, block) << 4
        if not is_hole(machine, block):
            place = bump(regions.newest, size, GRANULE_BYTES)
            if not place:
                open_region(machine, regions, True)
                place = bump(regions.newest, size, GRANULE_BYTES)
            touch(machine, place, size)
            move(machine, block, place, size)
            forward(machine, block + HEADER_BYTES, place + HEADER_BYTES)
            slot = load(machine, place) & SLOT_MASK
            moved(mutator, slot, block + HEADER_BYTES, place + HEADER_BYTES)
            log.totals[COPIED_OBJECTS] += 1
            log.totals[COPIED_BYTES] += size
        block += size


@kernel
def _redirect(machine, regions, region):
    """Let references of a region's objects that lead into a chosen region follow the move."""
    block, past = base_of(regions, region), top_of(regions, region)
    while block < past:
        if not is_hole(machine, block):
            address = block + HEADER_BYTES
            for field in range(fields_of(machine, address)):
                place = unsigned(address + field * WORD_BYTES) >> unsigned(3)
                target = machine.words[place]
                if target and regions.kind[unsigned(region_of(regions, target))] == CHOSEN:
                    machine.words[place] = forwarded(machine, target)
        block += granules_of(machine, block) << 4


@kernel(inline=True)
def top_of(regions, region):
    """Address after the last block of a region."""
    if regions.newest.fields[LIMIT] and base_of(regions, region) == regions.newest.fields[BASE]:
        return regions.newest.fields[TOP]
    return regions.top[unsigned(region)]


@kernel
def vacant(machine, regions, blocks):
    """Free regions, what lies above tops, and holes, as rows of `blocks` (start, bytes), as far as
    they fit; how many there are."""
    rows = 0
    for region in range(regions.fields[COUNT]):
        kind, start = regions.kind[unsigned(region)], base_of(regions, region)
        if kind == PART:
            continue
        past = base_of(regions, region + 1)
        if kind == LARGE:
            while regions.kind[unsigned(region_of(regions, past))] == PART:
                past = base_of(regions, region_of(regions, past) + 1)
        top = start if kind == FREE else top_of(regions, region)
        if past > top:
            rows = _row(blocks, rows, top, past - top)
        while kind == USED and start < top:
            size = granules_of(machine, start) << 4
            if is_hole(machine, start):
                rows = _row(blocks, rows, start, size)
            start += size
    return rows


@kernel
def _row(blocks, row, start, length):
    """Write row number `row` if there is room; the next row's number."""
    if row < len(blocks):
        blocks[row, 0], blocks[row, 1] = start, length
    return row + 1


@kernel
def check(machine, regions):
    """Number of the broken invariant, 0 if none."""
    free = 0
    for region in range(regions.fields[COUNT]):
        kind = regions.kind[unsigned(region)]
        free += kind == FREE
        if kind == CHOSEN or (kind == FREE and region < regions.fields[LOWEST_FREE]):
            return 2
        if kind in (USED, LARGE):
            block, top = base_of(regions, region), top_of(regions, region)
            while block < top:
                if load(machine, block + 8) <= 0:
                    return 1
                block += granules_of(machine, block) << 4
            if block != top:
                return 1
    return 0 if free == regions.fields[FREE_COUNT] else 2
