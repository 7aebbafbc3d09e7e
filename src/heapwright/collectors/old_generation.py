"""The old generation: objects that outlived the nursery, collected in place or by sliding.

    MARK_SWEEP     a swept space: objects stay, the dead between them become cells and holes
    MARK_COMPACT   a bump region at the break: the living close ranks at each collection

Invariant  that of the part that is used (check)
Source     Jones, Hosking and Moss, "The Garbage Collection Handbook", 2nd edition, chapter 9
Omits      collecting it while the nursery holds objects: whoever collects it empties the nursery
           into it before

It may pass its limit by what the nursery still holds when a full collection begins, as a real one
keeps a reserve to copy to; a heap that stays above its limit is full.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.linear import Region, bump
from heapwright.collectors import bump_heap, mark, swept_space
from heapwright.collectors.compacting import compact
from heapwright.collectors.mark import MarkStack, mark_from_roots
from heapwright.collectors.objects import GRANULE_BYTES, GRANULES_MASK
from heapwright.collectors.swept_space import Space
from heapwright.compiler import kernel
from heapwright.compiler.record import record, words
from heapwright.machine import PAGE_BYTES, brk, load
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT

MARK_SWEEP, MARK_COMPACT = range(2)  # kinds
GROWTH_BYTES = 1 << 20  # by which the region grows at a time


@record(
    "kind",
    "most",  # bytes it should not pass, 0: none
)
class Old(NamedTuple):
    """The generation; one of `space` and `region` stays empty."""

    space: Space
    region: Region
    stack: MarkStack
    fields: np.ndarray  # int64[word]


def old_generation(kind, most_bytes):
    """An empty one at the break."""
    return Old(
        swept_space.swept_space(swept_space.SIZE_CLASSES, most_bytes),
        Region(np.full(3, BREAK_BASE, np.int64)),
        mark.mark_stack(),
        words(Old, kind=kind, most=most_bytes),
    )


@kernel(inline=True)
def occupied(old):
    """Bytes of its objects, dead or alive."""
    if old.kind == MARK_SWEEP:
        return old.space.occupied
    return old.region.top - old.region.base


@kernel
def alloc(machine, old, mutator, log, request):
    """(block, bytes) for a request of (bytes, whether it may pass the limit); (0, 0) if it finds no
    room."""
    need, beyond = request
    if old.kind == MARK_COMPACT:
        block = bump(old.region, need, GRANULE_BYTES)
        if not block and _grow(machine, old, need, beyond):
            block = bump(old.region, need, GRANULE_BYTES)
        return block, need if block else 0
    block, bytes_ = swept_space.obtain(machine, old.space, mutator, log, need)
    if not block and beyond:
        limit = old.space.limit
        old.space.limit = 0
        block, bytes_ = swept_space.obtain(machine, old.space, mutator, log, need)
        old.space.limit = limit
    old.space.occupied += bytes_
    return block, bytes_


@kernel
def _grow(machine, old, need, beyond):
    """Move the region's limit, the break, so that `need` bytes fit; whether it could."""
    region, most = old.region, old.most
    end = (region.top + need + PAGE_BYTES - 1) & -PAGE_BYTES
    past = region.base + (most & -PAGE_BYTES)
    if most and end > past:
        if not beyond:
            return False
    elif most:
        end = max(end, min(past, region.limit + GROWTH_BYTES))
    else:
        end = max(end, region.limit + GROWTH_BYTES)
    if end > BREAK_LIMIT or brk(machine, end) != end:
        return False
    region.limit = end
    return True


@kernel
def collect(machine, old, mutator, log):
    """Keep what the roots reach; all objects there are lie in the old generation."""
    live = mark_from_roots(machine, mutator, old.stack, log)
    if old.kind == MARK_SWEEP:
        swept_space.begin_sweep(machine, old.space, live)
        swept_space.finish_sweep(machine, old.space, mutator, log)
        return
    compact(machine, mutator, log, old.region)
    region = old.region
    end = (region.top + PAGE_BYTES - 1) & -PAGE_BYTES
    if end < region.limit:
        region.limit = brk(machine, end)


@kernel
def first(machine, old):
    """(block, page) of its lowest block, as of `swept_space.first`."""
    if old.kind == MARK_SWEEP:
        return swept_space.first(machine, old.space)
    return old.region.base, 0


@kernel
def following(machine, old, block, page):
    """The (block, page) after this one."""
    if old.kind == MARK_SWEEP:
        return swept_space.following(machine, old.space, block, page)
    return block + ((load(machine, block + 8) & GRANULES_MASK) << 4), 0


@kernel
def end(old):
    """Where its blocks end."""
    if old.kind == MARK_SWEEP:
        return swept_space.end(old.space)
    return old.region.top


@kernel
def vacant(machine, old, blocks):
    """Free memory as rows of `blocks` (start, bytes), as far as they fit; how many there are."""
    if old.kind == MARK_SWEEP:
        return swept_space.vacant(machine, old.space, blocks)
    return bump_heap.vacant(old.region, blocks)


@kernel
def metadata(machine, old, blocks):
    """Heads of pages and a chunk of the mark stack, likewise."""
    rows = 0
    if old.kind == MARK_SWEEP:
        rows = swept_space.metadata(machine, old.space, blocks)
    return rows + mark.own_memory(old.stack, blocks[min(rows, len(blocks)) :])


@kernel
def check(machine, old):
    """Number of the broken invariant, 0 if none: the space's, or 25: no tiling; 31: the stack."""
    if not mark.check(old.stack):
        return 31
    if old.kind == MARK_SWEEP:
        return swept_space.check(machine, old.space)
    return 0 if bump_heap.is_tiled(machine, old.region) else 25
