"""Linux's kmalloc alone: every request by its size, no cache of its own for anything.

    8 ... 8192 bytes ─► kmalloc-8 ... kmalloc-8k, of the type that the flags say ─► linux/slub.py
    larger, or pages ─► a block of 2^n frames, contiguous ─► linux/page_alloc.py

Invariant  the buddies' (check: 1-3), the processor's lists' (4), the caches' (5-7)
Source     Linux 6.1, include/linux/slab.h, mm/slab_common.c; see `linux/kmalloc.py`
Omits      reclaim, debugging

Of a kernel's trace a request from a cache by name is kmalloc's too, of its size and with its flags:
beside `slub` it tells what dedicated caches save, beside `vmalloc` what contiguous frames cost.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.linux.account import frames_by_owner, slub_rows
from heapwright.linux.caches import kmalloc_caches, slub_of
from heapwright.linux.geometry import KMALLOC_MOST, Settings
from heapwright.linux.kmalloc import (
    WHOLE_PAGES,
    Doors,
    aligned_size,
    doors_of,
    general_cache,
    known,
    take_block,
)
from heapwright.linux.served import cached, check, extent, free, metadata, usable
from heapwright.linux.slub import CACHE_WORDS, PATHS, Slub, run_thread
from heapwright.linux.slub import alloc as alloc_object
from heapwright.linux.zones import physical_memory
from heapwright.machine import Machine

__all__ = ["PATHS", "cached", "check", "extent", "free", "metadata", "usable"]

DOORS = True  # it is told by which door a request came


class Config(NamedTuple):
    """Knobs."""

    memory_bytes: int = 1 << 30  # of the machine
    cpus: int = 1  # processors; a kernel's trace says how many it had


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    slub: Slub
    doors: Doors
    taken: np.ndarray  # int8[frame]  order of the block of frames in use that starts there
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config, doors=()):
    """A machine at its start; `doors` are those of a kernel's trace. HeapwrightError for a knob
    that no kernel takes."""
    pages = physical_memory(machine, config.memory_bytes, config.cpus)
    slub = slub_of(pages, kmalloc_caches(Settings(config.cpus)))
    taken = np.zeros(len(pages.order), np.int8)
    return Heap(machine, slub, doors_of(doors, lambda door: 0), taken, slub.paths)


@kernel(inline=True)
def alloc_in(heap, thread, size, align, door):
    """Address of an object or a block for a request by this door; 0 where it is refused."""
    if unlikely(thread != heap.slub.pages.thread):
        run_thread(heap.slub, thread)
    door = known(heap.doors, door)
    gfp = heap.doors.gfp[unsigned(door)]
    size = aligned_size(size, align)
    if size > KMALLOC_MOST or heap.doors.call[unsigned(door)] == WHOLE_PAGES:
        return take_block(heap.slub.pages, heap.taken, size, gfp)
    return alloc_object(heap.slub, general_cache(heap.doors, size, gfp) * CACHE_WORDS, gfp)


@kernel
def alloc(heap, thread, size, align):
    """Address of an object. About 3 ns while the processor's slab has one."""
    return alloc_in(heap, thread, size, align, 0)


def account(heap, doors=(), config=None):
    """Frames by owner, and what each cache holds."""
    caches = kmalloc_caches(Settings((config or Config()).cpus))
    return frames_by_owner(heap.slub.pages), slub_rows(heap.slub, [one.name for one in caches])
