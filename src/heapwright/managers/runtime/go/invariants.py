"""What must hold in Go's heap between two events; `check` returns the number of what does not.

1  page words and rows describe spans that do not overlap and are in use
2  ALLOCATED counts the allocated bits of a span that no cache holds; none is beyond its objects
3  outside of a cycle no bit of a swept span is marked, and of another only what is allocated
4  a span is in the queue that its row names and that its state asks for, or in a cache
5  the queues are linked both ways and hold each span once
6  a cache's free bits are of allocated bits of a span that is its own
7  the page tree says what the bits say; no page is in a span and free
8  PAGES_IN_USE, FREE and RELEASED count the pages of spans, bitmap and page caches
9  no free page from SCAVENGE_PAST on has memory
10 while marking, a marked object refers to what is marked or waits on the marker's stack: the
   strong invariant, which the barrier's shade of the new referent keeps
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_count, trailing_zeros
from heapwright.machine import load
from heapwright.managers.runtime.go.heap_bitmap import references
from heapwright.managers.runtime.go.layout import (
    ALLOCATED,
    CACHE_SHIFT,
    CACHE_WORDS,
    CLASS,
    CLASS_MASK,
    DELTA_SHIFT,
    FIELDS,
    FREE_BITS,
    NEXT,
    NEXT_PAIR,
    OBJECTS,
    PAGE_BASE,
    PAGE_FREE,
    PAGE_GONE,
    PAGES,
    PAIRS_SHIFT,
    PROCESSOR_SHIFT,
    SET,
    SIZE,
    SPAN,
    SWEPT,
    field,
    span_of,
    valid_bits,
)
from heapwright.managers.runtime.go.pages import CHUNK_SHIFT
from heapwright.managers.runtime.go.pages import check as check_chunk
from heapwright.managers.runtime.go.size_classes import (
    BITMAP_SIZE,
    HEADER_BYTES,
    PAGE_SHIFT,
    SMALL_BYTES,
    SPAN_CLASSES,
)
from heapwright.managers.runtime.go.span_sets import FULL, PARTIAL, swept_set, unswept_set
from heapwright.managers.runtime.go.vacancies import is_cached, next_span


@kernel
def _check_bits(go, span):
    """2 or 3 if broken, else 0."""
    objects = field(go, span, OBJECTS)
    unswept = field(go, span, SWEPT) == go.generation - 2
    allocated = 0
    for pair in range((objects + 63) >> 6):
        i = unsigned((span << PAIRS_SHIFT) + 2 * pair)
        bits, marks = go.bits[i], go.bits[i + unsigned(1)]
        if bits & ~valid_bits(objects, pair):
            return 2
        if not go.marking and marks & ~bits:
            return 3
        if marks and not unswept and not go.marking:
            return 3
        allocated += bit_count(bits)
    if not is_cached(go, span) and allocated != field(go, span, ALLOCATED):
        return 2
    return 0


@kernel
def _wanted_set(go, span):
    """The queue that the span's state asks for; -1 in a cache."""
    span_class = field(go, span, CLASS)
    full = FULL if field(go, span, ALLOCATED) == field(go, span, OBJECTS) else PARTIAL
    if is_cached(go, span):
        return -1
    if field(go, span, SWEPT) == go.generation:
        return swept_set(go, span_class, full)
    return unswept_set(go, span_class, full)


@kernel
def _check_spans(go):
    """(0 or the broken invariant of 1 to 4, pages of spans, spans in a queue, cached spans)."""
    pages = queued = held = 0
    span = next_span(go, go.lowest_page)
    while span:
        count = field(go, span, PAGES)
        for delta in range(count):
            word = go.page_words[unsigned(span + delta)]
            is_free = go.pages.free[unsigned(span + delta >> 6)] >> (span + delta & 63) & 1
            if word >> DELTA_SHIFT != delta or (word & CLASS_MASK) - 1 != field(go, span, CLASS):
                return 1, 0, 0, 0
            if is_free:
                return 7, 0, 0, 0
        broken = _check_bits(go, span)
        if broken:
            return broken, 0, 0, 0
        if field(go, span, SET) != _wanted_set(go, span):
            return 4, 0, 0, 0
        if field(go, span, SET) < 0:
            held += 1
        else:
            queued += 1
        pages += count
        span = next_span(go, span + count)
    return 0, pages, queued, held


@kernel
def _check_queues(go, queued):
    """5 if broken, else 0."""
    for queue in range(4 * SPAN_CLASSES):
        before, span = 0, go.heads[queue]
        while span:
            queued -= 1
            if queued < 0 or field(go, span, SET) != queue:
                return 5
            before, span = span, field(go, span, NEXT)
        if go.tails[queue] != before:
            return 5
    return 5 if queued else 0


