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


@record("base", "top", "limit")  # addresses
class Region(NamedTuple):
    """A bump region."""

    fields: np.ndarray  # int64[word]


@kernel(inline=True)
def bump(region, size, align):
    """Address of `size` bytes at a multiple of `align`, or 0 past the limit. Two additions."""
    address = (region.top + align - 1) & ~(align - 1)
    if address + size > region.limit:
        return 0
    region.top = address + size
    return address
