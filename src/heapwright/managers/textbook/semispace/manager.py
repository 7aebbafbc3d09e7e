"""Semispace copying: the live move to the other half, the dead are never looked at.

    current  │ object │ object │ ... ─► top      free     │ limit       new ─► bump
    spare    │ (none, unless keep_pages)                  │             full ─► copy, flip

    copy     roots ─► to-space:  │ scanned, black │ copied, grey │ free │
                                              scan ─►         top ─►       done when they meet

Terms      flip: the space that was copied to becomes the current one; forwarding address: left in
           the old header, so that an object that is met again is not copied twice
Invariant  the objects tile the current space from base to top (check: 1); each reference is null or
           lies among them (2); each handle is 0 or that of an object born in its slot (3); the goal
           is the limit (4)
Source     Cheney, "A nonrecursive list compacting algorithm", CACM 1970; Fenichel and Yochelson,
           "A LISP garbage-collector for virtual-memory computer systems", CACM 1969
Omits      a space of its own for large objects

A collection costs in proportion to what lives and nothing for what is dead; the price is that half
of the heap is empty when it begins.
"""

from heapwright.allocators.frame import write_row
from heapwright.allocators.linear import Region
from heapwright.collectors import bump_heap, pace, textbook
from heapwright.collectors.copying import copy_reachable, forget_dead
from heapwright.collectors.log import end_cycle, end_pause
from heapwright.collectors.objects import MOST_BYTES
from heapwright.compiler import kernel
from heapwright.compiler.record import words
from heapwright.machine import PAGE_BYTES, mmap, munmap

PATHS = ("new", "write", "collect", "map")
NEW, WRITE, COLLECT, MAP = range(4)

Config = textbook.knobs(  # heap_bytes: of both spaces together; minimum_bytes: of one
    __name__,
    keep_pages=0,  # 1: the pages of the emptied space are kept for the next collection
)
Heap = textbook.heap(  # pace: of one space
    __name__,
    "spare",  # address of the other space while it is kept, 0: none
    "spare_bytes",
    "keep_pages",
    region=Region,  # the current space
)

cached, extent, usable = textbook.cached, textbook.extent, textbook.usable
write, notes = textbook.write, textbook.notes


def boot(machine, config, mutator):
    """No space yet; HeapwrightError for a negative knob or a heap of less than two pages."""
    pacing = pace.pace("semispace", config, 2 * PAGE_BYTES)
    if config.heap_bytes:
        pacing.limit = pacing.goal = config.heap_bytes // 2 & -PAGE_BYTES
    parts = {"region": Region(words(Region)), "keep_pages": config.keep_pages}
    return textbook.empty(Heap, PATHS, machine, mutator, pacing, **parts)


@kernel
def _make_room(heap, need):
    """Collect so that `need` bytes fit; whether they do."""
    if need > MOST_BYTES or not pace.may_hold(heap.pace, need) or not _collect(heap, need):
        return False
    return heap.region.limit - heap.region.top >= need


new = bump_heap.bumping(_make_room)


@kernel
def collect(heap):
    """Copy what is reachable to the other space."""
    _collect(heap, 0)


@kernel
def _collect(heap, need):
    """Copy, flip, set the goal for a heap of `need` bytes more; False without a second space."""
    region = heap.region
    base, past, occupied = region.base, region.limit, region.top - region.base
    textbook.begin(heap, occupied)
    bytes_ = _pages(pace.goal_of(heap.pace, occupied + need))
    space = _second_space(heap, bytes_)
    if space:
        heap.paths[COLLECT] += 1
        region.base, region.top, region.limit = space, space, space + bytes_
        copy_reachable(heap.machine, heap.mutator, heap.log, region)
        if base:
            forget_dead(heap.mutator, base, past)
            _retire(heap, base, past - base)
        pace.collected(heap.pace, occupied, region.top - space, need)
        _cut(heap)
    end_pause(heap.log)
    end_cycle(heap.log, region.top - region.base)
    return space != 0


@kernel
def _pages(bytes_):
    """So many bytes, in whole pages."""
    return (bytes_ + PAGE_BYTES - 1) & -PAGE_BYTES


@kernel
def _second_space(heap, bytes_):
    """Address of an empty space of `bytes_`: the spare, if it is large enough; 0 when refused."""
    spare = heap.spare
    if spare and heap.spare_bytes != bytes_:
        munmap(heap.machine, spare, heap.spare_bytes)
        spare = 0
    heap.spare = 0
    if spare:
        return spare
    heap.paths[MAP] += 1
    return mmap(heap.machine, 0, bytes_)


@kernel
def _retire(heap, base, bytes_):
    """Give the pages of an emptied space back, or keep them as the spare."""
    if heap.keep_pages:
        heap.spare, heap.spare_bytes = base, bytes_
    else:
        munmap(heap.machine, base, bytes_)


@kernel
def _cut(heap):
    """End the current space where the goal is: it was mapped for the case that nothing dies."""
    region = heap.region
    end = region.base + _pages(heap.pace.goal)
    if end < region.limit:
        munmap(heap.machine, end, region.limit - end)
        region.limit = end


@kernel
def metadata(heap, blocks):
    """No memory of its own: grey objects are those between scan and top."""
    return 0


@kernel
def vacant(heap, blocks):
    """What lies above top, and the spare space."""
    rows = bump_heap.vacant(heap.region, blocks)
    if heap.spare:
        rows = write_row(blocks, rows, heap.spare, heap.spare_bytes)
    return rows


check = bump_heap.check
