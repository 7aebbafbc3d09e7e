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

from heapwright.allocators.frame import write_row
from heapwright.allocators.holes import GRANULES_MASK, granules_of, is_hole, vacate
from heapwright.allocators.linear import Region, bump
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
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.machine import brk, load, madvise, store, touch
from heapwright.machine.address_space import ADVISE_DONTNEED, BREAK_BASE, BREAK_LIMIT

FREE, USED, LARGE, PART, CHOSEN = range(5)  # kinds
LEAST_SHIFT, MOST_SHIFT = 14, 26  # 16 KiB to 64 MiB
ALL_BUT_FULL_PART = 16  # of which less than one part does not live


@record(
    "shift",
    "total",  # regions below the break
    "free_count",
    "lowest_free",  # no lower region is free
    "most",  # regions, 0: no limit
    "keep_pages",
)
class Regions(NamedTuple):
    """The table, and the region that is bumped into."""

    kind: np.ndarray  # int64[region]
    top: np.ndarray  # int64[region]  address after the last block; of the newest, see `newest`
    live: np.ndarray  # int64[region]  bytes that `find` found alive
    newest: Region
    fields: np.ndarray  # int64[word]


def regions(shift, most, keep_pages):
    """No regions yet; at most `most`, 0: as many as the machine has room for."""
    rows = (BREAK_LIMIT - BREAK_BASE) >> shift
    fields = words(Regions, shift=shift, most=most, keep_pages=keep_pages)
    table = (reserve(rows + 1, np.int64) for _ in range(3))  # one that is never used ends them
    return Regions(*table, Region(words(Region)), fields)


@kernel(inline=True)
def region_of(regions, address):
    """Number of the region that the address lies in."""
    return (address - BREAK_BASE) >> regions.shift


@kernel(inline=True)
def home_of(regions, address):
    """Number of the region of the object at `address`: that of its header, for an object of no
    bytes that ends a region has the address at which the next one begins."""
    return region_of(regions, address - HEADER_BYTES)


@kernel(inline=True)
def base_of(regions, region):
    """Address of its first byte."""
    return BREAK_BASE + (region << regions.shift)


@kernel
def used(regions):
    """Regions that are not free."""
    return regions.total - regions.free_count


@kernel
def take(machine, regions, count, beyond):
    """Number of the first of `count` free regions in a row, taken from the heap or added to it, as
    far as MOST, or `beyond` it, allows; -1 if there are none."""
    first = run = regions.lowest_free
    while run < regions.total and run - first < count:
        run += 1
        if regions.kind[unsigned(run - 1)] != FREE:
            first = run
    missing = first + count - run
    if missing:
        past = regions.total + missing
        if (regions.most and past > regions.most and not beyond) or not _extend(
            machine, regions, past
        ):
            return -1
    for region in range(first, first + count):
        regions.kind[unsigned(region)] = PART
    regions.free_count -= count
    if count == 1 or first == regions.lowest_free:
        regions.lowest_free = first + count
    return first


@kernel
def _extend(machine, regions, count):
    """Move the break so that there are `count` regions; whether the system allows it."""
    end = base_of(regions, count)
    if end > BREAK_LIMIT or brk(machine, end) != end:
        return False
    regions.free_count += count - regions.total
    regions.total = count
    return True


@kernel
def retire(regions):
    """Write down how far the newest region is filled; there is none then."""
    newest = regions.newest
    if newest.limit:
        region = unsigned(region_of(regions, newest.base))
        regions.top[region], regions.live[region] = newest.top, newest.top - newest.base
    newest.base = newest.top = newest.limit = 0


@kernel
def open_region(machine, regions, beyond):
    """Make a free region the newest; whether there is one."""
    region = take(machine, regions, 1, beyond)
    if region < 0:
        return False
    retire(regions)
    regions.kind[unsigned(region)] = USED
    newest = regions.newest
    newest.base = newest.top = base_of(regions, region)
    newest.limit = base_of(regions, region + 1)
    return True


