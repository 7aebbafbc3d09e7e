"""What a replay uses of its memory: a log of page runs, for a program under a memory limit.

    the loop's `paged` ─► rows of a log: (event, first page, last page) ─► limited.py

What is touched is not in a trace. Assumed: an object's pages that hold memory, when it is
allocated, resized (both blocks), or seen to be written; the page that it begins in, when it is
freed, as there a manager keeps its links; of an object graph, an object's pages when a reference in
it is written, and every page of the heap at a full collection.

Omits      what a program reads and writes between two calls
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine.address_space import PAGE_SHIFT

LOG_EVENT, LOG_FIRST, LOG_LAST, LOG_COLUMNS = range(4)
GROWTH = 32  # pages by which the heap may grow until the log is looked at
WHOLE_HEAP = -1  # instead of an address: every page that holds memory


@kernel(inline=True)
def note(log, row, event, address, length):  # type: ignore[no-untyped-def]
    """Write a row: the pages of [address, address + length) are used; the next row."""
    first, last = address >> PAGE_SHIFT, (address + max(length, 1) - 1) >> PAGE_SHIFT
    if (
        row
        and log[unsigned(row - 1), LOG_FIRST] == first == last == log[unsigned(row - 1), LOG_LAST]
    ):
        return row
    log[unsigned(row), LOG_EVENT] = event
    log[unsigned(row), LOG_FIRST], log[unsigned(row), LOG_LAST] = first, last
    return row + 1
