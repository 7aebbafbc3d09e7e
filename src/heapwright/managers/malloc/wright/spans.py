"""Spans of many blocks: each belongs to a thread, which alone takes from it and gives to it.

    acquire ─► a ring of partial spans: take the whole free list of the first, one load and store
            ─► the fresh span: carve some blocks more, lowest first
            ─► an orphan of the class ─► a span from the page heap
    release ─► the span's free list ─all its blocks back─► fresh again, or to the page heap
    settle  ─► by a thread that is not the owner: a FULL span becomes an orphan, an orphan takes its
               blocks, and whole it goes to the page heap

Terms      fresh span: the one span of a thread and class with blocks never carved; partial: with a
           free block on its list; whole: with every carved block on its list
           owner: the thread whose row the span hangs on; an orphan belongs to nobody
           LISTED: in its owner's ring; FULL: no free block at its owner; WAITING: whole, to be
           tested, where hardened; TAKEN: any other in use
Invariant  a span is LISTED iff its free list is not empty and it is no orphan; a span with fresh
           blocks is FRESH of its owner or an orphan                                (invariants.py)
           only its owner changes a LISTED span, or a fresh one; only who holds the lock an orphan;
           what a FULL one becomes is decided by one compare-and-swap of its KIND
Source     mimalloc's pages with thread-local free lists (Leijen, Zorn and de Moura, APLAS 2019);
           lists with their counts in one word are our own
Omits      choice among partial spans by how full they are
"""

from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.compiler.atomics import compare_and_swap, store_release
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.wright.classes import WORD_SHIFT
from heapwright.managers.malloc.wright.dirty import mark
from heapwright.managers.malloc.wright.hardened import link_of, sign
from heapwright.managers.malloc.wright.page_heap import give, take
from heapwright.managers.malloc.wright.state import (
    ADDRESS,
    ADOPT,
    ALIVE,
    BUMP,
    CARVE,
    FREE,
    FRESH,
    FULL,
    KIND,
    LENGTH,
    LISTED,
    NOBODY,
    ONE,
    ORPHAN,
    ORPHANS,
    OWNER_SHIFT,
    PARTIAL,
    PASSED,
    RETIRE,
    SPAN,
    SPAN_COUNT,
    SPAN_SHIFT,
    START,
    STATE_SHIFT,
    TAKEN,
    WAITING,
    WAITING_PAGES,
    WAITS,
    WHOLE,
    WIDE_FROM,
    WIDE_SHIFT,
    end_of,
    entry_of,
    get,
    link_last,
    list_at,
    lock,
    newest,
    pushed,
    put,
    set_entry,
    set_state,
    start_of,
    state_of,
    unlink,
    unlock,
)

WAITING_MOST = 64  # pages of whole spans that wait to be tested, where hardened


@kernel
def acquire(heap, row, size_class):
    """A block for the caller and more for the thread's cache, which is empty; 0 if refused."""
    while True:
        span = heap.rows[unsigned(row + PARTIAL + size_class)]
        if span:
            return take_list(heap, row, size_class, span)
        span = heap.rows[unsigned(row + FRESH + size_class)]
        if span:
            return _carve(heap, row, size_class, span)
        if not _adopt(heap, row, size_class):
            if not _new_span(heap, row, size_class):
                return 0


@kernel(inline=True)
def take_list(heap, row, size_class, span):
    """Move the span's whole free list to the cache; its newest block."""
    word = get(heap, span, FREE)
    put(heap, span, FREE, heap.classes.empty_word[unsigned(size_class)])
    unlink(heap, span, heap.rows, row + PARTIAL + size_class)
    _emptied(heap, row, size_class, span)
    block = newest(heap, word)
    if unlikely(heap.guarded[0] != 0):
        size = heap.classes.bytes_of[unsigned(size_class)]
        heap.rows[unsigned(row + size_class)] = link_of(heap, block, size)
    else:
        heap.rows[unsigned(row + size_class)] = load(heap.machine, block)
    return block


@kernel(inline=True)
def _emptied(heap, row, size_class, span):
    """Say that a span's list is empty: from here on others may make it an orphan, unless it is the
    fresh one."""
    state = TAKEN if heap.rows[unsigned(row + FRESH + size_class)] == span else FULL
    kind = row << OWNER_SHIFT | state << STATE_SHIFT | size_class
    store_release(heap.spans, unsigned((span << SPAN_SHIFT) + KIND), kind)


