"""What must hold of mallocng's heap at any time, and the memory that it lives in."""

from heapwright.allocators.frame import write_row
from heapwright.compiler import kernel, unsigned
from heapwright.machine import PAGE_BYTES, load
from heapwright.managers.malloc.mallocng.blocks import SLOT_MASK, record_at, slot_byte
from heapwright.managers.malloc.mallocng.state import (
    CLASSES,
    FIRST_RECORD,
    GROUP,
    IN_BAND,
    NEXT,
    PREVIOUS,
    RECORD_BYTES,
    RECORDS,
    UNIT,
    avail,
    class_in,
    freed,
    group_of,
    last_of,
    pages_of,
)

HEAD = 12  # bytes of a group before its first slot's head


@kernel
def _past(heap, page):
    """Where the records of a page end that were ever used."""
    if page + PAGE_BYTES == heap.past_pages:
        return heap.fresh
    return page + FIRST_RECORD + RECORDS * RECORD_BYTES


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    machine, slots, in_rings = heap.machine, 0, 0
    for page in range(heap.first_page, heap.past_pages, PAGE_BYTES):
        for record in range(page + FIRST_RECORD, _past(heap, page), RECORD_BYTES):
            group = group_of(heap, record)
            if not group:
                continue
            if load(machine, group) != record or avail(heap, record) & freed(heap, record):
                return 1
            if (avail(heap, record) | freed(heap, record)) >> (last_of(heap, record) + 1):
                return 1
            if class_in(heap, record) >= CLASSES:
                continue
            slots += last_of(heap, record) + 1
            listed = load(machine, record + NEXT) != 0
            if not listed and avail(heap, record) | freed(heap, record):
                return 3
            in_rings += listed
            if not pages_of(heap, record):
                outer, bit = record_at(machine, group), 1 << (slot_byte(machine, group) & SLOT_MASK)
                if (avail(heap, outer) | freed(heap, outer)) & bit:
                    return 4
    for class_ in range(CLASSES):
        slots -= heap.usage[unsigned(class_)]
        record = heap.active[unsigned(class_)]
        first = record
        while record:
            in_rings -= 1
            next_ = load(machine, record + NEXT)
            if load(machine, next_ + PREVIOUS) != record or class_in(heap, record) != class_:
                return 3
            if record != first and not avail(heap, record) | freed(heap, record):
                return 3
            record = next_ if next_ != first else 0
    if slots:
        return 2
    return 3 if in_rings else 0


@kernel
def metadata(heap, blocks):
    """Pages of records, and what lies before the first slot's head of each group."""
    count = 0
    for page in range(heap.first_page, heap.past_pages, PAGE_BYTES):
        count = write_row(blocks, count, page, _past(heap, page) - page)
        for record in range(page + FIRST_RECORD, _past(heap, page), RECORD_BYTES):
            group = load(heap.machine, record + GROUP)
            if group and pages_of(heap, record):
                count = write_row(blocks, count, group, HEAD)
            elif group:  # with the head of the slot that it lies in
                count = write_row(blocks, count, group - IN_BAND, UNIT)
    return count
