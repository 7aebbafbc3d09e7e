"""Size classes of wright: which block a request gets, and how blocks of a class are kept.

    bytes   16 32 48 ... 128 │ 144 160 ... 256 │ 288 ... 512 │ ...  STEPS a doubling   │ then whole
    class    1  2  3       8 │   9  10      16 │  17      24 │ ...  to SPAN_MOST_BYTES │ pages
            before these, where it is wanted, 8 bytes

Terms      class 0: no class, a run of pages of its own; shared: of a class whose spans hold many
           blocks; single: of a class whose spans are one block
Invariant  bytes_of ascends; class_of[slot] is the first class that holds the slot's largest request
Source     jemalloc and mimalloc space their classes geometrically; TCMalloc's two-level table
Omits      classes that fit whole pages without waste
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError

GRANULE_BYTES = 16
LEAST_BYTES = 8  # where there is such a class, whose blocks lie at multiples of 8, as C allows
FINE_BYTES = 1024  # requests up to here are told apart by LEAST_BYTES, above by COARSE_BYTES
FINE_SHIFT = 3
COARSE_BYTES = 64
COARSE_SHIFT = 6
FIRST_COARSE = FINE_BYTES // LEAST_BYTES - FINE_BYTES // COARSE_BYTES
PAGE_BYTES = 8192  # of the page heap: two pages of the machine
PAGE_SHIFT = 13
SPAN_MOST_BYTES = 64 << 10  # largest block that shares a span
SPAN_BLOCKS = 64  # of a span, where SPAN_BYTES allow it
SPAN_BYTES = 64 << 10
FEWEST_BLOCKS = 8  # of a span in any case
FEWEST_CACHED = 4  # blocks of a shared class that a cache has room for, unless it has none
MOST_BYTES = 256 << 10  # largest block of a class
MOST_CLASSES = 128
INVERSE_SHIFT = 40  # above the bits of an offset in a span and of a size: see `is_multiple`
MOST_CACHED = (1 << 15) - 1  # blocks: a list's word has a sign and 15 bits for its room
WORD_SHIFT = 48  # a list's word is room << WORD_SHIFT | address of its newest block


class Classes(NamedTuple):
    """The tables."""

    class_of: np.ndarray  # uint8[slot]
    bytes_of: np.ndarray  # int64[class]
    inverse_of: np.ndarray  # int64[class]  of bytes_of, as `is_multiple` takes it
    pages_of: np.ndarray  # int64[class]  pages of a span
    empty_word: np.ndarray  # int64[class]  of a list without blocks: the room of a cache
    carved_of: np.ndarray  # int64[class]  fresh blocks that are listed at a time
    fields: np.ndarray  # int64[2]  FIRST_SINGLE: first class of single-block spans; LAST class


FIRST_SINGLE, LAST = range(2)


def class_sizes(steps: int, least: int = GRANULE_BYTES) -> list[int]:
    """Bytes of class 1, 2, ...: the least, `steps` to a doubling, a power of two, then of whole
    pages."""
    sizes = list(range(GRANULE_BYTES, max(128, GRANULE_BYTES * steps) + 1, GRANULE_BYTES))
    if least < GRANULE_BYTES:
        sizes.insert(0, least)
    while sizes[-1] < MOST_BYTES:
        step = (1 << (sizes[-1].bit_length() - 1)) // steps
        if sizes[-1] >= SPAN_MOST_BYTES:
            step = max(PAGE_BYTES, step)
        sizes.append(sizes[-1] + step)
    return sizes


def given_sizes(sizes: Sequence[int], steps: int, least: int = GRANULE_BYTES) -> list[int]:
    """Bytes of class 1, 2, ... of a table that was made for a program, as wright can have them:
    above FINE_BYTES multiples of COARSE_BYTES, of single blocks whole pages; what the table does
    not reach has wright's own classes. HeapwrightError for more classes than there is room for."""
    taken = set()
    for size in sizes:
        unit = GRANULE_BYTES if size > least else least
        if size > FINE_BYTES:
            unit = COARSE_BYTES if size <= SPAN_MOST_BYTES else PAGE_BYTES
        taken.add((size + unit - 1) // unit * unit)
    found = sorted(size for size in taken if size <= MOST_BYTES)
    found += [size for size in class_sizes(steps, least) if size > max(found, default=0)]
    if len(found) >= MOST_CLASSES:
        raise HeapwrightError(
            f"wright has room for {MOST_CLASSES - 1} size classes, and this table makes "
            f"{len(found)} with those above its largest: make one with fewer (--most)."
        )
    return found


def span_pages(size: int, least_bytes: int) -> int:
    """Pages of a span of blocks of `size` bytes."""
    if size > SPAN_MOST_BYTES:
        return size // PAGE_BYTES
    want = max(min(max(SPAN_BLOCKS * size, least_bytes), SPAN_BYTES), FEWEST_BLOCKS * size)
    return (want + PAGE_BYTES - 1) // PAGE_BYTES


def classes(
    steps: int,
    cache_bytes: int,
    single_bytes: int,
    span_bytes: int,
    given: Sequence[int] | None = None,
    least: int = GRANULE_BYTES,
) -> Classes:
    """Tables for `steps` classes a doubling from `least` bytes on, or the `given` ones, and caches
    of so many bytes a class."""
    chosen = class_sizes(steps, least) if given is None else given_sizes(given, steps, least)
    sizes = np.array([0, *chosen], np.int64)
    fine = np.arange(FINE_BYTES // LEAST_BYTES + 1) * LEAST_BYTES
    coarse = np.arange(FINE_BYTES // COARSE_BYTES + 1, MOST_BYTES // COARSE_BYTES + 1)
    largest = np.maximum(1, np.concatenate([fine, coarse * COARSE_BYTES]))
    pages = np.array([0] + [span_pages(int(size), span_bytes) for size in sizes[1:]], np.int64)
    each = np.maximum(sizes, 1)
    shared = sizes <= SPAN_MOST_BYTES
    fewest = min(FEWEST_CACHED, cache_bytes)
    room = np.where(shared, np.maximum(fewest, cache_bytes // each), single_bytes // each)
    room[0] = 0
    carved = np.clip(4096 // each, 1, 64)
    return Classes(
        np.searchsorted(sizes, largest).astype(np.uint8),
        sizes,
        (1 << INVERSE_SHIFT) // each + 1,
        pages,
        room << WORD_SHIFT,
        carved,
        np.array([np.searchsorted(sizes, SPAN_MOST_BYTES + 1), len(sizes) - 1], np.int64),
    )


@kernel(inline=True)
def is_small(size):
    """Whether a request's class is told apart by LEAST_BYTES."""
    return unsigned(size) <= unsigned(FINE_BYTES)


@kernel(inline=True)
def class_of_small(classes, size):
    """The class of a request up to FINE_BYTES."""
    return np.int64(classes.class_of[unsigned(size + LEAST_BYTES - 1) >> unsigned(FINE_SHIFT)])


@kernel(inline=True)
def class_of_larger(classes, size):
    """The class of a request above FINE_BYTES; 0 for one above MOST_BYTES."""
    if unsigned(size) > unsigned(MOST_BYTES):
        return 0
    slot = unsigned(size + COARSE_BYTES - 1) >> unsigned(COARSE_SHIFT)
    return np.int64(classes.class_of[slot + unsigned(FIRST_COARSE)])


@kernel(inline=True)
def class_of(classes, size):
    """The class of a request; 0 for one above MOST_BYTES."""
    return class_of_small(classes, size) if is_small(size) else class_of_larger(classes, size)


@kernel
def class_of_aligned(classes, size, align):
    """The first class that holds `size` bytes and is a multiple of `align`; 0 if none.

    `align` is a power of two, at most PAGE_BYTES; spans begin at pages.
    """
    row = class_of(classes, max(size, align))
    while row and classes.bytes_of[row] & (align - 1):
        row = row + 1 if row < classes.fields[LAST] else 0
    return row


@kernel(inline=True)
def is_multiple(classes, offset, size_class):
    """Whether a block of a class may begin at an offset in a span: without a division, whose
    remainder is below the inverse where nothing is left over (Lemire, Kaser and Kurz, "Faster
    remainder by direct computation", 2019)."""
    inverse = classes.inverse_of[unsigned(size_class)]
    return (offset * inverse) & ((1 << INVERSE_SHIFT) - 1) < inverse
