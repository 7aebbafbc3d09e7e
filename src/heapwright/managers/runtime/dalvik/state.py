"""The state of Dalvik's heap: one or two spaces of dlmalloc, and what may be taken of them.

    │ zygote: what was there when the process was forked │ active: grows at the break ─►     │
    object   │ chunk's head 4 │ fields │ slot, flags │ reference 0 │ ... other bytes
                              └─ 8 bytes of header ─┘  4 bytes each

Terms      soft limit: allocated bytes beyond which a collection is due although the footprint would
           do; ideal: the size that the last collection aims at, all spaces together
Invariant  objects and their bytes are what was counted (check: 11); no object is marked (12); each
           handle is 0 or that of an object born in its slot (13); the spaces' own (1-4)
Source     Android 4.4 dalvik/vm/alloc/HeapSource.cpp; vm/oo/Object.h
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.dlmalloc.chunk import Space, bytes_of, chunk_of
from heapwright.collectors.hotspot.layout import Java
from heapwright.collectors.log import Log
from heapwright.collectors.mark import MarkStack
from heapwright.collectors.mutator import Mutator
from heapwright.collectors.references import References
from heapwright.compiler import kernel
from heapwright.compiler.record import record
from heapwright.machine import Machine, load

HEADER_BYTES = 8  # class and lock
SLOT_SHIFT, FIELDS_MASK, SLOT_MASK = 32, (1 << 32) - 1, (1 << 29) - 1
MARK = -(1 << 63)  # of a header, in the sign
DEAD = 1 << 62  # found dead in the zygote's space, where it stays
NONE = 1 << 62  # no soft limit

# What is logged
CAUSES = ("GC_FOR_ALLOC", "GC_CONCURRENT", "GC_EXPLICIT", "GC_BEFORE_OOM")
FOR_ALLOC, CONCURRENT, EXPLICIT, BEFORE_OOM, GROW, FORCE, OOM, CLAMP = range(8)
# of a collection: bytes freed, allocated, footprint, ideal, soft limit; its pause

PATHS = (
    *("new", "write", "for_alloc", "concurrent", "explicit", "before_oom", "soft", "grow"),
    *("out_of_memory", "fork"),
)
NEW, WRITE, COLLECT = 0, 1, 2  # COLLECT + cause
SOFT, GREW, OUT, FORK = range(6, 10)


@record(
    "most",  # heapsize, bytes
    "growth_limit",
    "utilization",  # of 1,024
    "min_free",
    "max_free",
    "start",
    "ideal",
    "soft",  # limit; NONE
    "maximum",  # of the active space
    "concurrent_start",  # allocated bytes from which a collection runs beside the program
    "concurrent",  # whether there is a thread for that
    "wanted",  # it is due; before the first object: the space is to be opened
    "bytes",  # of the active space's chunks that hold objects
    "objects",
    "zygote_bytes",  # of the zygote's
    "zygote_objects",
    "fork_at",  # bytes allocated after which the process is forked; 0 never
    "forked",
    "rows",  # of the history
)
class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    java: Java  # how a reference is written
    stack: MarkStack
    active: Space
    zygote: Space
    history: np.ndarray  # int64[ROWS * ROW]
    references: References
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken

    @property
    def base(self):
        """Where its space begins; 0 before the first object."""
        return self.active.base


@kernel(inline=True)
def header(heap, block):
    """Fields, slot and flags of the object in a block."""
    return load(heap.machine, block)


@kernel(inline=True)
def slot_of(word):
    """The slot that an object was born in, from its header."""
    return (word >> SLOT_SHIFT) & SLOT_MASK


@kernel(inline=True)
def is_active(heap, address):
    """Whether an object lies in the active space."""
    return address > heap.active.base


@kernel(inline=True)
def chunk_bytes(space, block):
    """What an object takes, the chunk's head included."""
    return bytes_of(space, chunk_of(space, block))
