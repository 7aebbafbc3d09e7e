"""Size classes of real allocators up to some size, from their rules.

    jemalloc 5     8; multiples of 16 to 128; then four steps a doubling
    mimalloc 2     8; multiples of 16 to 64 (a word is doubled beyond the first); then four steps a
                   doubling to 128 KiB; beyond, whole slices of 64 KiB
    tcmalloc       gperftools: candidates an eighth of the power of two below apart, at most 8 KiB;
                   one whose span holds no fewer blocks takes the place of that below
    go             1.27: see `managers.runtime.go.size_classes`; beyond, whole pages of 8 KiB
    wright         see `managers.malloc.wright.classes`

Source     jemalloc sc.c; mimalloc page-queue.c; gperftools common.cc. A test holds the first three
           to what the libraries answer, where they are installed
"""

from collections.abc import Callable

from heapwright.managers.malloc.wright.classes import class_sizes, given_sizes
from heapwright.managers.runtime.go.size_classes import PAGE_BYTES as GO_PAGE_BYTES
from heapwright.managers.runtime.go.size_classes import published_rule

TCMALLOC_PAGE_BYTES = 8192
TCMALLOC_BATCH_BYTES = 65_536  # moved between caches at a time, at most, of a class
TCMALLOC_MOST_BATCH = 32
MIMALLOC_MOST_BYTES = 128 << 10
MIMALLOC_SLICE_BYTES = 64 << 10
WRIGHT_STEPS = 8


def _four_steps(start: int, past: int) -> list[int]:
    """Above `start`, a power of two, four sizes a doubling, to the first that is `past` or more."""
    sizes = [start]
    while sizes[-1] < past:
        sizes.append(sizes[-1] + (1 << (sizes[-1].bit_length() - 1)) // 4)
    return sizes[1:]


def jemalloc(largest: int) -> list[int]:
    """Of jemalloc."""
    return [8, *range(16, 129, 16), *_four_steps(128, largest)]


def mimalloc(largest: int) -> list[int]:
    """Of mimalloc; larger blocks have pages of their own, whose slices count."""
    sizes = [8, *range(16, 65, 16), *_four_steps(64, min(largest, MIMALLOC_MOST_BYTES))]
    slices = range(MIMALLOC_MOST_BYTES, largest + MIMALLOC_SLICE_BYTES, MIMALLOC_SLICE_BYTES)
    return sizes + [size for size in slices if size > sizes[-1]]


def tcmalloc(largest: int) -> list[int]:
    """Of gperftools' tcmalloc; what no class holds is whole pages, as are the largest classes."""
    sizes: list[int] = []
    spans: list[int] = []
    size = 8
    while size <= TCMALLOC_BATCH_BYTES * 4 and (not sizes or sizes[-1] < largest):
        batch = max(2, min(TCMALLOC_MOST_BATCH, TCMALLOC_BATCH_BYTES // size))
        span = 0
        while True:
            span += TCMALLOC_PAGE_BYTES
            while span % size > span >> 3:
                span += TCMALLOC_PAGE_BYTES
            if span // size >= batch // 4:
                break
        if sizes and span == spans[-1] and span // size == span // sizes[-1]:
            sizes[-1] = size
        else:
            sizes.append(size)
            spans.append(span)
        step = 8 if size < 16 else 16 if size < 128 else (1 << (size.bit_length() - 1)) // 8
        size += min(step, TCMALLOC_PAGE_BYTES)
    return sizes


def go(largest: int) -> list[int]:
    """Of Go; headers of objects that hold references are left out."""
    sizes = [size for size, _ in published_rule()]
    return sizes + list(range(sizes[-1] + GO_PAGE_BYTES, largest + GO_PAGE_BYTES, GO_PAGE_BYTES))


def wright(largest: int) -> list[int]:
    """Of wright as it is."""
    return class_sizes(WRIGHT_STEPS)


RULES: dict[str, Callable[[int], list[int]]] = {
    "jemalloc": jemalloc,
    "mimalloc": mimalloc,
    "tcmalloc": tcmalloc,
    "go": go,
    "wright": wright,
}


def as_wright(sizes: list[int]) -> list[int]:
    """A table as wright takes it: see `given_sizes`."""
    return given_sizes(sizes, WRIGHT_STEPS)
