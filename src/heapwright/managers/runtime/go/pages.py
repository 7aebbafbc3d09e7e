"""Which pages are free: a bitmap, and above it a tree that finds the lowest run long enough.

    level 0       [ start, most, end ]                       4 entries of 16 GiB
    ...                                                      each of 8 entries of the level below
    level 4       [ start, most, end ] [ ... ] ...           one entry per chunk
    bitmap        512 pages a chunk, 8 words: 1 where a page is free

Terms      start, end: free pages at the beginning and end of an entry; most: its longest free run
Invariant  an entry says what the bits below it say; only a free page is gone (no memory)  (check)
Source     Go 1.27 runtime/mpagealloc.go, mpallocbits.go
Differs    an entry's three numbers are not packed into one word; the tree spans the machine's
           address space and not 48 bits; no address is kept below which nothing is free, as it
           saves time but changes no answer
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_count, bit_length, trailing_zeros
from heapwright.compiler.reserve import reserve

CHUNK_SHIFT = 9
CHUNK_PAGES = 1 << CHUNK_SHIFT
CHUNK_WORDS = CHUNK_PAGES >> 6
FANOUT_SHIFT = 3
FANOUT = 1 << FANOUT_SHIFT
LEVELS = 5


class Pages(NamedTuple):
    """The bitmaps and the tree; entries of level 0 come first."""

    free: np.ndarray  # int64[page / 64]  bits: 1 where free; 0 where in use or not yet the heap's
    gone: np.ndarray  # int64[page / 64]  bits: 1 where a free page has no memory
    start: np.ndarray  # int64[entry], pages
    most: np.ndarray  # int64[entry], pages
    end: np.ndarray  # int64[entry], pages
    first_entry: np.ndarray  # int64[LEVELS + 1]  of each level; constant


def pages(space_pages: int) -> Pages:
    """A space of so many pages, none of which is the heap's yet."""
    chunks = space_pages >> CHUNK_SHIFT
    lengths = [chunks >> FANOUT_SHIFT * (LEVELS - 1 - level) for level in range(LEVELS)]
    entries = sum(lengths)
    return Pages(
        free=reserve(space_pages >> 6, np.int64),
        gone=reserve(space_pages >> 6, np.int64),
        start=reserve(entries, np.int64),
        most=reserve(entries, np.int64),
        end=reserve(entries, np.int64),
        first_entry=np.cumsum([0, *lengths], dtype=np.int64),
    )


@kernel(inline=True)
def ones(first, past):
    """A word whose bits `first` to `past` - 1 are set; 0 <= first < past <= 64."""
    return (np.int64(-1) << first) & (np.int64(-1) if past == 64 else ~(np.int64(-1) << past))


@kernel(inline=True)
def _leading_ones(word):
    """How many of the highest bits are set."""
    return 64 - bit_length(~word) if word < 0 else 0


@kernel
def run_in_word(word, length):
    """Lowest bit where `length` set bits begin, 1 <= length <= 64; 64 if there are none."""
    missing, step = length - 1, 1
    while missing and word:
        shift = min(step, missing)
        word &= (word >> shift) & ~(np.int64(-1) << (64 - shift))
        missing -= shift
        step += step
    return trailing_zeros(word)


@kernel
def _longest_run(word):
    """The most set bits of `word` in a row."""
    longest = 0
    while word:
        low = trailing_zeros(word)
        past = trailing_zeros(~(word | ~(np.int64(-1) << low)))
        longest = max(longest, past - low)
        if past == 64:
            break
        word &= np.int64(-1) << past
    return longest


@kernel
def summarise(pages, chunk):
    """(start, most, end) of a chunk, from its bits."""
    start = most = run = 0
    for w in range(CHUNK_WORDS):
        word = pages.free[unsigned(chunk * CHUNK_WORDS + w)]
        if word == -1:
            run += 64
            continue
        low = trailing_zeros(~word)
        if run == w << 6:
            start = run + low
        most = max(most, run + low)
        if bit_count(word) > most:
            most = max(most, _longest_run(word))
        run = _leading_ones(word)
    return (CHUNK_PAGES if run == CHUNK_PAGES else start), max(most, run), run


@kernel
def merge(pages, level, entry):
    """(start, most, end) of an entry above the last level, from the entries below it."""
    child = pages.first_entry[level + 1] + (entry << FANOUT_SHIFT)
    length = CHUNK_PAGES << FANOUT_SHIFT * (LEVELS - 2 - level)
    start = most = run = 0
    for i in range(FANOUT):
        below = unsigned(child + i)
        if start == i * length:
            start += pages.start[below]
        most = max(most, run + pages.start[below], pages.most[below])
        run = run + length if pages.end[below] == length else pages.end[below]
    return start, most, run


