"""snmalloc's words: what its parts share.

    chunk      16 MiB, at a multiple of it: slabs of small objects, medium objects, or one large
    slab       64 KiB of a chunk, objects of one size; a chunk's first one is its record
    allocator  a thread's: slabs with room by size, chunks with room, messages for others

Terms      message: an object that its owner has to take back; bucket: messages that leave together
Source     Lietar et al., "snmalloc: A Message Passing Allocator" (ISMM 2019), sections 2 and 3
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length
from heapwright.compiler.record import record
from heapwright.machine import Machine
from heapwright.machine.address_space import SPACE_BYTES

GRANULE_SHIFT = 4  # 16 bytes: the smallest object
SLAB_SHIFT, CHUNK_SHIFT = 16, 24
SLAB_BYTES, CHUNK_BYTES = 1 << SLAB_SHIFT, 1 << CHUNK_SHIFT
CHUNK_SLABS = CHUNK_BYTES >> SLAB_SHIFT
SMALL_BYTES = 56 << 10  # the largest object of a slab
MEDIUM_BYTES = 14 << 20  # of a chunk with others
CHUNKS, SLABS = SPACE_BYTES >> CHUNK_SHIFT, SPACE_BYTES >> SLAB_SHIFT
CHUNK_ORDERS = 12  # of large ones, in doublings
FIRST_SPLIT = 4  # classes of 16 bytes up to here, then four to a doubling

# Words of a slab's row
FREE, BUMP, USED, CLASS, NEXT, PREVIOUS, LISTED = range(7)
SLAB_ROW = 3
# Words of a chunk's row: kind, owner and the numbers of what lies in it
KIND, OWNER, SIZE, LIVE, AHEAD, BEHIND, IN_LIST, VACANT, FRESH = range(9)
CHUNK_ROW = 4
NONE, SLABS_IN, MEDIUM_IN, LARGE_IN, SPARE = range(5)

# Words of an allocator's row
CLASSES = 80  # small and medium ones; the first slab, or chunk, with room of each from 0 on
ROOM = CLASSES  # first chunk with room for a slab
POSTED, LAST_POSTED = ROOM + 1, ROOM + 2  # messages for it: the first, the last
WAITING = ROOM + 3  # bytes of those in its buckets
NEXT_IDLE = ROOM + 4  # the next allocator without a thread
BUCKETS_SHIFT = 6
BUCKETS = 1 << BUCKETS_SHIFT
FIRST_OF, LAST_OF = 96, 96 + BUCKETS  # of each bucket
ALLOCATOR_ROW = 8
MOST_THREADS = 1 << 12

PATHS = (
    "alloc",
    "free",
    "slab",
    "slab_back",
    "chunk",
    "chunk_again",
    "chunk_back",
    "medium",
    "large",
    "remote",  # freed by a thread that is not the owner
    "post",  # a bucket sent
    "received",  # messages taken back by their owner
    "forwarded",  # that had come to somebody else
    "allocator",  # for a thread
    "allocator_again",
    "moved",
)
(
    ALLOC,
    FREED,
    NEW_SLAB,
    SLAB_BACK,
    NEW_CHUNK,
    CHUNK_AGAIN,
    CHUNK_BACK,
    MEDIUM,
    LARGE,
    REMOTE,
    POST,
    RECEIVED,
    FORWARDED,
    NEW_ALLOCATOR,
    ALLOCATOR_AGAIN,
    MOVED,
) = range(len(PATHS))


@record(
    "allocators",  # ever made
    "idle",  # first one without a thread; 0: none
    "remote_cache",  # bytes of messages that an allocator keeps at most
    "remote_batch",  # messages that are taken at once
    "lowest",  # chunk that was ever mapped
)
class Heap(NamedTuple):
    """The whole state; links of free objects are in the machine's words."""

    machine: Machine
    slabs: np.ndarray  # int64[slab << SLAB_ROW | word]
    chunks: np.ndarray  # int64[chunk << CHUNK_ROW | word]
    medium: np.ndarray  # int16[chunk * CHUNK_SLABS + index]  free places of a medium chunk, a stack
    rows: np.ndarray  # int64[allocator << ALLOCATOR_ROW | word]
    of_thread: np.ndarray  # int64[thread]  its allocator; 0: none
    spare: np.ndarray  # int64[order]  first free chunk run of so many doublings; 0: none
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel(inline=True)
def slab_word(heap, slab, word):
    """A word of a slab's row."""
    return heap.slabs[unsigned((slab << SLAB_ROW) + word)]


@kernel(inline=True)
def set_slab(heap, slab, word, value):
    """Write it."""
    heap.slabs[unsigned((slab << SLAB_ROW) + word)] = value


@kernel(inline=True)
def chunk_word(heap, chunk, word):
    """A word of a chunk's row."""
    return heap.chunks[unsigned((chunk << CHUNK_ROW) + word)]


@kernel(inline=True)
def set_chunk(heap, chunk, word, value):
    """Write it."""
    heap.chunks[unsigned((chunk << CHUNK_ROW) + word)] = value


@kernel(inline=True)
def row_word(heap, allocator, word):
    """A word of an allocator's row."""
    return heap.rows[unsigned((allocator << ALLOCATOR_ROW) + word)]


@kernel(inline=True)
def set_row(heap, allocator, word, value):
    """Write it."""
    heap.rows[unsigned((allocator << ALLOCATOR_ROW) + word)] = value


@kernel(inline=True)
def class_of(size):
    """The class of a request of at most MEDIUM_BYTES."""
    less = (max(size, 1) - 1) >> GRANULE_SHIFT
    if less < FIRST_SPLIT:
        return less
    top = bit_length(less) - 1
    return ((top - 1) << 2) + ((less >> (top - 2)) & 3)


@kernel(inline=True)
def bytes_of(class_):
    """Bytes of a class's objects."""
    if class_ < FIRST_SPLIT:
        return (class_ + 1) << GRANULE_SHIFT
    top, step = (class_ >> 2) + 1, class_ & 3
    return (5 + step) << (top - 2 + GRANULE_SHIFT)


@kernel(inline=True)
def places_in(size):
    """Medium objects of a chunk: its first slab is a record."""
    return (CHUNK_BYTES - SLAB_BYTES) // size