@kernel
def _check_caches(go, held):
    """6 if broken, else 0."""
    for row in range(0, go.processor_count * CACHE_WORDS, 1 << CACHE_SHIFT):
        span, free = go.caches[row + SPAN], go.caches[row + FREE_BITS]
        if not span:
            if free:
                return 6
            continue
        held -= 1
        pair = (span << PAIRS_SHIFT) + 2 * go.caches[row + NEXT_PAIR] - 2
        if not is_cached(go, span) or free & ~go.bits[unsigned(pair)]:
            return 6
    return 6 if held else 0


@kernel
def _check_free_pages(go, span_pages):
    """7, 8 or 9 if broken, else 0. `span_pages` is what spans have."""
    first, past = go.lowest_page, go.past_page
    free = gone = 0
    for group in range(first >> 6, (past + 63) >> 6):
        with_memory = go.pages.free[unsigned(group)] & ~go.pages.gone[unsigned(group)]
        if with_memory and group << 6 >= go.scavenge_past:
            return 9
        free += bit_count(go.pages.free[unsigned(group)])
        gone += bit_count(go.pages.gone[unsigned(group)])
    for chunk in range(first >> CHUNK_SHIFT, (past >> CHUNK_SHIFT) + 1):
        if not check_chunk(go.pages, chunk):
            return 7
    for processor in range(go.processor_count):
        own = processor << PROCESSOR_SHIFT
        kept = go.processors[own + PAGE_FREE]
        if kept & go.pages.free[unsigned(go.processors[own + PAGE_BASE] >> 6)]:
            return 7
        free += bit_count(kept)
        gone += bit_count(go.processors[own + PAGE_GONE])
    if span_pages != go.pages_in_use:
        return 8
    if (free - gone) << PAGE_SHIFT != go.free or gone << PAGE_SHIFT != go.released:
        return 8
    return 0


@kernel
def _is_white(go, marker, word):
    """Whether `word` points into an object that is neither marked nor on the marker's stack."""
    span = span_of(go, word)
    if not span:
        return False
    first, size = span << PAGE_SHIFT, field(go, span, SIZE)
    number = (word - first) // size
    if go.bits[unsigned((span << PAIRS_SHIFT) + (number >> 6 << 1) + 1)] >> (number & 63) & 1:
        return False
    block = first + number * size
    for entry in range(marker.top):
        if block <= marker.stack[unsigned(entry)] < block + size:
            return False
    return True


@kernel
def _refers_to_white(go, marker, block, size):
    """Whether the object in the block, which may hold references, refers to a white one."""
    if size <= BITMAP_SIZE:
        bits = references(go, block, size)
        while bits:
            word = trailing_zeros(bits)
            bits ^= np.int64(1) << word
            if _is_white(go, marker, load(go.machine, block + (word << 3))):
                return True
        return False
    first, fields = block, field(go, block >> PAGE_SHIFT, FIELDS)
    if size <= SMALL_BYTES and field(go, span_of(go, block), CLASS) > 1:
        first, fields = block + HEADER_BYTES, load(go.machine, block)
    for number in range(fields):
        if _is_white(go, marker, load(go.machine, first + (number << 3))):
            return True
    return False


@kernel
def _black(go, span, pair):
    """The bits of a pair's marked objects, without what a cache holds free."""
    i = unsigned((span << PAIRS_SHIFT) + 2 * pair)
    bits = go.bits[i] & go.bits[i + unsigned(1)]
    if bits and is_cached(go, span):
        for row in range(0, go.processor_count * CACHE_WORDS, 1 << CACHE_SHIFT):
            if go.caches[row + SPAN] == span and go.caches[row + NEXT_PAIR] - 1 == pair:
                bits &= ~go.caches[row + FREE_BITS]
    return bits


@kernel
def _check_colours(go, marker):
    """10 if broken, else 0."""
    span = next_span(go, go.lowest_page)
    while span:
        objects, size = field(go, span, OBJECTS), field(go, span, SIZE)
        if not field(go, span, CLASS) & 1:
            for pair in range((objects + 63) >> 6):
                black = _black(go, span, pair)
                while black:
                    bit = trailing_zeros(black)
                    black ^= np.int64(1) << bit
                    block = (span << PAGE_SHIFT) + ((pair << 6) + bit) * size
                    if _refers_to_white(go, marker, block, size):
                        return 10
        span = next_span(go, span + field(go, span, PAGES))
    return 0


@kernel
def check(go, marker):
    """Number of the broken invariant, 0 if none."""
    if go.past_page == 0:
        return 0
    broken, pages, queued, held = _check_spans(go)
    if not broken:
        broken = _check_queues(go, queued)
    if not broken:
        broken = _check_caches(go, held)
    if not broken:
        broken = _check_free_pages(go, pages)
    if not broken and go.marking:
        broken = _check_colours(go, marker)
    return broken
