"""Runs of pages become spans and are given back; the heap grows by arenas (mheap).

    new_span ─► page cache of the processor, 64 pages ─none─► lowest run of the bitmap ─none─► grow
    grow ─► 4 MiB more of the arena ─full─► a further arena of 64 MiB, at its end or at a hint

Invariant  IN_USE + FREE + RELEASED = what the heap has grown by                         (check)
Source     Go 1.27 runtime/mheap.go (allocSpan, grow, initSpan, freeSpanLocked), malloc.go
           (sysAlloc), mpagecache.go
Omits      the random base of the first arena (GOEXPERIMENT=norandomizedheapbase64); stacks, which
           the real one takes from the same pages
"""

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_count
from heapwright.machine import mmap, munmap, store, touch
from heapwright.machine.address_space import MAPPED_TOP
from heapwright.managers.runtime.go.layout import (
    ALLOCATED,
    ARENA_SHIFT,
    CLASS,
    DELTA_SHIFT,
    FIELDS,
    NEEDS_ZERO,
    OBJECTS,
    PAGE_BASE,
    PAGE_FREE,
    PAGE_GONE,
    PAGES,
    PROCESSOR_SHIFT,
    SET,
    SIZE,
    SPACE_PAGES,
    SWEPT,
    field,
    set_field,
)
from heapwright.managers.runtime.go.pages import (
    CHUNK_PAGES,
    find,
    give,
    ones,
    run_in_word,
    take,
    take_group,
)
from heapwright.managers.runtime.go.scavenge import scavenge_for
from heapwright.managers.runtime.go.size_classes import (
    BITMAP_SIZE,
    MARKS_BYTES,
    MARKS_SIZE,
    PAGE_BYTES,
    PAGE_SHIFT,
)

ARENA_BYTES = 1 << ARENA_SHIFT
CACHED_PAGES = 16  # shorter runs come from the page cache; runtime: pageCachePages / 4

# Where arenas are asked for: so many GiB below the top, each hint followed upwards while the space
# there is free. The real one's lie 1 TiB apart.
HINTS = 4
HINT_GIB = (1, 4, 16, 31)
TOP = MAPPED_TOP >> ARENA_SHIFT << ARENA_SHIFT


@kernel
def _reserve(go, length):
    """Address of `length` bytes of fresh arenas, 0 where there is no room."""
    first = go.hint
    for hint in range(first, HINTS):
        wanted = go.hint_next
        if hint != first or not wanted:
            wanted = TOP - (HINT_GIB[hint] << 30)
        address = mmap(go.machine, wanted, length)
        if address == wanted:
            go.hint, go.hint_next = hint, address + length
            return address
        if address:
            munmap(go.machine, address, length)
    return 0


@kernel
def _add(go, address, length):
    """Pages of an arena are the heap's: free, without memory."""
    page, count = address >> PAGE_SHIFT, length >> PAGE_SHIFT
    give(go.pages, page, count, -1)
    go.released += length
    go.lowest_page = min(go.lowest_page, page)
    go.past_page = max(go.past_page, page + count)


@kernel
def _grow(go, count):
    """Add at least `count` free pages in a row; by how many bytes, 0 where there is no room."""
    if count > SPACE_PAGES:
        return 0
    asked = (count + CHUNK_PAGES - 1) // CHUNK_PAGES * CHUNK_PAGES << PAGE_SHIFT
    grown = 0
    if go.arena_next + asked > go.arena_end:
        length = (asked + ARENA_BYTES - 1) & ~(ARENA_BYTES - 1)
        arena = _reserve(go, length)
        if not arena:
            return 0
        if arena != go.arena_end:
            rest = go.arena_end - go.arena_next
            if rest:
                _add(go, go.arena_next, rest)
                grown = rest
            go.arena_next = arena
        go.arena_end = arena + length
    _add(go, go.arena_next, asked)
    go.arena_next += asked
    return grown + asked


