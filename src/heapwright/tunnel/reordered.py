"""Another order of a recording's threads: what a second run of the same program might have been.

    window of events ─► threads in another order, each thread's own events in theirs

The recorded order is one of many. Within a short window the threads take turns in another order,
unless one of them uses an object that another one had in the same window, or ends: then the window
stays as it is. So each reordered trace is one that could have been recorded. How far a manager's
figures move with it is how far they depend on the order.

Omits      orders that are further apart than a window; locks that the program itself holds
"""

from typing import Any

import numpy as np

from heapwright.trace.schema import THREAD_EXIT, Events

WINDOW = 64  # events
SEED = 1


def reordered(batch: Events, random: np.random.Generator) -> Events:
    """The batch with the threads of each window in another order, where they may be."""
    if not len(batch.thread):
        return batch
    order = np.arange(len(batch.op))
    for first in range(0, len(order), WINDOW):
        rows = slice(first, first + WINDOW)
        thread = batch.thread[rows]
        if thread.min() == thread.max() or (batch.op[rows] >= THREAD_EXIT).any():
            continue
        if not _apart(batch.slot[rows], thread):
            continue
        rank = random.permutation(int(thread.max()) + 1)
        order[rows] = first + np.argsort(rank[thread], kind="stable")
    columns: list[Any] = [column[order] if len(column) else column for column in batch]
    return Events(*columns)


def _apart(slot: np.ndarray, thread: np.ndarray) -> bool:
    """Whether no slot is used by two threads; that of a refused request is nobody's."""
    pairs = np.unique(np.stack([slot, thread]), axis=1)
    used = pairs[0][pairs[0] >= 0]
    return bool(len(np.unique(used)) == len(used))
