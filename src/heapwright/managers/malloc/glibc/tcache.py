"""The thread cache: freed chunks by size, up to 7 each (16 from 2.43 on), without a lock.

    tcache ─► +  0  entries  address of the first user block, 64 words; links in the blocks
              +512  counts   uint16[64]
              +640  entries  of large chunks, 12 words                               from 2.43 on
              +736  counts   uint16[12]                                              from 2.43 on

    small: chunks of 32, 48, ... 1,040 bytes, each size its own list, the last one freed first
    large: [1,056, 2,048), [2,048, 4,096), ... below 4 MiB, ascending; used where tcache_max is set

Invariant  counts[i] == length of list i <= tcache_count                (managers/glibc check)
Source     glibc 2.31 to 2.43 malloc/malloc.c: tcache_perthread_struct, tcache_put, tcache_get,
           tcache_get_n, tcache_put_large, tcache_get_large, tcache_get_align
Omits      safe-linking and the double-free key; where in the record the real one has its counts
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.glibc.chunk import HEADER_BYTES, chunk_bytes

BIN_COUNT = 64  # TCACHE_MAX_BINS, from 2.42 on TCACHE_SMALL_BINS
LARGE_BIN_COUNT = 12  # TCACHE_LARGE_BINS
COUNTS = 8 * BIN_COUNT  # offset, bytes
TCACHE_BYTES = COUNTS + 2 * BIN_COUNT  # sizeof (tcache_perthread_struct)
LARGE_ENTRIES = TCACHE_BYTES
LARGE_COUNTS = LARGE_ENTRIES + 8 * LARGE_BIN_COUNT
LARGE_TCACHE_BYTES = LARGE_COUNTS + 2 * LARGE_BIN_COUNT  # the same from 2.43 on
SMALL_CHUNK_BYTES = 1040  # of the last small list: MAX_TCACHE_SMALL_SIZE
LARGE_LIMIT = 1 << 22  # bytes; no chunk as large is cached


@kernel(inline=True)
def tcache_index(chunk_size):
    """Row of the cache for chunks of `chunk_size` bytes (csize2tidx)."""
    return (chunk_size - 17) >> 4


@kernel
def large_index(chunk_size):
    """Row for chunks beyond the small ones (large_csize2tidx)."""
    index = BIN_COUNT
    size = chunk_size >> 11
    while size:
        index += 1
        size >>= 1
    return index


@kernel
def entry_of(tcache, index):
    """Address of the head of list `index`, small or large."""
    if index < BIN_COUNT:
        return tcache + 8 * index
    return tcache + LARGE_ENTRIES + 8 * (index - BIN_COUNT)


@kernel
def count_of(tcache, index):
    """Index of the length of list `index`, small or large, in the uint16 view."""
    if index < BIN_COUNT:
        return ((tcache + COUNTS) >> 1) + index
    return ((tcache + LARGE_COUNTS) >> 1) + index - BIN_COUNT


@kernel(inline=True)
def tcache_length(halves, tcache, index):
    """Blocks on small list `index`; `halves` is the uint16 view of the machine's words."""
    return np.int64(halves[unsigned(((tcache + COUNTS) >> 1) + index)])


@kernel(inline=True)
def tcache_put(heap, tcache, chunk, index):
    """Push a chunk onto small list `index`, which has room."""
    entry = tcache + 8 * index
    user = chunk + HEADER_BYTES
    store(heap.machine, user, load(heap.machine, entry))
    store(heap.machine, entry, user)
    heap.halves[unsigned(((tcache + COUNTS) >> 1) + index)] += 1


@kernel(inline=True)
def tcache_get(heap, tcache, index):
    """Pop the user address on top of small list `index`; 0 from an empty one."""
    entry = tcache + 8 * index
    user = load(heap.machine, entry)
    if user:
        store(heap.machine, entry, load(heap.machine, user))
        heap.halves[unsigned(((tcache + COUNTS) >> 1) + index)] -= 1
    return user


@kernel
def tcache_put_large(heap, tcache, chunk, size):
    """Enter a chunk before those of its size and larger ones; its list has room."""
    index = large_index(size)
    link = entry_of(tcache, index)
    user = load(heap.machine, link)
    while user and chunk_bytes(heap.machine, user - HEADER_BYTES) < size:
        link = user
        user = load(heap.machine, link)
    touch(heap.machine, chunk + HEADER_BYTES, 16)
    store(heap.machine, chunk + HEADER_BYTES, user)
    store(heap.machine, link, chunk + HEADER_BYTES)
    heap.halves[unsigned(count_of(tcache, index))] += 1


@kernel
def tcache_take(heap, tcache, size, align):
    """The first cached block of a chunk of exactly `size` bytes at a multiple of `align`, taken
    from where it stands in its list; 0 if there is none."""
    index = tcache_index(size) if size <= SMALL_CHUNK_BYTES else large_index(size)
    link = entry_of(tcache, index)
    user = load(heap.machine, link)
    while user:
        found = chunk_bytes(heap.machine, user - HEADER_BYTES)
        if found == size and user & (align - 1) == 0:
            store(heap.machine, link, load(heap.machine, user))
            heap.halves[unsigned(count_of(tcache, index))] -= 1
            return user
        if found > size:
            return 0
        link = user
        user = load(heap.machine, link)
    return 0


def fill(halves, tcache):
    """Make every list of an empty record full, so that nothing is ever put there."""
    for index in range(BIN_COUNT + LARGE_BIN_COUNT):
        halves[count_of(tcache, index)] = 0xFFFF
