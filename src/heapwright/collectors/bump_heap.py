"""A heap of one bump region, in which objects lie end to end: what its managers have alike.

    base │ object │ object │ ... │ object │ ─► top      free      │ limit

`heap` has machine, mutator, log, pace, paths and region.
"""

from heapwright.allocators.frame import write_row
from heapwright.allocators.linear import bump
from heapwright.collectors import pace
from heapwright.collectors.mutator import SLOTS
from heapwright.collectors.objects import (
    FORWARDED,
    GRANULE_BYTES,
    GRANULES_MASK,
    HEADER_BYTES,
    NOTE_SHIFT,
    block_bytes,
    bytes_of,
    fields_of,
    reference,
    slot_of,
)
from heapwright.collectors.textbook import NEW, born
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load


def bumping(make_room):
    """The `new` of such a heap; `make_room(heap, need)` says whether, after what it did, `need`
    bytes fit that did not."""

    @kernel(inline=True)
    def new(heap, thread, slot, size, fields):
        """Address of a new object; a bump while there is room."""
        heap.paths[NEW] += 1
        need = block_bytes(size)
        block = bump(heap.region, need, GRANULE_BYTES)
        if not block:
            if not make_room(heap, need):
                return 0
            block = bump(heap.region, need, GRANULE_BYTES)
        return born(heap, (block, need), slot, fields)

    return new


@kernel
def vacant(region, blocks):
    """What lies above top, as a row of `blocks` (start, bytes) if there is room; rows there are."""
    if region.limit == region.top:
        return 0
    return write_row(blocks, 0, region.top, region.limit - region.top)


@kernel
def is_tiled(machine, region):
    """Whether objects, neither marked nor forwarded, lie end to end up to the top."""
    block = region.base
    while block < region.top:
        state = load(machine, block + 8)
        if state <= 0 or (state >> NOTE_SHIFT) >= FORWARDED:
            return False
        block += (state & GRANULES_MASK) << 4
    return block == region.top <= region.limit


@kernel
def check(heap):
    """0, or 1: objects do not tile the region; 2: a reference leads elsewhere; 3: a handle is not
    that of an object there that was born in its slot; 4: the goal is not the limit."""
    machine, region = heap.machine, heap.region
    base, top = region.base, region.top
    if not is_tiled(machine, region):
        return 1
    block = base
    while block < top:
        address = block + HEADER_BYTES
        for field in range(fields_of(machine, address)):
            target = reference(machine, address, field)
            if target and not base < target <= top:
                return 2
        block += bytes_of(machine, address)
    for slot in range(heap.mutator.counts[SLOTS]):
        address = heap.mutator.handles[unsigned(slot)]
        if address and (not base < address <= top or slot_of(machine, address) != slot):
            return 3
    return 0 if pace.check(heap.pace) else 4
