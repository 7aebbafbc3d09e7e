"""The classic slab allocator, as Bonwick had it and Linux 2.6, over the page allocator's twin.

    kmalloc, or a cache by name ─► the processor's array ─► partial slabs ─► free ones ─► a new one
    larger than 128 KiB, or pages ─► frames

Invariant  the buddies' (check: 1-3), the processor's lists' (4), the caches' (5, 6)
Source     Bonwick 1994; Linux 2.6.24, mm/slab.c; see `linux/slab.py`, which it is made of
Omits      that the page allocator of its time was another one; NUMA, the reaper
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError
from heapwright.linux.account import frames_by_owner, slab_rows
from heapwright.linux.frames import frame_of
from heapwright.linux.given import cache_at, check_frames, room
from heapwright.linux.kmalloc import (
    BY_CACHE,
    WHOLE_PAGES,
    Doors,
    aligned_size,
    doors_of,
    give_block,
    known,
    take_block,
)
from heapwright.linux.page_alloc import GFP_DMA, GFP_RECLAIMABLE
from heapwright.linux.per_cpu import listed_frames
from heapwright.linux.slab import (
    CACHE_WORDS,
    ENTRIES,
    OBJECT_BYTES,
    PATHS,
    SIZE,
    Slabs,
    listed_management,
    listed_objects,
)
from heapwright.linux.slab import alloc as alloc_object
from heapwright.linux.slab import check as check_slabs
from heapwright.linux.slab import free as free_object
from heapwright.linux.slab_layout import SIZES, Cache, general, general_caches, layout, slabs_of
from heapwright.linux.zones import physical_memory
from heapwright.machine import Machine
from heapwright.trace.doors import CACHE

__all__ = ["PATHS"]

DOORS = True  # it is told by which door a request came
GENERAL_MOST = SIZES[-1]


class Config(NamedTuple):
    """Knobs."""

    memory_bytes: int = 1 << 30  # of the machine
    limit: int = 0  # objects of a processor's array; 0 from the objects' size


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    slabs: Slabs
    doors: Doors
    size_class: np.ndarray  # uint8[(bytes + 31) / 32]  of kmalloc
    taken: np.ndarray  # int8[frame]  order of the block of frames in use that starts there
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config, doors=()):
    """A machine at its start; `doors` are those of a kernel's trace, whose caches it then has."""
    if not 0 <= config.limit <= ENTRIES - 1:
        raise HeapwrightError(f"limit is 0 to {ENTRIES - 1}, not {config.limit}.")
    pages = physical_memory(machine, config.memory_bytes)
    caches, numbers = _caches(doors)
    if config.limit:
        arrays = {"limit": config.limit, "batch": (config.limit + 1) // 2}
        caches = [each._replace(layout=each.layout._replace(**arrays)) for each in caches]
    slabs = slabs_of(pages, caches)
    classes = np.array([general(32 * i) for i in range(GENERAL_MOST // 32 + 1)], np.uint8)
    taken = np.zeros(len(pages.order), np.int8)
    met = doors_of(doors, lambda door: numbers[door.cache])
    return Heap(machine, slabs, met, classes, taken, slabs.paths)


def _caches(doors):
    """The general caches and those that doors name, and which number each of these has."""
    caches, numbers = general_caches(), {}
    for door in doors:
        if door.call == CACHE and door.cache not in numbers:
            numbers[door.cache] = len(caches)
            made = layout(door.object_size, door.align)
            caches.append(Cache(door.cache, made, door.gfp & GFP_RECLAIMABLE))
    return caches, numbers


@kernel(inline=True)
def alloc_in(heap, thread, size, align, door):
    """Address of an object or a block for a request by this door; 0 where it is refused."""
    door = known(heap.doors, door)
    call, gfp = heap.doors.call[unsigned(door)], heap.doors.gfp[unsigned(door)]
    if call == BY_CACHE:
        cache = heap.doors.cache[unsigned(door)]
        if size <= heap.slabs.cache[unsigned(cache * CACHE_WORDS + OBJECT_BYTES)]:
            return alloc_object(heap.slabs, cache * CACHE_WORDS, gfp)
    size = aligned_size(size, align)
    if align > 16 or size > GENERAL_MOST or call == WHOLE_PAGES:  # objects have no such place
        return take_block(heap.slabs.pages, heap.taken, size, gfp)
    number = np.int64(heap.size_class[unsigned((size + 31) >> 5)])
    if gfp & GFP_DMA:
        number += len(SIZES)
    return alloc_object(heap.slabs, number * CACHE_WORDS, gfp)


@kernel
def alloc(heap, thread, size, align):
    """Address of an object. About 3 ns while the processor's array has one."""
    return alloc_in(heap, thread, size, align, 0)


@kernel(inline=True)
def free(heap, thread, address):
    """Give it back."""
    if cache_at(heap.slabs, address) >= 0:
        free_object(heap.slabs, address)
    else:
        give_block(heap.slabs.pages, heap.taken, frame_of(heap.slabs.pages, address))


@kernel
def usable(heap, address, size):
    """What ksize says: the size of its cache's objects, without padding."""
    return room(heap.slabs, heap.taken, address, CACHE_WORDS, OBJECT_BYTES)


@kernel
def extent(heap, address, size):
    """The object with its padding."""
    return address, room(heap.slabs, heap.taken, address, CACHE_WORDS, SIZE)


@kernel
def cached(heap, blocks):
    """Objects in the processor's arrays, and what lies in its lists of frames."""
    return listed_frames(heap.slabs.pages, blocks, listed_objects(heap.slabs, blocks))


@kernel
def metadata(heap, blocks):
    """The management that lies on slabs."""
    return listed_management(heap.slabs, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = check_frames(heap.slabs.pages)
    return broken if broken else check_slabs(heap.slabs)


def account(heap, doors=(), config=None):
    """Frames by owner, and what each cache holds."""
    rows = slab_rows(heap.slabs, [cache.name for cache in _caches(doors)[0]])
    return frames_by_owner(heap.slabs.pages), rows
