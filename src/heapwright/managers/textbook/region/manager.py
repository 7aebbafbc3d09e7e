"""A region: one pool in nginx's manner that serves the whole program.

    alloc ─► up to 4,095 bytes: bump in the pool's blocks ─miss─► a further block
              └ larger or aligned: a block of its own, entered in the large list
    free  ─► large: given back ─► small: nothing
              └ the last live object: the pool is reset, or destroyed

Invariant  the pool's (check: 1-8 of the heap beneath, 11-13); live objects >= 0     (check: 14)
Source     nginx 1.26, src/core/ngx_palloc.c; see `allocators/pool.py`
Omits      threads: one pool, one lock; cleanup handlers, which a trace of malloc does not name

What a trace of malloc means here: nginx frees the objects of a request together when it ends. A
trace names no such end; the only moment that surely is one is the death of the last live object.
Until then dead small objects stay where they are, and count as partly used or retained pages.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import boundary_tags, pool
from heapwright.allocators.frame import ALIGN_BYTES, cached, counters
from heapwright.allocators.pool import HEADER_BYTES, Pool
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.errors import HeapwrightError
from heapwright.machine import Machine, copy
from heapwright.machine.ground import until

__all__ = ["cached"]

HEADERLESS = True  # a block does not tell its size

PATHS = ("small", "large", "free_small", "free_large", "reset")
SMALL, LARGE, FREE_SMALL, FREE_LARGE, RESET = range(5)


class Config(NamedTuple):
    """Knobs."""

    pool_bytes: int = 16384  # of a block: NGX_DEFAULT_POOL_SIZE
    destroy: int = 0  # at the last object's death: 0 rewind (ngx_reset_pool), 1 give all back
    growth_bytes: int = 1 << 17  # least that brk moves for the heap beneath


@record(
    "live",  # objects
    "destroy",  # setting
)
class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    pool: Pool
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config):
    """A pool without blocks; HeapwrightError for a pool_bytes without room for an object."""
    if config.pool_bytes < 2 * HEADER_BYTES or config.pool_bytes > 1 << 30:
        raise HeapwrightError(
            f"pool_bytes is between {2 * HEADER_BYTES} and {1 << 30}, not {config.pool_bytes}."
        )
    if config.growth_bytes < 0 or config.destroy not in (0, 1):
        raise HeapwrightError("growth_bytes of region is not negative, and destroy is 0 or 1.")
    return Heap(
        machine,
        pool.pool(machine, config.pool_bytes, config.growth_bytes),
        words(Heap, destroy=config.destroy),
        counters(PATHS),
    )


@kernel
def alloc(heap, thread, size, align):
    """Address of a block of `size` bytes. About 5 ns for a small one."""
    size = max(size, 1)  # a pointer of its own even for 0 bytes
    if size <= heap.pool.small_most and align <= ALIGN_BYTES:
        heap.paths[SMALL] += 1
        address = pool.small(heap.pool, size)
    else:
        heap.paths[LARGE] += 1
        address = pool.large(heap.pool, size, align)
    heap.live += address != 0
    return address


@kernel
def free(heap, thread, address):
    """Give a large block back; a small one only together with all others."""
    if pool.free_large(heap.pool, address):
        heap.paths[FREE_LARGE] += 1
    else:
        heap.paths[FREE_SMALL] += 1
    heap.live -= 1
    if heap.live == 0:
        heap.paths[RESET] += 1
        if heap.destroy:
            pool.destroy(heap.pool)
        else:
            pool.reset(heap.pool)


@kernel
def _is_large(heap, address):
    """Whether the object has a block of its own."""
    return heap.pool.record[unsigned(address >> 4)] != 0


@kernel
def realloc(heap, thread, address, size):
    """A new block: nginx has no realloc, and nobody knows how long a small object is."""
    moved = alloc(heap, thread, size, ALIGN_BYTES)
    if moved:
        if _is_large(heap, address):
            room = boundary_tags.usable(heap.pool.beneath, address, 0)
        else:  # at most; what lies beyond the old object is copied too
            room = min(heap.pool.small_most, until(heap.machine, address) - address)
        copy(heap.machine, moved, address, min(room, size))
        free(heap, thread, address)
    return moved


@kernel
def usable(heap, address, size):
    """Of a small object what was asked for, of a large one its block but for the head."""
    if _is_large(heap, address):
        return boundary_tags.usable(heap.pool.beneath, address, size)
    return size


@kernel
def extent(heap, address, size):
    """A small object has no header; a large one has that of the heap beneath."""
    if _is_large(heap, address):
        return boundary_tags.extent(heap.pool.beneath, address, size)
    return address, max(size, 1)


@kernel
def metadata(heap, blocks):
    """Headers of the pool's blocks, and its records."""
    return pool.own_memory(heap.pool, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = pool.check(heap.pool)
    return broken if broken else 14 * (heap.live < 0)


def notes(heap):
    """What its figures mean, in sentences."""
    small, resets = int(heap.paths[FREE_SMALL]), int(heap.paths[RESET])
    return [
        f"As in nginx only blocks above {int(heap.pool.small_most):,} bytes are freed one "
        f"by one; {small:,} frees of smaller ones did nothing until the last live object died, "
        f"which happened {resets:,} times."
    ]