@kernel
def _from_page_cache(go, processor, count):
    """(first page, pages without memory) of a run out of the processor's page cache; 0, 0 if it
    holds none. An empty cache is filled first."""
    own = processor << PROCESSOR_SHIFT
    words = go.processors
    if not words[own + PAGE_FREE]:
        base, free, gone = take_group(go.pages)
        words[own + PAGE_BASE], words[own + PAGE_FREE], words[own + PAGE_GONE] = base, free, gone
    bit = run_in_word(words[own + PAGE_FREE], count)
    if bit == 64:
        return 0, 0
    mask = ones(bit, bit + count)
    gone = bit_count(words[own + PAGE_GONE] & mask)
    words[own + PAGE_FREE] &= ~mask
    words[own + PAGE_GONE] &= ~mask
    return words[own + PAGE_BASE] + bit, gone


@kernel
def _was_used(go, page, count):
    """Whether any of these pages was ever in use; from now on they were."""
    used = False
    past = page + count
    while page < past:
        arena = page >> ARENA_SHIFT - PAGE_SHIFT
        stop = min(past, (arena + 1) << ARENA_SHIFT - PAGE_SHIFT)
        used = used or page < go.used_past[arena]
        go.used_past[arena] = max(go.used_past[arena], stop)
        page = stop
    return used


@kernel
def new_span(go, processor, count, span_class):
    """A span of `count` pages without objects, in no set; 0 when there is no memory."""
    page = gone = grown = 0
    if count < CACHED_PAGES:
        page, gone = _from_page_cache(go, processor, count)
    if not page:
        page = find(go.pages, count)
        if page < 0:
            grown = _grow(go, count)
            if not grown:
                return 0
            page = find(go.pages, count)
        gone = take(go.pages, page, count)
    scavenge_for(go, grown, gone << PAGE_SHIFT)
    go.released -= gone << PAGE_SHIFT
    go.free -= (count - gone) << PAGE_SHIFT
    go.in_use += count << PAGE_SHIFT
    go.pages_in_use += count
    used = _was_used(go, page, count)
    set_field(go, page, NEEDS_ZERO, 1 if used and gone != count else 0)
    _describe(go, page, count, span_class)
    return page


@kernel
def _describe(go, span, count, span_class):
    """Write a new span's row and page words, and what lies at its end."""
    small = span_class > 1
    size = go.classes.bytes_of[span_class] if small else count << PAGE_SHIFT
    set_field(go, span, CLASS, span_class)
    set_field(go, span, PAGES, count)
    set_field(go, span, SIZE, size)
    set_field(go, span, OBJECTS, go.classes.objects_of[span_class] if small else 1)
    set_field(go, span, SWEPT, go.generation)
    set_field(go, span, ALLOCATED, 0)
    set_field(go, span, SET, -1)
    set_field(go, span, FIELDS, 0)
    for delta in range(count):
        go.page_words[unsigned(span + delta)] = delta << DELTA_SHIFT | (span_class + 1)
    end = (span + count) << PAGE_SHIFT
    if MARKS_SIZE <= size <= BITMAP_SIZE:
        end -= MARKS_BYTES
        touch(go.machine, end, MARKS_BYTES)
    if size <= BITMAP_SIZE and not span_class & 1:  # the bitmap; of single words all are references
        for word in range(1, count * (PAGE_BYTES >> 9) + 1):
            store(go.machine, end - (word << 3), -1 if size == 8 else 0)
        touch(go.machine, end - count * (PAGE_BYTES >> 6), count * (PAGE_BYTES >> 6))


@kernel
def free_span(go, span):
    """Give back a span that is swept, in no set, and holds no object."""
    count = field(go, span, PAGES)
    for delta in range(count):
        go.page_words[unsigned(span + delta)] = 0
    go.free += count << PAGE_SHIFT
    go.in_use -= count << PAGE_SHIFT
    go.pages_in_use -= count
    go.scavenge_past = max(go.scavenge_past, span + count)
    give(go.pages, span, count, 0)