@kernel
def update(pages, page, count):
    """Make the entries above `count` pages say what their bits say."""
    first, last = page >> CHUNK_SHIFT, (page + count - 1) >> CHUNK_SHIFT
    changed = True
    for above in range(LEVELS):
        level = LEVELS - 1 - above
        for entry in range(first, last + 1):
            if above:
                start, most, end = merge(pages, level, entry)
            else:
                start, most, end = summarise(pages, entry)
            i = unsigned(pages.first_entry[level] + entry)
            if pages.start[i] != start or pages.most[i] != most or pages.end[i] != end:
                pages.start[i], pages.most[i], pages.end[i] = start, most, end
                changed = True
        if not changed:
            return
        changed = False
        first, last = first >> FANOUT_SHIFT, last >> FANOUT_SHIFT


@kernel
def _find_in_chunk(pages, chunk, count):
    """First page of the lowest run of `count` free pages in a chunk that has one."""
    run = 0
    for w in range(CHUNK_WORDS):
        word = pages.free[unsigned(chunk * CHUNK_WORDS + w)]
        here = (chunk << CHUNK_SHIFT) + (w << 6)
        if run + trailing_zeros(~word) >= count:
            return here - run
        if count <= 64:
            bit = run_in_word(word, count)
            if bit < 64:
                return here + bit
        run = run + 64 if word == -1 else _leading_ones(word)
    return -1


@kernel
def find(pages, count):
    """First page of the lowest run of `count` free pages, -1 if there is none."""
    first = 0
    for level in range(LEVELS):
        length = CHUNK_PAGES << FANOUT_SHIFT * (LEVELS - 1 - level)
        fanout = FANOUT if level else pages.first_entry[1]
        run, inside = 0, -1
        for entry in range(first, first + fanout):
            i = unsigned(pages.first_entry[level] + entry)
            if run + pages.start[i] >= count:
                return entry * length - run
            if pages.most[i] >= count:
                inside = entry
                break
            run = run + length if pages.end[i] == length else pages.end[i]
        if inside < 0:
            return -1
        if level == LEVELS - 1:
            return _find_in_chunk(pages, inside, count)
        first = inside << FANOUT_SHIFT
    return -1


@kernel
def take(pages, page, count):
    """Free pages are in use from now on; how many of them had no memory."""
    gone = 0
    past = page + count
    at = page
    while at < past:
        stop = min(past, (at | 63) + 1)
        mask = ones(at & 63, stop - (at & ~63))
        i = unsigned(at >> 6)
        gone += bit_count(pages.gone[i] & mask)
        pages.gone[i] &= ~mask
        pages.free[i] &= ~mask
        at = stop
    update(pages, page, count)
    return gone


@kernel
def give(pages, page, count, gone):
    """Pages are free from now on, without memory if `gone` is -1, with memory if it is 0."""
    past = page + count
    at = page
    while at < past:
        stop = min(past, (at | 63) + 1)
        mask = ones(at & 63, stop - (at & ~63))
        pages.free[unsigned(at >> 6)] |= mask
        pages.gone[unsigned(at >> 6)] |= mask & gone
        at = stop
    update(pages, page, count)


@kernel
def take_group(pages):
    """Take all free pages of the lowest group of 64 that has one, for a processor's page cache.

    (first page of the group, bits of the free ones, bits of those without memory); all 0 if
    no page is free.
    """
    page = find(pages, 1)
    if page < 0:
        return 0, np.int64(0), np.int64(0)
    i = unsigned(page >> 6)
    free, gone = pages.free[i], pages.gone[i]
    pages.free[i] = pages.gone[i] = 0
    update(pages, page, 1)
    return page & ~63, free, gone


@kernel
def check(pages, chunk):
    """Whether the entries of a chunk and above it are right and no page in use is gone."""
    for w in range(CHUNK_WORDS):
        i = unsigned(chunk * CHUNK_WORDS + w)
        if pages.gone[i] & ~pages.free[i]:
            return False
    entry = chunk
    for above in range(LEVELS):
        level = LEVELS - 1 - above
        if above:
            start, most, end = merge(pages, level, entry)
        else:
            start, most, end = summarise(pages, entry)
        i = unsigned(pages.first_entry[level] + entry)
        if pages.start[i] != start or pages.most[i] != most or pages.end[i] != end:
            return False
        entry >>= FANOUT_SHIFT
    return True
