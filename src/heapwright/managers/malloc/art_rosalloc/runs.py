"""Pages and runs: the lowest free pages that are long enough; merged at once when they are freed.

Source     ART 11 runtime/gc/allocator/rosalloc.cc: AllocPages, FreePages, ReleasePages, RefillRun,
           AllocRun, RevokeRun
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.machine import ADVISE_DONTNEED, load, madvise, store, touch
from heapwright.machine.address_space import PAGE_SHIFT
from heapwright.managers.malloc.art_rosalloc.state import (
    ALWAYS,
    AT_END,
    BRACKET,
    BY_SIZE,
    BY_SIZE_AT_END,
    EMPTY,
    HEAD,
    LARGE_PART,
    NEW_RUN,
    OWN,
    OWN_HEAD,
    OWN_SIZE,
    OWN_TAIL,
    REFILL,
    RELEASED,
    RUN,
    RUN_BACK,
    RUN_PART,
    SIZE,
    page_of,
    set_kinds,
    spare_key,
)
from heapwright.structures.ranked_tree import first_at_least, put, size_at
from heapwright.structures.sorted_keys import at_least, insert, remove


@kernel
def enter_free(heap, page, count):
    """A run of free pages, merged already."""
    put(heap.free, page, count)
    heap.first[unsigned(page + count - 1)] = page


@kernel
def take_pages(heap, count, first, further):
    """Address of so many pages, the lowest that are side by side; 0 where there are none."""
    if count > heap.pages:
        return 0
    page = first_at_least(heap.free, 0, count)
    if page < 0:
        return 0
    rest = size_at(heap.free, page) - count
    put(heap.free, page, 0)
    if rest:
        enter_free(heap, page + count, rest)
    set_kinds(heap, page, count, first, further)
    return heap.base + (page << PAGE_SHIFT)


@kernel
def give_pages(heap, address, zeroed):
    """Free the pages of a run or large object: merged with the free ones around them."""
    page = page_of(heap, address)
    part = RUN_PART if heap.kind[unsigned(page)] == RUN else LARGE_PART
    count = 1
    while page + count < heap.pages and heap.kind[unsigned(page + count)] == part:
        count += 1
    set_kinds(heap, page, count, EMPTY, EMPTY)
    if not zeroed and heap.mode != ALWAYS:  # what is handed out is zero
        touch(heap.machine, address, count << PAGE_SHIFT)
    above = size_at(heap.free, page + count) if page + count < heap.pages else 0
    if above:
        put(heap.free, page + count, 0)
        count += above
    if page and heap.kind[unsigned(page - 1)] <= EMPTY:
        below = heap.first[unsigned(page - 1)]
        count += page - below
        page = np.int64(below)
    enter_free(heap, page, count)
    if _goes_back(heap, page, count):
        madvise(
            heap.machine, heap.base + (page << PAGE_SHIFT), count << PAGE_SHIFT, ADVISE_DONTNEED
        )
        for each in range(page, page + count):
            if heap.kind[unsigned(each)] == EMPTY:
                set_kinds(heap, each, 1, RELEASED, RELEASED)


@kernel
def _goes_back(heap, page, count):
    """Whether the system gets free pages back."""
    at_end, large = page + count == heap.pages, count >= heap.threshold
    mode = heap.mode
    return (
        mode == ALWAYS
        or (mode == AT_END and at_end)
        or (mode == BY_SIZE and large)
        or (mode == BY_SIZE_AT_END and large and at_end)
    )


@kernel
def refill(heap, bracket):
    """A run with room: the lowest spare one, else a fresh one; 0 where there are no pages."""
    key = at_least(heap.spare, bracket << 32)
    if key >= 0 and key >> 32 == bracket:
        heap.paths[REFILL] += 1
        remove(heap.spare, key)
        return heap.base + ((key & 0xFFFFFFFF) << PAGE_SHIFT)
    pages = heap.run_pages[unsigned(bracket)]
    run = take_pages(heap, pages, RUN, RUN_PART)
    if run:
        heap.paths[NEW_RUN] += 1
        machine, bytes_ = heap.machine, heap.slot_bytes[unsigned(bracket)]
        touch(machine, run, pages << PAGE_SHIFT)  # each slot has a link
        first, past = run + heap.first_slot[unsigned(bracket)], run + (pages << PAGE_SHIFT)
        for slot in range(first, past, bytes_):
            store(machine, slot, slot + bytes_ if slot + bytes_ < past else 0)
        for word in (OWN, OWN_HEAD, OWN_TAIL, OWN_SIZE):
            store(machine, run + word, 0)
        store(machine, run + BRACKET, bracket)
        store(machine, run + HEAD, first)
        store(machine, run + SIZE, heap.slots[unsigned(bracket)])
    return run


@kernel
def leave(heap, run):
    """A run that no one uses any more: it waits if it has room; wholly free, its pages are."""
    bracket, free = load(heap.machine, run + BRACKET), load(heap.machine, run + SIZE)
    if free == heap.slots[unsigned(bracket)]:
        heap.paths[RUN_BACK] += 1
        give_pages(heap, run, True)
    elif free:
        insert(heap.spare, spare_key(heap, bracket, run))
