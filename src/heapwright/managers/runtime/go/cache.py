"""Per processor a span of each class to allocate from, and where it gets them (mcache, mcentral).

    take ─► 64 objects at a time: the lowest set bit of FREE_BITS ─none─► the span's next pair
    ─none─► refill: a swept partial span ─none─► sweep a partial one ─none─► sweep full ones
    ─none─► a new span

Terms      born black: marked at birth, because the collector is at work
Invariant  a cached span has all its allocated bits set up to NEXT_PAIR; what of them is free is in
           FREE_BITS; while MARKING those are marked too
Source     Go 1.27 runtime/mcache.go, mcentral.go, malloc.go (nextFreeFast, mallocgcLarge)
Differs    the real cache shifts its word and keeps an index; here the bit's number is the object's
Omits      objects that the program frees itself (runtimeFreegc), the heap profile
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_count, trailing_zeros
from heapwright.managers.runtime.go.layout import (
    ALLOCATED,
    BASE,
    CACHE_SHIFT,
    CACHE_WORDS,
    CLASS,
    FLUSHED,
    FREE_BITS,
    NEEDS_ZERO,
    NEXT_PAIR,
    OBJECTS,
    PAGES,
    PAIRS_SHIFT,
    PROCESSOR_SHIFT,
    SCANNABLE,
    SIZE,
    SPAN,
    STRIDE,
    SWEPT,
    TINY,
    TINY_USED,
    ZERO,
    field,
    set_field,
    valid_bits,
)
from heapwright.managers.runtime.go.page_heap import new_span
from heapwright.managers.runtime.go.size_classes import PAGE_BYTES, PAGE_SHIFT, SPAN_CLASSES
from heapwright.managers.runtime.go.span_sets import (
    FULL,
    PARTIAL,
    pop,
    push,
    swept_set,
    unswept_set,
)
from heapwright.managers.runtime.go.sweep import pay, reclaim, sweep_span

SWEEP_BUDGET = 100  # spans that a refill sweeps before it takes a new one


@kernel(inline=True)
def cache_row(processor, span_class):
    """Where the processor's row for the class begins in `caches`."""
    return processor * CACHE_WORDS + (span_class << CACHE_SHIFT)


@kernel(inline=True)
def take(go, row):
    """Address of the next free object of the cached span, 0 if FREE_BITS is used up."""
    i = unsigned(row)
    free = go.caches[i + unsigned(FREE_BITS)]
    if not free:
        return 0
    bit = trailing_zeros(free)
    go.caches[i + unsigned(FREE_BITS)] = free ^ (np.int64(1) << bit)
    return go.caches[i + unsigned(BASE)] + bit * go.caches[i + unsigned(STRIDE)]


@kernel
def _next_pair(go, row):
    """Turn to the next 64 objects of the cached span of which some are free; whether there are."""
    span = go.caches[row + SPAN]
    if not span:
        return False
    objects, size = field(go, span, OBJECTS), field(go, span, SIZE)
    pair = go.caches[row + NEXT_PAIR]
    while pair << 6 < objects:
        i = unsigned((span << PAIRS_SHIFT) + 2 * pair)
        free = ~go.bits[i] & valid_bits(objects, pair)
        if free:
            go.bits[i] |= free
            if go.marking:
                go.bits[i + unsigned(1)] |= free
                go.born_black += bit_count(free) * size
            go.caches[row + FREE_BITS] = free
            go.caches[row + BASE] = (span << PAGE_SHIFT) + (pair << 6) * size
            go.caches[row + NEXT_PAIR] = pair + 1
            return True
        pair += 1
    go.caches[row + NEXT_PAIR] = pair
    return False


@kernel
def _cache_span(go, processor, span_class):
    """A swept span with a free object, in no set; 0 when there is no memory."""
    pages = go.classes.pages_of[span_class]
    pay(go, pages << PAGE_SHIFT, 0)
    span = pop(go, swept_set(go, span_class, PARTIAL))
    if span:
        return span
    if not go.is_swept:
        span = pop(go, unswept_set(go, span_class, PARTIAL))
        if span:
            sweep_span(go, span, True)
            return span
        for _ in range(SWEEP_BUDGET):
            span = pop(go, unswept_set(go, span_class, FULL))
            if not span:
                break
            sweep_span(go, span, True)
            if field(go, span, ALLOCATED) < field(go, span, OBJECTS):
                return span
            push(go, swept_set(go, span_class, FULL), span)
        reclaim(go, pages)
    return new_span(go, processor, pages, span_class)


