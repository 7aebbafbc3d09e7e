"""What wright's parts share: the page map, the spans' records, the threads' rows.

    page_map  span << 8 | class ─► which span a block lies in and its class, by one load
    span      8 words, one cache line, by number; a run of pages: free, one block, or many
    row       1,024 words for each thread: its lists, its spans, its mailbox

Terms      span: a run of pages with a record; class 0 in the page map: a span of one block beyond
           all classes, a free run, or no page of the heap
Invariant  the first and last page of a free run, the first page of a block beyond all classes, and
           each page of a span of a class, name their span in the page map       (invariants.py)
Source     TCMalloc's page map and Span, gperftools src/span.h; the tables are flat, as Go's before
           1.11
Omits      levels: addresses are below HEAP_BYTES, and the tables grow with the heap (growing.py)
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.compiled import AHEAD
from heapwright.compiler.raw import real_address, real_word, set_real_word
from heapwright.compiler.reserve import reserve
from heapwright.machine import Machine, load, store
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.malloc.wright.classes import PAGE_SHIFT, WORD_SHIFT, Classes
from heapwright.structures import mutex

HEAP_BYTES = 1 << 42 if AHEAD else SPACE_BYTES  # of address space, in flight and in the tunnel
PAGES = HEAP_BYTES >> PAGE_SHIFT
MOST_SPANS = 1 << 24 if AHEAD else 1 << 22
WIDE_FROM = MOST_SPANS >> 1  # records in use, from which on spans of many blocks are wider, so that
WIDE_SHIFT = 3  # the smallest, of 16 KiB, reach 2^40 bytes before records are used up
MOST_THREADS = 1 << 16

ONE = 1 << WORD_SHIFT  # one block in the room of a list's word
ADDRESS = ONE - 1  # mask of the newest block in a list's word: in flight its real address

# A span's record
SPAN_SHIFT = 3
(
    FREE,  # word of the list of its free blocks
    BUMP,  # address of the next fresh block: never carved yet
    WHOLE,  # room of FREE when every carved block is on its list
    NEXT,  # span, in a list of spans
    PREVIOUS,  # span
    START,  # page number: of the first page
    LENGTH,  # pages
    KIND,  # row of the owner << 16 | state << 8 | class
) = range(8)
STATE_SHIFT, OWNER_SHIFT = 8, 16
UNUSED, RUN, TAKEN, LISTED, ORPHAN, FULL, WAITING = range(7)  # states; RUN: free; see spans.py

# A thread's row
ROW_SHIFT = 10
HEADS = 0  # + class: word of the list of cached blocks
PARTIAL = 128  # + class: first of a ring of spans with free blocks, 0: none
FRESH = 256  # + class: the span with fresh blocks, 0: none
ALIVE = 384  # 0: not open; else what the KIND of its LISTED spans is, without their class
OUT_OWNER, OUT_LARGEST, OUT_ENVELOPE, OUT_COUNT = range(385, 389)  # see mailboxes.py
OUT_BYTES = 389  # of the blocks in the outbox
PASSED = 390  # pages that caches were filled from since the last look, about
WAITS = 391  # first of a ring of whole spans that wait to be tested, 0: none; where hardened
WAITING_PAGES = 392  # theirs
OUTBOX = 393  # + number: address of a block on its way to another thread
MOST_BATCH = 54  # of these
MAILBOX = 448  # a line of its own: first letter of others; CLOSED while no thread reads it
MAIL_BYTES = 449  # sent since the owner last looked, about
MAIL_LIMIT = 450  # of that, beyond which a sender takes the mail to the spans itself
SEEN = 512  # + class: word of the list of cached blocks at the last look
ROOM = 640  # + class: blocks of room that its cache may have beyond its own << 1 | SENT
SENT = 1  # a block was sent to another thread since the last refill, for want of room
MARK = 768  # + class: the block from which on the cache has that room, 0: none since the refill
MARK_LINK = 896  # + class: its link, which is another one once it has left the cache
CLOSED = 1
NOBODY = 0  # row that owns orphans; its mailbox is always closed

# Fields
(
    LOCK,  # of the page heap, the orphans and the owners of spans
    FIRST,  # address of the first page of the heap
    TOP,  # address past the last page
    SPAN_COUNT,  # records ever used
    SPARE,  # first unused record
    USED_PAGES,  # not in free runs
    DIRTY_PAGES,  # in free runs, written since the system gave them
    ORPHANS,  # spans in all rings of orphans
    GROWTH_PAGES,  # setting
    LOW_PAGES,  # the least DIRTY_PAGES in this interval
    TICKS,  # pages freed in this interval, and passed by threads
    INTERVAL_PAGES,  # setting
    RETAIN_PAGES,  # setting
    LIMIT_PAGES,  # setting
    LIMIT_PERCENT,  # setting
    REMOTE_BATCH,  # setting
    FATAL,  # one of hardened.py's verdicts
    THREADS,  # rows ever opened: all below
    MOVES,  # runs whose pages were moved
    HUGE_FROM_PAGES,  # setting
    HUGE_ASKED,  # times the heap grew by huge pages
    MOST_MAIL_BYTES,  # setting
    LOOK_PAGES,  # setting
    WIDEST,  # setting
    PURGED_PAGES,  # of late, and not asked for since
    WANTED_PAGES,  # purged and then asked for: so much more may lie free
    REGRETTED_PAGES,  # of these, in this interval
    PATIENCE,  # doublings of the interval
    REACHED_MAP,  # address: how far the page map goes
    REACHED_DIRTY,  # likewise
    REACHED_SIGNED,
    SPANS,  # records there is room for
    ROWS,  # likewise
    FIELDS,
) = range(34)

PATHS = (
    "refill", "carve", "span", "overflow", "retire", "run", "run_freed", "merge", "split", "grow",
    "purge", "remote", "message", "mail", "adopt", "in_place", "moved", "start", "exit", "settle",
    "look",
)  # fmt: skip
(
    REFILL, CARVE, SPAN, OVERFLOW, RETIRE, RUN_TAKEN, RUN_FREED, MERGE, SPLIT, GROW,
    PURGE, REMOTE, MESSAGE, MAIL, ADOPT, IN_PLACE, MOVED, START_THREAD, EXIT_THREAD, SETTLE,
    LOOK,
) = range(21)  # fmt: skip


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    classes: Classes
    page_map: np.ndarray  # uint32[page]  span << 8 | class
    spans: np.ndarray  # int64[span << SPAN_SHIFT | field]
    rows: np.ndarray  # int64[(thread + 1) << ROW_SHIFT | column]
    bins: np.ndarray  # int64[bin]  first free run of about one length, 0: none
    filled: np.ndarray  # int64[bin >> 5]  bitmap: bins that are not empty
    dirty: np.ndarray  # int64[page >> 5]  bitmap: pages written since the system gave them
    orphans: np.ndarray  # int64[class]  first of a ring of spans whose owner is gone, 0: none
    signed: np.ndarray  # int64[page >> 5]  bitmap: of free runs, and filled; kept where hardened
    guarded: np.ndarray  # int64[1]  setting: 1 where hardened; in flight a constant of the code
    end: np.ndarray  # int64[1]  address past the last page: TOP, on a cache line of its own
    sentences: np.ndarray  # int8[verdict * SENTENCE_BYTES]  see hardened.py
    nobody: np.ndarray  # int64[column]  of a thread without a row: 0, as the lists of one not open
    fields: np.ndarray  # int64[FIELDS]
    paths: np.ndarray  # int64[path]  times taken; approximate where threads run


def tables(machine: Machine, classes: Classes, bins: int, sentences: np.ndarray | None) -> Heap:
    """A heap without a page; hardened if it is given the sentences for that."""
    fields = np.zeros(FIELDS, np.int64)
    fields[SPAN_COUNT] = 1  # span 0 stands for none
    rows = reserve((MOST_THREADS + 1) << ROW_SHIFT, np.int64)
    rows[NOBODY + MAILBOX] = CLOSED
    return Heap(
        machine,
        classes,
        reserve(PAGES, np.uint32),
        reserve(MOST_SPANS << SPAN_SHIFT, np.int64),
        rows,
        np.zeros(bins, np.int64),
        np.zeros((bins >> 5) + 1, np.int64),
        reserve(PAGES >> 5, np.int64),
        np.zeros(128, np.int64),
        reserve(PAGES >> 5 if sentences is not None else 1, np.int64),
        np.array([sentences is not None], np.int64),
        np.zeros(1, np.int64),
        sentences if sentences is not None else np.zeros(1, np.int8),
        np.zeros(ALIVE + 1, np.int64),
        fields,
        np.zeros(len(PATHS), np.int64),
    )


THREAD_BITS = -1 if AHEAD else MOST_THREADS - 1  # a flight hands out no other numbers


@kernel(inline=True)
def row_of(thread):
    """First column of the thread's row."""
    return ((thread & THREAD_BITS) + 1) << ROW_SHIFT


