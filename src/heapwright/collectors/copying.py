"""Cheney's copying: a breadth-first walk whose queue is the copies themselves.

    to-space  │ black: references updated │ grey: copied, references still old │ free
                                       scan ─►                              top ─►

Invariant  below scan no reference leads to the old space; an old header whose object was copied
           holds the new address
Source     Cheney, "A nonrecursive list compacting algorithm", CACM 1970
Omits      an order that keeps related objects together, as Moon's (1984)
"""

from heapwright.collectors.log import COPIED_BYTES, COPIED_OBJECTS, SCANNED_ROOTS
from heapwright.collectors.mutator import SLOTS, moved, root_at, root_count
from heapwright.collectors.objects import (
    FORWARDED,
    GRANULES_MASK,
    HEADER_BYTES,
    NOTE_MASK,
    NOTE_SHIFT,
    SLOT_MASK,
    WORD_BYTES,
    bytes_of,
    fields_of,
    forward,
    move,
)
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.prefetch import prefetch
from heapwright.machine import load, store, touch

AHEAD_BYTES = 512  # how far a finger that prefetches runs before scan


@kernel(inline=True)
def copy(machine, mutator, region, address):
    """Where the object at `address` lies now: copied to the region's top, or copied before."""
    state = load(machine, address - 8)
    granule = (state >> NOTE_SHIFT) & NOTE_MASK
    if granule >= FORWARDED:
        return granule << 4
    size = (state & GRANULES_MASK) << 4
    block = region.top
    region.top = block + size
    touch(machine, block, size)
    move(machine, address - HEADER_BYTES, block, size)
    target = block + HEADER_BYTES
    forward(machine, address, target)
    moved(mutator, load(machine, address - 16) & SLOT_MASK, address, target)
    return target


@kernel
def forget_dead(mutator, first, past):
    """Clear the handles of the objects still in [first, past): nothing reached them. An object of
    no bytes may have the address `past`."""
    handles = mutator.handles
    for slot in range(mutator.counts[SLOTS]):
        address = handles[unsigned(slot)]
        handles[unsigned(slot)] = 0 if first < address <= past else address


@kernel
def copy_reachable(machine, mutator, log, region):
    """Copy all that the roots reach into `region`, which is empty, and update every handle."""
    words, space = machine.words, region.base
    roots = root_count(mutator)
    for index in range(roots):
        address = root_at(mutator, index)
        if address and not space < address <= region.top:
            copy(machine, mutator, region, address)
    scan = finger = space
    objects = 0
    while scan < region.top:
        until = min(scan + AHEAD_BYTES, region.top)
        while finger < until:  # the old headers that scan will ask for
            address = finger + HEADER_BYTES
            for field in range(fields_of(machine, address)):
                target = words[(unsigned(address) >> unsigned(3)) + unsigned(field)]
                prefetch(words, (target - 8) >> 3)
            finger += bytes_of(machine, address)
        address = scan + HEADER_BYTES
        for field in range(fields_of(machine, address)):
            target = load(machine, address + field * WORD_BYTES)
            if target:
                store(
                    machine,
                    address + field * WORD_BYTES,
                    copy(machine, mutator, region, target),
                )
        scan += bytes_of(machine, address)
        objects += 1
    log.totals[SCANNED_ROOTS] += roots
    log.totals[COPIED_OBJECTS] += objects
    log.totals[COPIED_BYTES] += region.top - space
