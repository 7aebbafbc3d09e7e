"""The page heap: runs of pages, found by two bitmaps' worth of bins, merged when freed.

    bins      1 │ 2 │ ... │ 63 pages, one length a bin │ then STEPS a doubling
    take  ─► own bin (some tries) ─► first bin above that is not empty ─► split ─► grow by brk
    give  ─► merge with a free run below and above ─► bin ─► purge what is too much

Terms      dirty: see dirty.py; purge: give dirty pages of free runs back to the system (madvise),
           keeping the addresses
Invariant  spans tile the heap; no two free runs adjacent; a free run is in the bin of its length;
           a bit of `filled` is set iff its bin is not empty; DIRTY_PAGES counts        (check)
Source     TCMalloc's page heap (gperftools src/page_heap.cc); bins after Masmano et al., "TLSF",
           ECRTS 2004
Omits      a search by address

Memory goes back on a schedule that needs no clock and no thread: an interval is a number of pages
freed, a share of those in the heap, and what was free through all of it was not needed (the
low-water mark of TCMalloc's caches). A limit, a share of the pages in use, holds at any time; what
was purged and soon asked for again raises it, until it lies idle for an interval.
"""

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length, trailing_zeros
from heapwright.machine import ADVISE_DONTNEED, HUGE_PAGE_BYTES, brk, madvise
from heapwright.machine.address_space import BREAK
from heapwright.managers.malloc.wright.classes import PAGE_BYTES, PAGE_SHIFT
from heapwright.managers.malloc.wright.dirty import (
    WORD_BITS_SHIFT,
    WORD_MASK,
    dirty_pages,
    mark,
    past_last,
)
from heapwright.managers.malloc.wright.growing import more_spans, reach
from heapwright.managers.malloc.wright.huge import advise_huge, advise_small, is_dense
from heapwright.managers.malloc.wright.regrets import learn, regret
from heapwright.managers.malloc.wright.state import (
    DIRTY_PAGES,
    FIRST,
    GROW,
    GROWTH_PAGES,
    HUGE_ASKED,
    INTERVAL_PAGES,
    KIND,
    LENGTH,
    LIMIT_PAGES,
    LIMIT_PERCENT,
    LOW_PAGES,
    MERGE,
    NEXT,
    PATIENCE,
    PURGE,
    PURGED_PAGES,
    RETAIN_PAGES,
    RUN,
    SPAN_COUNT,
    SPANS,
    SPARE,
    SPLIT,
    START,
    STATE_SHIFT,
    TAKEN,
    TICKS,
    TOP,
    USED_PAGES,
    WANTED_PAGES,
    entry_of_page,
    get,
    link_last,
    put,
    set_entry,
    state_of,
    unlink,
)

EXACT = 64  # lengths below have a bin each
STEPS_SHIFT = 4
BINS = EXACT + (26 << STEPS_SHIFT)
HUGE_PAGE_PAGES = HUGE_PAGE_BYTES >> PAGE_SHIFT
DECAY_SHIFT = 3
LONG_PAGES = 8  # a longer run counts as so many: as a rule it was not written in full
INTERVAL_SHIFT = 2  # an interval is at least a quarter of the pages that hold memory
TRIES = 8  # runs of the request's own bin that are looked at


@kernel
def bin_of(pages):
    """The bin of a run of so many pages."""
    if pages < EXACT:
        return pages
    top = bit_length(pages) - 1
    step = (pages >> (top - STEPS_SHIFT)) - (1 << STEPS_SHIFT)
    return EXACT + ((top - 6) << STEPS_SHIFT) + step


@kernel
def _insert(heap, run):
    """Put a free run in its bin, newest first."""
    row = bin_of(get(heap, run, LENGTH))
    link_last(heap, run, heap.bins, row)
    heap.bins[unsigned(row)] = run
    heap.filled[unsigned(row >> WORD_BITS_SHIFT)] |= 1 << (row & WORD_MASK)


@kernel
def _remove(heap, run):
    """Take a free run out of its bin."""
    row = bin_of(get(heap, run, LENGTH))
    unlink(heap, run, heap.bins, row)
    if heap.bins[unsigned(row)] == 0:
        heap.filled[unsigned(row >> WORD_BITS_SHIFT)] &= ~(1 << (row & WORD_MASK))


@kernel
def _record(heap):
    """A fresh span record, 0 if there is none."""
    span = heap.fields[SPARE]
    if span:
        heap.fields[SPARE] = get(heap, span, NEXT)
        return span
    span = heap.fields[SPAN_COUNT]
    if span == heap.fields[SPANS] and not more_spans(heap):
        return 0
    heap.fields[SPAN_COUNT] = span + 1
    return span


@kernel
def _drop_record(heap, span):
    """A record is no longer wanted."""
    put(heap, span, KIND, 0)
    put(heap, span, NEXT, heap.fields[SPARE])
    heap.fields[SPARE] = span


