"""pymalloc: CPython's allocator of small objects, on malloc (3.9 to 3.15).

    alloc ─► 1 to 512 bytes ─► the class's first pool ─none─► a pool of an arena ─none─► mmap
          └► else ─► the ground, which is malloc
    free  ─► is it ours? ─► its pool ─all free─► its arena ─wholly free─► munmap
    realloc ─► stays where it shrinks by less than a quarter; else alloc, copy, free

Invariant  of the usable arenas: fewest free pools first                     (check: 1)
           linked both ways, mapped                                         (check: 2)
           last_with[n] is the last one with n free pools                   (check: 3)
           they are all that have a free pool; at most one is wholly free   (check: 4)
           every address of an arena is ours                                (check: 5)
           in a pool used + freed + untouched blocks are its capacity       (check: 6)
           a freed block lies in its pool, where a block of its class does  (check: 7)
           a class's list is linked both ways, of its pools                 (check: 8)
           and holds all that have both a used and a free block             (check: 9)
Source     CPython Objects/obmalloc.c, Include/internal/pycore_obmalloc.h of 3.9, 3.11, 3.12, 3.13;
           3.14 and 3.15 by their addresses, which are those of 3.13
Omits      the debug hooks; sub-interpreters with arenas of their own (3.12 on); free-threaded
           builds, whose allocator is mimalloc; the static memory of usedpools and the tree's root;
           in 3.9 the read of a word near a block that is malloc's

Its addresses are the real one's relative to the arenas' bases: tests/managers/keys has what real
versions answered. From 3.10 on arenas have 1 MiB and pools 16 KiB, before 256 KiB and 4 KiB. The
GIL is its lock. A trace of malloc has what a C program asked for: through pymalloc it is a what-if.
A pool's header is the manager's own memory while the pool is in use; a pool's tail and its free
blocks are free, and so are whole pools.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import cached, counters
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine import clear, copy, load
from heapwright.machine.ground import (
    pass_alloc,
    pass_calloc,
    pass_extent,
    pass_free,
    pass_realloc,
    pass_usable,
)
from heapwright.managers.runtime.pymalloc import state
from heapwright.managers.runtime.pymalloc.address_map import ROOT_ENTRIES, is_ours, write_nodes
from heapwright.managers.runtime.pymalloc.invariants import check
from heapwright.managers.runtime.pymalloc.pools import give, start_pool, take
from heapwright.managers.runtime.pymalloc.state import (
    ALIGN_BYTES,
    CLASS_SHIFT,
    CLASSES,
    COUNT,
    HEADER_BYTES,
    MOST_ARENAS,
    OWNER,
    PATHS,
    POOLS,
    ROW_BYTES,
    SMALL_BYTES,
    Arenas,
    Heap,
    class_bytes,
    first_pool,
    pool_of,
)
from heapwright.trace.schema import MEM
from heapwright.versions import version_number, version_text

__all__ = ["PATHS", "cached", "check"]

OLDEST, LARGER_ARENAS = version_number("3.9"), version_number("3.10")


class Config(NamedTuple):
    """Knobs. The real one has none but its version: PYTHONMALLOC=malloc is the ground alone."""

    version: int = version_number("3.13")


def boot(machine, config):
    """No arena yet; HeapwrightError for a version before 3.9."""
    if config.version < OLDEST:
        raise HeapwrightError(
            f"pymalloc.version is 3.9 or later, not {version_text(config.version)}."
        )
    larger = config.version >= LARGER_ARENAS
    pool_bytes = 1 << 14 if larger else 1 << 12
    return Heap(
        machine,
        np.zeros(CLASSES, np.int64),
        Arenas(*(reserve(MOST_ARENAS, np.int64) for _ in Arenas._fields)),
        np.zeros(POOLS + 1, np.int64),
        np.zeros(ROOT_ENTRIES, np.int64),
        words(Heap, pool_bytes=pool_bytes, arena_bytes=pool_bytes * POOLS, tree=int(larger)),
        counters(PATHS),
    )


@kernel(inline=True)
def _small(heap, thread, size, align):
    """A block of a pool; 0 for what is not pymalloc's business, and where the system refuses."""
    if size <= 0 or size > SMALL_BYTES or align > ALIGN_BYTES:
        return 0
    index = (size - 1) >> CLASS_SHIFT
    pool = heap.used[unsigned(index)]
    block = take(heap, pool, index) if pool else start_pool(heap, thread, index)
    if block:
        heap.paths[state.SMALL] += 1
    return block


