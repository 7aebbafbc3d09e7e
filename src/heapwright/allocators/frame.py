"""What textbook managers say alike, said once; a manager's own file then holds its policy.

    from heapwright.allocators.frame import cached, counters, metadata, moving

    realloc = moving(alloc, free, usable, in_place)     a block resized where it lies, else moved

Functions here that make kernels are called once, when a manager's module is imported: a kernel that
closes over others is compiled as a part of the loop that calls it, and is kept with that.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel
from heapwright.errors import HeapwrightError
from heapwright.machine import copy

ALIGN_BYTES = 16


class Growth(NamedTuple):
    """Knobs of a heap that grows by brk and may shrink."""

    growth_bytes: int = 1 << 17  # least that brk moves
    trim_bytes: int = 0  # give the heap's end back from this many free bytes on; 0 never


def counters(paths):
    """int64[path], nothing counted yet."""
    return np.zeros(len(paths), np.int64)


def none_negative(name, config):
    """HeapwrightError where a knob of the manager `name` is negative."""
    if min(config) < 0:
        raise HeapwrightError(f"a knob of {name} is not negative.")


@kernel
def cached(heap, blocks):
    """No caches: what is free can be used for any request."""
    return 0


@kernel
def metadata(heap, blocks):
    """No memory of its own."""
    return 0


@kernel
def write_row(blocks, row, start, length):
    """Write (start, bytes) as row number `row` of `blocks` if there is room; the next number."""
    if row < len(blocks):
        blocks[row, 0], blocks[row, 1] = start, length
    return row + 1


def moving(alloc, free, usable, in_place):
    """A realloc: `in_place(heap, address, size)` says whether it could be done where the block
    lies; if not, the content moves to a new one."""

    @kernel
    def realloc(heap, thread, address, size):
        """The block resized where it lies, by cutting it or taking the free one above; else moved;
        0 where there is no room, and the old block stays."""
        if in_place(heap, address, size):
            return address
        room = usable(heap, address, 0)
        moved = alloc(heap, thread, size, ALIGN_BYTES)
        if moved:
            copy(heap.machine, moved, address, min(room, size))
            free(heap, thread, address)
        return moved

    return realloc
