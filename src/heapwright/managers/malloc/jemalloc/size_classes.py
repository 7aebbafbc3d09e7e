"""jemalloc's size classes: what a request is rounded up to, and the pages that it is cut from.

    8, then 16 to 128 by 16, then each doubling in four steps, small ones below 16 KiB
    slab    as few pages as a small class divides without a rest
    page    classes that are whole pages: free extents are kept by the largest that they hold

Terms      class: number of a size, from 0; region: a block of a slab; page class: number among the
           whole pages; pad: a page that each large block has more, for an offset in its first page
Invariant  bytes_of ascends; class_of(n) is the first class that holds n bytes
Source     jemalloc 5.3.0 src/sc.c, src/sz.c, include/jemalloc/internal/sz.h; src/tcache.c
           (tcache_ncached_max_compute)
"""

from bisect import bisect_left
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length
from heapwright.machine import PAGE_BYTES

SMALL_CLASSES = 36  # SC_NBINS
LARGE_BYTES = 16 << 10  # SC_LARGE_MINCLASS
LOOKUP_BYTES = 4096  # SC_LOOKUP_MAXCLASS
CLASSES = 232  # SC_NSIZES
PAGE_CLASSES = 199  # SC_NPSIZES
MOST_CACHED_CLASSES = 73  # to 8 MiB: TCACHE_MAXCLASS_LIMIT
PAD_BYTES = PAGE_BYTES  # sz_large_pad, of cache_oblivious
LEAST_SLOTS, MOST_SLOTS, LARGE_SLOTS = 20, 200, 20  # of a class in a thread's cache
DIVISOR_SHIFT = 32


class Classes(NamedTuple):
    """What is known of each class."""

    bytes_of: np.ndarray  # int64[class]
    class_of: np.ndarray  # uint8[513]  by eighths of a request to LOOKUP_BYTES
    slab_bytes: np.ndarray  # int64[small class]
    regions: np.ndarray  # int64[small class]  of a slab
    inverse: np.ndarray  # int64[small class]  2^32 / bytes, rounded up: divides offsets in a slab
    slots: np.ndarray  # int64[class]  most blocks in a thread's cache; 0 of classes past it
    stack: np.ndarray  # int64[class]  bytes from a cache's array to past the class's slots
    page_bytes: np.ndarray  # int64[page class]


def _sizes() -> list[int]:
    sizes, base = [8, *range(16, 128, 16)], 128
    while len(sizes) < CLASSES:
        sizes += [base + step * (base >> 2) for step in range(4)]
        base <<= 1
    return sizes[:CLASSES]


def classes(cached_classes: int) -> Classes:
    """The tables, with so many classes in a thread's cache; 0: threads have none."""
    sizes = _sizes()
    lookup = np.zeros((LOOKUP_BYTES >> 3) + 1, np.uint8)
    for eighths in range(len(lookup)):
        lookup[eighths] = bisect_left(sizes, max(8 * eighths, 1))
    slabs = []
    for size in sizes[:SMALL_CLASSES]:
        slab = PAGE_BYTES
        while slab % size:
            slab += PAGE_BYTES
        slabs.append(slab)
    regions = [slab // size for slab, size in zip(slabs, sizes, strict=False)]
    slots, stack, offset = np.zeros(CLASSES, np.int64), np.zeros(CLASSES, np.int64), 8
    for class_ in range(cached_classes):
        slots[class_] = LARGE_SLOTS
        if class_ < SMALL_CLASSES:
            wanted = 2 * regions[class_]
            slots[class_] = min(max(wanted, LEAST_SLOTS), MOST_SLOTS)
        offset += 8 * int(slots[class_])
        stack[class_] = offset
    pages = [size for size in sizes if size % PAGE_BYTES == 0][:PAGE_CLASSES]
    small = [-(-(1 << DIVISOR_SHIFT) // size) for size in sizes[:SMALL_CLASSES]]
    return Classes(
        np.array(sizes, np.uint64).astype(np.int64),
        lookup,
        np.array(slabs, np.int64),
        np.array(regions, np.int64),
        np.array(small, np.int64),
        slots,
        stack,
        np.array(pages, np.uint64).astype(np.int64),
    )


def array_bytes(sizes: Classes, cached_classes: int) -> int:
    """Bytes of a thread's array of slots, with a word before and one behind them."""
    return int(sizes.stack[cached_classes - 1]) + 8 if cached_classes else 0


@kernel
def large_class_of(size):
    """The class of a request beyond LOOKUP_BYTES."""
    top = bit_length(size - 1)
    return 9 + ((top - 8) << 2) + (((size - 1) >> (top - 3)) & 3)


@kernel(inline=True)
def class_of(classes, size):
    """The class of a request of at most 2^62 bytes."""
    if unsigned(size) <= unsigned(LOOKUP_BYTES):
        return np.int64(classes.class_of[unsigned((size + 7) >> 3)])
    return large_class_of(size)


@kernel
def page_class(bytes_):
    """The first page class that holds so many bytes (sz_psz2ind)."""
    top = bit_length(bytes_ - 1)
    if top <= 14:
        return (bytes_ - 1) >> 12
    return ((top - 14) << 2) + (((bytes_ - 1) >> (top - 3)) & 3)


@kernel
def kept_class(classes, bytes_):
    """The page class that a free extent is kept in (sz_psz_quantize_floor)."""
    class_ = page_class(bytes_ - PAD_BYTES + 1)
    if class_ == 0:
        return page_class(bytes_)
    return page_class(classes.page_bytes[unsigned(class_ - 1)] + PAD_BYTES)


@kernel
def wanted_class(classes, bytes_):
    """The first page class whose extents all hold so many bytes (sz_psz_quantize_ceil)."""
    class_ = page_class(bytes_ - PAD_BYTES + 1)
    floor = bytes_ if class_ == 0 else classes.page_bytes[unsigned(class_ - 1)] + PAD_BYTES
    if floor == bytes_:
        return page_class(floor)
    above = page_class(floor - PAD_BYTES + 1)
    return page_class(classes.page_bytes[unsigned(above)] + PAD_BYTES)
