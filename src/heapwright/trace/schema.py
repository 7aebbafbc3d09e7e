"""The event columns: what a program asked of its memory manager, in order.

An event names its object by a dense slot number that is reused after the object's death, so a
replay keeps one array as long as the largest number of objects alive at once.

    column   type    meaning
    op       uint8   one of the operations below
    slot     int32   the object; -1 for a request that the real system refused, and for THREAD_EXIT
    size     int64   bytes requested, 0 <= size < SIZE_LIMIT; 0 for FREE
    align    uint8   log2 of the requested alignment; 0 unless MEMALIGN
    thread   int32   dense thread number in order of first appearance
    site     int32   row of the trace's site table; -1 when unknown
    time_ns  int64   since the first event, sampled by the recorder every few thousand events
    address  int64   what the real allocator returned; 0 for FREE, THREAD_EXIT, refused, unknown
    slack    int32   usable size minus size, bytes; -1 when unknown

A REALLOC keeps its slot. realloc(NULL, n) is recorded as MALLOC, realloc(p, 0) as FREE (glibc
frees), free(NULL) not at all, a refused realloc not at all.
"""

from typing import NamedTuple

import numpy as np

FREE, MALLOC, CALLOC, REALLOC, MEMALIGN, THREAD_EXIT = range(6)
OPERATIONS = ("free", "malloc", "calloc", "realloc", "memalign", "thread_exit")

SIZE_LIMIT = 1 << 48  # bytes; larger than any user address space, so always refused

COLUMNS = {
    "op": np.uint8,
    "slot": np.int32,
    "size": np.int64,
    "align": np.uint8,
    "thread": np.int32,
    "site": np.int32,
    "time_ns": np.int64,
    "address": np.int64,
    "slack": np.int32,
}


class Events(NamedTuple):
    """Consecutive events; a column that was not asked for, or is constant, has length 0."""

    op: np.ndarray  # uint8[event]
    slot: np.ndarray  # int32[event]
    size: np.ndarray  # int64[event], bytes
    align: np.ndarray  # uint8[event] or [0] when nothing is aligned
    thread: np.ndarray  # int32[event] or [0] when the trace has one thread
    site: np.ndarray  # int32[event] or [0]
    time_ns: np.ndarray  # int64[event] or [0]
    address: np.ndarray  # int64[event] or [0] when unknown
    slack: np.ndarray  # int32[event] or [0] when unknown


def events(**columns: np.ndarray) -> Events:
    """`Events` of the given columns, each cast to its type; the others empty."""
    return Events(
        *(
            np.ascontiguousarray(columns.get(name, ()), dtype=dtype)
            for name, dtype in COLUMNS.items()
        )
    )
