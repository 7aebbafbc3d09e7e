"""Marking Go's heap: from a word to its object by page number, from there on by heap bitmaps.

    word ─► page word ─► span, class ─► number of the object ─► mark ─► stack, if it has fields
    object on the stack ─► its references: the span's bitmap (up to 512 bytes), its header's count
    (more), its span's row (large) ─► each of them a word

Terms      shade: mark, and put on the stack to be scanned; work: bytes of references scanned
Invariant  an object on the stack is marked; a marked object that was scanned, or born black,
           refers to marked objects only, or the barrier shaded what it refers to
Source     Go 1.27 runtime/mgcmark.go, mbitmap.go, mbarrier.go. The hybrid barrier (Clements and
           Hudson, proposal 17503) shades what a field referred to and what it refers to from now on
Differs    the real one scans small objects span by span (Green Tea): the same marks in another
           order; stacks and globals are scanned in the first pause
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.go_heap.heap_bitmap import references
from heapwright.allocators.go_heap.layout import (
    CLASS_MASK,
    DELTA_SHIFT,
    FIELDS,
    LOWEST_PAGE,
    PAIRS_SHIFT,
    PAST_PAGE,
    SIZE,
    field,
)
from heapwright.allocators.go_heap.size_classes import BITMAP_SIZE, HEADER_BYTES, PAGE_SHIFT
from heapwright.kernel import kernel, unsigned
from heapwright.kernel.bits import trailing_zeros
from heapwright.kernel.reserve import reserve
from heapwright.machine import load
from heapwright.machine.address_space import SPACE_BYTES

TOP, NEXT_ROOT, OBJECTS, BYTES, WORK, MARKER_COUNTS = range(6)


class Marker(NamedTuple):
    """The collector's stack and what it did in this cycle."""

    stack: np.ndarray  # int64[entry], addresses; an entry for every word, so it never overflows
    counts: (
        np.ndarray
    )  # int64[MARKER_COUNTS]  TOP: entries; NEXT_ROOT: first handle not yet looked at;
    # OBJECTS, BYTES: marked; WORK: bytes


def marker() -> Marker:
    """An empty stack. Its pages cost memory when written."""
    return Marker(reserve(SPACE_BYTES >> 4, np.int64), np.zeros(MARKER_COUNTS, np.int64))


@kernel(inline=True)
def shade(go, marker, word):
    """Mark the object that `word`, any integer, points into; stack it if it has references."""
    page = word >> PAGE_SHIFT
    if page < go.meters[LOWEST_PAGE] or page >= go.meters[PAST_PAGE]:
        return
    described = go.page_words[unsigned(page)]
    if not described:
        return
    span = page - (described >> DELTA_SHIFT)
    span_class = (described & CLASS_MASK) - 1
    start = span << PAGE_SHIFT
    number = (word - start) * go.classes.magic_of[unsigned(span_class)] >> 32
    i = unsigned((span << PAIRS_SHIFT) + (number >> 6 << 1) + 1)
    bit = np.int64(1) << (number & 63)
    marks = go.bits[i]
    if marks & bit:
        return
    go.bits[i] = marks | bit
    counts = marker.counts
    size = go.classes.bytes_of[unsigned(span_class)]
    if not size:
        size = field(go, span, SIZE)
    counts[OBJECTS] += 1
    counts[BYTES] += size
    if not span_class & 1:
        marker.stack[unsigned(counts[TOP])] = start + number * size
        counts[TOP] += 1


@kernel
def scan(go, marker, base):
    """Shade what the object in the block at `base` refers to; the work."""
    described = go.page_words[unsigned(base >> PAGE_SHIFT)]
    size = go.classes.bytes_of[unsigned((described & CLASS_MASK) - 1)]
    if 0 < size <= BITMAP_SIZE:
        bits = references(go, base, size)
        past = 0
        while bits:
            word = trailing_zeros(bits)
            bits ^= np.int64(1) << word
            past = word + 1
            shade(go, marker, load(go.machine, base + (word << 3)))
        return past << 3
    first = base
    if size:
        fields = load(go.machine, base)
        first += HEADER_BYTES
    else:
        fields = field(go, base >> PAGE_SHIFT, FIELDS)
    for number in range(fields):
        shade(go, marker, load(go.machine, first + (number << 3)))
    return fields << 3


@kernel
def drain(go, marker, budget_bytes):
    """Scan stacked objects until the stack is empty or the budget of work is spent."""
    counts = marker.counts
    spent = 0
    while counts[TOP] and spent < budget_bytes:
        counts[TOP] -= 1
        spent += scan(go, marker, marker.stack[unsigned(counts[TOP])])
    counts[WORK] += spent


@kernel
def mark_handles(go, marker, handles, past):
    """Mark the objects of the handles from NEXT_ROOT up to `past`, which need no scanning of their
    own: the roots of a malloc trace, in which objects have no references."""
    first = marker.counts[NEXT_ROOT]
    for slot in range(first, past):
        address = handles[unsigned(slot)]
        if address:
            shade(go, marker, address)
    marker.counts[NEXT_ROOT] = past