if AHEAD:

    @kernel(inline=True)
    def origin_of(heap):
        """What a list's word has more than an address: it need not be added to each block."""
        return real_address(heap.machine.words)

    @kernel(inline=True)
    def place_of(heap, thread):
        """Where the thread's row lies, for its fast path."""
        return real_address(heap.rows) + 8 * row_of(thread)

    @kernel(inline=True)
    def list_at(heap, place, size_class):
        """The word of the list of a thread's cached blocks; or another column of its row."""
        return real_word(place, size_class)

    @kernel(inline=True)
    def set_list_at(heap, place, size_class, word):
        """Write it."""
        set_real_word(place, size_class, word)

    @kernel(inline=True)
    def link_at(heap, pointer):
        """The link in the block that a list's word names."""
        return real_word(pointer, 0)

    @kernel(inline=True)
    def set_link_at(heap, pointer, word):
        """Write it."""
        set_real_word(pointer, 0, word)
else:

    @kernel(inline=True)
    def origin_of(heap):
        """In flight, where address 0 lies."""
        return 0

    @kernel(inline=True)
    def place_of(heap, thread):
        """First column of the thread's row."""
        return row_of(thread)

    @kernel(inline=True)
    def list_at(heap, place, size_class):
        """The word of the list of a thread's cached blocks; or another column of its row."""
        return heap.rows[unsigned(place + size_class)]

    @kernel(inline=True)
    def set_list_at(heap, place, size_class, word):
        """Write it."""
        heap.rows[unsigned(place + size_class)] = word

    @kernel(inline=True)
    def link_at(heap, pointer):
        """The link in the block that a list's word names."""
        return load(heap.machine, pointer)

    @kernel(inline=True)
    def set_link_at(heap, pointer, word):
        """Write it."""
        store(heap.machine, pointer, word)


