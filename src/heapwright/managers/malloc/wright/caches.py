"""A thread's cache: a list of free blocks for each class, and what happens at its two ends.

    empty ─► mail from other threads ─► spans.acquire, or one block from the page heap
    full  ─► the block goes to its span: the thread's own, another's by post, or the page heap

The list's word holds its room and its newest block, and the link in a block is the word before it:
to take a block is one load and one store, and a push that makes the word negative was one too many.
A cache that is full of blocks that others will want back, and was empty after that before, is
widened once: the word's room is raised, and falls again as the list gets shorter than that.
A row of zeros has neither block nor room, so a thread that is new comes here by itself.

Invariant  a list is as long as its class's room less the room of its word, or less than that by
           what it was widened by since it was empty                       (invariants.py)
Source     TCMalloc's thread caches; a full cache passes blocks on one by one, as mimalloc frees
"""

from heapwright.compiler import kernel, likely, unlikely, unsigned
from heapwright.compiler.atomics import compare_and_swap
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.wright.classes import FIRST_SINGLE, LAST, MOST_CACHED, WORD_SHIFT
from heapwright.managers.malloc.wright.dirty import mark, sign_run
from heapwright.managers.malloc.wright.hardened import link_of, sign
from heapwright.managers.malloc.wright.mailboxes import (
    collect_mail,
    give_back,
    post,
    send,
    start_thread,
)
from heapwright.managers.malloc.wright.page_heap import give, keep_schedule, take
from heapwright.managers.malloc.wright.spans import (
    acquire,
    give_waiting,
    give_whole,
    orphan,
    release,
    take_list,
)
from heapwright.managers.malloc.wright.state import (
    ADDRESS,
    ALIVE,
    CLOSED,
    EXIT_THREAD,
    KIND,
    LENGTH,
    LOOK,
    LOOK_PAGES,
    MAILBOX,
    MARK,
    MARK_LINK,
    OUT_COUNT,
    OVERFLOW,
    PARTIAL,
    PASSED,
    REFILL,
    ROOM,
    RUN_FREED,
    RUN_TAKEN,
    SEEN,
    SENT,
    START,
    STATE_SHIFT,
    TAKEN,
    TICKS,
    WIDEST,
    entry_of,
    get,
    lock,
    newest,
    pushed,
    put,
    row_of,
    set_entry,
    start_of,
    unlock,
)


@kernel(cold=True)
def refill(heap, thread, size_class):
    """A block of a class whose cache is empty, and more blocks for the cache; 0 if refused."""
    heap.paths[REFILL] += 1
    row = row_of(thread)
    if unlikely(heap.rows[unsigned(row + ROOM + size_class)] != 0):
        _learn(heap, row, size_class)
    passed = heap.rows[unsigned(row + PASSED)] + 1
    heap.rows[unsigned(row + PASSED)] = passed
    if unlikely(passed >= heap.fields[LOOK_PAGES]):
        look(heap, row)
    span = heap.rows[unsigned(row + PARTIAL + size_class)]
    if likely(span != 0):
        return take_list(heap, row, size_class, span)
    return _refill_from_afar(heap, row, size_class)


@kernel(cold=True)
def _refill_from_afar(heap, row, size_class):
    """A block where the thread has no partial span of the class; 0 if refused."""
    if heap.rows[unsigned(row + ALIVE)] == 0:
        start_thread(heap, row)
    if heap.rows[unsigned(row + MAILBOX)]:
        collect_mail(heap, row, True)
        block = newest(heap, heap.rows[unsigned(row + size_class)])
        if block:
            heap.rows[unsigned(row + size_class)] = load(heap.machine, block)
            return block
    if size_class < heap.classes.fields[FIRST_SINGLE]:
        return acquire(heap, row, size_class)
    pages = heap.classes.pages_of[unsigned(size_class)]
    heap.rows[unsigned(row + PASSED)] += pages
    return take_run(heap, pages, 1, size_class)


@kernel(cold=True)
def look(heap, row):
    """Give back what lies in the thread's caches as it lay there at the last look, and its fresh
    spans likewise, if they are whole; and let the page heap look at itself."""
    heap.paths[LOOK] += 1
    heap.rows[unsigned(row + PASSED)] = 0
    for size_class in range(1, heap.classes.fields[LAST] + 1):
        head, seen = unsigned(row + size_class), unsigned(row + SEEN + size_class)
        if heap.rows[head] == heap.rows[seen]:
            heap.rows[unsigned(row + ROOM + size_class)] = 0
            if heap.rows[head] & ADDRESS:
                _empty_cache(heap, row, size_class)
            if size_class < heap.classes.fields[FIRST_SINGLE]:
                give_whole(heap, row, size_class)
        heap.rows[seen] = heap.rows[head]
    give_waiting(heap, row, 0)
    lock(heap)
    heap.fields[TICKS] += heap.fields[LOOK_PAGES]
    keep_schedule(heap)
    unlock(heap)


@kernel(cold=True)
def _learn(heap, row, size_class):
    """The cache is empty. If blocks were sent away for want of room meanwhile, it may have more."""
    place = unsigned(row + ROOM + size_class)
    extra = heap.rows[place] >> 1
    if heap.rows[place] & SENT:
        own = heap.classes.empty_word[unsigned(size_class)] >> WORD_SHIFT
        extra = min(2 * extra + own, own * (heap.fields[WIDEST] - 1), MOST_CACHED - own)
    heap.rows[place] = extra << 1
    heap.rows[unsigned(row + MARK + size_class)] = 0


