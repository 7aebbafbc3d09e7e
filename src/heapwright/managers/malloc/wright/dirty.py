"""Which pages are dirty: handed out since the system last gave them, so perhaps not zero.

Invariant  the pages of a span in use are dirty; DIRTY_PAGES counts those of free runs
                                                                                (invariants.py)
Source     PageHeap's distinction of normal and returned spans (gperftools src/page_heap.h), by page
Omits      a way to see whether a dirty page was in fact written
"""

from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.compiler.bits import bit_count, bit_length, trailing_zeros
from heapwright.managers.malloc.wright.classes import PAGE_SHIFT
from heapwright.managers.malloc.wright.hardened import (
    WRITTEN,
    condemn,
    fill_page,
    is_filled_page,
)

WORD_BITS_SHIFT = 5  # bitmaps hold 32 bits a word, so that none is the sign
WORD_BITS = 1 << WORD_BITS_SHIFT
WORD_MASK = WORD_BITS - 1
SIGNED_PAGES = 16  # of a free run, where hardened


@kernel(inline=True)
def _bits(low, count):
    """`count` bits from bit `low` on."""
    return ((1 << count) - 1) << low


@kernel
def dirty_pages(heap, start, pages):
    """How many pages of a run are dirty."""
    count, page, end = 0, start, start + pages
    while page < end:
        low = page & WORD_MASK
        step = min(WORD_BITS - low, end - page)
        word = heap.dirty[unsigned(page >> WORD_BITS_SHIFT)]
        count += bit_count(word & _bits(low, step))
        page += step
    return count


@kernel
def mark(heap, start, pages, is_dirty):
    """Say of each page of a run whether it is dirty: handed out, or given back to the system."""
    if unlikely(heap.guarded[0] != 0):
        unsign(heap, start, pages, is_dirty)
    page, end = start, start + pages
    while page < end:
        low = page & WORD_MASK
        step = min(WORD_BITS - low, end - page)
        word = unsigned(page >> WORD_BITS_SHIFT)
        if is_dirty:
            heap.dirty[word] |= _bits(low, step)
        else:
            heap.dirty[word] &= ~_bits(low, step)
        page += step


@kernel
def next_page(heap, page, end, is_dirty):
    """The first page from `page` on that is dirty, or clean, as wanted; `end` if there is none."""
    while page < end:
        low = page & WORD_MASK
        word = heap.dirty[unsigned(page >> WORD_BITS_SHIFT)]
        word = (word if is_dirty else ~word) & _bits(low, WORD_BITS - low)
        if word:
            return min(end, page - low + trailing_zeros(word))
        page += WORD_BITS - low
    return end


@kernel
def past_last(heap, start, past, is_dirty):
    """Past the last page below `past` that is dirty, or clean, as wanted; `start` if none is."""
    while past > start:
        low = (past - 1) & ~WORD_MASK
        word = heap.dirty[unsigned(low >> WORD_BITS_SHIFT)]
        word = (word if is_dirty else ~word) & _bits(0, past - low)
        if word:
            return max(start, low + bit_length(word))
        past = low
    return start


@kernel(cold=True)
def sign_run(heap, start, pages):
    """Fill the first pages of a run that is about to be free, but for those that are clean."""
    end = start + min(pages, SIGNED_PAGES)
    page = next_page(heap, start, end, True)
    while page < end:
        place = page << PAGE_SHIFT
        fill_page(heap, place)
        heap.signed[unsigned(page >> WORD_BITS_SHIFT)] |= 1 << (page & WORD_MASK)
        page = next_page(heap, page + 1, end, True)


@kernel(cold=True)
def unsign(heap, start, pages, is_handed_out):
    """Pages that were filled are so no more; if they are handed out, they must still have been."""
    page, end = start, start + pages
    while page < end:
        low = page & WORD_MASK
        step = min(WORD_BITS - low, end - page)
        word = unsigned(page >> WORD_BITS_SHIFT)
        found = heap.signed[word] & _bits(low, step)
        if found:  # else the table's page may not be there yet, and need not
            heap.signed[word] ^= found
        while found:
            place = (page - low + trailing_zeros(found)) << PAGE_SHIFT
            if is_handed_out and not is_filled_page(heap, place):
                condemn(heap, WRITTEN)
            found &= found - 1
        page += step
