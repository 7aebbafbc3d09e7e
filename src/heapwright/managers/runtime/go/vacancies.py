"""Go's memory without an object, in rows of (start, bytes): cached, beside objects, or vacant.

    pages of the heap = objects, dead or alive + cached + beside + vacant

Each walk takes the spans in the order of their pages and returns the number of rows that there
are; it writes as many as there is room for.
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import trailing_zeros
from heapwright.managers.runtime.go.layout import (
    CACHE_SHIFT,
    CACHE_WORDS,
    CLASS,
    DELTA_SHIFT,
    FREE_BITS,
    NEXT_PAIR,
    OBJECTS,
    PAGE_BASE,
    PAGE_FREE,
    PAGES,
    PAIRS_SHIFT,
    PROCESSOR_SHIFT,
    SIZE,
    SPAN,
    SWEPT,
    field,
    valid_bits,
)
from heapwright.managers.runtime.go.size_classes import (
    BITMAP_SIZE,
    MARKS_BYTES,
    MARKS_SIZE,
    PAGE_BYTES,
    PAGE_SHIFT,
)


@kernel
def _add(blocks, count, start, length):
    """Write row `count` if there is room for it; the number of rows then."""
    if length <= 0:
        return count
    if count < len(blocks):
        blocks[count, 0], blocks[count, 1] = start, length
    return count + 1


@kernel
def beside_of(go, span):
    """Bytes at the span's end that hold its bitmap and mark bits."""
    size = field(go, span, SIZE)
    if size > BITMAP_SIZE:
        return 0
    beside = MARKS_BYTES if size >= MARKS_SIZE else 0
    if not field(go, span, CLASS) & 1:
        beside += field(go, span, PAGES) * (PAGE_BYTES >> 6)
    return beside


@kernel
def is_cached(go, span):
    """Whether a processor holds it."""
    swept = field(go, span, SWEPT)
    return swept == go.generation + 1 or swept == go.generation + 3


@kernel
def next_span(go, page):
    """The first span from `page` on, 0 if there is none."""
    while page < go.past_page:
        if go.page_words[unsigned(page)]:
            return page - (go.page_words[unsigned(page)] >> DELTA_SHIFT)
        page += 1
    return 0


@kernel
def _free_bits(blocks, count, bits, start, size):
    """Rows for the runs of set bits; `start` is the address of bit 0's object."""
    while bits:
        low = trailing_zeros(bits)
        past = trailing_zeros(~(bits | ~(np.int64(-1) << low)))
        count = _add(blocks, count, start + low * size, (past - low) * size)
        if past == 64:
            break
        bits &= np.int64(-1) << past
    return count


@kernel
def _free_of_span(go, blocks, count, span, pair):
    """Rows for the span's objects from `pair` on that are not allocated."""
    objects, size = field(go, span, OBJECTS), field(go, span, SIZE)
    while pair << 6 < objects:
        allocated = go.bits[unsigned((span << PAIRS_SHIFT) + 2 * pair)]
        start = (span << PAGE_SHIFT) + (pair << 6) * size
        count = _free_bits(blocks, count, ~allocated & valid_bits(objects, pair), start, size)
        pair += 1
    return count


@kernel
def free_in_caches(go, blocks):
    """Free objects of cached spans and pages in page caches."""
    count = 0
    for row in range(0, go.processor_count * CACHE_WORDS, 1 << CACHE_SHIFT):
        span = go.caches[row + SPAN]
        if span:
            pair, size = go.caches[row + NEXT_PAIR], field(go, span, SIZE)
            start = (span << PAGE_SHIFT) + (pair - 1 << 6) * size
            count = _free_bits(blocks, count, go.caches[row + FREE_BITS], start, size)
            count = _free_of_span(go, blocks, count, span, pair)
    for processor in range(go.processor_count):
        own = processor << PROCESSOR_SHIFT
        start = go.processors[own + PAGE_BASE] << PAGE_SHIFT
        count = _free_bits(blocks, count, go.processors[own + PAGE_FREE], start, PAGE_BYTES)
    return count


@kernel
def bytes_beside(go, blocks):
    """Bitmaps and mark bits at the ends of spans."""
    count = 0
    span = next_span(go, go.lowest_page)
    while span:
        past = span + field(go, span, PAGES)
        beside = beside_of(go, span)
        count = _add(blocks, count, (past << PAGE_SHIFT) - beside, beside)
        span = next_span(go, past)
    return count


@kernel
def free_outside_caches(go, blocks):
    """Free objects of spans that no processor holds, ends of spans too short for a further object,
    and free pages."""
    count = 0
    span = next_span(go, go.lowest_page)
    while span:
        past = span + field(go, span, PAGES)
        if not is_cached(go, span):
            count = _free_of_span(go, blocks, count, span, 0)
        end = (span << PAGE_SHIFT) + field(go, span, OBJECTS) * field(go, span, SIZE)
        rest = (past << PAGE_SHIFT) - beside_of(go, span) - end
        count = _add(blocks, count, end, rest)
        span = next_span(go, past)
    for group in range(go.lowest_page >> 6, (go.past_page + 63) >> 6):
        start = group << 6 + PAGE_SHIFT
        count = _free_bits(blocks, count, go.pages.free[unsigned(group)], start, PAGE_BYTES)
    return count