@kernel(cold=True)
def _widen(heap, row, size_class, block):
    """Put the block of another thread in the cache, which is full, if that may have more room now;
    whether it may. Below the block lies a list with its own room, and so it ends."""
    place, mark = unsigned(row + ROOM + size_class), unsigned(row + MARK + size_class)
    link = unsigned(row + MARK_LINK + size_class)
    room, marked = heap.rows[place], heap.rows[mark]
    if room <= SENT or (marked and load(heap.machine, marked) == heap.rows[link]):
        heap.rows[place] = room | SENT
        return False
    head = unsigned(row + size_class)
    word = heap.rows[head] + (room >> 1 << WORD_SHIFT)
    touch(heap.machine, block, 8)
    store(heap.machine, block, word)
    sign(heap, block, word)
    heap.rows[mark], heap.rows[link] = block, word
    heap.rows[head] = pushed(heap, word, block)
    return True


@kernel
def take_run(heap, pages, align_pages, size_class):
    """Address of a span of one block, of `size_class` or of none (0); 0 if refused."""
    heap.paths[RUN_TAKEN] += 1
    lock(heap)
    span = take(heap, pages, align_pages)
    if span:
        mark(heap, get(heap, span, START), pages, True)
    unlock(heap)
    if not span:
        return 0
    name_run(heap, span, size_class)
    return start_of(heap, span)


@kernel
def name_run(heap, span, size_class):
    """Say what a span of one block is for."""
    put(heap, span, KIND, TAKEN << STATE_SHIFT | size_class)
    set_entry(heap, get(heap, span, START), span << 8 | size_class)


@kernel
def give_run(heap, span):
    """Free a span of one block."""
    heap.paths[RUN_FREED] += 1
    if unlikely(heap.guarded[0] != 0):
        sign_run(heap, get(heap, span, START), get(heap, span, LENGTH))
    lock(heap)
    give(heap, span)
    unlock(heap)


@kernel
def free_uncached(heap, thread, address):
    """Free a block of another thread's span, or of one that does not stay as it is."""
    heap.paths[OVERFLOW] += 1
    row, entry = row_of(thread), entry_of(heap, address)
    size_class, span = entry & 255, entry >> 8
    if unlikely(size_class == 0 or size_class >= heap.classes.fields[FIRST_SINGLE]):
        give_run(heap, span)
        return
    # A row not yet open owns nothing; its words are 0, as is that of an empty list without room.
    if unlikely(heap.rows[unsigned(row + size_class)] == 0):
        if heap.rows[unsigned(row + ALIVE)] == 0:
            start_thread(heap, row)
    if not likely(release(heap, row, span, address)):
        if not _widen(heap, row, size_class, address):
            send(heap, row, span, address)


@kernel
def _empty_cache(heap, row, size_class):
    """Give the cached blocks of a class back."""
    head, size = unsigned(row + size_class), heap.classes.bytes_of[unsigned(size_class)]
    block = newest(heap, heap.rows[head])
    heap.rows[head] = heap.classes.empty_word[unsigned(size_class)]
    while block:
        after = link_of(heap, block, size) if heap.guarded[0] else load(heap.machine, block)
        span = entry_of(heap, block) >> 8
        if size_class >= heap.classes.fields[FIRST_SINGLE]:
            give_run(heap, span)
        else:
            give_back(heap, row, span, block)
        block = newest(heap, after)


@kernel
def empty_caches(heap, row):
    """Give every cached block of a thread back, and what it has in the post."""
    for size_class in range(1, heap.classes.fields[LAST] + 1):
        _empty_cache(heap, row, size_class)
    if heap.rows[unsigned(row + OUT_COUNT)]:
        post(heap, row)


@kernel(cold=True)
def empty_row(heap, row):
    """Give back all that a living thread keeps for itself and no block is in use of."""
    if heap.rows[unsigned(row + ALIVE)] == 0:
        return
    empty_caches(heap, row)
    collect_mail(heap, row, False)
    if heap.rows[unsigned(row + OUT_COUNT)]:
        post(heap, row)
    for size_class in range(1, heap.classes.fields[FIRST_SINGLE]):
        give_whole(heap, row, size_class)
    give_waiting(heap, row, 0)


@kernel(cold=True)
def end_thread(heap, thread):
    """Close a thread's row: its blocks go to their spans, its spans with room become orphans."""
    row = row_of(thread)
    if heap.rows[unsigned(row + ALIVE)] == 0:
        return
    heap.paths[EXIT_THREAD] += 1
    empty_caches(heap, row)
    while not _close(heap, row):
        collect_mail(heap, row, False)
        if heap.rows[unsigned(row + OUT_COUNT)]:
            post(heap, row)
    give_waiting(heap, row, 0)
    for size_class in range(heap.classes.fields[LAST] + 1):
        heap.rows[unsigned(row + size_class)] = 0
    heap.rows[unsigned(row + ALIVE)] = 0


@kernel
def _close(heap, row):
    """Close the mailbox, if it is empty, and leave the spans that have room to others."""
    lock(heap)
    closed = compare_and_swap(heap.rows, unsigned(row + MAILBOX), 0, CLOSED)
    if closed:
        for size_class in range(1, heap.classes.fields[FIRST_SINGLE]):
            orphan(heap, row, size_class)
    unlock(heap)
    return closed
