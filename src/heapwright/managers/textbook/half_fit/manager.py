"""Half fit: one list a doubling, constant time, and up to half of the heap passed over.

    list k holds the free blocks of 2^k to 2^(k+1) - 1 bytes
    alloc ─► first list from ceil(log2 need) on that has a block, by a bitmap ─► its newest; split
    free  ─► merged with free neighbours at once ─► newest of its list

Invariant  the bins'                                                         (check: 1-8)
Source     Ogasawara, "An algorithm with constant execution time for dynamic storage allocation",
           RTCSA 1995
Omits      threads: one heap, one lock

A free block just below the request's next power of two is never looked at: the ancestor of TLSF,
which divides each list further. The mechanism is `allocators/good_fit.py`.
"""

from typing import NamedTuple

from heapwright.allocators.boundary_tags import extent, usable
from heapwright.allocators.good_fit import (
    PATHS,
    alloc,
    cached,
    check,
    free,
    good_fit,
    metadata,
    realloc,
)
from heapwright.errors import HeapwrightError

__all__ = [
    "PATHS",
    "Config",
    "alloc",
    "boot",
    "cached",
    "check",
    "extent",
    "free",
    "metadata",
    "realloc",
    "usable",
]


class Config(NamedTuple):
    """Knobs."""

    growth_bytes: int = 1 << 17  # least that brk moves
    trim_bytes: int = 0  # give the heap's end back from this many free bytes on; 0 never


def boot(machine, config):
    """An empty heap at the break; HeapwrightError for a negative knob."""
    if min(config) < 0:
        raise HeapwrightError("a knob of half-fit is not negative.")
    return good_fit(machine, config.growth_bytes, config.trim_bytes, steps_shift=0)
