"""What is to be logged: rows of an event, what happened, and six figures.

heap.history[row * ROW ...]     heap.rows: how many there were, kept or not
"""

import numpy as np

from heapwright.collectors.log import EVENT
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.reserve import reserve

FIGURES = 6
ROW, ROWS = 2 + FIGURES, 1 << 18


def history() -> np.ndarray:
    """No row yet."""
    return reserve(ROWS * ROW, np.int64)


@kernel
def note(heap, what, figures):
    """A row of the history; `heap` has log, history and rows."""
    row = heap.rows
    heap.rows = row + 1
    if row >= ROWS:
        return
    at = row * ROW
    heap.history[unsigned(at)] = heap.log.totals[EVENT]
    heap.history[unsigned(at + 1)] = what
    for number in range(FIGURES):
        heap.history[unsigned(at + 2 + number)] = figures[number]


def rows(heap):
    """int64[row, ROW] of those that were kept."""
    kept = min(int(heap.rows), ROWS)
    return heap.history[: kept * ROW].reshape(kept, ROW)
