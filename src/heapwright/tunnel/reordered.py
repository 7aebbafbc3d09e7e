"""What a second run of the same program might have been: other threads first, faster, elsewhere.

    window of events ─► threads in another order, each thread's own events in theirs
    clock            ─► all of it faster or slower, as without a recorder or on a busy machine
    process          ─► the addresses that the system draws, where a manager draws from them; the
                        lengths of what it reads at its start: its path, its environment

The recorded order is one of many. Within a short window the threads take turns in another order,
unless one of them uses an object that another one had in the same window, or ends: then the window
stays as it is. So each reordered trace is one that could have been recorded. How far a manager's
figures move with it is how far they depend on the order. Likewise of the clock, and of the process:
jemalloc counts to its looks at what is dirty, and to its deadlines, with numbers that it draws from
where the system put it. And a block of the start that is a few bytes longer lies elsewhere, and so
does all that comes behind it: which of the blocks that stay ends up at the top of a heap, and keeps
it from being given back, is drawn in each process anew. A table of pandas held 76.9, 79 or 81.8 MiB
as its file had a longer name.

Omits      orders that are further apart than a window; locks that the program itself holds
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from heapwright.trace.schema import CALLOC, LARGE_BYTES, MALLOC, THREAD_EXIT, Events

WINDOW = 64  # events
SEED = 1
START, START_SHARE = 1 << 14, 64  # the first events, and at most one part in so many
STRINGS = 16  # one block in so many of the start is of another length,
LONGER_BYTES = 128  # by less than this


@dataclass(frozen=True)
class Another:
    """What differs from the run that was recorded; nothing, as it comes."""

    reorder: bool = False  # the threads take turns in another order
    pace: float = 1.0  # its time as a multiple of the recorded one
    process: int = 0  # by number, of those that are drawn; 0: the recorded one

    def begin(self, module: ModuleType, heap: Any) -> None:
        """Let `heap` lie where the process has it; most managers do not look at addresses."""
        if self.process and hasattr(module, "relocate"):
            module.relocate(heap, self.process)

    def of(self, batch: Events, random: np.random.Generator, start: int = 0) -> Events:
        """The batch as that run has it; its first `start` events are of the program's start."""
        if self.process and start:
            batch = _of_other_lengths(batch, start, np.random.default_rng(self.process))
        if self.pace != 1 and len(batch.time_ns):
            batch = batch._replace(time_ns=(batch.time_ns * self.pace).astype(np.int64))
        return reordered(batch, random) if self.reorder else batch


def start_of(events: int) -> int:
    """How many of a trace's events count as the program's start."""
    return min(START, events // START_SHARE)


def _of_other_lengths(batch: Events, start: int, random: np.random.Generator) -> Events:
    """The batch with some of the small blocks of its start longer, and as many shorter."""
    op, size = batch.op[:start], batch.size[:start]
    small = ((op == MALLOC) | (op == CALLOC)) & (batch.slot[:start] >= 0)
    small &= (size > 0) & (size < LARGE_BYTES - LONGER_BYTES)
    rows = np.flatnonzero(small)
    rows = rows[random.integers(0, STRINGS, len(rows)) == 0]
    longer = random.integers(1 - LONGER_BYTES, LONGER_BYTES, len(rows))
    sizes = batch.size.copy()
    sizes[rows] = np.maximum(1, sizes[rows] + longer)
    return batch._replace(size=sizes)


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
