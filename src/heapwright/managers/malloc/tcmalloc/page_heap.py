"""tcmalloc's page heap: free runs by length, merged with neighbours alike, given back late.

    take ─► ring of the length, normal first, and upward ─► sorted runs: shortest, lowest ─► brk
              └► the caller gets the low part, the rest stays of its kind
    give ─► merge below and above ─► ring or sorted ─► after so many pages one run goes back

Terms      normal: free and resident; returned: free and given back (MADV_DONTNEED); wait: pages
           that may still be freed before the next run is given back
Invariant  see `invariants.py` (check: 1-3)
Source     gperftools 2.10 src/page_heap.cc
Omits      TCMALLOC_HEAP_LIMIT_MB; memory by mmap where the break is refused
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import ADVISE_DONTNEED, load, madvise, store
from heapwright.managers.malloc.tcmalloc import state
from heapwright.managers.malloc.tcmalloc.metadata import (
    drop_record,
    map_pages,
    new_node,
    new_record,
    new_span_record,
    set_span,
    span_at,
    system_alloc,
)
from heapwright.managers.malloc.tcmalloc.size_classes import PAGE_BYTES, PAGE_SHIFT
from heapwright.managers.malloc.tcmalloc.state import (
    IN_USE,
    LENGTH,
    LONGEST_PAGES,
    NORMAL,
    PREVIOUS,
    RECORD_BYTES,
    RETURNED,
    RETURNED_RINGS,
    SPAN_RECORD,
    START,
    STATE,
    TRACE_RECORD,
    location_of,
    pull,
    push,
    set_location,
)
from heapwright.structures.sorted_keys import at_least, insert, remove

LEAST_GROWTH_PAGES = 128  # kMinSystemAlloc
RELEASE_ALL_AT_BYTES = 128 << 20  # kForcedCoalesceInterval
ALL_PAGES = 0x7FFFFFFF
FIRST_WAIT_PAGES = 1 << 18  # kDefaultReleaseDelay, also after nothing could be given back
LONGEST_WAIT_PAGES = 1 << 20  # kMaxReleaseDelay
WAIT_PER_PAGE = 1000.0  # pages freed for each given back, at a release rate of 1
LENGTH_SHIFT = 24  # of a sorted run's key, above its page
PAGE_MASK = (1 << LENGTH_SHIFT) - 1


@kernel
def new_span(heap, start, pages):
    """A span in use; the page map does not know it yet."""
    machine, span = heap.machine, new_span_record(heap)
    store(machine, span + START, start)
    store(machine, span + LENGTH, pages)
    store(machine, span + STATE, IN_USE)
    return span


@kernel(inline=True)
def _enter(heap, span):
    """Enter the first and last page (RecordSpan)."""
    start, pages = load(heap.machine, span + START), load(heap.machine, span + LENGTH)
    set_span(heap, start, span)
    set_span(heap, start + pages - 1, span)


@kernel
def _put(heap, span):
    """Count a free run, as its location says, and put it where it is found (PrependToFreeList)."""
    machine = heap.machine
    start, pages = load(machine, span + START), load(machine, span + LENGTH)
    returned = location_of(machine, span) == RETURNED
    if returned:
        heap.returned += pages << PAGE_SHIFT
    else:
        heap.normal += pages << PAGE_SHIFT
    if pages <= LONGEST_PAGES:
        push(heap, pages + RETURNED_RINGS if returned else pages, span)
        return
    new_node(heap)
    if returned:
        insert(heap.returned_runs, (pages << LENGTH_SHIFT) | start)
    else:
        insert(heap.normal_runs, (pages << LENGTH_SHIFT) | start)


@kernel
def _take_out(heap, span):
    """The reverse (RemoveFromFreeList)."""
    machine = heap.machine
    start, pages = load(machine, span + START), load(machine, span + LENGTH)
    returned = location_of(machine, span) == RETURNED
    if returned:
        heap.returned -= pages << PAGE_SHIFT
    else:
        heap.normal -= pages << PAGE_SHIFT
    if pages <= LONGEST_PAGES:
        pull(heap, pages + RETURNED_RINGS if returned else pages, span)
        return
    heap.spare_nodes += 1
    if returned:
        remove(heap.returned_runs, (pages << LENGTH_SHIFT) | start)
    else:
        remove(heap.normal_runs, (pages << LENGTH_SHIFT) | start)


@kernel
def take(heap, pages):
    """A span of `pages` pages; 0 where refused (New)."""
    span = _search(heap, pages)
    if span:
        return span
    free, system = heap.normal + heap.returned, heap.system
    crossing = system // RELEASE_ALL_AT_BYTES
    if heap.normal and heap.returned and free >= system // 4:
        if crossing != (system + (pages << PAGE_SHIFT)) // RELEASE_ALL_AT_BYTES:
            heap.paths[state.RELEASE_ALL] += 1
            release(heap, ALL_PAGES)  # so that all merge
            span = _search(heap, pages)
            if span:
                return span
    return _search(heap, pages) if _grow(heap, pages) else 0


@kernel
def _search(heap, pages):
    """The best free run, carved; 0 if none (SearchFreeAndLargeLists)."""
    for length in range(pages, LONGEST_PAGES + 1):
        span = heap.rings[unsigned(length)]
        if not span:
            span = heap.rings[unsigned(length + RETURNED_RINGS)]
        if span:
            return _carve(heap, span, pages)
    least = pages << LENGTH_SHIFT
    best, other = at_least(heap.normal_runs, least), at_least(heap.returned_runs, least)
    if best < 0 or 0 <= other < best:
        best = other
    return _carve(heap, span_at(heap, best & PAGE_MASK), pages) if best >= 0 else 0


@kernel
def _carve(heap, span, pages):
    """Take a free run for its first `pages` pages; the rest stays free (Carve)."""
    heap.paths[state.CARVE] += 1
    machine = heap.machine
    was = location_of(machine, span)
    _take_out(heap, span)
    set_location(machine, span, IN_USE)
    if load(machine, span + LENGTH) > pages:
        rest = split(heap, span, pages)
        set_location(machine, rest, was)
        _put(heap, rest)
    if was == RETURNED:
        heap.commits += 1
        heap.committed += pages << PAGE_SHIFT
    return span


@kernel
def split(heap, span, pages):
    """Keep the first `pages` pages of a span in use; the span of the others (Split)."""
    machine = heap.machine
    start, length = load(machine, span + START), load(machine, span + LENGTH)
    rest = new_span(heap, start + pages, length - pages)
    _enter(heap, rest)
    store(machine, span + LENGTH, pages)
    set_span(heap, start + pages - 1, span)
    return rest


@kernel
def give(heap, span):
    """Free a span (Delete), and now and then give a run back (IncrementalScavenge)."""
    heap.paths[state.PAGES_FREED] += 1
    pages = load(heap.machine, span + LENGTH)
    set_location(heap.machine, span, NORMAL)
    _merge(heap, span)
    heap.wait -= pages
    if heap.wait < 0:
        _scavenge(heap)


@kernel(cold=True)
def _scavenge(heap):
    """Give one run back, and wait the longer the longer it is."""
    heap.wait = FIRST_WAIT_PAGES
    if heap.release_rate > 0:
        heap.scavenges += 1
        given = release(heap, 1)
        if given:
            pages = WAIT_PER_PAGE / heap.release_rate * given
            heap.wait = min(int(pages), LONGEST_WAIT_PAGES)


@kernel
def _give_back(heap, span):
    """Return a run's pages to the system (DecommitSpan)."""
    heap.paths[state.RELEASE] += 1
    machine = heap.machine
    start, bytes_ = load(machine, span + START), load(machine, span + LENGTH) << PAGE_SHIFT
    madvise(machine, start << PAGE_SHIFT, bytes_, ADVISE_DONTNEED)
    heap.decommits += 1
    heap.committed -= bytes_
    heap.decommitted += bytes_
    set_location(machine, span, RETURNED)


