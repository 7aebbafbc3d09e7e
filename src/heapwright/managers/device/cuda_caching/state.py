"""The words of PyTorch's caching allocator: what its parts share.

    segment    what the driver gave at once, or address space that memory is mapped into in units
    block      a part of a segment: used, free, or, of an expandable one, without memory
    pool       small blocks, up to 1 MiB, in segments of their own, and large ones; by stream

Terms      whole: a free block that is all of its segment; key: stream, size and address of a free
           block in one number, by which the pool's set is in order
Invariant  see `invariants.py`
Source     PyTorch 2.6 c10/cuda/CUDACachingAllocator.cpp
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record
from heapwright.machine import Machine
from heapwright.machine.device import Device
from heapwright.structures.sorted_keys import SortedKeys, insert, remove

MIB = 1 << 20
GRANULE_SHIFT = 9  # kMinBlockSize: 512 bytes
GRANULE_BYTES = 1 << GRANULE_SHIFT
SMALL_BYTES = MIB  # kSmallSize: the largest block of the small pool
SMALL_SEGMENT, LARGE_SEGMENT = 2 * MIB, 20 * MIB  # kSmallBuffer, kLargeBuffer
LEAST_OWN = 10 * MIB  # kMinLargeAlloc: from here on a segment is the request's,
ROUND_LARGE = 2 * MIB  # rounded up to this
SLACK_BYTES = 20 * MIB  # by which a block beyond max_split_size may be too large
NO_LIMIT = 1 << 62

# Words of a block's row
AT, SIZE, STREAM, SMALL, BEFORE, AFTER, USED, BARE, SEGMENT, BORN = range(10)
ROW_SHIFT = 4
MOST_BLOCKS = 1 << 20
ADDRESS_BITS, SIZE_BITS = 27, 27  # of a key, in granules
STREAM_SHIFT = ADDRESS_BITS + SIZE_BITS
ADDRESS_MASK = (1 << ADDRESS_BITS) - 1
MOST_STREAMS = 1 << 8

PATHS = (
    "alloc",
    "free",
    "found",  # a free block that fits
    "split",
    "merged",
    "segment",  # asked of the driver
    "segment_freed",
    "mapped",  # units of an expandable segment
    "unmapped",
    "retry",  # all that is cached was given back first
    "oom",
    "collected",  # segments that garbage collection gave back
    "oversize_freed",  # that made room for a request beyond max_split_size
    "aligned",  # requests beyond 512 bytes' multiples, which it does not know
)
(
    ALLOC,
    FREE,
    FOUND,
    SPLIT,
    MERGED,
    NEW_SEGMENT,
    SEGMENT_FREED,
    MAPPED_UNITS,
    UNMAPPED,
    RETRY,
    OOM,
    COLLECTED,
    OVERSIZE_FREED,
    ALIGNED,
) = range(len(PATHS))


@record(
    "expandable",
    "max_split",  # bytes
    "divisions",
    "limit",  # bytes that may be reserved
    "gc_over",  # bytes reserved beyond which it collects; NO_LIMIT: never
    "rows",  # of blocks, ever used
    "spare",  # first free row
    "small_looks",  # at the pool, while garbage collection is on
    "large_looks",
    "allocated",  # bytes of used blocks
    "segments",
)
class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    device: Device
    blocks: np.ndarray  # int64[row << ROW_SHIFT | word]
    row_at: np.ndarray  # int32[address >> GRANULE_SHIFT]  the block that begins there
    free_small: SortedKeys
    free_large: SortedKeys
    bare_small: SortedKeys  # of expandable segments: blocks without memory
    bare_large: SortedKeys
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel(inline=True)
def get(heap, row, word):
    """A word of a block."""
    return heap.blocks[unsigned((row << ROW_SHIFT) + word)]


@kernel(inline=True)
def put_word(heap, row, word, value):
    """Write it."""
    heap.blocks[unsigned((row << ROW_SHIFT) + word)] = value


@kernel(inline=True)
def key_of(stream, size, address):
    """Where a free block of this stream, size and address stands."""
    return (
        (stream << STREAM_SHIFT)
        | ((size >> GRANULE_SHIFT) << ADDRESS_BITS)
        | (address >> GRANULE_SHIFT)
    )


@kernel(inline=True)
def row_of_key(heap, key):
    """The block of a key."""
    return np.int64(heap.row_at[unsigned(key & ADDRESS_MASK)])


@kernel
def _key(heap, row):
    size = 0 if get(heap, row, BARE) else get(heap, row, SIZE)
    return key_of(get(heap, row, STREAM), size, get(heap, row, AT))


@kernel
def enter(heap, row):
    """Put a block into its pool's set of free ones, or of those without memory."""
    key, small = _key(heap, row), get(heap, row, SMALL)
    put_word(heap, row, BORN, heap.small_looks if small else heap.large_looks)
    if get(heap, row, BARE):
        insert(heap.bare_small if small else heap.bare_large, key)
    else:
        insert(heap.free_small if small else heap.free_large, key)


@kernel
def leave(heap, row):
    """Take it out."""
    key, small = _key(heap, row), get(heap, row, SMALL)
    if get(heap, row, BARE):
        remove(heap.bare_small if small else heap.bare_large, key)
    else:
        remove(heap.free_small if small else heap.free_large, key)


@kernel
def new_block(heap, address, size, like):
    """A row for a block at an address, of the stream, pool and segment of the block `like`."""
    row = heap.spare
    if row:
        heap.spare = get(heap, row, AFTER)
    else:
        heap.rows += 1
        row = heap.rows
    for word in range(BORN + 1):
        put_word(heap, row, word, get(heap, like, word) if like else 0)
    put_word(heap, row, AT, address)
    put_word(heap, row, SIZE, size)
    put_word(heap, row, BEFORE, 0)
    put_word(heap, row, AFTER, 0)
    put_word(heap, row, USED, 0)
    heap.row_at[unsigned(address >> GRANULE_SHIFT)] = row
    return row


@kernel
def drop_block(heap, row):
    """The row is free."""
    put_word(heap, row, SIZE, 0)
    put_word(heap, row, AFTER, heap.spare)
    heap.spare = row


@kernel
def splice(heap, row, before, after):
    """Put a block between two of its segment; 0: there is none."""
    put_word(heap, row, BEFORE, before)
    put_word(heap, row, AFTER, after)
    if before:
        put_word(heap, before, AFTER, row)
    if after:
        put_word(heap, after, BEFORE, row)


@kernel
def merge(heap, row, other):
    """A block takes its neighbour in, if that is free and has memory as it has, or none."""
    if not other or get(heap, other, USED) or get(heap, other, BARE) != get(heap, row, BARE):
        return
    heap.paths[MERGED] += 1
    leave(heap, other)
    if get(heap, row, BEFORE) == other:
        put_word(heap, row, AT, get(heap, other, AT))
        heap.row_at[unsigned(get(heap, row, AT) >> GRANULE_SHIFT)] = row
        splice(heap, row, get(heap, other, BEFORE), get(heap, row, AFTER))
    else:
        splice(heap, row, get(heap, row, BEFORE), get(heap, other, AFTER))
    put_word(heap, row, SIZE, get(heap, row, SIZE) + get(heap, other, SIZE))
    drop_block(heap, other)


@kernel(inline=True)
def is_whole(heap, row):
    """Whether a free block is all of its segment."""
    return not get(heap, row, BEFORE) and not get(heap, row, AFTER)
