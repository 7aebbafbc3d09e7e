"""The distinct allocations of a trace: a real system is asked about each only once."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.trace.schema import CALLOC, MALLOC, MEMALIGN, NEW, REALLOC

ALLOCATING = (MALLOC, CALLOC, REALLOC, MEMALIGN, NEW)
MAX_KEY = (1 << 63) - 1


def padded(kinds: np.ndarray) -> np.ndarray:
    """int64[kind, 2] (size, fields): an object with references as Go has it, whole words."""
    size, fields = kinds.T
    return np.stack([np.where(fields > 0, -(-size // 8) * 8, size), fields], axis=1)


@dataclass(frozen=True)
class Kinds:
    """The distinct allocations of a trace, ascending by size and fields."""

    rows: np.ndarray  # int64[kind, 2]: bytes, reference fields
    counts: np.ndarray  # int64[kind], events

    def find(self, size: np.ndarray, fields: np.ndarray) -> np.ndarray:
        """int64[event]: the row of each, which must be there."""
        return np.searchsorted(self._keys(*self.rows.T), self._keys(size, fields))

    def _keys(self, size: np.ndarray, fields: np.ndarray) -> np.ndarray:
        return size * (1 + self.rows[:, 1].max(initial=0)) + fields

    @classmethod
    def of(cls, trace: Any) -> "Kinds":
        """Read them from the whole trace."""
        found: Counter[tuple[int, int]] = Counter()
        for batch in trace.batches(columns=("op", "slot", "size", "field")):
            made = np.isin(batch.op, ALLOCATING) & (batch.slot >= 0)
            size = batch.size[made]
            fields = batch.field[made] if len(batch.field) else np.zeros(len(size), np.int64)
            pairs, counts = np.unique(np.stack([size, fields]), axis=1, return_counts=True)
            for kind, count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
                found[kind[0], kind[1]] += count
        rows = sorted(found)
        if rows and max(rows)[0] * (1 + max(fields for _, fields in rows)) > MAX_KEY:
            raise HeapwrightError("an object of the trace is larger than Go's address space.")
        return cls(
            np.array(rows, np.int64).reshape(-1, 2),
            np.array([found[row] for row in rows], np.int64),
        )


NO_KINDS = Kinds(np.zeros((0, 2), np.int64), np.zeros(0, np.int64))
