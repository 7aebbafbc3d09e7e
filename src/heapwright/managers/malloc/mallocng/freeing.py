"""mallocng gives back: a slot's bit, whole pages of a slot, a group and the slot that it lay in.

Source     musl 1.2.3 src/malloc/mallocng/free.c
"""

from heapwright.compiler import kernel, likely, unsigned
from heapwright.machine import (
    ADVISE_FREE,
    PAGE_BYTES,
    load,
    madvise,
    munmap,
    read,
    store,
)
from heapwright.managers.malloc.mallocng import state
from heapwright.managers.malloc.mallocng.blocks import (
    SLOT_MASK,
    SLOT_SHIFT,
    forget,
    head,
    record_at,
    slot_byte,
    slot_start,
)
from heapwright.managers.malloc.mallocng.groups import activate, dequeue, drop_record, queue
from heapwright.managers.malloc.mallocng.state import (
    CLASSES,
    FIRST_BOUNCING,
    GROUP,
    IN_BAND,
    NEXT,
    alone,
    avail,
    bouncing,
    class_in,
    freed,
    last_of,
    may_bounce,
    pages_of,
    set_masks,
    step,
    stride,
)

FREED_SLOT = 255  # of a head: no block is here
MANY_SLOTS, WELL_USED = 20, 9  # a group of fewer that goes because more would be made


@kernel(inline=True)
def free(heap, thread, address):
    """free. The fast path: neither the first slot nor the last that the group has free."""
    heap.paths[state.FREE] += 1
    machine = heap.machine
    record = record_at(machine, address)
    slot = slot_byte(machine, address) & SLOT_MASK
    _leave(heap, record, address)
    free_, own = freed(heap, record), 1 << slot
    mask = free_ | avail(heap, record)
    if likely(free_ != 0) and likely(mask + own != (2 << last_of(heap, record)) - 1):
        set_masks(heap, record, avail(heap, record), free_ + own)
        return
    _free_slowly(heap, record, slot)


@kernel(inline=True)
def _leave(heap, record, address):
    """Say in the block's head that it is none, and give up whole pages of a slot of several."""
    machine = heap.machine
    start = slot_start(heap, record, address)
    end = start + stride(heap, record) - IN_BAND
    read(machine, end, 1)
    kept = head(machine, address) & ((1 << SLOT_SHIFT) - 1)
    store(machine, address - 8, kept | (FREED_SLOT << SLOT_SHIFT))
    if ((start - 1) ^ end) >= 2 * PAGE_BYTES and last_of(heap, record):
        first = (start + PAGE_BYTES - 1) & -PAGE_BYTES
        bytes_ = (end - first) & -PAGE_BYTES
        if bytes_ > 0:
            heap.paths[state.LAZILY_FREED] += 1
            madvise(machine, first, bytes_, ADVISE_FREE)


@kernel(cold=True)
def _free_slowly(heap, record, slot):
    """The first slot or the last that a group has free; then its group, and so on outwards."""
    machine = heap.machine
    while True:
        class_, own = class_in(heap, record), 1 << slot
        mask = freed(heap, record) | avail(heap, record)
        if mask + own != (2 << last_of(heap, record)) - 1 or not _goes(heap, record, class_):
            if not mask and heap.active[unsigned(class_)] != record:
                queue(heap, class_, record)
            set_masks(heap, record, avail(heap, record), freed(heap, record) | own)
            return
        if load(machine, record + NEXT):
            was_first = heap.active[unsigned(class_)] == record
            dequeue(heap, class_, record)
            if was_first and heap.active[unsigned(class_)]:
                activate(heap, heap.active[unsigned(class_)])
        if class_ < CLASSES:
            heap.usage[unsigned(class_)] -= last_of(heap, record) + 1
        group, pages = load(machine, record + GROUP), pages_of(heap, record)
        drop_record(heap, record)
        if pages:
            _unmap(heap, class_, group, pages * PAGE_BYTES)
            return
        heap.paths[state.NESTED_FREED] += 1
        store(machine, group, 0)
        record, slot = record_at(machine, group), slot_byte(machine, group) & SLOT_MASK


@kernel
def _unmap(heap, class_, group, bytes_):
    """Give a group's pages back."""
    step(heap)
    if may_bounce(class_):
        heap.gone[unsigned(class_ - FIRST_BOUNCING)] = heap.turn
    heap.paths[state.MAPPED_FREED if class_ >= CLASSES else state.GROUP_FREED] += 1
    forget(heap.machine, group, bytes_)
    munmap(heap.machine, group, bytes_)


@kernel
def _goes(heap, record, class_):
    """Whether a group without a block is given back (okay_to_free)."""
    if alone(heap, record) or not pages_of(heap, record):
        return True
    if load(heap.machine, record + NEXT) != record or not bouncing(heap, class_):
        return True
    slots = last_of(heap, record) + 1
    return WELL_USED * slots <= heap.usage[unsigned(class_)] and slots < MANY_SLOTS
