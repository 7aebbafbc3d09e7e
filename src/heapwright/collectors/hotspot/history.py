"""What each collection left: the row that the real JVM's own counters are compared with.

Source     OpenJDK 17 src/hotspot/share/gc/shared/gcPolicyCounters.cpp, ageTable.cpp: the age table
           is published by a collection of the young generation that succeeds, and stays until the
           next
"""

import numpy as np

from heapwright.collectors.hotspot.ages import AGES
from heapwright.collectors.log import EVENT
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.reserve import reserve

ROWS = 1 << 18
KINDS = ("young", "full", "skipped", "failed", "mixed", "concurrent")
YOUNG, FULL, SKIPPED, FAILED, MIXED, CONCURRENT = range(len(KINDS))
COLUMNS = ("event", "kind", "eden", "from", "to", "old", "threshold")
FIRST_AGE = len(COLUMNS)  # then bytes of survivors of ages 1 to 15
WIDTH = FIRST_AGE + 15


def history() -> np.ndarray:
    """int64[1 + ROWS * WIDTH], flat: how many rows, and the rows."""
    return reserve(1 + ROWS * WIDTH, np.int64)


@kernel
def remember(history, log, kind, spaces, ages):
    """A collection is over and left `spaces`: bytes in eden, from, to, old; and the threshold."""
    row = history[unsigned(0)]
    history[unsigned(0)] = row + 1
    if row >= ROWS:
        return
    at = 1 + row * WIDTH
    history[unsigned(at)], history[unsigned(at + 1)] = log.totals[EVENT], kind
    eden, survivors, others, old, threshold = spaces
    history[unsigned(at + 2)], history[unsigned(at + 3)] = eden, survivors
    history[unsigned(at + 4)], history[unsigned(at + 5)] = others, old
    history[unsigned(at + 6)] = threshold
    for age in range(1, AGES - 1):
        history[unsigned(at + FIRST_AGE - 1 + age)] = ages[unsigned(age)]


def rows(history: np.ndarray) -> np.ndarray:
    """int64[collection, WIDTH]: those that were kept."""
    kept = min(int(history[0]), ROWS)
    return history[1 : 1 + kept * WIDTH].reshape(kept, WIDTH)
