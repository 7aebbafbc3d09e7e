"""What each collection found and left. What it left is compared with the real JVM's own counters.

Source     OpenJDK 17 src/hotspot/share/gc/shared/gcPolicyCounters.cpp, ageTable.cpp: the age table
           is published by a collection of the young generation that succeeds, and stays until the
           next
"""

import numpy as np

from heapwright.collectors.hotspot.ages import AGES
from heapwright.collectors.log import EVENT, PROMOTED_BYTES
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.reserve import reserve
from heapwright.result import Generations

ROWS = 1 << 18
KINDS = ("young", "full", "skipped", "failed", "mixed", "concurrent")
YOUNG, FULL, SKIPPED, FAILED, MIXED, CONCURRENT = range(len(KINDS))
COLUMNS = ("event", "kind", "eden", "from", "to", "old", "threshold")
FIRST_AGE = len(COLUMNS)  # then bytes of survivors of ages 1 to 15
PAST_AGES = FIRST_AGE + 15
EDEN_BEFORE, SURVIVORS_BEFORE, OLD_BEFORE, PROMOTED, WIDTH = range(PAST_AGES, PAST_AGES + 5)
SHOWN = 400  # collections of a report, at most


def history() -> np.ndarray:
    """int64[1 + ROWS * WIDTH], flat: how many rows, and the rows."""
    return reserve(1 + ROWS * WIDTH, np.int64)


@kernel
def expect(history, eden, survivors, old):
    """A collection begins: bytes in the spaces."""
    row = history[unsigned(0)]
    if row < ROWS:
        at = 1 + row * WIDTH
        history[unsigned(at + EDEN_BEFORE)] = eden
        history[unsigned(at + SURVIVORS_BEFORE)] = survivors
        history[unsigned(at + OLD_BEFORE)] = old


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
    history[unsigned(at + PROMOTED)] = log.totals[PROMOTED_BYTES]


def rows(history: np.ndarray) -> np.ndarray:
    """int64[collection, WIDTH]: those that were kept."""
    kept = min(int(history[0]), ROWS)
    return history[1 : 1 + kept * WIDTH].reshape(kept, WIDTH)


def report(
    told: np.ndarray, after: np.ndarray, capacity: dict[str, int], ages: np.ndarray
) -> Generations:
    """Of the `rows`, and int64[collection, 3]: bytes in eden, the survivors and old after each."""
    promoted = np.diff(told[:, PROMOTED], prepend=0)
    columns = (
        told[:, [0, 1, EDEN_BEFORE, SURVIVORS_BEFORE, OLD_BEFORE]],
        after,
        promoted[:, None],
        told[:, [COLUMNS.index("threshold")]],
    )
    table = np.hstack(columns)
    chosen = np.arange(len(table))
    if len(table) > SHOWN:
        chosen = np.linspace(0, len(table) - 1, SHOWN).astype(np.int64)
    young = np.isin(told[:, 1], (YOUNG, FAILED, MIXED))
    return Generations(
        kinds=KINDS,
        capacity=capacity,
        promoted_bytes={
            "total": int(promoted.sum()),
            "median": int(np.median(promoted[young])) if young.any() else 0,
            "most": int(promoted.max(initial=0)),
        },
        ages=ages[1 : AGES - 1].tolist(),
        threshold=int(told[-1, COLUMNS.index("threshold")]) if len(told) else 0,
        counted=len(table),
        collections=table[chosen],
    )
