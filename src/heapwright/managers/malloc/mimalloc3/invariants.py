"""What must hold of mimalloc 3's heap at any time, and what was freed that is not collected yet."""

from heapwright.allocators.frame import write_row
from heapwright.allocators.mimalloc.blocks import lists_hold
from heapwright.allocators.mimalloc.words import (
    BIN,
    COUNT,
    HEAP,
    HUGE_BIN,
    NEXT,
    REMOTE,
    RESERVED,
    SIZE,
    SLICE_BYTES,
    SLICE_SHIFT,
    USED,
    get,
    heap_word,
)
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.malloc.mimalloc3.arenas import MAP_BYTES, MAP_PART_BYTES, MAP_SHIFT
from heapwright.managers.malloc.mimalloc3.slices import chunk_row
from heapwright.managers.malloc.mimalloc3.state import (
    CHUNK_SHIFT,
    FIRST,
    HINTED_PARTS,
    INFO,
    IS_FREE,
    LENGTH,
    PAST,
    WAITING,
    arena_word,
)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    owned = mapped = 0
    for arena in range(heap.arenas):
        first, past = arena_word(heap, arena, FIRST), arena_word(heap, arena, PAST)
        if _check_chunks(heap, arena, first, past):
            return 1
        page = first + arena_word(heap, arena, INFO)
        while page < past:
            slices = 1
            if get(heap, page, SIZE):
                slices = get(heap, page, COUNT)
                broken = _check_page(heap, page)
                if broken:
                    return broken
                owned += get(heap, page, HEAP) != 0
                mapped += heap.mapped[unsigned(page)] != 0
            page += slices
    for row in range(1, heap.most_heaps):
        found = _pages_in_queues(heap, row)
        if found < 0:
            return 3
        owned -= found
    for bin_ in range(HUGE_BIN):
        mapped -= heap.mapped_count[unsigned(bin_)]
    if owned > 0:
        return 3
    return 4 if mapped else 0


@kernel
def _check_chunks(heap, arena, first, past):
    """1 unless each chunk that was used counts its free slices, and those that wait."""
    for chunk in range(((past - 1 - first) >> CHUNK_SHIFT) + 1):
        free = waiting = 0
        start = first + (chunk << CHUNK_SHIFT)
        for slice_ in range(start, start + (1 << CHUNK_SHIFT)):
            free += heap.marks[unsigned(slice_)] & IS_FREE != 0
            waiting += heap.marks[unsigned(slice_)] & WAITING != 0
        row = chunk_row(arena, chunk)
        if free != heap.free_in[row] or waiting != heap.waiting_in[row]:
            return 1
    return 0


@kernel
def _check_page(heap, page):
    """The number of what is broken of a page, 0 if nothing."""
    for slice_ in range(page, page + get(heap, page, COUNT)):
        if heap.marks[unsigned(slice_)] & IS_FREE:
            return 1
    if not lists_hold(heap, page):
        return 2
    if heap.mapped[unsigned(page)]:
        full = get(heap, page, USED) == get(heap, page, RESERVED)
        if full or get(heap, page, HEAP) or heap.mapped[unsigned(page)] != get(heap, page, BIN):
            return 4
    return 0


@kernel
def _pages_in_queues(heap, row):
    """Pages in the queues of a heap; -1 where one is in a wrong one, or the queue is miscounted."""
    count = 0
    for bin_ in range(HUGE_BIN + 1):
        before, page = count, heap_word(heap, row, bin_)
        while page:
            if get(heap, page, HEAP) != row or get(heap, page, BIN) != bin_:
                return -1
            count += 1
            page = get(heap, page, NEXT)
        if count - before != heap_word(heap, row, LENGTH + bin_):
            return -1
    return count


@kernel
def cached(heap, blocks):
    """Blocks that others freed, which nobody has collected yet."""
    count = 0
    for arena in range(heap.arenas):
        page = arena_word(heap, arena, FIRST) + arena_word(heap, arena, INFO)
        while page < arena_word(heap, arena, PAST):
            slices = 1
            if get(heap, page, SIZE):
                slices = get(heap, page, COUNT)
                block = get(heap, page, REMOTE)
                while block:
                    count = write_row(blocks, count, block, get(heap, page, SIZE))
                    block = load(heap.machine, block)
            page += slices
    return count


@kernel
def metadata(heap, blocks):
    """The page map, the records in front of each arena, and those of threads."""
    count = write_row(blocks, 0, heap.map, MAP_BYTES) if heap.map else 0
    for part in range(HINTED_PARTS + (SPACE_BYTES >> MAP_SHIFT)):
        if heap.maps_at[unsigned(part)]:
            count = write_row(blocks, count, heap.maps_at[unsigned(part)], MAP_PART_BYTES)
    for arena in range(heap.arenas):
        address = arena_word(heap, arena, FIRST) << SLICE_SHIFT
        bytes_ = arena_word(heap, arena, INFO) << SLICE_SHIFT
        count = write_row(blocks, count, address, bytes_)
    for page in range(heap.record_pages):
        count = write_row(blocks, count, heap.record_page[unsigned(page)], SLICE_BYTES)
    return count
