"""mimalloc's bins: four to a doubling, of words of 8 bytes.

Source     mimalloc 2.0.9 and 3.4.3 src/page-queue.c (mi_bin), src/os.c (_mi_os_good_alloc_size)
"""

from functools import cache

import numpy as np

from heapwright.allocators.mimalloc.words import HUGE_BIN
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length

DIRECT_BYTES = 1024  # MI_SMALL_SIZE_MAX: up to here malloc looks at the queue's first page alone


@kernel
def _large_bin(words):
    """The bin of a request of more than 8 words."""
    less = words - 1
    top = bit_length(less) - 1
    return ((top << 2) + ((less >> (top - 2)) & 3)) - 3


@kernel(inline=True)
def bin_of(heap, size):
    """The bin of a request that is not huge."""
    words = (size + 7) >> 3
    if words <= DIRECT_BYTES >> 3:
        return np.int64(heap.bin_of[unsigned(words)])
    return _large_bin(words)


@kernel
def good_size(size):
    """What a large request is rounded up to: about an eighth."""
    unit = 4 << 20
    if size < 512 << 10:
        unit = 4 << 10
    elif size < 2 << 20:
        unit = 64 << 10
    elif size < 8 << 20:
        unit = 256 << 10
    elif size < 32 << 20:
        unit = 1 << 20
    return (size + unit - 1) & -unit


def tables(largest: int) -> tuple[np.ndarray, np.ndarray]:
    """`bin_of`, uint8[words of a request, to DIRECT_BYTES], and `size_of`, int64[bin], bytes of a
    block; `largest` is the largest request that is not huge, bytes."""
    bins, sizes = _tables(largest)
    return bins.copy(), sizes.copy()


@cache
def _tables(largest: int) -> tuple[np.ndarray, np.ndarray]:
    bins = np.zeros((DIRECT_BYTES >> 3) + 1, np.uint8)
    sizes = np.zeros(HUGE_BIN + 1, np.int64)
    for words in range((largest >> 3) + 1):
        if words <= 8:
            number = 1 if words <= 1 else (words + 1) & ~1
        else:
            top = (words - 1).bit_length() - 1
            number = ((top << 2) + (((words - 1) >> (top - 2)) & 3)) - 3
        if words < len(bins):
            bins[words] = number
        sizes[number] = max(words, 1) << 3
    return bins, sizes