@kernel
def _shape(heap, span, start, pages, state):
    """Write a span's place and what it is, and its first and last entry of the page map."""
    put(heap, span, START, start)
    put(heap, span, LENGTH, pages)
    put(heap, span, KIND, state << STATE_SHIFT)
    set_entry(heap, start, span << 8)
    set_entry(heap, start + pages - 1, span << 8)


@kernel
def _find(heap, pages):
    """A free run of at least `pages` pages, 0 if none: of its own bin, else of the next above."""
    row = bin_of(pages)
    first = heap.bins[unsigned(row)]
    if first:
        run = first
        for _ in range(TRIES):
            if get(heap, run, LENGTH) >= pages:
                return run
            run = get(heap, run, NEXT)
            if run == first:
                break
    row += 1
    word = row >> WORD_BITS_SHIFT
    bits = heap.filled[unsigned(word)] & ~((1 << (row & WORD_MASK)) - 1)
    while bits == 0:
        word += 1
        if word > BINS >> WORD_BITS_SHIFT:
            return 0
        bits = heap.filled[unsigned(word)]
    return heap.bins[unsigned((word << WORD_BITS_SHIFT) + trailing_zeros(bits))]


@kernel
def _grow(heap, pages):
    """More pages from the system, a free run; whether it gave them."""
    machine, fields = heap.machine, heap.fields
    want = max(pages, fields[GROWTH_PAGES])
    old = (machine.meters[BREAK] + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    huge = is_dense(heap, pages)
    if huge:  # a page grown into twice would be small by then
        want += -((old >> PAGE_SHIFT) + want) & (HUGE_PAGE_PAGES - 1)
    for bytes_ in (want << PAGE_SHIFT, pages << PAGE_SHIFT):
        end = old + bytes_
        if reach(heap, end) and brk(machine, end) == end:
            run = _record(heap)
            if not run:
                return False
            heap.paths[GROW] += 1
            if fields[FIRST] == 0:
                fields[FIRST] = old
            fields[TOP] = heap.end[0] = end
            if huge:
                advise_huge(heap, old, end)
            fields[USED_PAGES] += bytes_ >> PAGE_SHIFT
            _shape(heap, run, old >> PAGE_SHIFT, bytes_ >> PAGE_SHIFT, TAKEN)
            _merge(heap, run)
            return True
    return False


@kernel
def cut(heap, span, pages):
    """Keep the first `pages` pages of a taken span and free the rest, if there is a record."""
    rest = get(heap, span, LENGTH) - pages
    if rest <= 0:
        return
    tail = _record(heap)
    if tail:
        heap.paths[SPLIT] += 1
        start = get(heap, span, START)
        put(heap, span, LENGTH, pages)
        _shape(heap, tail, start + pages, rest, TAKEN)
        _merge(heap, tail)


@kernel
def take(heap, pages, align_pages):
    """A span of `pages` pages from a multiple of `align_pages`, a power of two; 0 if refused.

    The caller holds the lock and says which pages it makes dirty.
    """
    want = pages + align_pages - 1
    run = _find(heap, want)
    if not run:
        if not _grow(heap, want):
            return 0
        run = _find(heap, want)
        if not run:
            return 0
    _remove(heap, run)
    start, length = get(heap, run, START), get(heap, run, LENGTH)
    skip = -start & (align_pages - 1)
    if skip:
        rest = _record(heap)
        if not rest:
            _insert(heap, run)
            return 0
        _shape(heap, run, start, skip, RUN)
        _insert(heap, run)
        run, start, length = rest, start + skip, length - skip
    _use(heap, run, start, length, pages)
    heap.fields[LOW_PAGES] = min(heap.fields[LOW_PAGES], heap.fields[DIRTY_PAGES])
    if heap.fields[PURGED_PAGES]:
        regret(heap, get(heap, run, START), pages)
    return run


@kernel
def _use(heap, run, start, length, pages):
    """Make the first `pages` pages of a free run that is in no bin a taken span, and the others a
    free run, if there is a record for it. Of these nothing is counted anew: they may be many."""
    rest = _record(heap) if length > pages else 0
    if rest:
        heap.paths[SPLIT] += 1
        _shape(heap, rest, start + pages, length - pages, RUN)
        _insert(heap, rest)
        length = pages
    heap.fields[USED_PAGES] += length
    heap.fields[DIRTY_PAGES] -= dirty_pages(heap, start, length)
    _shape(heap, run, start, length, TAKEN)


@kernel
def give(heap, span):
    """Free a taken span. The caller holds the lock."""
    fields = heap.fields
    fields[TICKS] += min(get(heap, span, LENGTH), LONG_PAGES)
    _merge(heap, span)
    if fields[TICKS] >= fields[INTERVAL_PAGES] or fields[DIRTY_PAGES] > fields[LIMIT_PAGES]:
        keep_schedule(heap)


@kernel
def _merge(heap, span):
    """Make a taken span a free run, one with the free runs around it."""
    start, pages = get(heap, span, START), get(heap, span, LENGTH)
    fields = heap.fields
    fields[USED_PAGES] -= pages
    fields[DIRTY_PAGES] += dirty_pages(heap, start, pages)
    below = entry_of_page(heap, start - 1) >> 8
    if below and state_of(heap, below) == RUN:
        if get(heap, below, START) + get(heap, below, LENGTH) == start:
            heap.paths[MERGE] += 1
            _remove(heap, below)
            start, pages = get(heap, below, START), pages + get(heap, below, LENGTH)
            _drop_record(heap, below)
    above = _run_at(heap, start + pages)
    if above:
        heap.paths[MERGE] += 1
        _remove(heap, above)
        pages += get(heap, above, LENGTH)
        _drop_record(heap, above)
    _shape(heap, span, start, pages, RUN)
    _insert(heap, span)


@kernel(cold=True)
def keep_schedule(heap):
    """Purge what no request needed through an interval, and what is beyond the limit."""
    fields = heap.fields
    limit = fields[LIMIT_PAGES] + fields[USED_PAGES] * fields[LIMIT_PERCENT] // 100
    limit += fields[WANTED_PAGES]
    if fields[DIRTY_PAGES] > limit:
        fields[PURGED_PAGES] += purge(heap, limit - (limit >> 3))
    whole = (fields[USED_PAGES] + fields[DIRTY_PAGES]) >> INTERVAL_SHIFT
    if fields[TICKS] < max(fields[INTERVAL_PAGES], whole) << fields[PATIENCE]:
        return
    learn(heap)
    idle = fields[LOW_PAGES] - fields[RETAIN_PAGES]
    if idle > 0:
        fields[WANTED_PAGES] -= min(fields[WANTED_PAGES], idle) >> DECAY_SHIFT
        idle -= fields[WANTED_PAGES]
    if idle > 0:
        fields[PURGED_PAGES] += purge(heap, fields[DIRTY_PAGES] - idle)
    fields[TICKS] = 0
    fields[LOW_PAGES] = fields[DIRTY_PAGES]


@kernel
def _run_at(heap, page):
    """The free run that begins at a page; 0 if none does."""
    run = entry_of_page(heap, page) >> 8
    return run if run and state_of(heap, run) == RUN and get(heap, run, START) == page else 0


@kernel
def extend(heap, span, pages):
    """Make a taken span `pages` pages long by taking the start of the free run above, which may
    grow at the heap's end; whether it was there. The caller holds the lock."""
    start, have = get(heap, span, START), get(heap, span, LENGTH)
    above = _run_at(heap, start + have)
    more = get(heap, above, LENGTH) if above else 0
    if have + more < pages:
        if start + have + more != heap.fields[TOP] >> PAGE_SHIFT:
            return False
        if not _grow(heap, pages - have - more):
            return False
        above = _run_at(heap, start + have)
        more = get(heap, above, LENGTH) if above else 0
        if have + more < pages:  # something else lies at the old end of the heap
            return False
    _remove(heap, above)
    if have + more > pages:
        heap.paths[SPLIT] += 1
        _shape(heap, above, start + pages, have + more - pages, RUN)
        _insert(heap, above)
    else:
        _drop_record(heap, above)
    heap.fields[USED_PAGES] += pages - have
    heap.fields[DIRTY_PAGES] -= dirty_pages(heap, start + have, pages - have)
    put(heap, span, LENGTH, pages)
    heap.fields[LOW_PAGES] = min(heap.fields[LOW_PAGES], heap.fields[DIRTY_PAGES])
    return True


@kernel(cold=True)
def purge(heap, keep_pages):
    """Give dirty pages of free runs back, long runs first, until `keep_pages` are left; how many
    that were."""
    before = heap.fields[DIRTY_PAGES]
    for row in range(BINS - 1, -1, -1):
        first = heap.bins[unsigned(row)]
        run = first
        while run and heap.fields[DIRTY_PAGES] > keep_pages:
            start = get(heap, run, START)
            _purge_run(heap, start, start + get(heap, run, LENGTH), keep_pages)
            run = get(heap, run, NEXT)
            if run == first:
                break
    heap.fields[LOW_PAGES] = min(heap.fields[LOW_PAGES], heap.fields[DIRTY_PAGES])
    return before - heap.fields[DIRTY_PAGES]


@kernel
def _purge_run(heap, start, past, keep_pages):
    """Purge a free run from its end, for it is handed out from its start."""
    fields = heap.fields
    past = past_last(heap, start, past, True)
    while past > start and fields[DIRTY_PAGES] > keep_pages:
        page = max(past_last(heap, start, past, False), past - fields[DIRTY_PAGES] + keep_pages)
        heap.paths[PURGE] += 1
        madvise(heap.machine, page << PAGE_SHIFT, (past - page) << PAGE_SHIFT, ADVISE_DONTNEED)
        if fields[HUGE_ASKED]:
            advise_small(heap, page << PAGE_SHIFT, past << PAGE_SHIFT)
        mark(heap, page, past - page, False)
        fields[DIRTY_PAGES] -= past - page
        past = past_last(heap, start, page, True)
