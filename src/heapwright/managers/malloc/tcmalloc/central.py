"""tcmalloc's central cache of a class: batches in slots, single objects in spans.

    insert ─► a whole batch: a slot, perhaps one taken from another class ─► else to the spans
    remove ─► a whole batch: the newest slot ─► else the first span with free objects, newest
              first ─► a span from the page heap, its objects chained upward

Terms      chain: objects linked through their first words; slot: first and last of a batch
Invariant  see `invariants.py` (check: 4, 5)
Source     gperftools 2.10 src/central_freelist.cc
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.tcmalloc import state
from heapwright.managers.malloc.tcmalloc.metadata import set_span, span_at
from heapwright.managers.malloc.tcmalloc.page_heap import give, take
from heapwright.managers.malloc.tcmalloc.size_classes import PAGE_SHIFT
from heapwright.managers.malloc.tcmalloc.state import (
    CENTRAL_SHIFT,
    CLASS_RINGS,
    CLASS_SHIFT,
    FREE,
    LENGTH,
    OBJECTS,
    SLOTS,
    SLOTS_USED,
    SPANS,
    START,
    STATE,
    pull,
    push,
)

SLOT_ROW_SHIFT = 7  # words of a class in `slots`, log2
COUNT_MASK = (1 << CLASS_SHIFT) - 1  # of a span's STATE: objects in use


@kernel
def insert_range(heap, class_, first, count):
    """Take a chain of `count` objects, whose last one links to nothing (InsertRange)."""
    if count == heap.classes.batch_of[unsigned(class_)] and _has_room(heap, class_):
        heap.paths[state.SLOT_FILLED] += 1
        words = class_ << CENTRAL_SHIFT
        slot = heap.central[unsigned(words + SLOTS_USED)]
        heap.slots[unsigned((class_ << SLOT_ROW_SHIFT) + slot)] = first
        heap.central[unsigned(words + SLOTS_USED)] = slot + 1
    else:
        _to_spans(heap, class_, first)


@kernel
def _to_spans(heap, class_, first):
    """Give every object of a chain back to its span (ReleaseListToSpans)."""
    machine, words = heap.machine, class_ << CENTRAL_SHIFT
    while first:
        after = load(machine, first)
        span = span_at(heap, first >> PAGE_SHIFT)
        newest = load(machine, span + OBJECTS)
        if not newest:
            push(heap, CLASS_RINGS + class_, span)
        state_ = load(machine, span + STATE) - 1
        heap.central[unsigned(words + FREE)] += 1
        if state_ & COUNT_MASK:
            store(machine, span + STATE, state_)
            store(machine, span + OBJECTS, first)
            store(machine, first, newest)
        else:
            heap.paths[state.SPAN_FREED] += 1
            pages = load(machine, span + LENGTH)
            objects = (pages << PAGE_SHIFT) // heap.classes.bytes_of[unsigned(class_)]
            heap.central[unsigned(words + FREE)] -= objects
            heap.central[unsigned(words + SPANS)] -= 1
            pull(heap, CLASS_RINGS + class_, span)
            give(heap, span)
        first = after


@kernel
def _has_room(heap, class_):
    """Whether there is a free slot, after one was taken from another class (MakeCacheSpace)."""
    words = class_ << CENTRAL_SHIFT
    if heap.central[unsigned(words + SLOTS_USED)] < heap.central[unsigned(words + SLOTS)]:
        return True
    most = heap.classes.slots_of[unsigned(class_)]
    if heap.central[unsigned(words + SLOTS)] == most:
        return False
    if _evict(heap, class_, False) or _evict(heap, class_, True):
        if heap.central[unsigned(words + SLOTS)] < most:
            heap.central[unsigned(words + SLOTS)] += 1
            return True
    return False


@kernel
def _evict(heap, own, force):
    """Take a slot from the class whose turn it is, an unused one unless `force`; whether it gave
    one (EvictRandomSizeClass, ShrinkCache)."""
    class_ = heap.turn
    heap.turn += 1
    if class_ >= heap.classes.count[0]:
        class_ %= heap.classes.count[0]
        heap.turn = class_  # not one further: the next call meets the same class
    words = class_ << CENTRAL_SHIFT
    room, used = (
        heap.central[unsigned(words + SLOTS)],
        heap.central[unsigned(words + SLOTS_USED)],
    )
    if class_ == own or room == 0 or (not force and used == room):
        return False
    heap.paths[state.SLOT_EVICTED] += 1
    heap.central[unsigned(words + SLOTS)] = room - 1
    if used == room:
        heap.central[unsigned(words + SLOTS_USED)] = used - 1
        _to_spans(heap, class_, heap.slots[unsigned((class_ << SLOT_ROW_SHIFT) + used - 1)])
    return True


@kernel
def remove_range(heap, class_, count):
    """A chain of up to `count` objects, and how many; 0, 0 where refused (RemoveRange)."""
    words = class_ << CENTRAL_SHIFT
    used = heap.central[unsigned(words + SLOTS_USED)]
    if used and count == heap.classes.batch_of[unsigned(class_)]:
        heap.paths[state.SLOT_TAKEN] += 1
        heap.central[unsigned(words + SLOTS_USED)] = used - 1
        return heap.slots[unsigned((class_ << SLOT_ROW_SHIFT) + used - 1)], count
    if not heap.rings[unsigned(CLASS_RINGS + class_)] and not _populate(heap, class_):
        return 0, 0
    first, got = _from_span(heap, class_, count, 0)
    while got < count and heap.rings[unsigned(CLASS_RINGS + class_)]:
        first, more = _from_span(heap, class_, count - got, first)
        got += more
    return first, got


@kernel
def _from_span(heap, class_, count, before):
    """Up to `count` objects of the first span that has some, chained in front of `before`; the
    first, and how many (FetchFromOneSpans)."""
    machine = heap.machine
    span = heap.rings[unsigned(CLASS_RINGS + class_)]
    first = last = load(machine, span + OBJECTS)
    got, after = 1, load(machine, last)
    while got < count and after:
        last = after
        after = load(machine, last)
        got += 1
    if not after:
        pull(heap, CLASS_RINGS + class_, span)
    store(machine, span + OBJECTS, after)
    store(machine, last, before)
    store(machine, span + STATE, load(machine, span + STATE) + got)
    heap.central[unsigned((class_ << CENTRAL_SHIFT) + FREE)] -= got
    return first, got


@kernel
def _populate(heap, class_):
    """A span of the class from the page heap, all free; whether there was one (Populate)."""
    pages = heap.classes.pages_of[unsigned(class_)]
    span = take(heap, pages)
    if not span:
        return False
    heap.paths[state.SPAN] += 1
    machine, bytes_ = heap.machine, heap.classes.bytes_of[unsigned(class_)]
    start = load(machine, span + START)
    for page in range(start, start + pages):
        set_span(heap, page, span)
        heap.page_class[unsigned(page)] = class_
    first, past = start << PAGE_SHIFT, (start + pages) << PAGE_SHIFT
    store(machine, span + STATE, class_ << CLASS_SHIFT)
    store(machine, span + OBJECTS, first)
    objects, object_ = 1, first
    touch(machine, first, 8)
    while object_ + 2 * bytes_ <= past:
        touch(machine, object_ + bytes_, 8)
        store(machine, object_, object_ + bytes_)
        object_ += bytes_
        objects += 1
    store(machine, object_, 0)
    push(heap, CLASS_RINGS + class_, span)
    words = class_ << CENTRAL_SHIFT
    heap.central[unsigned(words + SPANS)] += 1
    heap.central[unsigned(words + FREE)] += objects
    return True
