"""What one trace of a rotated recording hands on to the next: the blocks that live at its end.

    trace n ─► Carry: a row for each block ─► the first rows of trace n + 1, as if allocated anew

So that each of them can be replayed alone, and what it frees was given in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heapwright.trace.recorder.log import MALLOC, MEMALIGN, WINDOW_EVENTS, Window, window
from heapwright.trace.schema import FREE
from heapwright.trace.schema import MALLOC as FIRST_ALLOCATION
from heapwright.trace.schema import MEMALIGN as LAST_ALLOCATION
from heapwright.trace.store import Trace

_COLUMNS = ("op", "slot", "size", "align", "thread", "site", "address", "slack")


@dataclass
class Carry:
    """Live blocks in the order of their last allocation."""

    address: np.ndarray  # int64[block]
    size: np.ndarray  # int64[block]
    align: np.ndarray  # uint8[block], log2
    slack: np.ndarray  # int32[block]
    thread: np.ndarray  # int32[block], the recorder's number
    site: np.ndarray  # int64[block], as callers of the log; nodes: row of the tree, -1 unknown

    def windows(self, begun_ns: int) -> Iterator[tuple[Window, int]]:
        """(rows, how many), as if they were of the log, at the time when it begins."""
        rows = window()
        for start in range(0, len(self.address), WINDOW_EVENTS):
            part = slice(start, start + WINDOW_EVENTS)
            count = len(self.address[part])
            rows.time_ns[:] = 0
            rows.time_ns[0] = begun_ns
            rows.op[:count] = np.where(self.align[part] > 0, MEMALIGN, MALLOC)
            rows.address[:count], rows.size[:count] = self.address[part], self.size[part]
            rows.align[:count], rows.slack[:count] = self.align[part], self.slack[part]
            rows.thread[:count], rows.caller[:count] = self.thread[part], self.site[part]
            yield rows, count


def carry(path: Path, threads: np.ndarray, callers: np.ndarray | None) -> Carry:
    """The blocks alive at the end of the trace at `path`.

    `threads` int32[recorder's number] tells the trace's number of a thread, -1 for none; `callers`
    int64[site] the log's word for a site, None where sites are nodes. Memory: the slots.
    """
    trace = Trace.open(path)
    row = np.full(trace.slots, -1, np.int64)  # of its last allocation; -1: not live
    last = {name: np.zeros(trace.slots, np.int64) for name in _COLUMNS[2:]}
    before = 0
    for events in trace.batches(_COLUMNS):
        ops = events.op
        gives = (ops >= FIRST_ALLOCATION) & (ops <= LAST_ALLOCATION) & (events.slot >= 0)
        at = np.flatnonzero(gives | (ops == FREE))
        slots = events.slot[at]
        final, where = np.unique(slots[::-1], return_index=True)  # the last event of each slot
        where = at[len(at) - 1 - where]
        row[final] = np.where(ops[where] == FREE, -1, before + where)
        for name, column in last.items():
            values = getattr(events, name)
            column[final] = values[where] if len(values) else (-1 if name == "slack" else 0)
        before += len(ops)
    slots = np.flatnonzero(row >= 0)
    slots = slots[np.argsort(row[slots], kind="stable")]
    numbers = np.zeros(max(trace.threads, 1), np.int32)
    known = np.flatnonzero(threads >= 0)
    numbers[threads[known]] = known
    site = last["site"][slots]
    return Carry(
        last["address"][slots],
        last["size"][slots],
        last["align"][slots].astype(np.uint8),
        last["slack"][slots].astype(np.int32),
        numbers[last["thread"][slots]],
        site if callers is None else callers[site],
    )
