"""Free blocks over boundary tags in bins by size: a block large enough is found by a bitmap.

    bin       32 │ 48 │ ... │ 240 │ 256-287 │ 288-319 │ ... │ 512-575 │ ...    8 bins a doubling
    list      each LIFO, doubly linked through the blocks' own words
    bitmap    one bit a bin: set while its list is not empty

Terms      link words: next and previous block of the bin, after the head; 0 ends a list
Invariant  the boundary tags' (check: 1-4); no two free blocks adjacent (5); each free block is in
           the bin of its size, which links it both ways (6); a bit is set iff its bin is not
           empty (7); the bins hold all free blocks (8)
Source     Wilson et al. 1995, section 3.6 (segregated fits); Doug Lea's bins; Masmano et al.,
           "TLSF", ECRTS 2004, for the bitmap
Omits      ordering within a bin
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import boundary_tags
from heapwright.allocators.boundary_tags import (
    HEAD_BYTES,
    PREVIOUS_IN_USE,
    Tags,
    fence,
    first_block,
    is_free,
    previous,
    previous_is_free,
    set_free,
    size_of,
)
from heapwright.kernel import kernel, unsigned
from heapwright.kernel.bits import bit_length, trailing_zeros
from heapwright.machine import load, store

EXACT_BYTES = 256  # below, a bin holds one size
STEPS_SHIFT = 3  # log2 of the bins a doubling
BINS = 256
PROBES = 16  # blocks of the request's own bin that are tried before larger bins


class Bins(NamedTuple):
    """A heap and its free blocks."""

    tags: Tags
    first: np.ndarray  # int64[bin]  newest block, 0: none
    nonempty: np.ndarray  # int64[BINS / 64]  bitmap


def bins(machine, growth_bytes):
    """An empty heap."""
    tags = boundary_tags.boundary_tags(machine, growth_bytes)
    return Bins(tags, np.zeros(BINS, np.int64), np.zeros(BINS >> 6, np.int64))


@kernel
def bin_of(size):
    """The bin of a block of `size` bytes."""
    if size < EXACT_BYTES:
        return size >> 4
    top = bit_length(size) - 1
    step = (size >> (top - STEPS_SHIFT)) & ((1 << STEPS_SHIFT) - 1)
    return (EXACT_BYTES >> 4) + ((top - 8) << STEPS_SHIFT) + step


@kernel
def insert(bins, block, size):
    """Put a block that is marked free in its bin."""
    machine, number = bins.tags.machine, bin_of(size)
    old = bins.first[unsigned(number)]
    store(machine, block + HEAD_BYTES, old)
    store(machine, block + 2 * HEAD_BYTES, 0)
    if old:
        store(machine, old + 2 * HEAD_BYTES, block)
    else:
        bins.nonempty[unsigned(number >> 6)] |= 1 << (number & 63)
    bins.first[unsigned(number)] = block


@kernel
def unlink(bins, block, size):
    """Take a block out of its bin."""
    machine = bins.tags.machine
    after, before = load(machine, block + HEAD_BYTES), load(machine, block + 2 * HEAD_BYTES)
    if after:
        store(machine, after + 2 * HEAD_BYTES, before)
    if before:
        store(machine, before + HEAD_BYTES, after)
        return
    number = bin_of(size)
    bins.first[unsigned(number)] = after
    if not after:
        bins.nonempty[unsigned(number >> 6)] &= ~(1 << (number & 63))


@kernel
def find(bins, need):
    """A block of `need` bytes or more, still in its bin: one of the first PROBES of need's own bin,
    else the newest of the next bin that has any; 0 if none."""
    number = bin_of(need)
    if number >= BINS:
        return 0
    block, probes = bins.first[unsigned(number)], 0
    while block and probes < PROBES:
        if size_of(bins.tags.machine, block) >= need:
            return block
        block = load(bins.tags.machine, block + HEAD_BYTES)
        probes += 1
    number += 1
    word = number >> 6
    if word >= BINS >> 6:
        return 0
    mask = bins.nonempty[unsigned(word)] & (-1 << (number & 63))
    while mask == 0:
        word += 1
        if word == BINS >> 6:
            return 0
        mask = bins.nonempty[unsigned(word)]
    return bins.first[unsigned((word << 6) + trailing_zeros(mask))]


@kernel
def release(bins, block, size, trim_bytes):
    """Make a used block free, merged with its free neighbours; (merges, trims) that were made.

    With `trim_bytes` > 0 the break falls when the last free block has as many.
    """
    machine, tags = bins.tags.machine, bins.tags
    merges = 0
    above = block + size
    if is_free(machine, above):
        more = size_of(machine, above)
        unlink(bins, above, more)
        size += more
        merges += 1
    if previous_is_free(machine, block):
        block = previous(machine, block)
        more = size_of(machine, block)
        unlink(bins, block, more)
        size += more
        merges += 1
    set_free(machine, block, size, load(machine, block) & PREVIOUS_IN_USE)
    trims = 0
    if trim_bytes and block + size == fence(tags):
        last, kept = boundary_tags.trim(tags, trim_bytes)
        if last:
            size, trims = kept, 1
    insert(bins, block, size)
    return merges, trims


@kernel
def check(bins):
    """Number of the broken invariant, 0 if none."""
    tags, machine = bins.tags, bins.tags.machine
    broken = boundary_tags.check(tags)
    if broken or tags.fields[boundary_tags.START] == tags.fields[boundary_tags.END]:
        return broken
    block, free, below_free = first_block(tags), 0, False
    while block < fence(tags):
        if is_free(machine, block):
            if below_free:
                return 5
            free += 1
        below_free = is_free(machine, block)
        block += size_of(machine, block)
    for number in range(BINS):
        before, block = 0, bins.first[number]
        if (block != 0) != ((bins.nonempty[number >> 6] >> (number & 63)) & 1 == 1):
            return 7
        while block:
            if not is_free(machine, block) or bin_of(size_of(machine, block)) != number:
                return 6
            if load(machine, block + 2 * HEAD_BYTES) != before:
                return 6
            free -= 1
            before, block = block, load(machine, block + HEAD_BYTES)
    return 8 if free else 0
