"""Sliding mark-compact (Lisp2): allocation is a bump, and the living close ranks.

    base │ object │ object │ ... ─► top        free        │ limit ... goal        break
    new ─► bump ─limit─► move the break ─goal─► mark ─► place ─► redirect ─► slide

Invariant  unmarked objects tile the heap from base to top (check: 1); each reference is null or
           leads to an address among them (2); each handle is 0 or that of an object born in its
           slot (3); the goal is the limit (4); the mark stack is empty (5)
Source     Knuth, The Art of Computer Programming 1, section 2.5, exercise 33; Jones, Hosking and
           Moss, "The Garbage Collection Handbook", 2nd edition, chapter 3
Omits      a dense prefix that stays where it is

The heap needs no reserve to copy to, allocation order is kept, and nothing is lost between objects.
The price is three walks over the heap after marking.
"""

from heapwright.allocators.linear import Region
from heapwright.collectors import bump_heap, mark, pace, textbook
from heapwright.collectors.compacting import compact
from heapwright.collectors.mark import MarkStack, mark_from_roots, mark_stack
from heapwright.collectors.objects import MOST_BYTES
from heapwright.compiler import kernel
from heapwright.compiler.record import words
from heapwright.machine import PAGE_BYTES, brk
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT

GROWTH_BYTES = 1 << 20  # by which the break moves at a time, as far as the goal allows

PATHS = ("new", "write", "collect", "grow")
NEW, WRITE, COLLECT, GROW = range(4)

Config = textbook.knobs(
    __name__,
    keep_pages=0,  # 1: the pages above the objects are kept after a collection
)
Heap = textbook.heap(__name__, "keep_pages", region=Region, stack=MarkStack)

cached, extent, usable = textbook.cached, textbook.extent, textbook.usable
write, notes = textbook.write, textbook.notes
metadata = mark.metadata


def boot(machine, config, mutator):
    """An empty heap at the break; HeapwrightError for a negative knob or less than a page."""
    pacing = pace.pace("mark-compact", config, PAGE_BYTES)
    region = Region(words(Region, base=BREAK_BASE, top=BREAK_BASE, limit=BREAK_BASE))
    parts = {"region": region, "stack": mark_stack(), "keep_pages": config.keep_pages}
    return textbook.empty(Heap, PATHS, machine, mutator, pacing, **parts)


@kernel
def _make_room(heap, need):
    """Grow, or collect and grow, so that `need` bytes fit; whether they do."""
    if need > MOST_BYTES:
        return False
    if _grow(heap, need):
        return True
    if not pace.may_hold(heap.pace, need):
        return False
    _collect(heap, need)
    region = heap.region
    return region.limit - region.top >= need or _grow(heap, need)


@kernel
def _grow(heap, need):
    """Move the break up so that `need` bytes fit below the goal; whether they do."""
    region = heap.region
    most = region.base + heap.pace.goal
    if heap.pace.limit:
        most &= -PAGE_BYTES
    end = region.top + need
    if end > most:
        return False
    end = (max(end, min(region.limit + GROWTH_BYTES, most)) + PAGE_BYTES - 1) & -PAGE_BYTES
    if end > BREAK_LIMIT or brk(heap.machine, end) != end:
        return False
    heap.paths[GROW] += 1
    region.limit = end
    return True


new = bump_heap.bumping(_make_room)


@kernel
def collect(heap):
    """Mark and compact."""
    _collect(heap, 0)


@kernel
def _collect(heap, need):
    """Mark, compact, and set the goal for a heap of `need` bytes more."""
    region, machine = heap.region, heap.machine
    heap.paths[COLLECT] += 1
    occupied = region.top - region.base
    textbook.begin(heap, occupied)
    mark_from_roots(machine, heap.mutator, heap.stack, heap.log)
    compact(machine, heap.mutator, heap.log, heap.region)
    end = (region.top + PAGE_BYTES - 1) & -PAGE_BYTES
    if not heap.keep_pages and end < region.limit:
        region.limit = brk(machine, end)
    live = region.top - region.base
    textbook.end(heap, live, occupied - live, need)


@kernel
def vacant(heap, blocks):
    """What lies above top."""
    return bump_heap.vacant(heap.region, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = bump_heap.check(heap)
    if broken:
        return broken
    return 0 if mark.check(heap.stack) else 5
