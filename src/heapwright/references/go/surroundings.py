"""What the real runtime has beside the program's heap, for its twin to be told.

    own           at the start: its objects, their spans; and the median of what its goals count
    Surroundings  along the replay: what each collection scans of stacks, what is mapped outside

Neither is the heap's, and either decides when a collection begins. Stacks: 8 bytes less when a
block for tiny objects was taken, 64 less while the scavenger sleeps. Outside: under a memory limit
goals count what the runtime maps for itself, which grows in steps of 256 KiB.
"""

from typing import Any

import numpy as np

from heapwright.references.go import driver as go

STACKS_COLUMN = go.Row._fields.index("stacks_bytes")


def own(observed: go.Observed) -> dict[str, int]:
    """The twin's settings that say what the runtime takes itself: its objects, which were there
    before the first event, and what the pacer counts, the median over the collections."""
    rows = observed.cycles if len(observed.cycles) else observed.rows[-1:]
    median = dict(zip(go.Row._fields, np.median(rows, axis=0).astype(int).tolist(), strict=False))
    return {
        "own_bytes": observed.before.heap_alloc,
        "own_span_bytes": observed.before.heap_in_use,
        "outside_bytes": int(np.median(outside_bytes(rows))),
        "globals_bytes": median["globals_bytes"],
        "stacks_bytes": median["stacks_bytes"],
    }


class Surroundings:
    """What the real runtime had beside its heap, as its timeline says, for the twin to be told."""

    def __init__(self, observed: go.Observed) -> None:
        rows, cycles = observed.rows, observed.cycles
        is_cycle = np.isin(np.arange(len(rows)), observed.cycle_rows)
        self._past = rows[:, 0] + is_cycle  # the event that began a collection is past
        self.stops: list[int] = np.unique(self._past).tolist()
        self._outside = outside_bytes(rows)
        self._scanned_at, self._scanned = cycles[:, 0], cycles[:, STACKS_COLUMN]

    def tell(self, heap: Any, replayed: int) -> None:
        """Before the next event: memory outside of the heap, and what the next collection scans."""
        row = np.searchsorted(self._past, replayed, side="right") - 1
        if row >= 0:
            heap.go.outside = self._outside[row]
        cycle = np.searchsorted(self._scanned_at, replayed)
        if cycle < len(self._scanned):
            heap.pacer.next_stacks = self._scanned[cycle]


def outside_bytes(rows: np.ndarray) -> np.ndarray:
    """int64[row]: memory of the runtime that is not of the heap's pages."""
    in_heap = ("objects_bytes", "unused_bytes", "free_bytes", "released_bytes")
    of = go.Row._fields.index
    found: np.ndarray = rows[:, of("mapped_bytes")] - rows[:, [of(p) for p in in_heap]].sum(axis=1)
    return found
