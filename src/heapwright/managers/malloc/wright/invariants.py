"""What must hold of wright's heap at any time, and which free blocks its caches hold."""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load
from heapwright.managers.malloc.wright.classes import FIRST_SINGLE, LAST, PAGE_SHIFT, WORD_SHIFT
from heapwright.managers.malloc.wright.dirty import dirty_pages
from heapwright.managers.malloc.wright.mailboxes import carried, carried_by, next_letter
from heapwright.managers.malloc.wright.page_heap import (
    BINS,
    WORD_BITS_SHIFT,
    WORD_MASK,
    bin_of,
)
from heapwright.managers.malloc.wright.state import (
    ADDRESS,
    ALIVE,
    BUMP,
    CLOSED,
    DIRTY_PAGES,
    FIRST,
    FREE,
    FRESH,
    FULL,
    LENGTH,
    LISTED,
    MAILBOX,
    MARK,
    MOST_THREADS,
    NEXT,
    NOBODY,
    ORPHAN,
    ORPHANS,
    OUT_COUNT,
    OUTBOX,
    PARTIAL,
    RUN,
    SPAN_COUNT,
    START,
    TAKEN,
    THREADS,
    TOP,
    UNUSED,
    USED_PAGES,
    WAITING,
    WAITING_PAGES,
    WAITS,
    WHOLE,
    WIDE_SHIFT,
    WIDEST,
    end_of,
    entry_of,
    entry_of_page,
    get,
    newest,
    owner_of,
    row_of,
    start_of,
    state_of,
)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    for broken in (
        _check_tiles(heap),
        _check_bins(heap),
        _check_rows(heap),
        _check_orphans(heap),
    ):
        if broken:
            return broken
    return 0


@kernel
def _check_tiles(heap):
    """Spans tile the heap and the page map names them; free runs are merged and counted."""
    page, top = heap.fields[FIRST] >> PAGE_SHIFT, heap.fields[TOP] >> PAGE_SHIFT
    used = dirty = 0
    after_run = False
    while page < top:
        entry = entry_of_page(heap, page)
        span, size_class = entry >> 8, entry & 255
        state = state_of(heap, span)
        if span == 0 or state == UNUSED or get(heap, span, START) != page:
            return 1
        pages = get(heap, span, LENGTH)
        if pages <= 0 or page + pages > top:
            return 1
        if state == RUN:
            if after_run:
                return 3
            if size_class or entry_of_page(heap, page + pages - 1) != entry:
                return 2
            dirty += dirty_pages(heap, page, pages)
        else:
            used += pages
            if size_class and _differs(heap, size_class, pages):
                return 2
            if 0 < size_class < heap.classes.fields[FIRST_SINGLE]:
                for other in range(page, page + pages):
                    if entry_of_page(heap, other) != entry:
                        return 2
                if _check_span(heap, span, size_class):
                    return 4
        after_run = state == RUN
        page += pages
    if used != heap.fields[USED_PAGES] or dirty != heap.fields[DIRTY_PAGES]:
        return 3
    return 0


@kernel
def _differs(heap, size_class, pages):
    """Whether a span of a class has another length than it may."""
    want = heap.classes.pages_of[unsigned(size_class)]
    wide = want << WIDE_SHIFT if size_class < heap.classes.fields[FIRST_SINGLE] else want
    return pages not in (want, wide)


@kernel
def _check_span(heap, span, size_class):
    """4 unless the span's free list and state fit each other."""
    room = heap.classes.empty_word[unsigned(size_class)] >> WORD_SHIFT
    word, count = get(heap, span, FREE), 0
    size, start = heap.classes.bytes_of[unsigned(size_class)], start_of(heap, span)
    listed = word >> WORD_SHIFT
    bump = get(heap, span, BUMP)
    if bump < start or bump > end_of(heap, span):
        return 4
    while word & ADDRESS:
        block = word & ADDRESS
        if block < start or block >= bump or (block - start) % size:
            return 4
        count += 1
        word = load(heap.machine, block)
    carved = (bump - start) // size
    if room - listed != count or room - get(heap, span, WHOLE) != carved:
        return 4
    state = state_of(heap, span)
    if state == ORPHAN:
        return 0
    fresh = heap.rows[unsigned(owner_of(heap, span) + FRESH + size_class)]
    if state == FULL:
        return 4 if count or fresh == span else 0
    if state == WAITING:
        return 0 if heap.guarded[0] and count == carved and fresh != span else 4
    if (state == LISTED) != (count > 0) or state not in (LISTED, TAKEN):
        return 4
    return 4 if count == carved and fresh != span else 0


