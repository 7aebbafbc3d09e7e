"""The nursery: objects are born in eden, grow old between two survivor spaces, and are promoted.

    │ eden: bump ─►               │ survivors: from │ to   │
         └───── live, young ───────────────────────► copied, one year older
                      └─ has survived `tenure` collections, or `to` is full ─► old generation

Terms      minor collection: of the nursery alone; its roots are the program's and the old objects
           that are remembered; age: minor collections survived, in the header's note; tenure: the
           age at which an object is promoted; grey: copied, its references not yet looked at
Invariant  eden and the survivors in use are tiled by objects (check: 41, 42); `to` is empty
Source     Ungar, "Generation scavenging", 1984; Ungar and Jackson, "Tenuring policies for
           generation-based storage reclamation", OOPSLA 1988
Omits      a threshold that adapts; large objects: they are born old

Cost: in proportion to what lives in the nursery, and to what is remembered.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.linear import Region
from heapwright.collectors import old_generation, remembered
from heapwright.collectors.bump_heap import is_tiled
from heapwright.collectors.log import (
    COPIED_BYTES,
    COPIED_OBJECTS,
    PROMOTED_BYTES,
    PROMOTED_OBJECTS,
    REMEMBERED,
    SCANNED_ROOTS,
)
from heapwright.collectors.mark import MarkStack, is_empty, mark_stack, pop, push
from heapwright.collectors.mutator import moved, reclaimed, root_at, root_count
from heapwright.collectors.objects import (
    FORWARDED,
    GRANULES_MASK,
    HEADER_BYTES,
    NOTE_MASK,
    NOTE_SHIFT,
    SLOT_MASK,
    WORD_BYTES,
    fields_of,
    forward,
    move,
)
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.machine import PAGE_BYTES, load, mmap, store, touch


@record(
    "start",  # address of all of it, 0 before it is opened
    "end",
    "to",  # address of the other survivor space
    "space_bytes",  # of a survivor space
    "eden_bytes",
    "tenure",  # collections
)
class Nursery(NamedTuple):
    """The young generation, of fixed size."""

    eden: Region
    survivors: Region  # the space in use
    grey: MarkStack
    fields: np.ndarray  # int64[word]


def nursery(total_bytes, survivor_bytes, tenure):
    """A nursery of `total_bytes`, two survivor spaces of `survivor_bytes` among them."""
    survivor_bytes &= -PAGE_BYTES
    eden_bytes = (total_bytes & -PAGE_BYTES) - 2 * survivor_bytes
    fields = words(Nursery, space_bytes=survivor_bytes, eden_bytes=eden_bytes, tenure=tenure)
    return Nursery(Region(words(Region)), Region(words(Region)), mark_stack(), fields)


@kernel
def open_(machine, nursery):
    """Map it; whether the system allows it."""
    eden, space = nursery.eden_bytes, nursery.space_bytes
    start = mmap(machine, 0, eden + 2 * space)
    if not start:
        return False
    nursery.start, nursery.end = start, start + eden + 2 * space
    _empty(nursery.eden, start, eden)
    _empty(nursery.survivors, start + eden, space)
    nursery.to = start + eden + space
    return True


@kernel
def _empty(region, start, bytes_):
    """Let the region be [start, start + bytes_), empty."""
    region.base, region.top = start, start
    region.limit = start + bytes_


@kernel(inline=True)
def is_young(nursery, address):
    """Whether the object lies in the nursery. One of no bytes may have the address of its end, and
    no object that of its start: a header is before it."""
    return nursery.start < address <= nursery.end


@kernel(inline=True)
def _is_from(nursery, address):
    """Whether a minor collection has to move the object."""
    to = nursery.to
    return is_young(nursery, address) and not to < address <= to + nursery.space_bytes


@kernel
def occupied(nursery):
    """Bytes of its objects, dead or alive."""
    eden, survivors = nursery.eden, nursery.survivors
    return eden.top - eden.base + survivors.top - survivors.base


@kernel
def collect_young(heap, tenure):
    """A minor collection: promote what is `tenure` old, copy the rest; eden is empty then. `heap`
    has machine, mutator, log, nursery, old and remembered."""
    machine, nursery, log = heap.machine, heap.nursery, heap.log
    survivors = nursery.survivors
    past, emptied, emptied_top = old_generation.end(heap.old), survivors.base, survivors.top
    _empty(nursery.survivors, nursery.to, nursery.space_bytes)
    log.totals[REMEMBERED] += remembered.recall(machine, heap.remembered, past, nursery.grey)
    roots = root_count(heap.mutator)
    for index in range(roots):
        address = root_at(heap.mutator, index)
        if address and _is_from(nursery, address):
            _copy(heap, address, tenure)
    log.totals[SCANNED_ROOTS] += roots
    while not is_empty(machine, nursery.grey):
        _scan(heap, pop(machine, nursery.grey), tenure)
    eden = nursery.eden
    _forget_dead(heap, emptied, emptied_top)
    _forget_dead(heap, eden.base, eden.top)
    nursery.to = emptied
    eden.top = eden.base


@kernel
def _forget_dead(heap, block, past):
    """Clear the handles of the objects in [block, past) that were not copied."""
    while block < past:
        state = load(heap.machine, block + 8)
        if (state >> NOTE_SHIFT) & NOTE_MASK < FORWARDED:
            reclaimed(heap.mutator, load(heap.machine, block) & SLOT_MASK, block + HEADER_BYTES)
        block += (state & GRANULES_MASK) << 4


@kernel
def _scan(heap, address, tenure):
    """Copy what the references of a grey object lead to; an old one that still refers to the
    nursery is remembered."""
    words, nursery = heap.machine.words, heap.nursery
    refers_to_young = False
    for field in range(fields_of(heap.machine, address)):
        place = unsigned(address + field * WORD_BYTES) >> unsigned(3)
        target = words[place]
        if not is_young(nursery, target):
            continue
        if _is_from(nursery, target):
            target = _copy(heap, target, tenure)
            words[place] = target
        refers_to_young |= is_young(nursery, target)
    if refers_to_young and not is_young(nursery, address):
        remembered.remember(heap.machine, heap.remembered, address)


@kernel
def _copy(heap, address, tenure):
    """Where the object at `address` lies now: in the other survivor space or promoted."""
    machine, nursery, totals = heap.machine, heap.nursery, heap.log.totals
    state = load(machine, address - 8)
    age = (state >> NOTE_SHIFT) & NOTE_MASK
    if age >= FORWARDED:
        return age << 4
    size = (state & GRANULES_MASK) << 4
    to = nursery.survivors
    if age < tenure and size <= to.limit - to.top:
        block, bytes_, age = to.top, size, age + 1
        to.top += size
    else:
        request = (size, True)
        block, bytes_ = old_generation.alloc(machine, heap.old, heap.mutator, heap.log, request)
        age = 0
        remembered.settle(heap.remembered, block)
        totals[PROMOTED_OBJECTS] += 1
        totals[PROMOTED_BYTES] += bytes_
    totals[COPIED_OBJECTS] += 1
    totals[COPIED_BYTES] += size
    touch(machine, block, size)
    move(machine, address - HEADER_BYTES, block, size)
    store(machine, block + 8, bytes_ >> 4 | age << NOTE_SHIFT)
    target = block + HEADER_BYTES
    forward(machine, address, target)
    header = load(machine, block)
    moved(heap.mutator, header & SLOT_MASK, address, target)
    if header >> 32:
        push(machine, nursery.grey, target)
    return target


@kernel
def vacant(nursery, blocks):
    """Free memory as rows of `blocks` (start, bytes), as far as they fit; how many there are."""
    if not nursery.end:
        return 0
    eden, survivors = nursery.eden, nursery.survivors
    if len(blocks) >= 3:
        blocks[0, 0], blocks[0, 1] = eden.top, eden.limit - eden.top
        blocks[1, 0], blocks[1, 1] = survivors.top, survivors.limit - survivors.top
        blocks[2, 0], blocks[2, 1] = nursery.to, nursery.space_bytes
    return 3


@kernel
def check(machine, nursery):
    """0, or 41: eden is not tiled; 42: the survivors are not."""
    if not is_tiled(machine, nursery.eden):
        return 41
    return 0 if is_tiled(machine, nursery.survivors) else 42
