"""The state of ART's heap: regions, and large objects in mappings of their own.

    │ region │ region │ large ... │ part │ free │ ... break      │ large object │   │ large object │

Terms      allocated: what ART counts: whole buffers (TLABs), regions up to their tops, pages of
           large objects; target: footprint beyond which a collection is due
Invariant  the regions' (check: 1-2); each reference leads to a region in use or a large object (3);
           each handle is 0 or that of an object born in its slot (4); the mark stack is empty (5);
           large objects are what was counted and none is marked (6)
Source     ART 11 runtime/gc/heap.h, space/region_space.h, space/large_object_space.h
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors.log import Log
from heapwright.collectors.mark import MarkStack
from heapwright.collectors.mutator import Mutator
from heapwright.collectors.regions import USED, Regions, base_of, top_of
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record
from heapwright.machine import Machine

REGION_SHIFT = 18
REGION_BYTES = 1 << REGION_SHIFT
LARGE_BYTES = 12288  # three pages: objects without references from here on lie apart
TLAB_BYTES = 16384  # kPartialTlabSize: what is counted of a region at a time
MOST_LARGE = 1 << 20
LARGE_SHIFT = 24  # of freed bytes of large objects above their number, in a row of the history

# What is logged
CAUSES = ("Background", "Alloc", "Explicit", "NativeAlloc")
BACKGROUND, FOR_ALLOC, EXPLICIT, NATIVE, CLAMP, OOM = range(6)

PATHS = (
    *("new", "write", "background", "alloc", "explicit", "native", "buffer", "large_object"),
    *("large_region", "evacuated", "out_of_memory", "pixels", "recycled"),
)
NEW, WRITE, COLLECT = 0, 1, 2  # COLLECT + cause
BUFFER, LARGE_OBJECT, LARGE_REGION, EVACUATED, OUT, PIXELS, RECYCLED = range(6, 13)


@record(
    "growth_limit",  # bytes
    "utilization",  # percent
    "min_free",
    "max_free",
    "multiplier",  # percent of the free bytes that are allowed
    "target",  # footprint
    "concurrent",  # whether collections run beside the program
    "concurrent_start",  # allocated bytes from which one does
    "wanted",  # it is due: 1, or 2 for the sake of native memory
    "allocated",  # bytes
    "buffer",  # bytes left of what was counted of the region at hand
    "large_rows",  # of the table of large objects, used or not
    "large_objects",
    "large_bytes",
    "native_from",  # bytes from which an object without references is a bitmap's pixels; 0 never
    "native_bytes",  # of pixels, which are not `allocated`
    "native_before",  # after the last collection
    "spare_rows",
    "rows",  # of the history
)
class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    stack: MarkStack
    regions: Regions
    fresh: np.ndarray  # uint8[region]  taken since the last collection
    large: np.ndarray  # int64[row]  block of a large object; 0 none
    spare: np.ndarray  # int64[spare_rows]  rows without one
    history: np.ndarray  # int64[ROWS * ROW]
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel
def region_bytes(heap):
    """Bytes of regions up to their tops; of large ones whole regions."""
    table, found = heap.regions, 0
    for region in range(table.total):
        kind = table.kind[unsigned(region)]
        if kind == USED:
            found += top_of(table, region) - base_of(table, region)
        elif kind:
            found += REGION_BYTES
    return found
