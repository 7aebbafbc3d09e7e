"""Hardened: what a program may not do to its heap is found out, said and ends it.

    caches have no room ─► every request takes a slow path, which asks here; the fast paths, and
                           their cost, are the same code as without
    alloc ─► the block's byte of `live` becomes 1; its link, if it had one, must be the one written
    free  ─► the byte must be 1, and becomes 0

Detects    a block freed twice; a pointer into a block, or to no block of the heap, freed or
           resized; a freed block written to, seen when it is handed out again
Omits      pointers outside the heap's addresses, which free lets be; writes to a block in the post,
           to one whose span was then free as a whole, or beyond a block's first two words;
           protection against an attacker who knows the heap
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.compiled import AHEAD
from heapwright.compiler.raw import real_address
from heapwright.compiler.system import GETPID, GETTID, TGKILL, WRITE, system_call
from heapwright.machine import load, store
from heapwright.managers.malloc.wright.classes import GRANULE_BYTES
from heapwright.managers.malloc.wright.state import (
    FATAL,
    HARDENED,
    entry_of,
    start_of,
)

DOUBLE_FREE, FOREIGN, INSIDE, WRITTEN = range(1, 5)
SENTENCES = {
    DOUBLE_FREE: "heapwright: a block was freed twice, or resized after it was freed.",
    FOREIGN: "heapwright: a pointer that is no block of the heap was freed or resized.",
    INSIDE: "heapwright: a pointer into the middle of a block was freed or resized.",
    WRITTEN: "heapwright: a block was written to after it was freed.",
}
SENTENCE_BYTES = 96
KEY = 0x5E11_0FAB_10C5  # mixed into the link's copy: neither zeros nor copies of it pass for one
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
    if address & (GRANULE_BYTES - 1) == 0 and heap.live[unsigned(address >> 4)]:
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
    """The link of a free block, whose copy must agree; 0, which ends the list, if it does not."""
    link = load(heap.machine, block)
    if load(heap.machine, block + 8) != link ^ KEY ^ block:
        condemn(heap, WRITTEN)
        return 0
    return link