@kernel
def alloc(heap, thread, size, align):
    """Address of a block. About 6 ns for one of a pool."""
    block = _small(heap, thread, size, align)
    if not block:
        heap.paths[state.PASSED] += 1
        block = pass_alloc(heap.machine, thread, max(size, 1), align)
    return block


@kernel(inline=True)
def alloc_in(heap, thread, size, align, domain):
    """Likewise, of a request in one of Python's domains; raw and malloc's are the ground's."""
    if domain >= MEM:
        return alloc(heap, thread, size, align)
    heap.paths[state.RAW] += 1
    return pass_alloc(heap.machine, thread, max(size, 1), align)


@kernel(inline=True)
def calloc_in(heap, thread, size, domain):
    """calloc likewise."""
    if domain >= MEM:
        return calloc(heap, thread, size)
    heap.paths[state.RAW] += 1
    return pass_calloc(heap.machine, thread, max(size, 1))


@kernel
def calloc(heap, thread, size):
    """Likewise, cleared; a large block by the ground's own calloc."""
    block = _small(heap, thread, size, ALIGN_BYTES)
    if block:
        clear(heap.machine, block, size)
        return block
    heap.paths[state.PASSED] += 1
    return pass_calloc(heap.machine, thread, max(size, 1))


@kernel
def free(heap, thread, address):
    """Give the block back. About 6 ns for one of a pool."""
    if is_ours(heap, address):
        heap.paths[state.FREE] += 1
        give(heap, address)
    else:
        heap.paths[state.FREE_PASSED] += 1
        pass_free(heap.machine, thread, address)


@kernel
def realloc(heap, thread, address, size):
    """Address of the block with `size` bytes; 0 where there is no room, and the old one stays. A
    block of the ground remains one however small it gets."""
    if not is_ours(heap, address):
        heap.paths[state.REALLOC_PASSED] += 1
        return pass_realloc(heap.machine, thread, address, max(size, 1))
    room = usable(heap, address, size)
    if size <= room and 4 * size > 3 * room:
        heap.paths[state.IN_PLACE] += 1
        return address
    moved = alloc(heap, thread, size, ALIGN_BYTES)
    if moved:
        heap.paths[state.MOVED] += 1
        if size:
            copy(heap.machine, moved, address, min(room, size))
        free(heap, thread, address)
    return moved


@kernel
def usable(heap, address, size):
    """The whole block; of one that was passed on, what the ground says."""
    if is_ours(heap, address):
        return class_bytes(load(heap.machine, pool_of(heap, address) + OWNER) >> 32)
    return pass_usable(heap.machine, address, max(size, 1))


@kernel
def extent(heap, address, size):
    """The block, which has no header; or the ground's."""
    if is_ours(heap, address):
        return address, usable(heap, address, size)
    return pass_extent(heap.machine, address, max(size, 1))


@kernel
def passed(heap, address, size):
    """What the ground was asked for: of nothing malloc is asked for a byte."""
    return address, max(size, 1)


@kernel
def metadata(heap, blocks):
    """The table of arenas, the tree's nodes, the headers of pools in use."""
    row = 0
    if heap.table:
        if len(blocks):
            blocks[0, 0], blocks[0, 1] = heap.table, heap.rows * ROW_BYTES
        row = write_nodes(heap, blocks, 1)
    for arena in range(1, heap.rows + 1):
        if heap.arenas.base[unsigned(arena)]:
            for pool in range(
                first_pool(heap, arena),
                heap.arenas.next_pool[unsigned(arena)],
                heap.pool_bytes,
            ):
                if load(heap.machine, pool + COUNT):
                    if row < len(blocks):
                        blocks[row, 0], blocks[row, 1] = pool, HEADER_BYTES
                    row += 1
    return row


def notes(heap):
    """What its figures mean, in sentences."""
    small, passed = int(heap.paths[state.SMALL]), int(heap.paths[state.PASSED])
    made, freed = int(heap.paths[state.ARENA]), int(heap.paths[state.ARENA_FREED])
    size, raw = int(heap.arena_bytes) >> 10, int(heap.paths[state.RAW])
    told = f", and {raw:,} of malloc and of the raw domain went there at once" if raw else ""
    return [
        f"Of {small + passed:,} requests {passed:,} went on to malloc{told}; the others took "
        f"{made:,} arenas of {size:,} KiB, {int(heap.most):,} at once, of which {freed:,} were "
        "given back."
    ]
