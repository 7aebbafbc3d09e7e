"""What must hold of tcmalloc's heap at any time, what its caches hold, and its own statistics."""

from heapwright.allocators.frame import write_row
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load
from heapwright.machine.address_space import BREAK, FIRST_BREAK
from heapwright.managers.malloc.tcmalloc.central import COUNT_MASK, SLOT_ROW_SHIFT
from heapwright.managers.malloc.tcmalloc.metadata import CHUNK_BYTES, LEAF_SHIFT, span_at
from heapwright.managers.malloc.tcmalloc.page_heap import LENGTH_SHIFT
from heapwright.managers.malloc.tcmalloc.size_classes import PAGE_SHIFT
from heapwright.managers.malloc.tcmalloc.state import (
    AFTER,
    BEFORE,
    CENTRAL_SHIFT,
    CLASS_RINGS,
    CLASS_SHIFT,
    COUNT,
    FIRST,
    FREE,
    IN_USE,
    LENGTH,
    LIMIT,
    LOW,
    NEXT,
    NORMAL,
    OBJECTS,
    RETURNED,
    RETURNED_RINGS,
    ROW_SHIFT,
    SIZE,
    SLOTS,
    SLOTS_USED,
    SPANS,
    START,
    STATE,
    list_of,
    location_of,
)
from heapwright.structures import sorted_keys

CLASS_MASK = 255


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    for broken in (_check_runs(heap), _check_rings(heap), _check_classes(heap), _check_rows(heap)):
        if broken:
            return broken
    return 0


@kernel
def _span_from(heap, page):
    """The span that begins at a page; 0 of one that is no span's, of metadata or foreign."""
    if not heap.leaves[unsigned(page >> LEAF_SHIFT)]:
        return 0
    span = span_at(heap, page)
    return span if span and load(heap.machine, span + START) == page else 0


@kernel
def _check_runs(heap):
    """Spans tile what was grown by; no two neighbours are free alike; the sums are right."""
    machine = heap.machine
    page, past = machine.meters[FIRST_BREAK] >> PAGE_SHIFT, machine.meters[BREAK] >> PAGE_SHIFT
    total = normal = returned = before = 0
    while page < past:
        span = _span_from(heap, page)
        if not span:
            before = IN_USE
            page += 1
            continue
        pages, where = load(machine, span + LENGTH), location_of(machine, span)
        if pages <= 0 or span_at(heap, page + pages - 1) != span:
            return 1
        if where != IN_USE and where == before:
            return 2
        before = where
        total += pages
        normal += pages if where == NORMAL else 0
        returned += pages if where == RETURNED else 0
        page += pages
    for said, pages in (
        (heap.system, total),
        (heap.normal, normal),
        (heap.returned, returned),
        (heap.committed, total - returned),
    ):
        if said != pages << PAGE_SHIFT:
            return 3
    return 0


@kernel
def _check_rings(heap):
    """3 unless rings and sorted runs hold every free run by its length and kind."""
    machine, normal, returned = heap.machine, 0, 0
    for ring in range(1, 2 * RETURNED_RINGS):
        first = heap.rings[unsigned(ring)]
        span, kind = first, RETURNED if ring >= RETURNED_RINGS else NORMAL
        length = ring - RETURNED_RINGS if kind == RETURNED else ring
        while span:
            if load(machine, span + LENGTH) != length or location_of(machine, span) != kind:
                return 3
            normal += length if kind == NORMAL else 0
            returned += length if kind == RETURNED else 0
            span = load(machine, span + NEXT)
            if span == first:
                break
    for keys in (heap.normal_runs, heap.returned_runs):
        if sorted_keys.check(keys):
            return 3
    key = sorted_keys.at_least(heap.normal_runs, 0)
    while key >= 0:
        normal += key >> LENGTH_SHIFT
        key = sorted_keys.at_least(heap.normal_runs, key + 1)
    key = sorted_keys.at_least(heap.returned_runs, 0)
    while key >= 0:
        returned += key >> LENGTH_SHIFT
        key = sorted_keys.at_least(heap.returned_runs, key + 1)
    same = normal << PAGE_SHIFT == heap.normal and returned << PAGE_SHIFT == heap.returned
    return 0 if same else 3


@kernel
def _chain(heap, first):
    """Objects of a chain."""
    count = 0
    while first:
        count += 1
        first = load(heap.machine, first)
    return count


@kernel
def _check_classes(heap):
    """4 unless a class's spans with free objects have as many as is said; 5 unless slots do."""
    machine = heap.machine
    for class_ in range(1, heap.classes.count[0]):
        words, free = class_ << CENTRAL_SHIFT, 0
        bytes_ = heap.classes.bytes_of[unsigned(class_)]
        first = heap.rings[unsigned(CLASS_RINGS + class_)]
        span = first
        while span:
            word = load(machine, span + STATE)
            objects = (load(machine, span + LENGTH) << PAGE_SHIFT) // bytes_
            here = _chain(heap, load(machine, span + OBJECTS))
            if (word >> CLASS_SHIFT) & CLASS_MASK != class_ or here == 0:
                return 4
            if here + (word & COUNT_MASK) != objects:
                return 4
            free += here
            span = load(machine, span + NEXT)
            if span == first:
                break
        if free != heap.central[unsigned(words + FREE)]:
            return 4
        used, room = (
            heap.central[unsigned(words + SLOTS_USED)],
            heap.central[unsigned(words + SLOTS)],
        )
        if not 0 <= used <= room or room > heap.classes.slots_of[unsigned(class_)]:
            return 5
        for slot in range(used):
            batch = _chain(heap, heap.slots[unsigned((class_ << SLOT_ROW_SHIFT) + slot)])
            if batch != heap.classes.batch_of[unsigned(class_)]:
                return 5
    return 0


