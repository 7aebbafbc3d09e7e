"""Under a memory limit: whether a program would be killed, or how much it would swap.

    Limit ─► a third pass: the loop's `paged` ─► linux/reclaim.py ─► UnderLimit

What is assumed of accesses is told in paging.py, and in a note of each result.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES
from heapwright.managers.registry import named
from heapwright.quantities import parse_bytes
from heapwright.result import Result, UnderLimit
from heapwright.trace.ending import clock
from heapwright.tunnel.conditions import Conditions, columns_of
from heapwright.tunnel.paging import LOG_COLUMNS
from heapwright.tunnel.replay import Progress, Replay
from heapwright.tunnel.replay import steps_of_replay as steps_of_passes
from heapwright.words import bytes_text

if TYPE_CHECKING:
    from heapwright.linux.lru import Memory
    from heapwright.trace.store import Trace

SWAP_READ_SECONDS = 100e-6  # one page from a solid-state disk: its latency, no queue before it
LOG_ROWS = 4096
LEAST_BYTES = 1 << 20
MOST_BYTES = 1 << 40
ACCESSES = (
    "Under the limit an object's pages are taken to be used when it is allocated, resized, or seen "
    "to be written, and the page that it begins in when it is freed; what the program reads and "
    "writes in between is in no trace, so it would swap more."
)
GRAPH = (
    "Under the limit an object's pages are taken to be used when it is allocated or a reference in "
    "it is written, and the whole heap at a full collection; what else the program uses is in no "
    "trace, so it would swap more."
)
ALONE = (
    "The limit is for the heap and its page tables: what else the program has in memory, its code, "
    "its stacks, what no allocator knows of, is to be left out of it."
)

NO_LIMIT = {  # family: why a process's limit says nothing of its memory
    "linux": "No limit: a kernel's own frames are no process's, and never go to swap.",
    "device": "No limit: a device's own memory counts against no limit of the machine's.",
}


class Limit(NamedTuple):
    """How much memory, and swap beside it, a program may use."""

    limit_bytes: int
    swap_bytes: int = 0

    @classmethod
    def of(cls, limit: int | str | None, swap: int | str | None = None) -> "Limit | None":
        """Such a limit, in bytes or as "512M"; none where none is asked for. HeapwrightError for
        one that is too small or too large."""
        if limit is None:
            if swap is not None:
                raise HeapwrightError("--swap needs a --memory-limit beside which it is used.")
            return None
        limit_bytes = parse_bytes(limit) if isinstance(limit, str) else limit
        swap_bytes = parse_bytes(swap) if isinstance(swap, str) else swap
        if not LEAST_BYTES <= limit_bytes <= MOST_BYTES:
            raise HeapwrightError(
                f"a memory limit is from {bytes_text(LEAST_BYTES)} to {bytes_text(MOST_BYTES)}, "
                f"not {limit_bytes:,} bytes."
            )
        if not 0 <= (swap_bytes or 0) <= MOST_BYTES:
            raise HeapwrightError(f"swap is up to {bytes_text(MOST_BYTES)}, not {swap_bytes:,}.")
        return cls(limit_bytes, swap_bytes or 0)


def steps_of_replay(trace: "Trace", limit: Limit | None = None) -> int:
    """Events replayed in all passes, for a progress bar."""
    return steps_of_passes(trace) + (trace.events if limit else 0)


def limited(
    result: Result,
    trace: "Trace",
    limit: Limit,
    conditions: Conditions,
    progress: Progress | None = None,
) -> None:
    """Replay `trace` once more, under the limit, and write what came of it into `result`.

    `progress` is told events past those of the two passes before.
    """
    from heapwright.linux.under_limit import memory_under, use

    if why := NO_LIMIT.get(named(result.manager).family):
        result.notes.append(why)
        return
    twin = Replay(result.manager, trace, dict(result.settings), conditions)
    memory, log = memory_under(*limit), np.zeros((LOG_ROWS, LOG_COLUMNS), np.int64)
    killed = -1
    for batch in trace.batches(columns_of(twin.loop, trace)):
        row = 0
        while row < len(batch.op) and killed < 0:
            row, rows = twin.loop.paged(twin.heap, twin.run, batch, row, log)
            twin.end_if_fatal()
            killed = int(use(memory, twin.heap.machine, log, rows))
        if killed >= 0:
            break
        if progress:
            progress(2 * trace.events + int(twin.run.progress[twin.loop.NEXT]))
    told = result.under_limit = _told(memory, limit)
    if killed >= 0:
        at = clock(trace, np.array([killed]))
        told.killed_event = killed
        told.killed_seconds = None if at is None else float(at[0]) / 1e9
    result.notes += [GRAPH if trace.graph else ACCESSES, ALONE]
    if conditions.huge_pages != "never":
        result.notes.append("Under the limit huge pages are put out page by page.")


def _told(memory: "Memory", limit: Limit) -> UnderLimit:
    from heapwright.linux.lru import named
    from heapwright.linux.shrink import COUNTS

    known = named(memory)
    counts: Mapping[str, Any] = dict(zip(COUNTS, memory.counts.tolist(), strict=True))
    return UnderLimit(
        *limit,
        held_bytes=(known["charged"] - known["stock"]) * PAGE_BYTES,
        tables_bytes=known["tables"] * PAGE_BYTES,
        most_swapped_bytes=counts["most_swapped"] * PAGE_BYTES,
        swapped_out_bytes=counts["swapped_out"] * PAGE_BYTES,
        swapped_in_bytes=counts["swapped_in"] * PAGE_BYTES,
        major_faults=counts["major_faults"],
        activated=counts["activated"],
        reclaims=counts["reclaims"],
        wait_seconds=counts["swapped_in"] * SWAP_READ_SECONDS,
    )
