"""Region-based collection: mark everything, then empty the regions in which least lives.

    new ─► bump in the newest region ─full─► a free one ─goal─► mark ─► find ─► evacuate, redirect
             └ larger than half a region ─► regions of its own, where it stays

    evacuate   regions of which at most evacuate_percent lives, the emptiest first, into the
               free ones that reserve_percent keeps for this

Invariant  the regions' (check: 1-2); each reference leads into a region in use (3); each handle is
           0 or that of an object born in its slot (4); the mark stack is empty (5); the goal is the
           limit (6)
Source     Detlefs, Flood, Heller and Printezis, "Garbage-first garbage collection", ISMM 2004: the
           choice of regions; Blackburn and McKinley, "Immix: a mark-region garbage collector with
           space efficiency, fast collection, and mutator performance", PLDI 2008
Omits      marking beside the program, young regions, remembered sets between regions

Little is copied, because what is copied lies where little lives; holes in the other regions wait
until more around them is dead.
"""

from heapwright.allocators.holes import is_hole
from heapwright.allocators.linear import bump
from heapwright.collectors import mark, pace, regions, textbook
from heapwright.collectors.log import SWEPT_BYTES, begin_pause, end_pause
from heapwright.collectors.mark import MarkStack, mark_from_roots, mark_stack
from heapwright.collectors.mutator import SLOTS
from heapwright.collectors.objects import (
    GRANULE_BYTES,
    HEADER_BYTES,
    MOST_BYTES,
    block_bytes,
    bytes_of,
    fields_of,
    reference,
    slot_of,
)
from heapwright.collectors.regions import (
    LARGE,
    LEAST_SHIFT,
    MOST_SHIFT,
    USED,
    Regions,
    home_of,
    open_region,
    take_large,
    used,
)
from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError

LEAST_REGIONS = 4
USUAL_REGIONS, USUAL_SHIFT = 64, 20  # of a heap whose region_bytes is 0: how many, log2 of most
LAST_RESORT_ROUNDS = 16  # of evacuation, before an object is refused

PATHS = ("new", "write", "large", "collect", "evacuated", "last_resort")
NEW, WRITE, NEW_LARGE, COLLECT, EVACUATED, LAST_RESORT = range(6)  # EVACUATED counts regions

Config = textbook.knobs(  # growth: of the regions in use over those that a collection left
    __name__,
    region_bytes=0,  # 16 KiB to 64 MiB; 0: a 64th of heap or minimum, at most 1 MiB
    evacuate_percent=65,  # most that lives of a region that is emptied
    reserve_percent=10,  # of a fixed heap's regions, kept free to evacuate into
    keep_pages=0,  # 1: the pages of emptied regions are kept
)
Heap = textbook.heap(
    __name__,
    "evacuate_percent",
    "reserved",  # regions
    regions=Regions,
    stack=MarkStack,
)

cached, extent, usable = textbook.cached, textbook.extent, textbook.usable
write, notes = textbook.write, textbook.notes
metadata = mark.metadata


