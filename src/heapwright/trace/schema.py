"""The event columns: what a program asked of its memory manager, in order.

An event names its object by a dense slot number that is reused after the object's death, so a
replay keeps one array as long as the largest number of objects alive at once.

    column   type    meaning
    op       uint8   one of the operations below
    slot     int32   the object; -1 for a request that the real system refused, for THREAD_EXIT,
                     PUSH, and a POP that returns nothing
    size     int64   bytes requested, 0 <= size < SIZE_LIMIT; 0 where nothing is allocated
    align    uint8   log2 of the requested alignment; 0 unless MEMALIGN
    thread   int32   dense thread number in order of first appearance
    site     int32   row of the trace's site table; -1 when unknown
    time_ns  int64   since the first event, sampled by the recorder every few thousand events
    address  int64   what the real allocator returned; 0 for FREE, THREAD_EXIT, refused, unknown
    slack    int32   usable size minus size, bytes; -1 when unknown
    field    int32   of NEW: its reference fields; of WRITE: the one written, from 0; else 0
    target   int32   of WRITE: the slot of the object that the field refers to now; else -1

A REALLOC keeps its slot. realloc(NULL, n) is recorded as MALLOC, realloc(p, 0) as FREE (glibc
frees), free(NULL) not at all, a refused realloc not at all.

A **graph trace** says what a program with a garbage collector did. It has one thread.

    NEW     an object of `size` bytes whose first `field` words, 8 bytes each, are references, all
            null; the frame on top holds it: it is one of its locals
    WRITE   its reference `field` refers to `target` now, or to nothing (-1)
    HOLD    the frame on top holds one more object: it was read from a field, say
    ROOT    a global variable refers to the object, at most one; UNROOT  it does no longer
    PUSH    a frame is entered; POP  it is left, and with it go its locals; the object that it
            returns, if any, is held by the frame below. Frame 0 is there from the start
    FREE    nothing refers to the object any longer, neither a root nor a field of an object that
            is reached from one. A collector is not told; what has no collector frees it here

So a graph trace carries its own oracle: a slot is live exactly as long as its object is
reachable, and explicit managers fly the same trace.
"""

from typing import NamedTuple

import numpy as np

FREE, MALLOC, CALLOC, REALLOC, MEMALIGN, THREAD_EXIT = range(6)
NEW, WRITE, HOLD, ROOT, UNROOT, PUSH, POP = range(6, 13)  # of graph traces
OPERATIONS = (
    *("free", "malloc", "calloc", "realloc", "memalign", "thread_exit"),
    *("new", "write", "hold", "root", "unroot", "push", "pop"),
)

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
    "field": np.int32,
    "target": np.int32,
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
    field: np.ndarray  # int32[event] or [0] of a malloc trace
    target: np.ndarray  # int32[event] or [0] of a malloc trace


def events(**columns: np.ndarray) -> Events:
    """`Events` of the given columns, each cast to its type; the others empty."""
    return Events(
        *(
            np.ascontiguousarray(columns.get(name, ()), dtype=dtype)
            for name, dtype in COLUMNS.items()
        )
    )
