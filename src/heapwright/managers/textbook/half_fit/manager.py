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

from heapwright.allocators.frame import Growth, none_negative
from heapwright.allocators.good_fit import *  # noqa: F403 the frame
from heapwright.allocators.good_fit import good_fit

Config = Growth


def boot(machine, config):
    """An empty heap; HeapwrightError for a negative knob."""
    none_negative("half-fit", config)
    return good_fit(machine, config.growth_bytes, config.trim_bytes, steps_shift=0)