def boot(machine, config, mutator):
    """No region yet; HeapwrightError for a knob out of range."""
    size = config.region_bytes
    if size == 0:
        size = max(config.heap_bytes or config.minimum_bytes, 1) // USUAL_REGIONS
        size = 1 << min(max(size.bit_length() - 1, LEAST_SHIFT), USUAL_SHIFT)
    shift = size.bit_length() - 1
    if size != 1 << max(shift, 0) or not LEAST_SHIFT <= shift <= MOST_SHIFT:
        raise HeapwrightError(
            f"region-gc.region_bytes is {size:,}; it is 0 or a power of two from 16 KiB to 64 MiB."
        )
    if not 0 <= config.evacuate_percent <= 100 or not 0 <= config.reserve_percent <= 50:
        raise HeapwrightError(
            "region-gc.evacuate_percent is 0 to 100 and its reserve_percent 0 to 50."
        )
    pacing = pace.pace("region-gc", config, LEAST_REGIONS << shift)
    most = config.heap_bytes >> shift
    if most:
        pacing.limit = pacing.goal = most << shift
    reserved = max(1, most * config.reserve_percent // 100) if most else 0
    parts = {
        "regions": regions.regions(shift, most, config.keep_pages),
        "stack": mark_stack(),
        "evacuate_percent": config.evacuate_percent,
        "reserved": reserved,
    }
    return textbook.empty(Heap, PATHS, machine, mutator, pacing, **parts)


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object; a bump while the newest region has room."""
    heap.paths[NEW] += 1
    need = block_bytes(size)
    block = bump(heap.regions.newest, need, GRANULE_BYTES)
    if not block:
        block = _obtain(heap, need)
        if not block:
            return 0
    return textbook.born(heap, (block, need), slot, fields)


@kernel
def _obtain(heap, need):
    """A block where the newest region has no room for it: in another one, after a collection if
    need be; 0 if that did not help."""
    size = 1 << heap.regions.shift
    count = (need + size - 1) >> heap.regions.shift
    if need > MOST_BYTES:
        return 0
    block = 0
    if used(heap.regions) + count <= _allowed(heap):
        block = _obtain_at_once(heap, need)
    if block or not pace.may_hold(heap.pace, need):
        return block
    _collect(heap, count << heap.regions.shift)
    if used(heap.regions) + count <= _allowed(heap):
        block = _obtain_at_once(heap, need)
    return block if block else _last_resort(heap, need)


@kernel
def _allowed(heap):
    """Regions that may be in use before a collection begins."""
    return (heap.pace.goal >> heap.regions.shift) - heap.reserved


@kernel
def _obtain_at_once(heap, need):
    """A block in a free region; 0 if there is none."""
    machine, table = heap.machine, heap.regions
    if need > 1 << (table.shift - 1):
        heap.paths[NEW_LARGE] += 1
        return take_large(machine, table, need)
    if not open_region(machine, table, False):
        return 0
    return bump(table.newest, need, GRANULE_BYTES)


@kernel
def _last_resort(heap, need):
    """After a collection that did not help: empty all regions that are not full, as many at a time
    as free ones can hold, until one is gained; 0 if there is no room."""
    heap.paths[LAST_RESORT] += 1
    before = used(heap.regions)
    begin_pause(heap.log)
    for _ in range(LAST_RESORT_ROUNDS):
        if not _evacuate(heap, 100) or used(heap.regions) < before:
            break
    end_pause(heap.log)
    block = bump(heap.regions.newest, need, GRANULE_BYTES)
    return block if block else _obtain_at_once(heap, need)


@kernel
def _evacuate(heap, most_percent):
    """Empty the emptiest regions; how many."""
    count = regions.evacuate(heap.machine, heap.regions, heap.mutator, heap.log, most_percent)
    heap.paths[EVACUATED] += count
    return count


@kernel
def collect(heap):
    """Mark, free what is dead, evacuate."""
    _collect(heap, 0)


@kernel
def _collect(heap, need):
    """Mark, find, evacuate, and set the goal for a heap of `need` bytes more."""
    heap.paths[COLLECT] += 1
    table = heap.regions
    textbook.begin(heap, used(table) << table.shift)
    swept = heap.log.totals[SWEPT_BYTES]
    mark_from_roots(heap.machine, heap.mutator, heap.stack, heap.log)
    regions.find(heap.machine, table, heap.mutator, heap.log)
    _evacuate(heap, heap.evacuate_percent)
    after = used(table) << table.shift
    textbook.end(heap, after, heap.log.totals[SWEPT_BYTES] - swept, need)


@kernel
def vacant(heap, blocks):
    """Free regions, the ends of others, and holes."""
    return regions.vacant(heap.machine, heap.regions, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    machine, table = heap.machine, heap.regions
    broken = regions.check(machine, table)
    if broken:
        return broken
    for region in range(table.total):
        kind = table.kind[unsigned(region)]
        if kind not in (USED, LARGE):
            continue
        block = regions.base_of(table, region)
        while block < regions.top_of(table, region):
            address = block + HEADER_BYTES
            if not is_hole(machine, block):
                for field in range(fields_of(machine, address)):
                    target = reference(machine, address, field)
                    if target and not _is_in_use(table, target):
                        return 3
            block += bytes_of(machine, address)
    for slot in range(heap.mutator.counts[SLOTS]):
        address = heap.mutator.handles[unsigned(slot)]
        if address and (not _is_in_use(table, address) or slot_of(machine, address) != slot):
            return 4
    if not mark.check(heap.stack):
        return 5
    return 0 if pace.check(heap.pace) else 6


@kernel
def _is_in_use(table, address):
    """Whether the address lies in a region that holds objects."""
    region = home_of(table, address)
    return 0 <= region < table.total and table.kind[unsigned(region)] in (USED, LARGE)
