"""The front door: what a kernel's request is served from, by its size, its flags and its door.

    kmalloc   8 ... 8192 bytes ─► a general cache, of the type that the flags say
              larger           ─► a block of frames
    a cache by name            ─► that cache          whole pages ─► a block of frames

Source     Linux 6.1: kmalloc_type and __kmalloc_index (include/linux/slab.h), kmalloc_large
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length
from heapwright.compiler.record import record, words
from heapwright.linux.frames import MOVABLE, NONE, ORDERS, address_of
from heapwright.linux.geometry import (
    ACCOUNTED,
    DMA,
    KMALLOC_MOST,
    KMALLOC_SIZES,
    NORMAL,
    RECLAIMED,
    kmalloc_class,
)
from heapwright.linux.page_alloc import (
    ANYONE,
    GFP_ACCOUNT,
    GFP_DMA,
    GFP_KERNEL,
    GFP_RECLAIMABLE,
    alloc_pages,
    free_pages,
    kind_of,
)
from heapwright.machine.address_space import PAGE_BYTES, PAGE_SHIFT
from heapwright.trace.doors import CACHE, CALLS, Door

BY_SIZE, BY_CACHE, WHOLE_PAGES = range(3)  # Doors.call: CALLS by number
CLASSES = len(KMALLOC_SIZES)


@record("last")  # door
class Doors(NamedTuple):
    """By door, from 0, kmalloc with the usual flags."""

    call: np.ndarray  # int64[door]
    gfp: np.ndarray  # int64[door]
    cache: np.ndarray  # int64[door]  number of the cache; 0 of other doors
    size_class: np.ndarray  # uint8[(bytes + 7) / 8]  of kmalloc
    fields: np.ndarray  # int64[word]


def doors_of(doors: Sequence[Door], cache: Callable[[Door], int]) -> Doors:
    """The doors of a trace; `cache` says which number a dedicated cache has."""
    given = [Door(CALLS[0], GFP_KERNEL), *doors]
    return Doors(
        np.array([CALLS.index(door.call) for door in given], np.int64),
        np.array([door.gfp for door in given], np.int64),
        np.array([cache(door) if door.call == CACHE else 0 for door in given], np.int64),
        np.array([kmalloc_class(8 * i) for i in range(KMALLOC_MOST // 8 + 1)], np.uint8),
        words(Doors, last=len(doors)),
    )


@kernel(inline=True)
def known(doors, door):
    """The door, or the usual one where the number is none."""
    return door if 0 <= door <= doors.last else 0


@kernel(inline=True)
def type_of(gfp):
    """kmalloc's type for these flags: DMA before reclaimable before accounted."""
    if not gfp & (GFP_DMA | GFP_RECLAIMABLE | GFP_ACCOUNT):
        return NORMAL
    if gfp & GFP_DMA:
        return DMA
    return RECLAIMED if gfp & GFP_RECLAIMABLE else ACCOUNTED


@kernel(inline=True)
def general_cache(doors, size, gfp):
    """Number of the general cache for a size up to KMALLOC_MOST."""
    size_class = np.int64(doors.size_class[unsigned((size + 7) >> 3)])
    return type_of(gfp) * CLASSES + size_class


@kernel(inline=True)
def order_for(size):
    """log2 of the frames for so many bytes."""
    return bit_length((max(size, 1) - 1) >> PAGE_SHIFT)


@kernel(inline=True)
def aligned_size(size, align):
    """What to ask kmalloc for so that the block lies at a multiple of `align`: a power of two is
    aligned to itself."""
    if align <= 16:
        return size
    return max(1 << bit_length(max(size, 1) - 1), align)


@kernel
def take_block(pages, taken, size, gfp):
    """Address of a block of frames, whose order is noted in `taken`; 0 where it is refused."""
    if size > PAGE_BYTES << (ORDERS - 1):
        return 0
    order = order_for(size)
    frame = alloc_pages(pages, order, gfp, np.int64(ANYONE))
    if frame == NONE:
        return 0
    taken[unsigned(frame)] = order
    if order == 0:
        pages.on_lru[unsigned(frame)] = kind_of(gfp) == MOVABLE
    return address_of(pages, frame)


@kernel
def give_block(pages, taken, frame):
    """Such a block back."""
    pages.on_lru[unsigned(frame)] = 0
    free_pages(pages, frame, np.int64(taken[unsigned(frame)]))
