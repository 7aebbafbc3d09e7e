"""What must hold of the space at any time."""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load
from heapwright.machine.address_space import PAGE_SHIFT
from heapwright.managers.malloc.art_rosalloc.state import (
    BRACKET,
    BRACKETS,
    EMPTY,
    HEAD,
    LARGE,
    LARGE_PART,
    OWN,
    OWN_HEAD,
    OWN_SIZE,
    RUN,
    RUN_PART,
    SIZE,
    run_of,
    spare_key,
)
from heapwright.structures.ranked_tree import size_at
from heapwright.structures.sorted_keys import at_least, size


@kernel
def _lists(heap, run, head, length):
    """Whether a list holds as many slots of the run as it says."""
    slot, count = load(heap.machine, run + head), 0
    while slot and count <= length:
        if run_of(heap, slot) != run:
            return False
        slot = load(heap.machine, slot)
        count += 1
    return count == length


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    if not heap.base:
        return 0
    machine, page, spare = heap.machine, 0, 0
    last_free = False
    while page < heap.pages:
        kind, length = heap.kind[unsigned(page)], 1
        if kind <= EMPTY:
            length = size_at(heap.free, page)
            if not length or last_free or heap.first[unsigned(page + length - 1)] != page:
                return 1
            last_free = True
            for each in range(page, page + length):
                if heap.kind[unsigned(each)] > EMPTY:
                    return 1
        elif kind == RUN:
            run = heap.base + (page << PAGE_SHIFT)
            broken, waits = _of_run(heap, run)
            if broken:
                return broken
            spare += waits
            length = heap.run_pages[unsigned(load(machine, run + BRACKET))]
            for each in range(page + 1, page + length):
                if heap.kind[unsigned(each)] != RUN_PART:
                    return 2
        elif kind == LARGE:
            while page + length < heap.pages and heap.kind[unsigned(page + length)] == LARGE_PART:
                length += 1
        else:
            return 2
        if kind > EMPTY:
            last_free = False
            for each in range(page, page + length):
                if size_at(heap.free, each):
                    return 1
        page += length
    return 0 if page == heap.pages and spare == size(heap.spare) else 4


@kernel
def _of_run(heap, run):
    """(number of the broken invariant or 0, 1 if the run waits among the spare ones)."""
    machine = heap.machine
    bracket = load(machine, run + BRACKET)
    if not 0 <= bracket < BRACKETS:
        return 2, 0
    slots, free, own = (
        heap.slots[unsigned(bracket)],
        load(machine, run + SIZE),
        load(machine, run + OWN_SIZE),
    )
    if not 0 <= free + own <= slots:
        return 3, 0
    if not _lists(heap, run, HEAD, free) or not _lists(heap, run, OWN_HEAD, own):
        return 3, 0
    if load(machine, run + OWN) or run == heap.current[unsigned(bracket)] or not free:
        return 0, 0
    key = spare_key(heap, bracket, run)
    if at_least(heap.spare, key) != key or free == slots or own:
        return 4, 0
    return 0, 1