@kernel
def _merge(heap, span):
    """Join a free run with its neighbours of the same kind, and put it (MergeIntoFreeList)."""
    machine = heap.machine
    start, pages = load(machine, span + START), load(machine, span + LENGTH)
    if heap.aggressive and location_of(machine, span) == NORMAL:
        _give_back(heap, span)
    below = span_at(heap, start - 1)
    if below and _joins(heap, span, below):
        start = load(machine, below + START)
        pages += load(machine, below + LENGTH)
        drop_record(heap, SPAN_RECORD, below)
    above = span_at(heap, load(machine, span + START) + load(machine, span + LENGTH))
    if above and _joins(heap, span, above):
        pages += load(machine, above + LENGTH)
        drop_record(heap, SPAN_RECORD, above)
    store(machine, span + START, start)
    store(machine, span + LENGTH, pages)
    _enter(heap, span)
    _put(heap, span)


@kernel
def _joins(heap, span, other):
    """Whether a neighbour is free alike; then it is taken out (CheckAndHandlePreMerge)."""
    where, its = location_of(heap.machine, span), location_of(heap.machine, other)
    if heap.aggressive and its == NORMAL and where == RETURNED:
        _take_out(heap, other)
        _give_back(heap, other)
        return True
    if its != where:
        return False
    heap.paths[state.MERGE] += 1
    _take_out(heap, other)
    return True


@kernel
def release(heap, pages):
    """Give back normal runs, the oldest of each length in turn, the shortest of the sorted ones,
    until `pages` pages are; pages given back (ReleaseAtLeastNPages)."""
    given = 0
    while given < pages and heap.normal > 0:
        for _ in range(LONGEST_PAGES + 1):
            if given >= pages:
                break
            if heap.lengths_turn > LONGEST_PAGES:
                heap.lengths_turn = 0
            span = _oldest(heap, heap.lengths_turn)
            if span:
                given += load(heap.machine, span + LENGTH)
                _take_out(heap, span)
                _give_back(heap, span)
                _merge(heap, span)
            heap.lengths_turn += 1
    return given


@kernel
def _oldest(heap, turn):
    """The normal run that is next to go, of the length `turn` + 1 or beyond; 0 if none."""
    if turn == LONGEST_PAGES:
        key = at_least(heap.normal_runs, 0)
        return span_at(heap, key & PAGE_MASK) if key >= 0 else 0
    first = heap.rings[unsigned(turn + 1)]
    return load(heap.machine, first + PREVIOUS) if first else 0


@kernel
def _grow(heap, pages):
    """More pages at the break, as if they had been in use and were freed; whether there were."""
    want = max(pages, LEAST_GROWTH_PAGES)
    address = system_alloc(heap.machine, want << PAGE_SHIFT, PAGE_BYTES)
    if not address and want > pages:
        want = pages
        address = system_alloc(heap.machine, want << PAGE_SHIFT, PAGE_BYTES)
    if not address:
        return False
    heap.paths[state.GROW] += 1
    new_record(heap, TRACE_RECORD, RECORD_BYTES[TRACE_RECORD])  # the stack that asked, for pprof
    heap.reserves += 1
    heap.commits += 1
    heap.system += want << PAGE_SHIFT
    heap.committed += want << PAGE_SHIFT
    page = address >> PAGE_SHIFT
    map_pages(heap, page - 1, page + want)
    span = new_span(heap, page, want)
    _enter(heap, span)
    give(heap, span)
    return True
