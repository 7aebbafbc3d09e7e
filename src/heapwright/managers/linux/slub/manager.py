"""Linux's SLUB: caches of objects over the page allocator, behind kmalloc.

    kmalloc, or a cache by name ─► the processor's slab ─► its partial slabs ─► the node's
                                   ─► a new slab of 2^n frames ─► linux/page_alloc.py
    larger than 8 KiB, or pages  ─► frames

Invariant  the buddies' (check: 1-3), the processor's lists' (4), the caches' (5-7)
Source     Linux 6.1, mm/slub.c, mm/slab_common.c; see `linux/slub.py`, which it is made of
Omits      reclaim and shrinkers, debugging

Of a kernel's trace the threads are processors, each with slabs and frames of its own; of any other
program's they are served by turns, by as many as `cpus` says.

A kernel's own request names its door, and with it its flags and its cache; any other program's is
kmalloc(size, GFP_KERNEL).
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.errors import HeapwrightError
from heapwright.linux.account import frames_by_owner, slub_rows
from heapwright.linux.caches import caches_for, slub_of
from heapwright.linux.frames import ORDERS
from heapwright.linux.geometry import KMALLOC_MOST, MOST_OBJECTS, Settings
from heapwright.linux.kmalloc import (
    BY_CACHE,
    WHOLE_PAGES,
    Doors,
    aligned_size,
    doors_of,
    general_cache,
    known,
    take_block,
)
from heapwright.linux.served import cached, check, extent, free, metadata, usable
from heapwright.linux.slub import CACHE_WORDS, OBJECT_BYTES, PATHS, Slub, run_thread
from heapwright.linux.slub import alloc as alloc_object
from heapwright.linux.zones import MOST_CPUS, physical_memory
from heapwright.machine import Machine

__all__ = ["PATHS", "cached", "check", "extent", "free", "metadata", "usable"]

MOST = (1 << 31) - 1  # of what the kernel keeps in an int
RANGES = {  # of the knobs, both ends included
    "cpus": (1, MOST_CPUS),
    "slub_min_objects": (0, MOST_OBJECTS),
    "slub_max_order": (0, ORDERS - 1),
    "min_partial": (-1, MOST),
    "cpu_partial": (-1, MOST),
    "merging": (0, 1),
    "freelist_random": (0, 1),
    "seed": (0, MOST),
}
DOORS = True  # it is told by which door a request came


class Config(NamedTuple):
    """Knobs: the machine's memory, and what the kernel's command line and sysfs set."""

    memory_bytes: int = 1 << 30  # of the machine
    cpus: int = 1  # processors; a kernel's trace says how many it had
    slub_min_objects: int = 0  # of a slab; 0 from the number of processors
    slub_max_order: int = 3  # log2 of a slab's frames at most
    min_partial: int = -1  # slabs that a node keeps of each cache; -1 from the objects' size
    cpu_partial: int = -1  # objects that a processor keeps in partial slabs; -1 from their size
    merging: int = 1  # caches alike are one; 0 as slab_nomerge
    freelist_random: int = 0  # 1: each cache has an order of its own for fresh objects
    seed: int = 1  # of those orders


class SlubHeap(NamedTuple):
    """The whole state."""

    machine: Machine
    slub: Slub
    doors: Doors
    taken: np.ndarray  # int8[frame]  order of the block of frames in use that starts there
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config, doors=()):
    """A machine at its start; `doors` are those of a kernel's trace, whose caches it then has.
    HeapwrightError for a knob that no kernel takes."""
    for knob, (least, most) in RANGES.items():
        if not least <= getattr(config, knob) <= most:
            raise HeapwrightError(f"{knob} is {least} to {most}, not {getattr(config, knob)}.")
    pages = physical_memory(machine, config.memory_bytes, config.cpus)
    caches, number = _caches(config, doors)
    slub = slub_of(pages, caches, config.seed)
    taken = np.zeros(len(pages.order), np.int8)
    return SlubHeap(machine, slub, doors_of(doors, number), taken, slub.paths)


def _caches(config, doors):
    """The caches under these knobs, and which number each door's has."""
    settings = Settings(config.cpus, config.slub_min_objects, config.slub_max_order)
    return caches_for(doors, settings, config)


@kernel(inline=True)
def alloc_in(heap, thread, size, align, door):
    """Address of an object or a block for a request by this door; 0 where it is refused."""
    if unlikely(thread != heap.slub.pages.thread):
        run_thread(heap.slub, thread)
    door = known(heap.doors, door)
    call, gfp = heap.doors.call[unsigned(door)], heap.doors.gfp[unsigned(door)]
    if call == BY_CACHE:
        cache = heap.doors.cache[unsigned(door)]
        if size <= heap.slub.cache[unsigned(cache * CACHE_WORDS + OBJECT_BYTES)]:
            return alloc_object(heap.slub, cache * CACHE_WORDS, gfp)
    size = aligned_size(size, align)
    if size > KMALLOC_MOST or call == WHOLE_PAGES:
        return take_block(heap.slub.pages, heap.taken, size, gfp)
    return alloc_object(heap.slub, general_cache(heap.doors, size, gfp) * CACHE_WORDS, gfp)


@kernel
def alloc(heap, thread, size, align):
    """Address of an object. About 3 ns while the processor's slab has one."""
    return alloc_in(heap, thread, size, align, 0)


def account(heap, doors=(), config=None):
    """Frames by owner, and what each cache holds."""
    caches, _ = _caches(config or Config(), doors)
    rows = slub_rows(heap.slub, [cache.name for cache in caches])
    return frames_by_owner(heap.slub.pages), rows
