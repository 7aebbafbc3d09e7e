"""How the classic slab allocator lays out its slabs, and which caches a kernel had.

Source     Linux 2.6.24, mm/slab.c: cache_estimate, calculate_slab_order, kmem_cache_create,
           enable_cpucache; include/linux/kmalloc_sizes.h
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from heapwright.compiler.record import words
from heapwright.compiler.reserve import reserve
from heapwright.linux import slab as rows
from heapwright.linux.frames import Pages
from heapwright.linux.page_alloc import GFP_DMA
from heapwright.linux.slab import CACHE_WORDS, ENTRIES, PATHS, Slabs
from heapwright.machine import PAGE_BYTES

SIZES = (32, 64, 96, 128, 192, *(1 << shift for shift in range(8, 18)))  # size-32 ... size-131072
LINE_BYTES = 64  # of a processor's cache
MANAGEMENT_BYTES, INDEX_BYTES = 48, 4  # of a slab, and of each object's number in it
OFF_SLAB_BYTES = PAGE_BYTES // 8  # from this size on the management lies elsewhere
MOST_ORDER, BREAK_ORDER = 5, 1
LIMITS = ((131072, 1), (PAGE_BYTES, 8), (1024, 24), (256, 54), (0, 120))  # larger than: objects


class Layout(NamedTuple):
    """A cache's slabs."""

    object_size: int
    size: int
    order: int
    objects: int
    management: int  # bytes before the first object; 0 off the slab
    colours: int
    limit: int  # of a processor's array
    batch: int


def _estimate(order: int, size: int, align: int, *, off_slab: bool) -> tuple[int, int, int]:
    """(objects, management bytes, bytes left over) of a slab."""
    room = PAGE_BYTES << order
    if off_slab:
        return room // size, 0, room % size
    objects = max((room - MANAGEMENT_BYTES) // (size + INDEX_BYTES), 0)

    def management(count: int) -> int:
        return -(-(MANAGEMENT_BYTES + count * INDEX_BYTES) // align) * align

    if objects and management(objects) + objects * size > room:
        objects -= 1
    own = management(objects)
    return objects, own, room - objects * size - own


def layout(object_size: int, align: int = 0, *, reclaimable: bool = False) -> Layout:
    """The layout of a cache.

    >>> layout(64, 64).objects, layout(256, 64)[2:5]
    (59, (0, 15, 128))
    """
    size = -(-object_size // 8) * 8
    if align >= LINE_BYTES:  # small objects share a line
        while size <= align // 2 and align > 8:
            align //= 2
    align = max(align, 8)
    off_slab = size >= OFF_SLAB_BYTES
    size = -(-size // align) * align
    found = (0, 0, 0, 0)
    for order in range(MOST_ORDER + 1):
        objects, own, left = _estimate(order, size, align, off_slab=off_slab)
        if not objects:
            continue
        found = (order, objects, own, left)
        if reclaimable or order >= BREAK_ORDER or left * 8 <= PAGE_BYTES << order:
            break
    order, objects, own, left = found
    management = -(-(MANAGEMENT_BYTES + objects * INDEX_BYTES) // align) * align
    if off_slab and left >= management:  # there is room on the slab after all
        own, left = management, left - management
    step = max(LINE_BYTES, align)
    limit = next(count for most, count in LIMITS if size > most)
    return Layout(object_size, size, order, objects, own, left // step, limit, (limit + 1) // 2)


def general(size: int) -> int:
    """Number of the smallest size class; that of none is one too many.

    >>> SIZES[general(33)]
    64
    """
    return bisect_left(SIZES, size)


class Cache(NamedTuple):
    """One cache."""

    name: str
    layout: Layout
    gfp: int = 0


def general_caches() -> list[Cache]:
    """size-32 and so on, then those for DMA."""
    made = [layout(size, LINE_BYTES) for size in SIZES]
    return [
        Cache(f"size-{size}{mark}", each, gfp)
        for mark, gfp in (("", 0), ("(DMA)", GFP_DMA))
        for size, each in zip(SIZES, made, strict=True)
    ]


def slabs_of(pages: Pages, caches: Sequence[Cache]) -> Slabs:
    """These caches, each without a slab."""
    frames = len(pages.order)
    nodes = np.arange(frames + 3 * len(caches), dtype=np.int32)
    cache = np.zeros(len(caches) * CACHE_WORDS, np.int64)
    for number, each in enumerate(caches):
        row, made = cache[number * CACHE_WORDS : (number + 1) * CACHE_WORDS], each.layout
        row[rows.SIZE], row[rows.OBJECTS], row[rows.ORDER] = made.size, made.objects, made.order
        row[rows.FIRST_OFFSET], row[rows.COLOURS] = made.management, made.colours
        row[rows.COLOUR_BYTES], row[rows.GFP] = LINE_BYTES, each.gfp
        row[rows.LIMIT], row[rows.BATCH] = made.limit, made.batch
        row[rows.FREE_LIMIT] = 2 * made.batch + made.objects
        row[rows.OBJECT_BYTES] = made.object_size
    return Slabs(
        pages,
        cache,
        np.zeros(len(caches) * ENTRIES, np.int64),
        nodes,
        nodes.copy(),
        np.zeros(frames, np.int32),
        np.full(frames, -1, np.int16),
        np.zeros(frames, np.int32),
        np.zeros(frames, np.int32),
        np.zeros(frames, np.int64),
        reserve(frames * PAGE_BYTES >> 3, np.int32),
        np.zeros(len(PATHS), np.int64),
        words(Slabs, caches=len(caches)),
    )
