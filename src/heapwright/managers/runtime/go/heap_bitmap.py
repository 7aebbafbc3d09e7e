"""Which words of a small object are references: a bitmap at the end of its span.

    │ object │ object │ ... │ rest │ bitmap: 128 bytes, a bit per word of the page │ mark bits │

Invariant  the bits of an object's words say which are references since its birth; such a span is
           one page, so the bits of an object lie in at most two words
Source     Go 1.27 runtime/mbitmap.go (heapBitsSmallForAddr, writeHeapBitsSmall)
Omits      references anywhere but in an object's first words
"""

import numpy as np

from heapwright.compiler import kernel
from heapwright.machine import load, store
from heapwright.managers.runtime.go.size_classes import (
    MARKS_BYTES,
    MARKS_SIZE,
    PAGE_BYTES,
    PAGE_SHIFT,
)

BITMAP_BYTES = PAGE_BYTES >> 6
PAGE_WORDS = PAGE_BYTES >> 3


@kernel(inline=True)
def bitmap_word(span, size):
    """Address of the first word of the bitmap of a span of objects of `size` bytes."""
    beside = BITMAP_BYTES + MARKS_BYTES if size >= MARKS_SIZE else BITMAP_BYTES
    return ((span + 1) << PAGE_SHIFT) - beside


@kernel(inline=True)
def note_references(go, address, size, fields):
    """Say in the bitmap that of a new object of a block of `size` bytes the first `fields` words
    are references."""
    span = address >> PAGE_SHIFT
    first = (address >> 3) & (PAGE_WORDS - 1)
    at = bitmap_word(span, size) + (first >> 6 << 3)
    low, count = first & 63, size >> 3
    value = np.int64(-1) if fields == 64 else ~(np.int64(-1) << fields)
    keep = np.int64(0) if count == 64 else ~(~(np.int64(-1) << count) << low)
    store(go.machine, at, (load(go.machine, at) & keep) | value << low)
    if low + count > 64:
        above = low + count - 64
        rest = (value >> (64 - low)) & ~(np.int64(-1) << above)
        store(go.machine, at + 8, (load(go.machine, at + 8) & (np.int64(-1) << above)) | rest)


@kernel(inline=True)
def references(go, address, size):
    """The bitmap's bits for the object at `address`, whose block has `size` bytes."""
    first = (address >> 3) & (PAGE_WORDS - 1)
    at = bitmap_word(address >> PAGE_SHIFT, size) + (first >> 6 << 3)
    low, count = first & 63, size >> 3
    bits = load(go.machine, at)
    if low:
        bits = (bits >> low) & ~(np.int64(-1) << (64 - low))
        if low + count > 64:
            bits |= load(go.machine, at + 8) << (64 - low)
    return bits if count == 64 else bits & ~(np.int64(-1) << count)
