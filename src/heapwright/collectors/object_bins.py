"""Objects in blocks of bins, swept one at a time: the allocator below an incremental collector.

    block    │ head │ slot fields │ granules mark │ reference 0 │ ...        head: boundary tag
             8 B    └── header of `objects.py` ──┘ └ address

    allocate ─► a good fit of the bins; the object takes the colour of those that are born now
    finish   ─► the marking is over; the cursor stands at the lowest block
    sweep    ─► free the object at the cursor if it is white, merging its block; the cursor moves on

Terms      occupied: bytes of all blocks that hold an object, dead or alive
Invariant  the bins' (check: 1-8); objects, references and occupied bytes are what was counted (9);
           so are grey objects, of which there are none but while MARKING (10); IDLE: no object is
           white; SWEEPING: no black one refers to a white one (11); nor while MARKING, where the
           barrier keeps the strong invariant (12); SWEEPING: the cursor is at a block (13)
Source     Hughes, "A semi-incremental garbage collection algorithm", Software: Practice and
           Experience 1982, for a sweep that is paid for by allocation
Omits      blocks that hold several objects

While swept objects and newborn ones are black in the sense of the last cycle, a new cycle turns all
white by changing what the mark means: nothing is unmarked one by one.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import boundary_tags, segregated_bins
from heapwright.allocators.boundary_tags import (
    HEAD_BYTES,
    fence,
    first_block,
    is_free,
    size_of,
)
from heapwright.allocators.frame import write_row
from heapwright.allocators.segregated_bins import Bins
from heapwright.collectors import tricolour
from heapwright.collectors.barriers import STRONG
from heapwright.collectors.log import (
    ALLOCATED_BYTES,
    ALLOCATED_OBJECTS,
    SWEPT_BYTES,
    SWEPT_OBJECTS,
)
from heapwright.collectors.mutator import reclaimed
from heapwright.collectors.objects import (
    HEADER_BYTES,
    bytes_of,
    fields_of,
    initialise,
    reference,
    slot_of,
)
from heapwright.collectors.tricolour import (
    IDLE,
    MARKING,
    SWEEPING,
    Marking,
    give_birth,
    is_grey,
    is_white,
)
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.machine import Machine

OBJECT_OFFSET = HEAD_BYTES + HEADER_BYTES  # from a block to its object


@record(
    "occupied",  # bytes
    "objects",  # dead or alive
    "references",  # of all objects
    "cursor",  # SWEEPING: the block that is next
    "most",  # setting: bytes that the heap may take, all asked for at once; 0: it grows
)
class ObjectBins(NamedTuple):
    """The heap of an incremental collector."""

    machine: Machine
    bins: Bins
    marking: Marking
    fields: np.ndarray  # int64[word]


def object_bins(marking, most_bytes, growth_bytes, steps_shift=3):
    """An empty heap of at most `most_bytes`, or for 0 one that grows by `growth_bytes` or more."""
    machine = marking.machine
    bins = segregated_bins.bins(machine, most_bytes or growth_bytes, steps_shift)
    return ObjectBins(machine, bins, marking, words(ObjectBins, most=most_bytes))


@kernel(inline=True)
def bytes_for(size):
    """Bytes of the block for an object of `size` bytes, before a rest too small for a block."""
    return boundary_tags.block_bytes(size + HEADER_BYTES)


@kernel
def allocate(heap, slot, need, fields):
    """A new object in a block of `need` bytes; its address, 0 where there is no such block."""
    bins, totals = heap.bins, heap.marking.log.totals
    block = _find(heap, need)
    if not block:
        return 0
    have = size_of(heap.machine, block)
    segregated_bins.unlink(bins, block, have)
    segregated_bins.use(bins, block, need, have)
    have = size_of(heap.machine, block)
    address = initialise(heap.machine, block + HEAD_BYTES, have, slot, fields)
    give_birth(heap.marking, address)
    heap.marking.mutator.handles[unsigned(slot)] = address
    heap.occupied += have
    heap.objects += 1
    heap.references += fields
    totals[ALLOCATED_OBJECTS] += 1
    totals[ALLOCATED_BYTES] += have
    return address


@kernel
def _find(heap, need):
    """A free block of `need` bytes or more, still in its bin; 0 if there is none."""
    block = segregated_bins.find(heap.bins, need)
    if not block:
        block = segregated_bins.last_free(heap.bins, need)
    if block:
        return block
    tags, most = heap.bins.tags, heap.most
    if most and (tags.end > tags.start or need + 2 * HEAD_BYTES > most):
        return 0
    return segregated_bins.grow(heap.bins, need)[0]


@kernel
def finish(heap):
    """End the marking; the first step of the sweep, or the end of the cycle, comes next."""
    tricolour.finish(heap.marking)
    heap.cursor = first_block(heap.bins.tags)
    _end_at_fence(heap)


@kernel(inline=True)
def _end_at_fence(heap):
    """The sweep is over when it has reached the fence, which moves when the heap grows."""
    tags = heap.bins.tags
    if tags.start == tags.end or heap.cursor == fence(heap.bins.tags):
        heap.marking.phase = IDLE


@kernel
def sweep(heap):
    """Free the next object if it is white."""
    machine = heap.machine
    block = heap.cursor
    if is_free(machine, block):  # the one above it is not
        block += size_of(machine, block)
    if block < fence(heap.bins.tags):
        size = size_of(machine, block)
        after = block + size
        if is_white(heap.marking, block + OBJECT_OFFSET):
            if is_free(machine, after):
                after += size_of(machine, after)
            _reclaim(heap, block, size)
        block = after
    heap.cursor = block
    _end_at_fence(heap)


@kernel
def _reclaim(heap, block, size):
    """Give the block of a dead object back to the bins."""
    machine, totals = heap.machine, heap.marking.log.totals
    address = block + OBJECT_OFFSET
    reclaimed(heap.marking.mutator, slot_of(machine, address), address)
    heap.occupied -= size
    heap.objects -= 1
    heap.references -= fields_of(machine, address)
    totals[SWEPT_OBJECTS] += 1
    totals[SWEPT_BYTES] += size
    segregated_bins.release(heap.bins, block, size, 0)


@kernel
def vacant(heap, blocks):
    """The free blocks, as rows of `blocks` (start, bytes), as many as fit; their number."""
    machine, tags, rows = heap.machine, heap.bins.tags, 0
    if tags.start == tags.end:
        return 0
    block = first_block(tags)
    while block < fence(tags):
        size = size_of(machine, block)
        if is_free(machine, block):
            rows = write_row(blocks, rows, block, size)
        block += size
    return rows


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    machine, tags, marking = heap.machine, heap.bins.tags, heap.marking
    phase = marking.phase
    broken = segregated_bins.check(heap.bins)
    if broken or tags.start == tags.end:
        return broken
    objects = occupied = references = greys = 0
    at_cursor = phase != SWEEPING
    block = first_block(tags)
    while block < fence(tags):
        size = size_of(machine, block)
        at_cursor = at_cursor or block == heap.cursor
        if not is_free(machine, block):
            address = block + OBJECT_OFFSET
            if bytes_of(machine, address) != size:
                return 9
            objects += 1
            occupied += size
            references += fields_of(machine, address)
            greys += is_grey(marking, address)
            broken = _check_colour(marking, address)
            if broken:
                return broken
        block += size
    if objects != heap.objects or occupied != heap.occupied:
        return 9
    if references != heap.references:
        return 9
    if greys != marking.greys or (greys and phase != MARKING):
        return 10
    return 0 if at_cursor else 13


@kernel
def _check_colour(marking, address):
    """Number of the invariant that the object's colour breaks, 0 if none."""
    phase = marking.phase
    if is_white(marking, address):
        return 11 if phase == IDLE or is_grey(marking, address) else 0
    if is_grey(marking, address) or (phase == MARKING and not STRONG[marking.barrier]):
        return 0
    for field in range(fields_of(marking.machine, address)):
        target = reference(marking.machine, address, field)
        if target and is_white(marking, target):
            return 12 if phase == MARKING else 11
    return 0
