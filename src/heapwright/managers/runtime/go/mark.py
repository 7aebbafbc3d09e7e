"""Marking Go's heap: from a word to its object by page number, from there on by heap bitmaps.

    shade ─► stack of words ─pop─► prefetch ─► queue of 16 ─► object: mark, push its references
    word ─► page word ─► span, class ─► number of the object ─► marked bit
    object ─► its references: the span's bitmap (up to 512 bytes), its header's count (more), its
    span's row (large)

Terms      shade: put a word on the stack, whatever it is; it is grey until it is looked at; work:
           bytes of references scanned
Invariant  when the stack is empty, a marked object that was scanned, or born black, refers to
           marked objects only; between two drains the queue is empty
Source     Go 1.27 runtime/mgcmark.go, mbitmap.go, mbarrier.go. The hybrid barrier (Clements and
           Hudson, proposal 17503) shades what a field referred to and what it refers to from now on
           The queue: Cher, Hosking and Vitek, ASPLOS 2004
Differs    the real one scans small objects span by span (Green Tea): the same marks in another
           order; stacks and globals are scanned in the first pause
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import trailing_zeros
from heapwright.compiler.prefetch import prefetch
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.machine import load
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.runtime.go.heap_bitmap import references
from heapwright.managers.runtime.go.layout import (
    CLASS_MASK,
    DELTA_SHIFT,
    FIELDS,
    PAIRS_SHIFT,
    SIZE,
    field,
)
from heapwright.managers.runtime.go.size_classes import BITMAP_SIZE, HEADER_BYTES, PAGE_SHIFT

QUEUE = 16  # words on their way from memory


@record(
    "top",  # entries of the stack
    "next_root",  # first handle not yet looked at
    "objects",  # marked in this cycle
    "bytes_",  # likewise
    "work",  # bytes
    array="counts",
)
class Marker(NamedTuple):
    """The collector's stack and what it did in this cycle."""

    stack: np.ndarray  # int64[entry]  one for every word of the heap: it never overflows
    queue: np.ndarray  # int64[QUEUE]  all 0 but in `drain`
    counts: np.ndarray  # int64[word]


def marker() -> Marker:
    """An empty stack. Its pages cost memory when written."""
    return Marker(
        stack=reserve(SPACE_BYTES >> 4, np.int64),
        queue=np.zeros(QUEUE, np.int64),
        counts=words(Marker),
    )


@kernel(inline=True)
def shade(marker, word):
    """The object that `word`, any integer, points into is to be marked and scanned."""
    if word:
        marker.stack[unsigned(marker.top)] = word
        marker.top += 1


@kernel(inline=True)
def _page_word(go, word):
    """The page word of the page that `word` points into; 0 if it is not the heap's."""
    page = word >> PAGE_SHIFT
    if page < go.lowest_page or page >= go.past_page:
        return 0
    return go.page_words[unsigned(page)]


@kernel(inline=True)
def _locate(go, word, described):
    """(span class, address of the object's block, its number, index of its pair's marks)."""
    span = (word >> PAGE_SHIFT) - (described >> DELTA_SHIFT)
    span_class = (described & CLASS_MASK) - 1
    start = span << PAGE_SHIFT
    number = (word - start) * go.classes.magic_of[unsigned(span_class)] >> 32
    block = start + number * go.classes.bytes_of[unsigned(span_class)]
    return span_class, block, number, (span << PAIRS_SHIFT) + (number >> 6 << 1) + 1


@kernel(inline=True)
def _fetch(go, word):
    """Ask for what `_mark` and `_scan` will read."""
    described = _page_word(go, word)
    if described:
        span_class, block, _, marks = _locate(go, word, described)
        prefetch(go.bits, marks)
        if not span_class & 1:
            prefetch(go.machine.words, block >> 3)


@kernel(inline=True)
def _mark(go, marker, word):
    """Mark the object that `word` points into; its block and span class if that is to be scanned,
    else 0, 0."""
    described = _page_word(go, word)
    if not described:
        return 0, 0
    span_class, block, number, at = _locate(go, word, described)
    bit = np.int64(1) << (number & 63)
    marks = go.bits[unsigned(at)]
    if marks & bit:
        return 0, 0
    go.bits[unsigned(at)] = marks | bit
    marker.objects += 1
    size = go.classes.bytes_of[unsigned(span_class)]
    if not size:
        size = field(go, block >> PAGE_SHIFT, SIZE)
    marker.bytes_ += size
    return (0, 0) if span_class & 1 else (block, span_class)


@kernel(inline=True)
def _scan(go, marker, block, span_class):
    """Shade what the object in `block` refers to; the work."""
    size = go.classes.bytes_of[unsigned(span_class)]
    if 0 < size <= BITMAP_SIZE:
        bits = references(go, block, size)
        past = 0
        while bits:
            word = trailing_zeros(bits)
            bits ^= np.int64(1) << word
            past = word + 1
            shade(marker, load(go.machine, block + (word << 3)))
        return past << 3
    first = block
    if size:
        fields = load(go.machine, block)
        first += HEADER_BYTES
    else:
        fields = field(go, block >> PAGE_SHIFT, FIELDS)
    for number in range(fields):
        shade(marker, load(go.machine, first + (number << 3)))
    return fields << 3


@kernel
def drain(go, marker, budget_bytes):
    """Mark and scan what is on the stack until that is empty or the budget of work is spent."""
    queue = marker.queue
    spent = turn = idle = 0
    while idle < QUEUE and spent < budget_bytes:
        found = np.int64(0)
        if marker.top:
            marker.top -= 1
            found = marker.stack[unsigned(marker.top)]
            _fetch(go, found)
        word = queue[unsigned(turn)]
        queue[unsigned(turn)] = found
        turn = (turn + 1) & (QUEUE - 1)
        if not word:
            idle = idle + 1 if not found else 0
            continue
        idle = 0
        block, span_class = _mark(go, marker, word)
        if block:
            spent += _scan(go, marker, block, span_class)
    for place in range(QUEUE):
        shade(marker, queue[place])
        queue[place] = 0
    marker.work += spent


@kernel
def mark_handles(go, marker, handles, past):
    """Mark the objects of the handles from NEXT_ROOT up to `past`: the roots of a malloc trace, in
    which objects have no references."""
    for slot in range(marker.next_root, past):
        if handles[unsigned(slot)]:
            _mark(go, marker, handles[unsigned(slot)])
    marker.next_root = past
