"""What must hold of mimalloc's heap at any time, and what was freed that is not collected yet."""

from heapwright.allocators.frame import write_row
from heapwright.allocators.mimalloc.blocks import lists_hold
from heapwright.allocators.mimalloc.words import (
    BIN,
    COUNT,
    FLAGS,
    HEAP,
    NEXT,
    REMOTE,
    SIZE,
    SLICE_BYTES,
    SLICE_SHIFT,
    get,
    heap_word,
    page_at,
)
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load
from heapwright.machine.address_space import LOWEST_MAPPED, MAPPED_TOP
from heapwright.managers.malloc.mimalloc.state import (
    FULL_BIN,
    IN_FULL,
    LATER,
    LENGTH,
    MOST_SPAN_BIN,
    PAGES,
    SEGMENT_SLICES,
    SPANS,
    VISITS,
    span_bin,
)
from heapwright.managers.malloc.mimalloc.threads import RECORD_BYTES as HEAP_BYTES

PAST = MAPPED_TOP >> SLICE_SHIFT


@kernel
def _in_use(heap, segment):
    """Whether a place holds a segment with pages of threads, or of some that ended."""
    if not get(heap, segment, COUNT) or get(heap, segment, LENGTH) != SEGMENT_SLICES:
        return False
    return get(heap, segment, HEAP) != 0 or get(heap, segment, VISITS) != 0


@kernel
def _lowest(heap):
    """The first slice of the lowest segment that ever was."""
    return heap.machine.meters[LOWEST_MAPPED] >> SLICE_SHIFT & -SEGMENT_SLICES


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    pages = spans = 0
    for segment in range(_lowest(heap), PAST, SEGMENT_SLICES):
        if not _in_use(heap, segment):
            continue
        row, slice_, before, found = get(heap, segment, HEAP), segment + 1, False, 0
        while slice_ < segment + SEGMENT_SLICES:
            slices = get(heap, slice_, COUNT)
            if slices <= 0 or heap.owner[unsigned(slice_ + slices - 1)] != slice_:
                return 1
            free = get(heap, slice_, SIZE) == 0
            if free and before:
                return 1
            if not free:
                found += 1
                if not lists_hold(heap, slice_):
                    return 3
            spans += free and row != 0
            before = free
            slice_ += slices
        if slice_ != segment + SEGMENT_SLICES or found != get(heap, segment, PAGES):
            return 1
        pages += found if row else 0
    for row in range(1, heap.most_heaps):
        for bin_ in range(MOST_SPAN_BIN + 1):
            span = heap_word(heap, row, SPANS + bin_)
            while span:
                if get(heap, span, SIZE) or span_bin(get(heap, span, COUNT)) != bin_:
                    return 2
                spans -= 1
                span = get(heap, span, NEXT)
        pages -= _pages_in_queues(heap, row)
        if _check_later(heap, row):
            return 5
    if spans:
        return 2
    return 4 if pages else 0


@kernel
def _pages_in_queues(heap, row):
    """Pages in the queues of a heap; a great number where one is in a wrong one."""
    count = 0
    for bin_ in range(FULL_BIN + 1):
        page = heap_word(heap, row, bin_)
        while page:
            full = get(heap, page, FLAGS) & IN_FULL != 0
            if full != (bin_ == FULL_BIN) or (not full and get(heap, page, BIN) != bin_):
                return 1 << 40
            if get(heap, page, HEAP) != row:
                return 1 << 40
            count += 1
            page = get(heap, page, NEXT)
    return count


@kernel
def _check_later(heap, row):
    """5 unless what others freed for a thread is of its pages."""
    block = heap_word(heap, row, LATER)
    while block:
        if get(heap, page_at(heap, block), HEAP) != row:
            return 5
        block = load(heap.machine, block)
    return 0


@kernel
def cached(heap, blocks):
    """Blocks that others freed, which their owners have not collected yet."""
    count = 0
    for row in range(1, heap.most_heaps):
        count = _note(heap, blocks, count, heap_word(heap, row, LATER))
    for segment in range(_lowest(heap), PAST, SEGMENT_SLICES):
        if _in_use(heap, segment):
            slice_ = segment + 1
            while slice_ < segment + SEGMENT_SLICES:
                if get(heap, slice_, SIZE):
                    count = _note(heap, blocks, count, get(heap, slice_, REMOTE))
                slice_ += get(heap, slice_, COUNT)
    return count


@kernel
def _note(heap, blocks, count, block):
    """A row for each block of a list; the next row's number."""
    while block:
        size = get(heap, page_at(heap, block), SIZE)
        count = write_row(blocks, count, block, size)
        block = load(heap.machine, block)
    return count


@kernel
def metadata(heap, blocks):
    """The first slice of each segment, and the heaps of threads."""
    count = 0
    for segment in range(_lowest(heap), PAST, SEGMENT_SLICES):
        if get(heap, segment, COUNT):
            count = write_row(blocks, count, segment << SLICE_SHIFT, SLICE_BYTES)
    for record in range(heap.records):
        count = write_row(blocks, count, heap.own[unsigned(record)], HEAP_BYTES)
    return count