@kernel
def take_large(machine, regions, need):
    """A block of `need` bytes in regions of its own; 0 if there are none."""
    count = (need + (1 << regions.shift) - 1) >> regions.shift
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
    past = region + 1
    if regions.kind[unsigned(region)] == LARGE:
        while past < regions.total and regions.kind[unsigned(past)] == PART:
            past += 1
    for number in range(region, past):
        regions.kind[unsigned(number)] = FREE
    regions.free_count += past - region
    regions.lowest_free = min(regions.lowest_free, region)
    if not regions.keep_pages:
        length = (past - region) << regions.shift
        madvise(machine, base_of(regions, region), length, ADVISE_DONTNEED)


@kernel
def find(machine, regions, mutator, log):
    """After marking: make the dead holes, count what lives, free what is empty."""
    retire(regions)
    for region in range(regions.total):
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
    for region in range(regions.total):
        if regions.kind[unsigned(region)] == CHOSEN:
            _empty(machine, regions, region, mutator, log)
    for region in range(regions.total):
        kind = regions.kind[unsigned(region)]
        if kind in (USED, LARGE):
            _redirect(machine, regions, region)
    for region in range(regions.total):
        if regions.kind[unsigned(region)] == CHOSEN:
            _release(machine, regions, region)
    give_back(machine, regions)
    return chosen


@kernel
def _choose(regions, most_percent):
    """Mark the regions to empty, the emptiest first; how many. One that is all but full is worth
    nothing. What a target region cannot hold at its end is not reckoned with: `_empty` borrows."""
    newest = regions.newest
    size = 1 << regions.shift
    targets = max(regions.most, regions.total) - used(regions)
    if not regions.most:
        targets = regions.total
    room = (targets << regions.shift) + newest.limit - newest.top
    chosen = 0
    for percent in range(most_percent + 1):
        for region in range(regions.total):
            live = regions.live[unsigned(region)]
            if regions.kind[unsigned(region)] != USED or live * 100 // size != percent:
                continue
            all_but_full = size - live < size // ALL_BUT_FULL_PART
            if not all_but_full and base_of(regions, region) != newest.base and live <= room:
                regions.kind[unsigned(region)] = CHOSEN
                room -= live
                chosen += 1
    return chosen


@kernel
def give_back(machine, regions):
    """Lower the break over borrowed regions that are free again."""
    count = regions.total
    while regions.most and count > regions.most and regions.kind[unsigned(count - 1)] == FREE:
        count -= 1
    if count < regions.total:
        brk(machine, base_of(regions, count))
        regions.free_count -= regions.total - count
        regions.total = count
        regions.lowest_free = min(regions.lowest_free, count)


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
                home = home_of(regions, target)  # of null, or beside the heap: none of them
                if 0 <= home < regions.total and regions.kind[unsigned(home)] == CHOSEN:
                    machine.words[place] = forwarded(machine, target)
        block += granules_of(machine, block) << 4


@kernel(inline=True)
def top_of(regions, region):
    """Address after the last block of a region."""
    if regions.newest.limit and base_of(regions, region) == regions.newest.base:
        return regions.newest.top
    return regions.top[unsigned(region)]


@kernel
def vacant(machine, regions, blocks):
    """Free regions, what lies above tops, and holes, as rows of `blocks` (start, bytes), as far as
    they fit; how many there are."""
    rows = 0
    for region in range(regions.total):
        kind, start = regions.kind[unsigned(region)], base_of(regions, region)
        if kind == PART:
            continue
        past = base_of(regions, region + 1)
        if kind == LARGE:
            while regions.kind[unsigned(region_of(regions, past))] == PART:
                past = base_of(regions, region_of(regions, past) + 1)
        top = start if kind == FREE else top_of(regions, region)
        if past > top:
            rows = write_row(blocks, rows, top, past - top)
        while kind == USED and start < top:
            size = granules_of(machine, start) << 4
            if is_hole(machine, start):
                rows = write_row(blocks, rows, start, size)
            start += size
    return rows


@kernel
def check(machine, regions):
    """Number of the broken invariant, 0 if none."""
    free = 0
    for region in range(regions.total):
        kind = regions.kind[unsigned(region)]
        free += kind == FREE
        if kind == CHOSEN or (kind == FREE and region < regions.lowest_free):
            return 2
        if kind in (USED, LARGE):
            block, top = base_of(regions, region), top_of(regions, region)
            while block < top:
                if load(machine, block + 8) <= 0:
                    return 1
                block += granules_of(machine, block) << 4
            if block != top:
                return 1
    return 0 if free == regions.free_count else 2
