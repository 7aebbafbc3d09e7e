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

from heapwright.allocators.linear import BASE, LIMIT, TOP, Region
from heapwright.collectors import old_generation, remembered
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
from heapwright.machine import PAGE_BYTES, load, mmap, store, touch

START, END, TO, SPACE_BYTES, EDEN_BYTES, TENURE, FIELDS = range(7)


class Nursery(NamedTuple):
    """The young generation, of fixed size."""

    eden: Region
    survivors: Region  # the space in use
    grey: MarkStack
    fields: np.ndarray  # int64[FIELDS]  START, END: of all of it, 0 before it is opened; TO: the
    # other survivor space; bytes of a survivor space and of eden; TENURE: collections


def nursery(total_bytes, survivor_bytes, tenure):
    """A nursery of `total_bytes`, two survivor spaces of `survivor_bytes` among them."""
    fields = np.zeros(FIELDS, np.int64)
    survivor_bytes &= -PAGE_BYTES
    fields[SPACE_BYTES], fields[TENURE] = survivor_bytes, tenure
    fields[EDEN_BYTES] = (total_bytes & -PAGE_BYTES) - 2 * survivor_bytes
    return Nursery(
        Region(np.zeros(3, np.int64)), Region(np.zeros(3, np.int64)), mark_stack(), fields
    )


@kernel
def open_(machine, nursery):
    """Map it; whether the system allows it."""
    fields = nursery.fields
    eden, space = fields[EDEN_BYTES], fields[SPACE_BYTES]
    start = mmap(machine, 0, eden + 2 * space)
    if not start:
        return False
    fields[START], fields[END] = start, start + eden + 2 * space
    _empty(nursery.eden, start, eden)
    _empty(nursery.survivors, start + eden, space)
    fields[TO] = start + eden + space
    return True


@kernel
def _empty(region, start, bytes_):
    """Let the region be [start, start + bytes_), empty."""
    region.fields[BASE], region.fields[TOP] = start, start
    region.fields[LIMIT] = start + bytes_


@kernel(inline=True)
def is_young(nursery, address):
    """Whether the object lies in the nursery."""
    return nursery.fields[START] <= address < nursery.fields[END]


@kernel(inline=True)
def _is_from(nursery, address):
    """Whether a minor collection has to move the object."""
    to = nursery.fields[TO]
    return is_young(nursery, address) and not to <= address < to + nursery.fields[SPACE_BYTES]


@kernel
def occupied(nursery):
    """Bytes of its objects, dead or alive."""
    eden, survivors = nursery.eden.fields, nursery.survivors.fields
    return eden[TOP] - eden[BASE] + survivors[TOP] - survivors[BASE]


@kernel
def collect_young(heap, tenure):
    """A minor collection: promote what is `tenure` old, copy the rest; eden is empty then. `heap`
    has machine, mutator, log, nursery, old and remembered."""
    machine, nursery, log = heap.machine, heap.nursery, heap.log
    fields, survivors = nursery.fields, nursery.survivors.fields
    past, emptied, emptied_top = old_generation.end(heap.old), survivors[BASE], survivors[TOP]
    _empty(nursery.survivors, fields[TO], fields[SPACE_BYTES])
    log.totals[REMEMBERED] += remembered.recall(machine, heap.remembered, past, nursery.grey)
    roots = root_count(heap.mutator)
    for index in range(roots):
        address = root_at(heap.mutator, index)
        if address and _is_from(nursery, address):
            _copy(heap, address, tenure)
    log.totals[SCANNED_ROOTS] += roots
    while not is_empty(machine, nursery.grey):
        _scan(heap, pop(machine, nursery.grey), tenure)
    eden = nursery.eden.fields
    _forget_dead(heap, emptied, emptied_top)
    _forget_dead(heap, eden[BASE], eden[TOP])
    fields[TO] = emptied
    eden[TOP] = eden[BASE]


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
    to = nursery.survivors.fields
    if age < tenure and size <= to[LIMIT] - to[TOP]:
        block, bytes_, age = to[TOP], size, age + 1
        to[TOP] += size
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
    if not nursery.fields[END]:
        return 0
    eden, survivors = nursery.eden.fields, nursery.survivors.fields
    if len(blocks) >= 3:
        blocks[0, 0], blocks[0, 1] = eden[TOP], eden[LIMIT] - eden[TOP]
        blocks[1, 0], blocks[1, 1] = survivors[TOP], survivors[LIMIT] - survivors[TOP]
        blocks[2, 0], blocks[2, 1] = nursery.fields[TO], nursery.fields[SPACE_BYTES]
    return 3


@kernel
def check(machine, nursery):
    """0, or 41: eden is not tiled; 42: the survivors are not."""
    if not _is_tiled(machine, nursery.eden):
        return 41
    return 0 if _is_tiled(machine, nursery.survivors) else 42


@kernel
def _is_tiled(machine, region):
    """Whether objects that are not forwarded lie end to end up to the top."""
    block = region.fields[BASE]
    while block < region.fields[TOP]:
        state = load(machine, block + 8)
        if state <= 0 or (state >> NOTE_SHIFT) >= FORWARDED:
            return False
        block += (state & GRANULES_MASK) << 4
    return block == region.fields[TOP] <= region.fields[LIMIT]
