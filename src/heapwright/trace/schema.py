"""The event columns: what a program asked of its memory manager, in order.

An event names its object by a dense slot number that is reused after the object's death, so a
replay keeps one array as long as the largest number of objects alive at once.

    column   type    meaning
    op       uint8   one of the operations below
    slot     int32   the object; -1 for a request that the real system refused, for THREAD_EXIT,
                     MALLOPT, TRIM, SBRK, STEER, PUSH, and a POP that returns nothing
    size     int64   bytes requested, 0 <= size < SIZE_LIMIT; 0 where nothing is allocated; the
                     operand of MALLOPT, TRIM, SBRK, STEER and TRACK; of TOUCH bytes
                     written
    align    uint8   log2 of the requested alignment; 0 unless MEMALIGN
    thread   int32   dense thread number in order of first appearance
    site     int32   row of the trace's site table; -1 when unknown
    time_ns  int64   since the first event, sampled by the recorder every few thousand events
    address  int64   what the real allocator returned; 0 for FREE, THREAD_EXIT, refused, unknown
    slack    int32   usable size minus size, bytes; -1 when unknown
    field    int32   of NEW: its reference fields; of WRITE: the one written, from 0; of a kernel's
                     request its door (see doors.py), from 1; else 0
    target   int32   of WRITE and REFER: the slot of the object that is referred to now; of NEW: its
                     kind where it is known, see below; else -1
    domain   uint8   whom the program asked, or gives the object back to: MALLOC_DOMAIN, or of a
                     Python program RAW, MEM or OBJECT (PyMem_RawMalloc, PyMem_Malloc,
                     PyObject_Malloc)

A REALLOC keeps its slot. realloc(NULL, n) is recorded as MALLOC, realloc(p, 0) as FREE (glibc
frees), free(NULL) not at all, a refused realloc not at all. In the domains of Python a REALLOC to
0 bytes is one to the smallest block: a manager that is not Python's is asked for 1.

What a program does to its allocator is an event too. slot is -1 and site -1; thread, time_ns as
ever. The operand stands in `size`, so that who replays a trace needs no further column:

    MALLOPT  mallopt(param, value): size = (param & 0xffff) << 32 | value & 0xffffffff, both two's
             complement: see `mallopt_size`, `mallopt_call`
    TRIM     malloc_trim(pad): size = pad, at most SIZE_LIMIT - 1
    SBRK     the program itself moves the break: size = increment & (SIZE_LIMIT - 1), two's
             complement in 48 bits, see `sbrk_size`, `sbrk_increment`. brk(address) is told by the
             increment it comes to. address = the break before, 0 where it is not known or the
             system refused (then nothing moved)

What of a large block, LARGE_BYTES and more, is really written is an event too, where known:

    TOUCH    `size` bytes of the block in `slot` are written by now, counted from its start on in
             whole pages; at most the block's size. Of a large block without one nothing is written.
             thread and time_ns are those of the event before. Blocks below LARGE_BYTES have none:
             they are taken as written whole

A THREAD_EXIT stands behind the last event of its thread. The first thread of a process has none
if it calls pthread_exit: glibc keeps its cache and its arena (sysdeps/nptl/libc_start_call_main.h
ends the thread without __libc_thread_freeres).

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

What a program declares of objects that a collector treats apart. None of it holds an object:

    REFER   the object that the event before made is a reference object of the kind `size`: SOFT,
            WEAK or PHANTOM, + CALLBACK where a function of the program's hears that it is cleared.
            Its first field, which nothing else is written to, refers to `target` until a collector
            clears it, or the target is freed. Or FINALISABLE: the object has a finaliser, that runs
            once, when a collector finds it unreachable; target -1
    GET     the program asks the SOFT reference in `slot` for its target: so it was used just now

What only the collector of CPython is told, of a program that it runs:

    NEW     kind: ATOM refers to nothing, or is a table that one object owns; CONTAINER, TUPLE and
            DICT are followed; + REVIVES: its finaliser brings it back, once, until the next NEW;
            + LEGACY: its finaliser is of the old sort (tp_del), so no cycle with it is collected.
            `size` is the whole block then, with what Python puts before an object
    STEER   the program steers its collector: `size` is COLLECT + the generation, FREEZE, UNFREEZE,
            ENABLE, DISABLE, or THRESHOLD + the generation | the value << STEER_BITS. In a
            recording COUNT + the generation | its count << STEER_BITS, as it is now; RAN: the
            interpreter's collector runs, see `ran_size`; what it is about to collect is
            unreachable by now, and which tuples and dictionaries it follows is told by TRACK
    TRACK   the collector follows the object from now on, in the generation size - 1, or with size 0
            no longer

So a graph trace carries its own oracle: a slot is live exactly as long as its object is
reachable, and explicit managers serve the same trace.
"""