@kernel
def _carve(heap, row, size_class, span):
    """Cut fresh blocks: the lowest for the caller, the others to the cache."""
    heap.paths[CARVE] += 1
    machine, size = heap.machine, heap.classes.bytes_of[unsigned(size_class)]
    block, end = get(heap, span, BUMP), end_of(heap, span)
    count = min(heap.classes.carved_of[unsigned(size_class)], (end - block) // size)
    past = block + count * size
    put(heap, span, BUMP, past)
    put(heap, span, WHOLE, get(heap, span, WHOLE) - count)
    if past + size > end:
        heap.rows[unsigned(row + FRESH + size_class)] = 0
        if state_of(heap, span) == TAKEN:
            _emptied(heap, row, size_class, span)
    word, part = heap.rows[unsigned(row + size_class)], past - size
    if part > block:
        touch(machine, part, 8)
        store(machine, part, word)
        word, part = pushed(heap, word, part), part - size
    while part > block:  # each lies one block below the one before
        touch(machine, part, 8)
        store(machine, part, word)
        word, part = word - ONE - size, part - size
    heap.rows[unsigned(row + size_class)] = word
    return block


@kernel
def _new_span(heap, row, size_class):
    """A span from the page heap becomes the fresh one; whether there was one."""
    pages = heap.classes.pages_of[unsigned(size_class)]
    lock(heap)
    if unlikely(heap.fields[SPAN_COUNT] >= WIDE_FROM):
        pages <<= WIDE_SHIFT
    span = take(heap, pages, 1)
    if span:
        mark(heap, get(heap, span, START), pages, True)
    unlock(heap)
    if not span:
        return False
    heap.paths[SPAN] += 1
    heap.rows[unsigned(row + PASSED)] += pages
    put(heap, span, KIND, row << OWNER_SHIFT | TAKEN << STATE_SHIFT | size_class)
    start = get(heap, span, START)
    for page in range(start, start + pages):
        set_entry(heap, page, span << 8 | size_class)
    _refresh(heap, row, size_class, span)
    return True


@kernel
def _refresh(heap, row, size_class, span):
    """Make a span without a carved block the fresh one of its class."""
    word = heap.classes.empty_word[unsigned(size_class)]
    put(heap, span, FREE, word)
    put(heap, span, WHOLE, word >> WORD_SHIFT)
    put(heap, span, BUMP, start_of(heap, span))
    heap.rows[unsigned(row + FRESH + size_class)] = span


@kernel(inline=True)
def release(heap, row, span, address):
    """Give a block back to its span, if that is the thread's; whether it is."""
    kind = get(heap, span, KIND)
    if unlikely(kind >> OWNER_SHIFT != row):
        return False
    if kind >> STATE_SHIFT & 255 == FULL and not _win(heap, span, kind, row, LISTED):
        return False
    old = get(heap, span, FREE)
    _push(heap, span, address, old)
    if unlikely(old & ADDRESS == 0):
        set_state(heap, span, LISTED)
        link_last(heap, span, heap.rows, row + PARTIAL + (kind & 255))
    if unlikely(is_whole(heap, span)):
        _retire(heap, row, span)
    return True


@kernel(inline=True)
def _win(heap, span, kind, row, state):
    """Give a FULL span an owner and a state; whether nobody else did that before."""
    place, size_class = unsigned((span << SPAN_SHIFT) + KIND), kind & 255
    return compare_and_swap(
        heap.spans, place, kind, row << OWNER_SHIFT | state << STATE_SHIFT | size_class
    )


@kernel(inline=True)
def _push(heap, span, address, old):
    """Put a block on its span's list, whose word is `old`."""
    touch(heap.machine, address, 8)
    store(heap.machine, address, old)
    sign(heap, address, old)
    put(heap, span, FREE, pushed(heap, old, address))


@kernel(inline=True)
def is_whole(heap, span):
    """Whether every carved block of the span is on its list."""
    return get(heap, span, FREE) >> WORD_SHIFT == get(heap, span, WHOLE)


@kernel(inline=True)
def free_in_span(heap, place, address):
    """Do what `release` does where the span is the thread's and stays in its ring; whether it does.
    False too where the class has no list, the row is not open, or each block is tested."""
    if heap.guarded[0]:
        return False
    entry = entry_of(heap, address)
    if unlikely(list_at(heap, place, entry & 255) == 0):
        return False
    span = entry >> 8
    if unlikely(get(heap, span, KIND) >> STATE_SHIFT != list_at(heap, place, ALIVE)):
        return False
    old = get(heap, span, FREE)
    word = pushed(heap, old, address)
    if unlikely(word >> WORD_SHIFT == get(heap, span, WHOLE)):
        return False
    touch(heap.machine, address, 8)
    store(heap.machine, address, old)
    put(heap, span, FREE, word)
    return True


@kernel
def release_to_nobody(heap, span, address):
    """Give a block back to an orphan, or to a FULL span, which becomes one; whether it was one of
    these. The caller holds the lock."""
    kind = get(heap, span, KIND)
    size_class, state = kind & 255, kind >> STATE_SHIFT & 255
    if state == FULL and _win(heap, span, kind, NOBODY, ORPHAN):
        link_last(heap, span, heap.orphans, size_class)
        heap.fields[ORPHANS] += 1
    elif state != ORPHAN:
        return False
    _push(heap, span, address, get(heap, span, FREE))
    if is_whole(heap, span):
        heap.paths[RETIRE] += 1
        if unlikely(heap.guarded[0] != 0):
            _test(heap, span)
        unlink(heap, span, heap.orphans, size_class)
        heap.fields[ORPHANS] -= 1
        give(heap, span)
    return True


@kernel(cold=True)
def _retire(heap, row, span):
    """Every carved block of the span is back: it is fresh again, or its pages are free."""
    heap.paths[RETIRE] += 1
    size_class = get(heap, span, KIND) & 255
    fresh = heap.rows[unsigned(row + FRESH + size_class)]
    if heap.guarded[0] and span == fresh:  # see `give_whole`
        return
    if state_of(heap, span) == LISTED:
        unlink(heap, span, heap.rows, row + PARTIAL + size_class)
        set_state(heap, span, TAKEN)
    if heap.guarded[0]:
        _wait(heap, row, span)
        return
    if fresh in (0, span):
        _refresh(heap, row, size_class, span)
        return
    lock(heap)
    give(heap, span)
    unlock(heap)


@kernel
def give_whole(heap, row, size_class):
    """Free the thread's fresh span of a class, if no block of it is in use."""
    span = heap.rows[unsigned(row + FRESH + size_class)]
    if span == 0 or not is_whole(heap, span):
        return
    if state_of(heap, span) == LISTED:
        unlink(heap, span, heap.rows, row + PARTIAL + size_class)
    heap.rows[unsigned(row + FRESH + size_class)] = 0
    if unlikely(heap.guarded[0] != 0):
        _test(heap, span)
    lock(heap)
    give(heap, span)
    unlock(heap)


@kernel(cold=True)
def _test(heap, span):
    """Look at each free block of a span for what was written there."""
    size = heap.classes.bytes_of[unsigned(get(heap, span, KIND) & 255)]
    block = newest(heap, get(heap, span, FREE))
    while block:
        block = newest(heap, link_of(heap, block, size))


@kernel(cold=True)
def _wait(heap, row, span):
    """A whole span waits to be tested; those that came before and are too many are."""
    set_state(heap, span, WAITING)
    link_last(heap, span, heap.rows, row + WAITS)
    heap.rows[unsigned(row + WAITING_PAGES)] += get(heap, span, LENGTH)
    give_waiting(heap, row, WAITING_MOST)


@kernel
def give_waiting(heap, row, most_pages):
    """Test and free the spans that wait, oldest first, until `most_pages` are left."""
    while heap.rows[unsigned(row + WAITING_PAGES)] > most_pages:
        span = heap.rows[unsigned(row + WAITS)]
        unlink(heap, span, heap.rows, row + WAITS)
        heap.rows[unsigned(row + WAITING_PAGES)] -= get(heap, span, LENGTH)
        _test(heap, span)
        lock(heap)
        give(heap, span)
        unlock(heap)


@kernel
def _adopt(heap, row, size_class):
    """Make an orphan with room the thread's own; whether there was one."""
    if heap.fields[ORPHANS] == 0 or heap.orphans[unsigned(size_class)] == 0:
        return False
    lock(heap)
    span = heap.orphans[unsigned(size_class)]
    if span:
        _claim(heap, row, span)
    unlock(heap)
    return span != 0


@kernel
def _claim(heap, row, span):
    """The thread becomes the owner of an orphan. The caller holds the lock."""
    heap.paths[ADOPT] += 1
    size_class, state = get(heap, span, KIND) & 255, TAKEN
    unlink(heap, span, heap.orphans, size_class)
    heap.fields[ORPHANS] -= 1
    fresh = row + FRESH + size_class
    size = heap.classes.bytes_of[unsigned(size_class)]
    if heap.rows[unsigned(fresh)] == 0 and get(heap, span, BUMP) + size <= end_of(heap, span):
        heap.rows[unsigned(fresh)] = span
    if get(heap, span, FREE) & ADDRESS:
        state = LISTED
        link_last(heap, span, heap.rows, row + PARTIAL + size_class)
    put(heap, span, KIND, row << OWNER_SHIFT | state << STATE_SHIFT | size_class)


@kernel
def orphan(heap, row, size_class):
    """The exiting thread's spans of a class with room become orphans. The caller holds the lock."""
    fresh = heap.rows[unsigned(row + FRESH + size_class)]
    heap.rows[unsigned(row + FRESH + size_class)] = 0
    while heap.rows[unsigned(row + PARTIAL + size_class)]:
        span = heap.rows[unsigned(row + PARTIAL + size_class)]
        unlink(heap, span, heap.rows, row + PARTIAL + size_class)
        if span == fresh:
            continue
        _leave(heap, size_class, span)
    if fresh:
        if is_whole(heap, fresh):
            if unlikely(heap.guarded[0] != 0):
                _test(heap, fresh)
            give(heap, fresh)
        else:
            _leave(heap, size_class, fresh)


@kernel
def _leave(heap, size_class, span):
    """Make a span an orphan: its owner's number may be given to another thread."""
    put(heap, span, KIND, NOBODY << OWNER_SHIFT | ORPHAN << STATE_SHIFT | size_class)
    link_last(heap, span, heap.orphans, size_class)
    heap.fields[ORPHANS] += 1
