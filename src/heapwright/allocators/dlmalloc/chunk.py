"""A space of dlmalloc: its words, and what stands in a chunk.

    in use  │ foot of the one before, if that is free │ size, flags │ the block ...
    free    │ ...                                     │ size, flags │ next │ back │ children ...
                                                        and its size again in the next one's foot

Terms      word: 8 bytes, or 4 in a process of 32 bits; chunk: its address is that of the foot
           before it; dv: the chunk that the last small request was cut from; top: the chunk at the
           end of the newest segment; segment: a run of memory; an older one ends with a record
Source     dlmalloc 2.8.6 malloc.c: struct malloc_chunk, malloc_tree_chunk, malloc_state; init_top
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel
from heapwright.compiler.record import record, words
from heapwright.machine import Machine, load, store, touch

BEFORE, USED = 1, 2  # flags of a head: the chunk before is in use; this one is
FLAGS = 7
SMALL_BINS, TREES = 32, 32
SMALL_SHIFT, TREE_SHIFT = 3, 8  # chunks below 256 bytes lie in lists
STATE_BYTES = {8: 936, 4: 472}  # of malloc_state, which a space that is given memory begins with
HALF = {8: 1 << 62, 4: 1 << 31}  # what is asked of the system at once stays below


@record(
    "word",  # bytes
    "mask",  # alignment - 1
    "least",  # bytes of a chunk
    "foot",  # bytes kept at a segment's end
    "granularity",  # bytes that the system is asked for in multiples of
    "trim_threshold",  # bytes of top
    "half",  # most that is asked of the system
    "past",  # no address of the space lies beyond
    "limit",  # of the footprint; 0 none
    "base",  # where it begins; 0 before the first request
    "small",  # bit of each list that is not empty
    "large",  # bit of each tree
    "dv",
    "dv_bytes",
    "top",
    "top_bytes",
    "trim_check",  # bytes of top from which it is cut
    "footprint",  # bytes
    "peak",
    "contiguous",  # whether the system is asked to go on
    "segment",  # where the newest begins
    "end",  # and ends
    "given",  # whether it is the memory that the space was given
    "older",  # address of the record of the one before; 0 none
)
class Space(NamedTuple):
    """The whole state but what lies in chunks."""

    machine: Machine
    first: np.ndarray  # int64[SMALL_BINS]  newest chunk of a list; 0 none
    root: np.ndarray  # int64[TREES]  0 none
    fields: np.ndarray  # int64[word]


def space(machine, word, align, granularity, trim_threshold, limit):
    """A space without memory; `align` 0 is two words."""
    align = align or 2 * word
    least = (4 * word + align - 1) & -align
    record_bytes = (4 * word + word + align - 1) & -align
    return Space(
        machine,
        np.zeros(SMALL_BINS, np.int64),
        np.zeros(TREES, np.int64),
        words(
            Space,
            word=word,
            mask=align - 1,
            least=least,
            foot=-2 * word % align + record_bytes + least,
            granularity=granularity,
            trim_threshold=trim_threshold,
            half=HALF[word],
            past=1 << 8 * word if word == 4 else 1 << 62,
            limit=limit,
            contiguous=1,
        ),
    )


@kernel(inline=True)
def get(space, address):
    """The word at an address."""
    if space.word == 8:
        return load(space.machine, address)
    return (load(space.machine, address & ~7) >> ((address & 4) << 3)) & 0xFFFFFFFF


@kernel
def put(space, address, value):
    """Write a word."""
    machine = space.machine
    touch(machine, address, space.word)
    if space.word == 8:
        store(machine, address, value)
        return
    if address & 4:  # the upper half of a signed one
        upper = value - (1 << 32) if value >> 31 else value
        store(machine, address - 4, load(machine, address - 4) & 0xFFFFFFFF | upper << 32)
    else:
        store(machine, address, load(machine, address) >> 32 << 32 | value)


@kernel(inline=True)
def head(space, chunk):
    """Its size and flags."""
    return get(space, chunk + space.word)


@kernel(inline=True)
def set_head(space, chunk, value):
    """Write them."""
    put(space, chunk + space.word, value)


@kernel(inline=True)
def bytes_of(space, chunk):
    """A chunk's size."""
    return head(space, chunk) & ~FLAGS


@kernel(inline=True)
def block_of(space, chunk):
    """Where the chunk's user writes."""
    return chunk + 2 * space.word


@kernel(inline=True)
def chunk_of(space, block):
    """The chunk of a block."""
    return block - 2 * space.word


@kernel(inline=True)
def padded(space, size):
    """Bytes of the chunk for a request, or of the record of a segment."""
    return max((size + space.word + space.mask) & ~space.mask, space.least)


@kernel
def mark_used(space, chunk, size):
    """A chunk of so many bytes is in use; whether the one before is stays."""
    set_head(space, chunk, (head(space, chunk) & BEFORE) | size | USED)
    set_head(space, chunk + size, head(space, chunk + size) | BEFORE)


@kernel
def mark_cut(space, chunk, size):
    """The lower part of a free chunk is in use."""
    set_head(space, chunk, size | BEFORE | USED)


@kernel
def mark_free(space, chunk, size):
    """A chunk is free, and the one before it is not."""
    set_head(space, chunk, size | BEFORE)
    put(space, chunk + size, size)


@kernel
def mark_free_before(space, chunk, size, following):
    """The same, and the one that follows, which is in use, knows it."""
    set_head(space, following, head(space, following) & ~BEFORE)
    mark_free(space, chunk, size)


@kernel
def set_top(space, chunk, size):
    """The chunk at the segment's end, which the feet lie behind."""
    offset = -block_of(space, chunk) & space.mask
    chunk, size = chunk + offset, size - offset
    space.top, space.top_bytes = chunk, size
    set_head(space, chunk, size | BEFORE)
    set_head(space, chunk + size, space.foot)
    space.trim_check = space.trim_threshold
