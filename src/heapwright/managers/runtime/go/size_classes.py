"""Go's size classes, computed: 67 block sizes up to 32 KiB and the pages of a span of each.

    size   8 16 24 32 48 64 ...          step: 8, from 32 on 16, from 128 on an eighth of the last
                                         power of two, from 2048 on 256
    span   the fewest pages of which at most an eighth is left over by blocks of that size
    merge  sizes that give as many blocks in as many pages are one class, the largest
    widen  a block grows, in steps of 128, while as many still fit

Terms      span class: 2 x size class + 1 if its objects hold no references (noscan), + 0 if they
           may (scan); class 0 stands for a large object, which has a span of its own
Invariant  an object's number in its span is offset x magic >> 32, for every offset in the span
Source     Go 1.27 runtime/_mkmalloc/mksizeclasses.go (the rule), internal/runtime/gc (the table)
"""

from typing import NamedTuple

import numpy as np

PAGE_BYTES = 8192  # runtime: gc.PageSize
PAGE_SHIFT = 13
SMALL_BYTES = 32768  # largest block of a class; runtime: MaxSmallSize
CLASSES = 68  # with class 0
SPAN_CLASSES = 2 * CLASSES
WIDEN_BYTES = 128  # runtime: largeSizeDiv

# What a span of small objects holds beside them, at its end
BITMAP_SIZE = 512  # largest object whose references are in the span's bitmap; larger ones have a
HEADER_BYTES = 8  # header that says where they are; runtime: MinSizeForMallocHeader
MARKS_BYTES = 128  # mark bits of objects from MARKS_SIZE to BITMAP_SIZE; spanInlineMarkBits
MARKS_SIZE = 16


class SizeClasses(NamedTuple):
    """The table, once by size and class for allocation and once by span class for marking."""

    class_of: np.ndarray  # uint8[SMALL_BYTES / 8 + 1]  size class of a size, in words rounded up
    bytes_of: np.ndarray  # int64[SPAN_CLASSES]  of a block; 0 for a large object's
    pages_of: np.ndarray  # int64[SPAN_CLASSES]  of a span; 0 for a large object's
    objects_of: np.ndarray  # int64[SPAN_CLASSES]  in a span, beside its bits; 0 for class 0
    magic_of: np.ndarray  # int64[SPAN_CLASSES]  see the invariant; 0 for a large object's


def published_rule() -> list[tuple[int, int]]:
    """(block bytes, span pages) of every class from 1 on."""
    classes: list[tuple[int, int]] = []
    step = size = 8
    while size <= SMALL_BYTES:
        if size & (size - 1) == 0:
            if size >= 2048:
                step = 256
            elif size >= 128:
                step = size // 8
            elif size >= 32:
                step = 16
        pages = 1
        while pages * PAGE_BYTES % size > pages * PAGE_BYTES // 8:
            pages += 1
        last_size, last_pages = classes[-1] if classes else (size, 0)
        if pages == last_pages and pages * PAGE_BYTES // size == pages * PAGE_BYTES // last_size:
            classes[-1] = size, pages
        else:
            classes.append((size, pages))
        size += step
    return [(_widened(size, pages), pages) for size, pages in classes]


def _widened(size: int, pages: int) -> int:
    """The largest multiple of WIDEN_BYTES of which as many fit, or `size` if it is larger."""
    blocks = pages * PAGE_BYTES // size
    return max(size, pages * PAGE_BYTES // blocks // WIDEN_BYTES * WIDEN_BYTES)


def beside_bytes(size: int, pages: int, noscan: bool) -> tuple[int, int]:
    """Bytes of (heap bitmap, mark bits) at the end of a span of objects of `size` bytes."""
    bitmap = pages * PAGE_BYTES // 64 if size <= BITMAP_SIZE and not noscan else 0
    return bitmap, MARKS_BYTES if MARKS_SIZE <= size <= BITMAP_SIZE else 0


def size_classes() -> SizeClasses:
    """The tables of Go 1.27."""
    sizes, pages = np.array([(0, 0), *published_rule()], np.int64).T
    assert len(sizes) == CLASSES
    magic = np.zeros(CLASSES, np.int64)
    magic[1:] = ((1 << 32) - 1) // sizes[1:] + 1
    objects = np.zeros(SPAN_CLASSES, np.int64)
    for span_class in range(2, SPAN_CLASSES):
        size, count = int(sizes[span_class // 2]), int(pages[span_class // 2])
        beside = sum(beside_bytes(size, count, bool(span_class & 1)))
        objects[span_class] = (count * PAGE_BYTES - beside) // size
    return SizeClasses(
        class_of=np.searchsorted(sizes, np.arange(0, SMALL_BYTES + 1, 8)).astype(np.uint8),
        bytes_of=np.repeat(sizes, 2),
        pages_of=np.repeat(pages, 2),
        objects_of=objects,
        magic_of=np.repeat(magic, 2),
    )
