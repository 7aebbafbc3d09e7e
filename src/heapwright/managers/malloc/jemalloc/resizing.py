"""Large blocks of jemalloc that are resized where they lie.

Source     jemalloc 5.3.0 src/large.c (large_ralloc_no_move)
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store
from heapwright.managers.malloc.jemalloc.decay import purge_at_once
from heapwright.managers.malloc.jemalloc.extents import expand, shrink
from heapwright.managers.malloc.jemalloc.size_classes import PAD_BYTES
from heapwright.managers.malloc.jemalloc.state import (
    BLOCKS_BYTES,
    BYTES,
    CLASS_MASK,
    CLASS_SHIFT,
    KIND,
    PAGE_SHIFT,
    add,
    extent_at,
    owner_of,
)


@kernel
def resize(heap, address, class_):
    """Give a large block another large class where it lies; whether it could be done."""
    machine = heap.machine
    extent = extent_at(heap, address >> PAGE_SHIFT)
    have = load(machine, extent + BYTES)
    want = heap.classes.bytes_of[unsigned(class_)] + PAD_BYTES
    if want > have and not expand(heap, extent, want - have):
        return False
    if want < have:
        shrink(heap, extent, want)
    kind = load(machine, extent + KIND) & ~(CLASS_MASK << CLASS_SHIFT)
    store(machine, extent + KIND, kind | class_ << CLASS_SHIFT)
    heap.page_class[unsigned(address >> PAGE_SHIFT)] = class_
    arena = owner_of(heap, extent)
    add(heap, arena, BLOCKS_BYTES, want - have)
    if want < have:
        purge_at_once(heap, arena)
    return True
