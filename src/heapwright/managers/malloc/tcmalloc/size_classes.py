"""tcmalloc's size classes: what a request is rounded up to, and the span that it is cut from.

    candidates  8, 16, 32 .. 128, then an eighth of the power of two below, at most a page, to 256 K
    span        pages are added until at most an eighth is left over and a quarter batch fits
    merged      into the class below, if a span of as many pages holds as many objects

Terms      batch: objects that move between a thread's cache and the central one at a time
Invariant  bytes_of ascends; class_of[i] is the first class that holds what maps to i
Source     gperftools 2.10 src/common.cc: SizeMap::Init, NumMoveSize, ClassIndex
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned

PAGE_SHIFT = 13  # kPageShift
PAGE_BYTES = 1 << PAGE_SHIFT
MOST_BYTES = 256 << 10  # kMaxSize: beyond, whole pages
MOST_SMALL_BYTES = 1024  # kMaxSmallSize: up to here classes are looked up by 8 bytes, then by 128
CLASSES = 128  # kClassSizesMax, no table is longer
BATCH_BYTES = 64 << 10  # that move at a time
LEAST_BATCH = 2
CACHED_BYTES = 1 << 20  # kMaxNumTransferEntries' bound: of a class in transfer slots
MOST_SLOTS, FIRST_SLOTS = 64, 16  # kMaxNumTransferEntries, and where a class begins


class Classes(NamedTuple):
    """What is known of each class; class 0 is none."""

    bytes_of: np.ndarray  # int64[class]
    pages_of: np.ndarray  # int64[class]  of a span
    batch_of: np.ndarray  # int64[class]  objects
    slots_of: np.ndarray  # int64[class]  most batches that wait between caches
    class_of: np.ndarray  # uint8[2177]  by `index_of`
    count: np.ndarray  # int64[1]  classes, class 0 among them


def classes(most_batch: int) -> Classes:
    """The table for a batch of at most `most_batch` objects."""
    found, size = [(0, 0)], 8
    while size <= MOST_BYTES:
        pages = _span_pages(size, _batch(size, most_batch) // 4)
        bytes_, below = pages << PAGE_SHIFT, found[-1]
        if below[1] == pages and bytes_ // size == bytes_ // below[0]:
            found[-1] = size, pages
        else:
            found.append((size, pages))
        size += _step(size)
    batches = [0, *(_batch(bytes_, most_batch) for bytes_, _ in found[1:])]
    slots = [MOST_SLOTS]
    for (bytes_, _), batch in zip(found[1:], batches[1:], strict=True):
        slots.append(min(MOST_SLOTS, max(1, CACHED_BYTES // (bytes_ * batch))))
    class_of = np.zeros(2177, np.uint8)
    index = 0
    for number, (bytes_, _) in enumerate(found[1:], 1):
        while index <= _index(bytes_):
            class_of[index] = number
            index += 1
    return Classes(
        _table([bytes_ for bytes_, _ in found]),
        _table([pages for _, pages in found]),
        _table(batches),
        _table(slots),
        class_of,
        np.array([len(found)], np.int64),
    )


def _table(values: list[int]) -> np.ndarray:
    table = np.zeros(CLASSES, np.int64)
    table[: len(values)] = values
    return table


def _batch(size: int, most: int) -> int:
    return min(max(BATCH_BYTES // size, LEAST_BATCH), most)


def _span_pages(size: int, least_objects: int) -> int:
    bytes_ = 0
    while True:
        bytes_ += PAGE_BYTES
        while bytes_ % size > bytes_ >> 3:
            bytes_ += PAGE_BYTES
        if bytes_ // size >= least_objects:
            return bytes_ >> PAGE_SHIFT


def _step(size: int) -> int:
    if size < 16:
        return 8
    return 16 if size < 128 else min((1 << (size.bit_length() - 1)) // 8, PAGE_BYTES)


def _index(size: int) -> int:
    return (size + 7) >> 3 if size <= MOST_SMALL_BYTES else (size + 127 + (120 << 7)) >> 7


@kernel(inline=True)
def class_of(classes, size):
    """The class of a request; 0 beyond MOST_BYTES."""
    if unsigned(size) <= unsigned(MOST_SMALL_BYTES):
        return np.int64(classes.class_of[unsigned((size + 7) >> 3)])
    if unsigned(size) <= unsigned(MOST_BYTES):
        return np.int64(classes.class_of[unsigned((size + 127 + (120 << 7)) >> 7)])
    return 0