@kernel
def _check_rows(heap):
    """6 unless lists and bytes are as said, 7 unless the caches' list and limits are."""
    limits, before, row = 0, 0, heap.first_cache
    while row:
        words, bytes_ = (row - 1) << ROW_SHIFT, 0
        for class_ in range(1, heap.classes.count[0]):
            list_ = list_of(row - 1, class_)
            count = heap.rows[unsigned(list_ + COUNT)]
            if _chain(heap, heap.rows[unsigned(list_ + FIRST)]) != count:
                return 6
            if heap.rows[unsigned(list_ + LOW)] > count:
                return 6
            bytes_ += count * heap.classes.bytes_of[unsigned(class_)]
        if bytes_ != heap.rows[unsigned(words + SIZE)]:
            return 6
        if heap.rows[unsigned(words + BEFORE)] != before:
            return 7
        limits += heap.rows[unsigned(words + LIMIT)]
        before, row = row, heap.rows[unsigned(words + AFTER)]
    return 0 if limits + heap.unclaimed == heap.total else 7


@kernel
def cached(heap, blocks):
    """Objects in the threads' caches and in the central cache's slots."""
    count, row = 0, heap.first_cache
    while row:
        for class_ in range(1, heap.classes.count[0]):
            first = heap.rows[unsigned(list_of(row - 1, class_) + FIRST)]
            count = _note(heap, blocks, count, class_, first)
        row = heap.rows[unsigned(((row - 1) << ROW_SHIFT) + AFTER)]
    for class_ in range(1, heap.classes.count[0]):
        for slot in range(heap.central[unsigned((class_ << CENTRAL_SHIFT) + SLOTS_USED)]):
            first = heap.slots[unsigned((class_ << SLOT_ROW_SHIFT) + slot)]
            count = _note(heap, blocks, count, class_, first)
    return count


@kernel
def _note(heap, blocks, count, class_, first):
    """A row for each object of a chain; the next row's number."""
    while first:
        count = write_row(blocks, count, first, heap.classes.bytes_of[unsigned(class_)])
        first = load(heap.machine, first)
    return count


@kernel
def metadata(heap, blocks):
    """The chunks, of which only what was handed out was ever written."""
    count = 0
    for chunk in range(heap.chunks):
        count = write_row(blocks, count, heap.chunk_starts[unsigned(chunk)], CHUNK_BYTES)
    return count


def statistics(heap):
    """What MallocExtension::GetNumericProperty says, by its names, without those that follow."""
    count = int(heap.classes.count[0])
    sizes = heap.classes.bytes_of.tolist()
    free = [int(heap.central[(number << CENTRAL_SHIFT) + FREE]) for number in range(count)]
    spans = [int(heap.central[(number << CENTRAL_SHIFT) + SPANS]) for number in range(count)]
    slots = [int(heap.central[(number << CENTRAL_SHIFT) + SLOTS_USED]) for number in range(count)]
    batches, pages = heap.classes.batch_of.tolist(), heap.classes.pages_of.tolist()
    threads, row = 0, int(heap.first_cache)
    while row:
        threads += int(heap.rows[((row - 1) << ROW_SHIFT) + SIZE])
        row = int(heap.rows[((row - 1) << ROW_SHIFT) + AFTER])
    classes = range(1, count)
    central = sum(
        free[number] * sizes[number]
        + spans[number] * ((pages[number] << PAGE_SHIFT) % sizes[number])
        for number in classes
    )
    transfer = sum(slots[number] * batches[number] * sizes[number] for number in classes)
    normal, returned, system = int(heap.normal), int(heap.returned), int(heap.system)
    free_pages = normal + returned
    return {
        "generic.current_allocated_bytes": system - threads - central - transfer - free_pages,
        "generic.heap_size": system,
        "generic.total_physical_bytes": system + int(heap.metadata_bytes) - returned,
        "tcmalloc.central_cache_free_bytes": central,
        "tcmalloc.transfer_cache_free_bytes": transfer,
        "tcmalloc.thread_cache_free_bytes": threads,
        "tcmalloc.pageheap_free_bytes": normal,
        "tcmalloc.pageheap_unmapped_bytes": returned,
        "tcmalloc.pageheap_committed_bytes": int(heap.committed),
        "tcmalloc.pageheap_scavenge_count": int(heap.scavenges),
        "tcmalloc.pageheap_commit_count": int(heap.commits),
        "tcmalloc.pageheap_decommit_count": int(heap.decommits),
        "tcmalloc.pageheap_reserve_count": int(heap.reserves),
        "tcmalloc.current_total_thread_cache_bytes": threads,
        "tcmalloc.pageheap_total_decommit_bytes": int(heap.decommitted),
    }