@kernel
def _check_bins(heap):
    """3 unless each free run is in the bin of its length and the bitmap is true."""
    runs = 0
    for row in range(BINS):
        first = heap.bins[unsigned(row)]
        bit = heap.filled[unsigned(row >> WORD_BITS_SHIFT)] >> (row & WORD_MASK) & 1
        if bit != (first != 0):
            return 3
        run = first
        while run:
            if state_of(heap, run) != RUN or bin_of(get(heap, run, LENGTH)) != row:
                return 3
            runs += 1
            run = get(heap, run, NEXT)
            if run == first:
                break
    for span in range(1, heap.fields[SPAN_COUNT]):
        runs -= state_of(heap, span) == RUN
    return 3 if runs else 0


@kernel
def _check_rows(heap):
    """4, 5 or 6 unless rings, caches and outboxes are as long and of the kind that they say."""
    for thread in range(min(heap.fields[THREADS], MOST_THREADS)):
        row = row_of(thread)
        if heap.rows[unsigned(row + ALIVE)] == 0:
            continue
        for size_class in range(1, heap.classes.fields[LAST] + 1):
            word = heap.rows[unsigned(row + size_class)]
            room = heap.classes.empty_word[unsigned(size_class)] >> WORD_SHIFT
            left, widest = room - (word >> WORD_SHIFT), 0
            if heap.rows[unsigned(row + MARK + size_class)]:
                widest = (heap.fields[WIDEST] - 1) * room
            while word & ADDRESS:
                if entry_of(heap, word & ADDRESS) & 255 != size_class:
                    return 5
                left -= 1
                word = load(heap.machine, word & ADDRESS)
            if left > 0 or left < -widest:
                return 5
            first = heap.rows[unsigned(row + PARTIAL + size_class)]
            span = first
            while span:
                if state_of(heap, span) != LISTED or owner_of(heap, span) != row:
                    return 4
                span = get(heap, span, NEXT)
                if span == first:
                    break
        left = heap.rows[unsigned(row + WAITING_PAGES)]
        first = heap.rows[unsigned(row + WAITS)]
        span = first
        while span:
            if state_of(heap, span) != WAITING or owner_of(heap, span) != row:
                return 4
            left -= get(heap, span, LENGTH)
            span = get(heap, span, NEXT)
            if span == first:
                break
        if left:
            return 4
        for number in range(heap.rows[unsigned(row + OUT_COUNT)]):
            size_class = entry_of(heap, heap.rows[unsigned(row + OUTBOX + number)]) & 255
            if not 0 < size_class < heap.classes.fields[FIRST_SINGLE]:
                return 6
    return 0


@kernel
def _check_orphans(heap):
    """4 unless the rings of orphans hold what is counted, and nobody owns it."""
    left = heap.fields[ORPHANS]
    for size_class in range(1, heap.classes.fields[FIRST_SINGLE]):
        first = heap.orphans[unsigned(size_class)]
        span = first
        while span:
            if state_of(heap, span) != ORPHAN or owner_of(heap, span) != NOBODY:
                return 4
            left -= 1
            span = get(heap, span, NEXT)
            if span == first:
                break
    return 4 if left else 0


@kernel
def cached(heap, blocks):
    """Blocks in the threads' caches and in the post."""
    count = 0
    for thread in range(min(heap.fields[THREADS], MOST_THREADS)):
        row = row_of(thread)
        if heap.rows[unsigned(row + ALIVE)] == 0:
            continue
        for size_class in range(1, heap.classes.fields[LAST] + 1):
            block = newest(heap, heap.rows[unsigned(row + size_class)])
            while block:
                count = _note(heap, blocks, count, block)
                block = newest(heap, load(heap.machine, block))
        for number in range(heap.rows[unsigned(row + OUT_COUNT)]):
            count = _note(heap, blocks, count, heap.rows[unsigned(row + OUTBOX + number)])
        letter = heap.rows[unsigned(row + MAILBOX)]
        while letter not in (0, CLOSED):
            count = _note(heap, blocks, count, letter)
            for number in range(carried_by(heap, letter)):
                count = _note(heap, blocks, count, carried(heap, letter, number))
            letter = next_letter(heap, letter)
    return count


@kernel
def _note(heap, blocks, count, block):
    """Write a row for a block, if there is room; the next row's number."""
    if count < len(blocks):
        blocks[count, 0] = block
        blocks[count, 1] = heap.classes.bytes_of[unsigned(entry_of(heap, block) & 255)]
    return count + 1
