"""Size classes: a few block sizes that requests are rounded up to, by one table look-up.

    bytes   1 .. 16 .. 32 ...  fine, every 16 bytes up to FINE_BYTES   │ then STEPS a doubling
    class   0    0     1                                               │ rounding at most 1 / STEPS

Terms      class: row of `bytes_of`; granule: 16 bytes
Invariant  bytes_of ascends and is a multiple of 16; class_of[g] is the first class that holds g
           granules
Source     Wilson et al. 1995, section 3.6 (segregated storage); jemalloc and mimalloc space their
           classes geometrically in the same way
Omits      classes that fit whole pages without waste
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned

GRANULE_BYTES = 16
FINE_BYTES = 1024


class SizeClasses(NamedTuple):
    """The round-up table."""

    class_of: np.ndarray  # int16[granules]
    bytes_of: np.ndarray  # int64[class]


def size_classes(largest_bytes: int, steps: int) -> SizeClasses:
    """Classes up to `largest_bytes`, a multiple of 16, `steps` to a doubling beyond FINE_BYTES."""
    sizes = list(range(GRANULE_BYTES, min(FINE_BYTES, largest_bytes) + 1, GRANULE_BYTES))
    while sizes[-1] < largest_bytes:
        doubling = 1 << (sizes[-1].bit_length() - 1)
        step = max(GRANULE_BYTES, doubling // steps // GRANULE_BYTES * GRANULE_BYTES)
        sizes.append(min(largest_bytes, sizes[-1] + step))
    granules = np.arange(largest_bytes // GRANULE_BYTES + 1) * GRANULE_BYTES
    return SizeClasses(np.searchsorted(sizes, granules).astype(np.int16), np.array(sizes, np.int64))


@kernel
def class_of(classes, size):
    """The first class of at least `size` bytes, which is at most the largest class."""
    return np.int64(classes.class_of[unsigned((size + GRANULE_BYTES - 1) >> 4)])
