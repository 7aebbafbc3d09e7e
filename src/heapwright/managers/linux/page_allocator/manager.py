"""Linux's page allocator: frames in powers of two, by zone and kind; every request a block.

    alloc_pages ─► zone above its watermark ─► the processor's list ─miss─► buddies, split
    free        ─► the processor's list ─too many─► buddies, merged

Invariant  the buddies' (check: 1-3), the processor's lists' (4)
Source     Linux 6.1, mm/page_alloc.c; see `linux/page_alloc.py`, which it is made of
Omits      reclaim: what would have to wait is refused

Of a kernel's trace the threads are processors, each with lists of its own; of any other program's
they are served by turns, by as many as `cpus` says.

What can be moved (flags __GFP_MOVABLE, order 0) is taken for a page on the LRU lists.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.linux.account import frames_by_owner
from heapwright.linux.frames import (
    COUNTS,
    MOVABLE,
    NONE,
    Pages,
    address_of,
    frame_of,
    run_on,
)
from heapwright.linux.given import check_frames
from heapwright.linux.kmalloc import Doors, doors_of, known, order_for
from heapwright.linux.page_alloc import ANYONE, alloc_pages, free_pages, kind_of
from heapwright.linux.per_cpu import listed_frames
from heapwright.linux.zones import physical_memory
from heapwright.machine import PAGE_BYTES, Machine

PATHS = COUNTS
DOORS = True  # it is told by which door a request came
MOST_BYTES = PAGE_BYTES << 10


class Config(NamedTuple):
    """Knobs."""

    memory_bytes: int = 1 << 30  # of the machine
    cpus: int = 1  # processors; a kernel's trace says how many it had


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    pages: Pages
    doors: Doors
    taken: np.ndarray  # int8[frame]  order of the block in use that starts there
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config, doors=()):
    """A machine at its start; `doors` are those of a kernel's trace."""
    pages = physical_memory(machine, config.memory_bytes, config.cpus)
    made = doors_of(doors, lambda door: 0)
    return Heap(machine, pages, made, np.zeros(len(pages.order), np.int8), pages.counts)


@kernel(inline=True)
def alloc_in(heap, thread, size, align, door):
    """Address of a block of frames for a request by this door; 0 where it is refused."""
    if unlikely(thread != heap.pages.thread):
        run_on(heap.pages, thread)
    size = max(size, align)
    if size > MOST_BYTES:
        return 0
    order, gfp = order_for(size), heap.doors.gfp[unsigned(known(heap.doors, door))]
    frame = alloc_pages(heap.pages, order, gfp, np.int64(ANYONE))
    if frame == NONE:
        return 0
    heap.taken[unsigned(frame)] = order
    if order == 0:
        heap.pages.on_lru[unsigned(frame)] = kind_of(gfp) == MOVABLE
    return address_of(heap.pages, frame)


@kernel
def alloc(heap, thread, size, align):
    """Address of a block. About 5 ns while the processor's list holds one."""
    return alloc_in(heap, thread, size, align, 0)


@kernel(inline=True)
def free(heap, thread, address):
    """Give the block back."""
    if unlikely(thread != heap.pages.thread):
        run_on(heap.pages, thread)
    frame = frame_of(heap.pages, address)
    order = np.int64(heap.taken[unsigned(frame)])
    heap.pages.on_lru[unsigned(frame)] = 0
    free_pages(heap.pages, frame, order)


@kernel
def usable(heap, address, size):
    """All of its frames."""
    return PAGE_BYTES << np.int64(heap.taken[unsigned(frame_of(heap.pages, address))])


@kernel
def extent(heap, address, size):
    """The block."""
    return address, usable(heap, address, size)


@kernel
def cached(heap, blocks):
    """What lies in the processor's lists."""
    return listed_frames(heap.pages, blocks, 0)


@kernel
def metadata(heap, blocks):
    """None in memory: the descriptors are there from the start."""
    return 0


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    return check_frames(heap.pages)


def account(heap, doors=(), config=None):
    """Frames by owner, and no caches."""
    return frames_by_owner(heap.pages), []
