"""Linear (bump) allocation: one pointer that only moves up; no freed hole is used again.

    region ──────used──────►│──────free──────│ limit
                           top

Invariant  base <= top <= limit                                              (check)
Source     Wilson et al. 1995, section 2; the fast half of a copying collector
Omits      reuse
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel
from heapwright.compiler.record import record

BASE, TOP, LIMIT, FIELDS = range(4)


@record("base", "top", "limit")  # addresses
class Region(NamedTuple):
    """A bump region."""

    fields: np.ndarray  # int64[FIELDS]  BASE, TOP, LIMIT: addresses


@kernel(inline=True)
def bump(region, size, align):
    """Address of `size` bytes at a multiple of `align`, or 0 past the limit. Two additions."""
    address = (region.fields[TOP] + align - 1) & ~(align - 1)
    if address + size > region.fields[LIMIT]:
        return 0
    region.fields[TOP] = address + size
    return address