@kernel
def nowhere(heap):
    """The place of a thread that has ended: as that of one not yet begun."""
    return real_address(heap.nobody)


@kernel(inline=True)
def newest(heap, word):
    """Address of a list's newest block; 0 if it has none."""
    pointer = word & ADDRESS
    return pointer - origin_of(heap) if pointer else 0


@kernel(inline=True)
def pushed(heap, word, address):
    """The word of a list with one block more."""
    return (word & ~ADDRESS) - ONE + address + origin_of(heap)


@kernel(inline=True)
def entry_of(heap, address):
    """The page map's word for an address: span << 8 | class."""
    return np.int64(heap.page_map[unsigned(address >> PAGE_SHIFT)])


@kernel(inline=True)
def entry_of_page(heap, page):
    """The page map's word for a page number."""
    return np.int64(heap.page_map[unsigned(page)])


@kernel(inline=True)
def set_entry(heap, page, entry):
    """Write the page map's word of a page."""
    heap.page_map[unsigned(page)] = entry


@kernel(inline=True)
def get(heap, span, field):
    """A field of a span's record."""
    return heap.spans[unsigned((span << SPAN_SHIFT) + field)]


@kernel(inline=True)
def put(heap, span, field, value):
    """Write a field of a span's record."""
    heap.spans[unsigned((span << SPAN_SHIFT) + field)] = value


@kernel(inline=True)
def state_of(heap, span):
    """UNUSED, RUN, TAKEN, LISTED, ORPHAN, FULL or WAITING."""
    return (get(heap, span, KIND) >> STATE_SHIFT) & 255


@kernel(inline=True)
def owner_of(heap, span):
    """The row of the thread that the span belongs to."""
    return get(heap, span, KIND) >> OWNER_SHIFT


@kernel(inline=True)
def set_state(heap, span, state):
    """Change a span's state."""
    kind = get(heap, span, KIND)
    put(heap, span, KIND, (kind & ~(255 << STATE_SHIFT)) | (state << STATE_SHIFT))


@kernel(inline=True)
def start_of(heap, span):
    """Address of the span's first byte."""
    return get(heap, span, START) << PAGE_SHIFT


@kernel(inline=True)
def end_of(heap, span):
    """Address past the span."""
    return (get(heap, span, START) + get(heap, span, LENGTH)) << PAGE_SHIFT


@kernel(inline=True)
def room_of(heap, address):
    """Bytes of the block that begins at an address: its class's, or its span's."""
    entry = entry_of(heap, address)
    if entry & 255:
        return heap.classes.bytes_of[unsigned(entry & 255)]
    return get(heap, entry >> 8, LENGTH) << PAGE_SHIFT


@kernel
def link_last(heap, span, ring, place):
    """Put a span last in the ring whose first is ring[place]."""
    first = ring[unsigned(place)]
    if first:
        last = get(heap, first, PREVIOUS)
        put(heap, span, NEXT, first)
        put(heap, span, PREVIOUS, last)
        put(heap, last, NEXT, span)
        put(heap, first, PREVIOUS, span)
    else:
        put(heap, span, NEXT, span)
        put(heap, span, PREVIOUS, span)
        ring[unsigned(place)] = span


@kernel
def unlink(heap, span, ring, place):
    """Take a span out of the ring whose first is ring[place]."""
    after, before = get(heap, span, NEXT), get(heap, span, PREVIOUS)
    if after == span:
        ring[unsigned(place)] = 0
        return
    put(heap, before, NEXT, after)
    put(heap, after, PREVIOUS, before)
    if ring[unsigned(place)] == span:
        ring[unsigned(place)] = after


@kernel(inline=True)
def lock(heap):
    """Take the one lock."""
    mutex.lock(heap.fields, LOCK)


@kernel(inline=True)
def unlock(heap):
    """Release it."""
    mutex.unlock(heap.fields, LOCK)
