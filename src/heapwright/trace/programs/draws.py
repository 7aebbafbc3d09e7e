"""Random draws that come out the same on every machine.

    raw 64 bits of PCG64 ─► 63 bits ─┬─ low 26 bits ─► a log-uniform size
                                     └─ upper 37 bits ─► an index

Only integer operations and square roots are used, which IEEE 754 rounds the same way everywhere;
`exp` and `pow` differ between C libraries in the last bit.
"""

import math
from collections.abc import Iterator

import numpy as np

from heapwright.compiler import kernel, unsigned

BATCH_EVENTS = 1 << 20
SIZE_BITS = 26  # of each draw: 10 choose a segment of the size curve, 16 a point of it
SEGMENT_BITS = 10
POINT_BITS = 16
INDEX_LIMIT = 1 << 27  # an index below this is biased by less than one in a thousand


def draws(seed: int, count: int) -> Iterator[np.ndarray]:
    """`count` numbers of 63 random bits, int64, in batches of at most BATCH_EVENTS."""
    bits = np.random.PCG64(seed)
    for first in range(0, count, BATCH_EVENTS):
        raw = bits.random_raw(min(BATCH_EVENTS, count - first))
        yield (raw >> np.uint64(1)).astype(np.int64)


def log_uniform_curve(lowest: int, highest: int) -> np.ndarray:
    """Sizes at evenly spaced logarithms between two sizes, both included.

    int64[1025], bytes x 2^POINT_BITS; `size_drawn` goes straight between neighbouring points.
    """
    root, factors = (highest + 1) / lowest, np.ones(1)
    for _ in range(SEGMENT_BITS):  # root: the 2nd, 4th, 8th, ... root of the ratio
        root = math.sqrt(root)
        factors = np.outer(factors, [1.0, root]).ravel()
    points = [int(lowest * factor * (1 << POINT_BITS)) for factor in factors.tolist()]
    return np.array([*points, (highest + 1) << POINT_BITS], np.int64)


class Dice:
    """Draws one by one, without end, for a program that is told call by call."""

    def __init__(self, seed: int) -> None:
        self._numbers = (number for batch in _endless(seed) for number in batch.tolist())
        self._curves: dict[tuple[int, int], list[int]] = {}

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1."""
        return int(next(self._numbers) % limit)

    def size(self, lowest: int, highest: int) -> int:
        """A log-uniform size, bytes, both bounds included."""
        curve = self._curves.get((lowest, highest))
        if curve is None:
            curve = self._curves[lowest, highest] = log_uniform_curve(lowest, highest).tolist()
        draw = next(self._numbers)
        segment = draw >> POINT_BITS & (1 << SEGMENT_BITS) - 1
        point = draw & (1 << POINT_BITS) - 1
        low, high = curve[segment], curve[segment + 1]
        return int(low + ((high - low) * point >> POINT_BITS) >> POINT_BITS)


def _endless(seed: int) -> Iterator[np.ndarray]:
    bits = np.random.PCG64(seed)
    while True:
        yield (bits.random_raw(1 << 12) >> np.uint64(1)).astype(np.int64)


@kernel
def size_drawn(curve, draw):
    """The size, bytes, that the low bits of `draw` choose on `curve`."""
    segment = unsigned((draw >> POINT_BITS) & ((1 << SEGMENT_BITS) - 1))
    point = draw & ((1 << POINT_BITS) - 1)
    low, high = curve[segment], curve[segment + unsigned(1)]
    return (low + ((high - low) * point >> POINT_BITS)) >> POINT_BITS