@kernel
def refill(go, processor, span_class):
    """Let the cache's row, whose pair is used up, have free objects of the class again.

    (whether it has: there was memory, whether a further span was cached: LIVE has grown).
    """
    row = cache_row(processor, span_class)
    if _next_pair(go, row):
        return True, False
    caches = go.caches
    old = caches[row + SPAN]
    span = _cache_span(go, processor, span_class)
    if not span:
        return False, False
    if old:
        used = field(go, old, OBJECTS) - field(go, old, ALLOCATED)
        go.allocated_total += used * field(go, old, SIZE)
        set_field(go, old, ALLOCATED, field(go, old, OBJECTS))
        set_field(go, old, SWEPT, go.generation)
        push(go, swept_set(go, span_class, FULL), old)
    set_field(go, span, SWEPT, go.generation + 3)
    go.live += field(go, span, PAGES) * PAGE_BYTES
    go.live -= field(go, span, ALLOCATED) * field(go, span, SIZE)
    own = processor << PROCESSOR_SHIFT
    if not go.marking:
        go.scan += go.processors[own + SCANNABLE]
    go.processors[own + SCANNABLE] = 0
    caches[row + SPAN] = span
    caches[row + STRIDE] = field(go, span, SIZE)
    caches[row + ZERO] = field(go, span, NEEDS_ZERO)
    caches[row + NEXT_PAIR] = 0
    return _next_pair(go, row), True


@kernel
def new_large(go, processor, size, span_class):
    """Span of a new object of `size` bytes, more than a class has; 0 when there is no memory."""
    count = (size + PAGE_BYTES - 1) >> PAGE_SHIFT
    pay(go, count << PAGE_SHIFT, count)
    if not go.is_swept:
        reclaim(go, count)
    span = new_span(go, processor, count, span_class)
    if not span:
        return 0
    set_field(go, span, ALLOCATED, 1)
    go.bits[span << PAIRS_SHIFT] = 1
    if go.marking:
        go.bits[(span << PAIRS_SHIFT) + 1] = 1
        go.born_black += count << PAGE_SHIFT
    go.allocated_total += count << PAGE_SHIFT
    go.live += count << PAGE_SHIFT
    push(go, swept_set(go, span_class, FULL), span)
    return span


@kernel
def blacken_caches(go):
    """Marking begins: what the caches' words hold free is marked before it is born."""
    for row in range(0, go.processor_count * CACHE_WORDS, 1 << CACHE_SHIFT):
        free = go.caches[row + FREE_BITS]
        if free:
            pair = (go.caches[row + SPAN] << PAIRS_SHIFT) + 2 * go.caches[row + NEXT_PAIR] - 2
            go.bits[unsigned(pair + 1)] |= free
            go.born_black += bit_count(free) * go.caches[row + STRIDE]


@kernel
def born_black_bytes(go):
    """Bytes of objects born black in this cycle. What the caches' words still hold free was not
    born; its marks mean nothing, as it is not allocated when the span is swept."""
    unborn = 0
    for row in range(0, go.processor_count * CACHE_WORDS, 1 << CACHE_SHIFT):
        unborn += bit_count(go.caches[row + FREE_BITS]) * go.caches[row + STRIDE]
    return go.born_black - unborn


@kernel
def _free_in_cached(go, row):
    """Free objects of a cached span."""
    span = go.caches[row + SPAN]
    objects = field(go, span, OBJECTS)
    count = bit_count(go.caches[row + FREE_BITS])
    for pair in range(go.caches[row + NEXT_PAIR], (objects + 63) >> 6):
        allocated = go.bits[unsigned((span << PAIRS_SHIFT) + 2 * pair)]
        count += bit_count(~allocated & valid_bits(objects, pair))
    return count


@kernel
def _uncache(go, row):
    """Give the cached span of a row back to its class; if it needs sweeping, sweep it."""
    span = go.caches[row + SPAN]
    size, objects = field(go, span, SIZE), field(go, span, OBJECTS)
    free = _free_in_cached(go, row)
    if go.caches[row + FREE_BITS]:
        pair = (span << PAIRS_SHIFT) + 2 * go.caches[row + NEXT_PAIR] - 2
        go.bits[unsigned(pair)] &= ~go.caches[row + FREE_BITS]
    go.allocated_total += (objects - free - field(go, span, ALLOCATED)) * size
    set_field(go, span, ALLOCATED, objects - free)
    if field(go, span, SWEPT) == go.generation + 1:
        sweep_span(go, span, False)
    else:
        go.live -= free * size
        set_field(go, span, SWEPT, go.generation)
        push(go, swept_set(go, field(go, span, CLASS), PARTIAL if free else FULL), span)


@kernel
def flush(go, processor):
    """Empty the processor's cache, but for its pages: before a generation is swept."""
    own = processor << PROCESSOR_SHIFT
    for span_class in range(2, SPAN_CLASSES):
        row = cache_row(processor, span_class)
        if go.caches[row + SPAN]:
            _uncache(go, row)
            go.caches[row + SPAN] = go.caches[row + FREE_BITS] = 0
    go.scan += go.processors[own + SCANNABLE]
    go.processors[own + SCANNABLE] = 0
    go.processors[own + TINY] = go.processors[own + TINY_USED] = 0
    go.processors[own + FLUSHED] = go.generation