from typing import NamedTuple

import numpy as np

FREE, MALLOC, CALLOC, REALLOC, MEMALIGN, THREAD_EXIT = range(6)
NEW, WRITE, HOLD, ROOT, UNROOT, PUSH, POP = range(6, 13)  # of graph traces
MALLOPT, TRIM, SBRK = range(13, 16)  # what a program does to its allocator
TOUCH = 16  # what it has written of a large block
STEER, TRACK = 17, 18  # of graph traces: what a Python program does to its collector
REFER, GET = 19, 20  # of graph traces: reference objects and finalisers
OPERATIONS = (
    *("free", "malloc", "calloc", "realloc", "memalign", "thread_exit"),
    *("new", "write", "hold", "root", "unroot", "push", "pop"),
    *("mallopt", "trim", "sbrk", "touch", "steer", "track"),
    *("refer", "get"),
)

LARGE_BYTES = 1 << 16  # of a block of which is told how much was written
MALLOC_DOMAIN, RAW, MEM, OBJECT = range(4)
DOMAINS = ("malloc", "raw", "mem", "object")

ATOM, CONTAINER, TUPLE, DICT = range(4)  # kinds of NEW
REVIVES, LEGACY, KINDS = 4, 8, 16
SOFT, WEAK, PHANTOM, FINALISABLE = range(1, 5)  # kinds of REFER
REFERENCE, CALLBACK = 7, 8  # which of these it is; that a function hears of it
COLLECT, FREEZE, UNFREEZE, ENABLE, DISABLE, RAN, THRESHOLD, COUNT = (*(0, 3, 4, 5, 6, 7), 8, 12)
STEER_BITS = 4
RAN_GENERATION, RAN_ITSELF, RAN_LEFT, RAN_COLLECTED = 4, 7, 8, 20  # bits of a RAN from which on

SIZE_LIMIT = 1 << 48  # bytes; larger than any user address space, so always refused


def mallopt_size(param: int, value: int) -> int:
    """`size` of the MALLOPT that stands for mallopt(param, value)."""
    return (param & 0xFFFF) << 32 | value & 0xFFFFFFFF


def mallopt_call(size: int) -> tuple[int, int]:
    """(param, value) of a MALLOPT."""
    return _signed(size >> 32, 16), _signed(size, 32)


def sbrk_size(increment: int) -> int:
    """`size` of the SBRK that moves the break by `increment` bytes."""
    return increment & (SIZE_LIMIT - 1)


def sbrk_increment(size: int) -> int:
    """Bytes by which a SBRK moves the break."""
    return _signed(size, 48)


def ran_size(generation: int, itself: int, collected: int, uncollectable: int) -> int:
    """`size` of the STEER that stands for a recorded collection; `itself`: 1 of one that the
    program did not ask for."""
    left = min(uncollectable, (1 << RAN_COLLECTED - RAN_LEFT) - 1)
    most = (SIZE_LIMIT >> RAN_COLLECTED) - 1
    flags = RAN | generation << RAN_GENERATION | itself << RAN_ITSELF
    return flags | left << RAN_LEFT | min(collected, most) << RAN_COLLECTED


def ran(size: int) -> tuple[int, int, int, int]:
    """(generation, itself, collected, uncollectable) of such a STEER."""
    left = size >> RAN_LEFT & (1 << RAN_COLLECTED - RAN_LEFT) - 1
    return size >> RAN_GENERATION & 3, size >> RAN_ITSELF & 1, size >> RAN_COLLECTED, left


def _signed(number: int, bits: int) -> int:
    """The low `bits` of `number` as two's complement."""
    half = 1 << bits - 1
    return (number & 2 * half - 1 ^ half) - half


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
    "domain": np.uint8,
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
    domain: np.ndarray  # uint8[event] or [0] when all of it is malloc's


def events(**columns: np.ndarray) -> Events:
    """`Events` of the given columns, each cast to its type; the others empty."""
    return Events(
        *(
            np.ascontiguousarray(columns.get(name, ()), dtype=dtype)
            for name, dtype in COLUMNS.items()
        )
    )
