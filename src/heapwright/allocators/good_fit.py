"""Good fit: a block from a bin all of whose blocks are large enough, so no list is ever walked.

    alloc ─► round up to the next bin ─► first bin from there that has a block ─► its newest; split
                                          miss ─► the heap's last block, else brk
    free  ─► merge with free neighbours ─► bin of the merged size

Terms      bin: free blocks of like size; how many bins a doubling has is the policy
Invariant  the bins'                                                         (check: 1-8)
Source     Ogasawara, "An algorithm with constant execution time for dynamic storage allocation",
           RTCSA 1995 (half fit: one bin a doubling); Masmano et al., "TLSF", ECRTS 2004 (32 bins)
Omits      threads: one heap, one lock

    from heapwright.allocators.good_fit import *     all of a manager but Config and boot

Every operation is a fixed number of steps, apart from brk. The price is that a block of the
request's own bin is passed over even when it would do.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import boundary_tags, segregated_bins
from heapwright.allocators.boundary_tags import (
    ALIGN_BYTES,
    HEAD_BYTES,
    block_bytes,
    extent,
    size_of,
    usable,
)
from heapwright.allocators.frame import cached, counters, moving
from heapwright.allocators.segregated_bins import Bins, unlink
from heapwright.compiler import kernel
from heapwright.machine import Machine

__all__ = ["PATHS", "alloc", "cached", "check", "extent", "free", "metadata", "realloc", "usable"]

PATHS = ("alloc", "free", "split", "merge", "grow", "trim", "in_place")
ALLOC, FREE, SPLIT, MERGE, GROW, TRIM, IN_PLACE = range(7)


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    bins: Bins
    trim: np.ndarray  # int64[1]  give the heap's end back from this many free bytes on; 0 never
    paths: np.ndarray  # int64[path]  times taken


def good_fit(machine, growth_bytes, trim_bytes, steps_shift):
    """An empty heap at the break, with 2^steps_shift bins a doubling."""
    return Heap(
        machine,
        segregated_bins.bins(machine, growth_bytes, steps_shift),
        np.array([trim_bytes], np.int64),
        counters(PATHS),
    )


@kernel
def alloc(heap, thread, size, align):
    """Address of a block of at least `size` bytes. About 15 ns."""
    heap.paths[ALLOC] += 1
    need = block_bytes(size)
    wanted = segregated_bins.aligned_bytes(need, align)
    block = segregated_bins.find_at_once(heap.bins, wanted)
    if not block:
        block = segregated_bins.last_free(heap.bins, wanted)
    if not block:
        block, merges = segregated_bins.grow(heap.bins, wanted)
        if not block:
            return 0
        heap.paths[GROW] += 1
        heap.paths[MERGE] += merges
    have = size_of(heap.machine, block)
    unlink(heap.bins, block, have)
    if align <= ALIGN_BYTES:
        heap.paths[SPLIT] += segregated_bins.use(heap.bins, block, need, have)
        return block + HEAD_BYTES
    user, splits = segregated_bins.place(heap.bins, block, need, align)
    heap.paths[SPLIT] += splits
    return user


@kernel
def free(heap, thread, address):
    """Give the block back. About 15 ns."""
    heap.paths[FREE] += 1
    block = address - HEAD_BYTES
    size = size_of(heap.machine, block)
    merges, trims = segregated_bins.release(heap.bins, block, size, heap.trim[0])
    heap.paths[MERGE] += merges
    heap.paths[TRIM] += trims


@kernel
def resize_in_place(heap, address, size):
    """Cut the block or let it take the free one above; whether it holds `size` bytes now."""
    fits, splits, merges, trims = segregated_bins.resize_in_place(
        heap.bins, address - HEAD_BYTES, block_bytes(size), heap.trim[0]
    )
    heap.paths[IN_PLACE] += fits
    heap.paths[SPLIT] += splits
    heap.paths[MERGE] += merges
    heap.paths[TRIM] += trims
    return fits


realloc = moving(alloc, free, usable, resize_in_place)


@kernel
def metadata(heap, blocks):
    """The heap's padding and fences."""
    return boundary_tags.own_memory(heap.bins.tags, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    return segregated_bins.check(heap.bins)
