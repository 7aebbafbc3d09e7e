"""What every textbook manager does in the same way, for objects laid out as in `objects.py`.

A manager imports these names as its own; `heap` has machine, mutator, log and paths, whose second
is "write".
"""

from heapwright.collectors.log import ALLOCATED_BYTES, ALLOCATED_OBJECTS
from heapwright.collectors.mutator import SLOTS, handle
from heapwright.collectors.objects import HEADER_BYTES, bytes_of, initialise, refer, slot_of
from heapwright.compiler import kernel, unsigned

WRITE = 1  # of paths


@kernel(inline=True)
def born(heap, place, slot, fields):
    """The address of a new object in `place`, (block, bytes): it is counted, its handle set."""
    block, bytes_ = place
    heap.log.totals[ALLOCATED_OBJECTS] += 1
    heap.log.totals[ALLOCATED_BYTES] += bytes_
    address = initialise(heap.machine, block, bytes_, slot, fields)
    heap.mutator.handles[unsigned(slot)] = address
    return address


@kernel(inline=True)
def write(heap, slot, field, target):
    """One store: a collector that stops the program to trace needs no barrier."""
    heap.paths[WRITE] += 1
    refer(heap.machine, handle(heap.mutator, slot), field, handle(heap.mutator, target))


@kernel
def usable(heap, address, size):
    """The user bytes with the padding of the block."""
    return bytes_of(heap.machine, address) - HEADER_BYTES


@kernel
def extent(heap, address, size):
    """The block from its header on."""
    return address - HEADER_BYTES, bytes_of(heap.machine, address)


@kernel
def cached(heap, blocks):
    """No caches."""
    return 0


@kernel
def handles_are_true(heap):
    """Whether each handle is 0 or that of an object born in its slot."""
    for slot in range(heap.mutator.counts[SLOTS]):
        address = heap.mutator.handles[unsigned(slot)]
        if address and slot_of(heap.machine, address) != slot:
            return False
    return True
