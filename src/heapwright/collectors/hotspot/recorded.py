"""A recorded Java program's objects as HotSpot lays them out.

    trace                     size without header, references of 8 bytes each
    HotSpot's twin or driver  an array of 16 bytes of header that takes the same bytes of the heap

An object of a Java program has a header of 12 bytes (mark and compressed class), and references of
4 bytes, or 8. The twins and the driver make arrays, whose header has 16. So an object that is full
of references to its last 4 bytes has one field more than its array has elements: that one is left
out, as the object is held by the table as long as it lives, whoever refers to it.

Source     OpenJDK 17 src/hotspot/share/classfile/fieldLayoutBuilder.cpp: no gap is left that a
           field fits, so only sums count
Omits      JVMs with headers of 8 bytes (UseCompactObjectHeaders), or of 16
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from heapwright.trace.schema import NEW, Events

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

HEADER_BYTES, ARRAY_HEADER_BYTES = 12, 16


def laid_out(trace: "Trace", settings: Mapping[str, int]) -> Callable[[Events], Events] | None:
    """What makes a batch of `trace` what a twin with these settings replays; None of a trace that
    is of no Java program, whose objects are arrays already."""
    if not trace.java:
        return None
    shift = 2 if settings.get("UseCompressedOops", 1) else 3

    def as_arrays(batch: Events) -> Events:
        born = batch.op == NEW
        fields = batch.field[born].astype(np.int64) if len(batch.field) else 0
        narrower = fields * (8 - (1 << shift))
        block = np.maximum(batch.size[born] - narrower + HEADER_BYTES + 7 & -8, ARRAY_HEADER_BYTES)
        size = batch.size.copy()
        size[born] = block - ARRAY_HEADER_BYTES
        field = batch.field.copy()
        if len(field):
            field[born] = np.minimum(fields, size[born] >> shift)
        return batch._replace(size=size, field=field)

    return as_arrays
