"""The thread cache: up to 7 freed chunks of each size up to 1,032 bytes, without a lock.

    tcache ─► +  0  counts   uint16[64]
              +128  entries  address of the first user block, 64 words; links in the blocks

Invariant  counts[i] == length of list i <= tcache_count                (managers/glibc check)
Source     glibc 2.36 malloc/malloc.c: tcache_perthread_struct, tcache_put, tcache_get
Omits      safe-linking and the double-free key
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store
from heapwright.managers.malloc.glibc.chunk import HEADER_BYTES

BIN_COUNT = 64  # TCACHE_MAX_BINS
ENTRIES = 2 * BIN_COUNT  # offset, bytes
TCACHE_BYTES = ENTRIES + 8 * BIN_COUNT  # sizeof (tcache_perthread_struct)


@kernel(inline=True)
def tcache_index(chunk_size):
    """Row of the cache for chunks of `chunk_size` bytes (csize2tidx)."""
    return (chunk_size - 17) >> 4


@kernel(inline=True)
def tcache_length(halves, tcache, index):
    """Blocks on list `index`; `halves` is the uint16 view of the machine's words."""
    return np.int64(halves[unsigned((tcache >> 1) + index)])


@kernel(inline=True)
def tcache_put(heap, tcache, chunk, index):
    """Push a chunk onto list `index`, which has room."""
    entry = tcache + ENTRIES + 8 * index
    user = chunk + HEADER_BYTES
    store(heap.machine, user, load(heap.machine, entry))
    store(heap.machine, entry, user)
    heap.halves[unsigned((tcache >> 1) + index)] += 1


@kernel(inline=True)
def tcache_get(heap, tcache, index):
    """Pop the user address on top of list `index`, which is not empty."""
    entry = tcache + ENTRIES + 8 * index
    user = load(heap.machine, entry)
    store(heap.machine, entry, load(heap.machine, user))
    heap.halves[unsigned((tcache >> 1) + index)] -= 1
    return user
