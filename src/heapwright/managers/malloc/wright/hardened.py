"""Hardened: what a program may not do to its heap is found out, said and ends it.

    caches have no room ─► every request takes a slow path, which asks here; the fast paths, and
                           their cost, are the same code as without
    alloc ─► the block's byte of `live` becomes 1; its link, if it had one, must be the one written,
             and what it was filled with still there; behind it a guard is put up
    free  ─► the byte must be 1, and becomes 0; the guard must stand; the block is filled
    span  ─► whole, it stays in its ring until the thread's next look, which tests all its blocks
    run   ─► freed, the first of its pages are filled, and tested when they are handed out

    block   ... asked for │ pattern, at most 32 bytes │ ... │ pattern ^ bytes not asked for

Detects    a block freed twice; a pointer into a block, or to no block, freed or resized; a freed
           block written to, seen when it is handed out again or its span is given back; a write
           past what was asked for, seen when the block is freed or resized
Omits      writes to a block in the post, or beyond FILLED_WORDS; reads; protection against an
           attacker who knows the heap
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.compiled import AHEAD
from heapwright.compiler.raw import real_address
from heapwright.compiler.system import GETPID, GETTID, TGKILL, WRITE, system_call
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.wright.classes import GRANULE_BYTES
from heapwright.managers.malloc.wright.state import (
    FATAL,
    HARDENED,
    entry_of,
    start_of,
)

DOUBLE_FREE, FOREIGN, INSIDE, WRITTEN, OVERRUN = range(1, 6)
SENTENCES = {
    DOUBLE_FREE: "heapwright: a block was freed twice, or resized after it was freed.",
    FOREIGN: "heapwright: a pointer that is no block of the heap was freed or resized.",
    INSIDE: "heapwright: a pointer into the middle of a block was freed or resized.",
    WRITTEN: "heapwright: a block was written to after it was freed.",
    OVERRUN: "heapwright: a block was written to beyond its end.",
}
SENTENCE_BYTES = 96
KEY = 0x5E11_0FAB_10C5  # mixed into the link's copy: neither zeros nor copies of it pass for one
LIVE, SIGNED = 1, 2  # of the byte of `live`: a live block; a page of a free run that was filled
PATTERN = 0x5EA1_1FAB_10C5_2D97  # of a guard: no byte is 0, as the end of a string is
SLACK_SHIFT = 24  # in a guard's last word: its first bytes, which are overrun first, do not vary
GUARD_BYTES = 8  # that a block is longer than was asked for, at least
GUARDED_BYTES = 32  # behind what was asked for, at most, and the block's last word
FILLED_WORDS = 8  # of a free block, and of each page of a free run that is SIGNED
STANDARD_ERROR, ABORT = 2, 6  # file number, signal


def sentences():
    """int8[verdict * SENTENCE_BYTES]: the lines, for a process that has nothing but memory."""
    rows = np.zeros((len(SENTENCES) + 1, SENTENCE_BYTES), np.int8)
    for verdict, sentence in SENTENCES.items():
        line = sentence.ljust(SENTENCE_BYTES - 1) + "\n"
        rows[verdict] = np.frombuffer(line.encode(), np.int8)
    return rows.ravel()


@kernel(cold=True)
def condemn(heap, verdict):
    """Say what was found: in flight on standard error, then abort; else `fatal` reads it."""
    heap.fields[FATAL] = verdict
    if AHEAD:
        line = real_address(heap.sentences) + verdict * SENTENCE_BYTES
        system_call(WRITE, STANDARD_ERROR, line, SENTENCE_BYTES, 0, 0, 0)
        process = system_call(GETPID, 0, 0, 0, 0, 0, 0)
        thread = system_call(GETTID, 0, 0, 0, 0, 0, 0)
        system_call(TGKILL, process, thread, ABORT, 0, 0, 0)


@kernel
def set_live(heap, address, value):
    """Say that a block begins at `address`, or no longer."""
    heap.live[unsigned(address >> 4)] = value


@kernel(cold=True)
def is_block(heap, address):
    """Whether a live block begins at `address`; if not, that was the program's last deed."""
    if address & (GRANULE_BYTES - 1) == 0 and heap.live[unsigned(address >> 4)] == LIVE:
        return True
    entry = entry_of(heap, address)
    span, size_class = entry >> 8, entry & 255
    if span == 0:
        condemn(heap, FOREIGN)
        return False
    size = heap.classes.bytes_of[unsigned(size_class)]
    offset = address - start_of(heap, span)
    begins = offset % size == 0 if size_class else offset == 0
    condemn(heap, DOUBLE_FREE if begins else INSIDE)
    return False


@kernel(inline=True)
def sign(heap, block, link):
    """Write a copy of a freed block's link into its second word."""
    if heap.fields[HARDENED]:
        store(heap.machine, block + 8, link ^ KEY ^ block)


@kernel
def link_of(heap, block):
    """The link of a free block, whose copy must agree, as must what the block was filled with; 0,
    which ends the list, if they do not."""
    link = load(heap.machine, block)
    size = heap.classes.bytes_of[unsigned(entry_of(heap, block) & 255)]
    whole = load(heap.machine, block + 8) == link ^ KEY ^ block
    if not whole or not is_filled(heap, block, 2, size >> 3):
        condemn(heap, WRITTEN)
        return 0
    return link


@kernel
def fill(heap, block, first, words):
    """Fill a free block from its word `first` on."""
    last = min(words, FILLED_WORDS)
    if first < last:
        touch(heap.machine, block + 8 * first, 8 * (last - first))
    for word in range(first, last):
        store(heap.machine, block + 8 * word, KEY ^ block)


@kernel
def is_filled(heap, block, first, words):
    """Whether that is still there."""
    for word in range(first, min(words, FILLED_WORDS)):
        if load(heap.machine, block + 8 * word) != KEY ^ block:
            return False
    return True


@kernel(cold=True)
def guard(heap, block, size, room):
    """Put up the guard behind the `size` bytes that were asked for of a block of `room`."""
    machine, key, last = heap.machine, PATTERN, block + room - 8
    place, mask = block + (size & -8), (1 << ((size & 7) << 3)) - 1
    end = min(last, block + size + GUARDED_BYTES)
    touch(machine, place, min(GUARDED_BYTES, last + 8 - place))
    touch(machine, last, 8)
    if mask:
        store(machine, place, (load(machine, place) & mask) | (key & ~mask))
        place += 8
    while place < end:
        store(machine, place, key)
        place += 8
    store(machine, last, key ^ ((room - size) << SLACK_SHIFT))


@kernel(cold=True)
def asked_for(heap, block, room):
    """The bytes that were asked for of a block; -1, and the program's end, if its guard is gone."""
    machine, key, last = heap.machine, PATTERN, block + room - 8
    slack = load(machine, last) ^ key
    size = room - (slack >> SLACK_SHIFT)
    stands = slack & ((1 << SLACK_SHIFT) - 1) == 0 and 0 <= size <= room - GUARD_BYTES
    if stands:
        place, mask = block + (size & -8), (1 << ((size & 7) << 3)) - 1
        end = min(last, block + size + GUARDED_BYTES)
        if mask:
            stands = load(machine, place) & ~mask == key & ~mask
            place += 8
        while place < end:
            stands = stands and load(machine, place) == key
            place += 8
    if not stands:
        condemn(heap, OVERRUN)
        return -1
    return size
