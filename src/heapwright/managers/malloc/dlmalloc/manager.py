"""dlmalloc 2.8.6: best fit over lists and bitwise trees, at the break; boundary tags.

    alloc ─► list of the size ─► dv ─► larger list, tree ─► top ─► the system
    free  ─► joined with its free neighbours; a large top is cut

Terms      space, dv, top, segment: see allocators/dlmalloc
Invariant  the space's (check: 1-4)
Source     dlmalloc 2.8.6 malloc.c, built with HAVE_MMAP 0: so ART builds its mspaces and Debian's
           wasi-libc its malloc; parts in allocators/dlmalloc
Omits      mmap for large requests and segments, and so what other programs of Linux build; several
           spaces; magic numbers and footers; locks
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.dlmalloc import chunk as chunks
from heapwright.allocators.dlmalloc.checking import check as check_space
from heapwright.allocators.dlmalloc.checking import own_memory
from heapwright.allocators.dlmalloc.chunk import STATE_BYTES, Space, bytes_of, chunk_of
from heapwright.allocators.dlmalloc.requests import obtain, obtain_aligned, release, resize
from heapwright.allocators.dlmalloc.requests import usable as usable_bytes
from heapwright.allocators.dlmalloc.system import give_memory
from heapwright.allocators.dlmalloc.system import trim as trim_top
from heapwright.allocators.frame import ALIGN_BYTES, cached, counters
from heapwright.compiler import kernel
from heapwright.compiler.record import record, words
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, Machine, clear, copy
from heapwright.versions import version_number

__all__ = [
    "PATHS",
    "Config",
    "Heap",
    "alloc",
    "boot",
    "cached",
    "calloc",
    "check",
    "extent",
    "free",
    "metadata",
    "misaligned",
    "realloc",
    "space",
    "trim",
    "usable",
]

PATHS = ("alloc", "free", "in_place", "moved", "refused")
ALLOC, FREE, IN_PLACE, MOVED, REFUSED = range(len(PATHS))
MOST_BYTES = 1 << 30  # of its space, when the real one is driven


class Config(NamedTuple):
    """What it is built with, and its parameters."""

    word_bytes: int = 8  # of size_t: 4 in a process of 32 bits
    alignment: int = 0  # MALLOC_ALIGNMENT, bytes; 0: two words
    granularity: int = PAGE_BYTES  # M_GRANULARITY: the break moves by multiples of it
    trim_threshold: int = 2 << 20  # M_TRIM_THRESHOLD: bytes of top beyond which it is cut
    footprint_limit: int = 0  # most that it takes of the system; 0: any
    space_bytes: int = 0  # 0: the global one; else an mspace that begins in so many bytes
    version: int = version_number("2.8.6")


@record(
    "space_bytes",
    "state_bytes",
)
class Heap(NamedTuple):
    """The whole state but what lies in chunks."""

    machine: Machine
    space: Space
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken

    @property
    def base(self):
        """Where its space begins; 0 before the first request."""
        return self.space.base


def boot(machine, config):
    """No memory yet; HeapwrightError for what it cannot be built with."""
    align, granule = config.alignment, config.granularity
    if config.word_bytes not in STATE_BYTES:
        raise HeapwrightError(f"dlmalloc.word_bytes is 4 or 8, not {config.word_bytes}.")
    if align and (align & (align - 1) or not 2 * config.word_bytes <= align <= 64):
        raise HeapwrightError(
            f"dlmalloc.alignment is 0 or a power of two from two words to 64 bytes, not {align}."
        )
    if granule & (granule - 1) or not PAGE_BYTES <= granule <= 1 << 30:
        raise HeapwrightError(
            f"dlmalloc.granularity is a power of two from {PAGE_BYTES:,} bytes to 1 GiB, "
            f"not {granule:,}."
        )
    if min(config.trim_threshold, config.footprint_limit) < 0:
        raise HeapwrightError("dlmalloc.trim_threshold and footprint_limit are not negative.")
    given = config.space_bytes
    if given % PAGE_BYTES or not 0 <= given <= MOST_BYTES:
        raise HeapwrightError(
            f"dlmalloc.space_bytes is 0 or whole pages up to 1 GiB, not {given:,}."
        )
    made = chunks.space(
        machine,
        config.word_bytes,
        align,
        granule,
        config.trim_threshold,
        (config.footprint_limit + granule - 1) & -granule,
    )
    own = words(Heap, space_bytes=given, state_bytes=STATE_BYTES[config.word_bytes])
    return Heap(machine, made, own, counters(PATHS))


def space(heap):
    """What the real one is told: most bytes of its space, and its parameters."""
    own = heap.space
    told = (own.word, own.mask + 1, own.granularity, own.trim_threshold, own.limit)
    return MOST_BYTES, (*map(int, told), int(heap.space_bytes))


def misaligned(size, align):
    """Whether a block may lie elsewhere than at a multiple of `align`: with words of 4 bytes."""
    return align <= ALIGN_BYTES


@kernel
def alloc(heap, thread, size, align):
    """A block; 0 where there is no room."""
    heap.paths[ALLOC] += 1
    own = heap.space
    if heap.space_bytes and not own.base:
        if not give_memory(own, heap.space_bytes, heap.state_bytes):
            heap.paths[REFUSED] += 1
            return 0
    if align > max(own.mask + 1, ALIGN_BYTES):
        block = obtain_aligned(own, size, align)
    else:
        block = obtain(own, size)
    if not block:
        heap.paths[REFUSED] += 1
    return block


@kernel
def free(heap, thread, address):
    """Join it with what is free around it."""
    heap.paths[FREE] += 1
    release(heap.space, address)


@kernel
def calloc(heap, thread, size):
    """All of it is written."""
    block = alloc(heap, thread, size, ALIGN_BYTES)
    if block:
        clear(heap.machine, block, size)
    return block


@kernel
def realloc(heap, thread, address, size):
    """Resized where it lies, by cutting it or taking what is free above; else moved; 0 where there
    is no room, and the old block stays."""
    if resize(heap.space, address, size):
        heap.paths[IN_PLACE] += 1
        return address
    moved = alloc(heap, thread, size, ALIGN_BYTES)
    if moved:
        heap.paths[MOVED] += 1
        copy(heap.machine, moved, address, min(usable_bytes(heap.space, address), size))
        free(heap, thread, address)
    return moved


@kernel
def trim(heap, pad):
    """malloc_trim."""
    return trim_top(heap.space, pad)


@kernel
def usable(heap, address, size):
    """Up to the next chunk's head."""
    return usable_bytes(heap.space, address)


@kernel
def extent(heap, address, size):
    """From its head to the next one's."""
    return address - heap.space.word, bytes_of(heap.space, chunk_of(heap.space, address))


@kernel
def metadata(heap, blocks):
    """Feet and records of segments."""
    return own_memory(heap.space, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    return check_space(heap.space)
