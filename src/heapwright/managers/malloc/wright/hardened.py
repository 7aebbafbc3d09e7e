"""Hardened: what a program may not do to its heap is found out, said and ends it.

    alloc ─► the block's link, if it had one, must be the one that was written, and what it was
             filled with still there; behind it a guard is put up
    free  ─► a block must begin there, by its span; the guard must stand; the block is filled, and
             with it its last word, which was the guard's: no block is freed twice
    span  ─► whole, it waits with others of its thread, WAITING_MOST pages of them and not beyond
             the thread's next look; then all its blocks are tested
    run   ─► freed, the first of its pages are filled, and tested when they are handed out

    in use  ... asked for │ pattern, 16 to 23 bytes │ ... │ pattern ^ address ^ bytes not asked for
    free    link │ link ^ KEY ^ address │ KEY ^ address, to FILLED_BYTES │ ... │ KEY ^ address

The paths of requests that do this are in guarded.py. They are other code than the fast paths, which
in flight cost nothing for it: `guarded` is never written, so it is a constant there.

Detects    a block freed twice; a pointer into a block, or to no block, freed or resized; a freed
           block written to, seen when it is handed out again or its span is given back; a write
           past what was asked for, seen when the block is freed or resized
Omits      writes to a block in the post, or between FILLED_BYTES and the last word; reads;
           protection against an attacker who knows the heap
"""

import numpy as np

from heapwright.compiler import kernel, unlikely
from heapwright.compiler.compiled import AHEAD
from heapwright.compiler.raw import real_address
from heapwright.compiler.system import GETPID, GETTID, TGKILL, WRITE, system_call
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.wright.classes import FIRST_SINGLE, GRANULE_BYTES, is_multiple
from heapwright.managers.malloc.wright.state import (
    FATAL,
    TAKEN,
    entry_of,
    room_of,
    start_of,
    state_of,
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
PATTERN = 0x5EA1_1FAB_10C5_2D97  # of a guard: no byte is 0, as the end of a string is
SLACK_SHIFT = 24  # in a guard's last word: its first bytes, which are overrun first, do not vary
LOW_BITS, HIGH_BITS = (1 << SLACK_SHIFT) - 1, 64 - SLACK_SHIFT
GUARD_BYTES = 8  # that a block is longer than was asked for, at least
GUARDED_BYTES = 24  # from the word on in which the request ends; and the block's last word
FILLED_BYTES = 32  # of a free block, which has as many at least, besides its last word
PAGE_FILLED_BYTES = 64  # of each page of a free run that is signed
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
        system_call(WRITE, STANDARD_ERROR, line, SENTENCE_BYTES)
        process = system_call(GETPID)
        thread = system_call(GETTID)
        system_call(TGKILL, process, thread, ABORT)


@kernel(inline=True)
def begins(heap, address, span, size_class):
    """Whether a block of a class that shares spans may begin at an address in a span."""
    return is_multiple(heap.classes, address - start_of(heap, span), size_class)


@kernel(cold=True)
def begins_anywhere(heap, address):
    """Whether a block of any class or of none may begin at an address."""
    entry = entry_of(heap, address)
    span, size_class = entry >> 8, entry & 255
    if span == 0 or address & (GRANULE_BYTES - 1):
        return False
    if 0 < size_class < heap.classes.fields[FIRST_SINGLE]:
        return begins(heap, address, span, size_class)
    return address == start_of(heap, span) and state_of(heap, span) == TAKEN


@kernel(cold=True)
def reject(heap, address):
    """A pointer that is no live block, or whose guard is gone, was freed or resized: say what."""
    entry = entry_of(heap, address)
    span, size_class = entry >> 8, entry & 255
    if span == 0:
        condemn(heap, FOREIGN)
    elif begins_anywhere(heap, address):
        last = load(heap.machine, address + room_of(heap, address) - 8)
        condemn(heap, DOUBLE_FREE if last == KEY ^ address else OVERRUN)
    elif size_class == 0 and address == start_of(heap, span):  # a free run
        condemn(heap, DOUBLE_FREE)
    else:
        condemn(heap, INSIDE)


@kernel(inline=True)
def sign(heap, block, link):
    """Write a copy of a freed block's link into its second word."""
    if heap.guarded[0]:
        store(heap.machine, block + 8, link ^ KEY ^ block)


@kernel
def link_of(heap, block, size):
    """The link of a free block of `size` bytes; 0, which ends the list, if it was written to."""
    link = load(heap.machine, block)
    return link if is_untouched(heap, block, link, size) else written(heap)


@kernel(inline=True)
def is_untouched(heap, block, link, size):
    """Whether the copy of a free block's link agrees, and what it was filled with is still
    there."""
    copy = load(heap.machine, block + 8) ^ KEY ^ block
    return (copy ^ link) | _differs(heap, block, size) == 0


@kernel(cold=True)
def written(heap):
    """A free block was written to: 0, which ends every list."""
    condemn(heap, WRITTEN)
    return 0


@kernel(inline=True)
def fill(heap, block, size):
    """Fill a free block of `size` bytes: the two words behind its link and the link's copy, and
    its last word, which in the smallest blocks is one of these."""
    machine, value, last = heap.machine, KEY ^ block, block + size - 8
    touch(machine, block, FILLED_BYTES)
    touch(machine, last, 8)
    store(machine, block + 16, value)
    store(machine, block + 24, value)
    store(machine, last, value)


@kernel(inline=True)
def _differs(heap, block, size):
    """What is not as it was filled; 0 if all is."""
    machine, value = heap.machine, KEY ^ block
    wrong = (load(machine, block + 16) ^ value) | (load(machine, block + 24) ^ value)
    return wrong | (load(machine, block + size - 8) ^ value)


@kernel
def fill_page(heap, place):
    """Fill the first words of a page of a run that is about to be free."""
    touch(heap.machine, place, PAGE_FILLED_BYTES)
    for offset in range(0, PAGE_FILLED_BYTES, 8):
        store(heap.machine, place + offset, KEY ^ place)


@kernel
def is_filled_page(heap, place):
    """Whether they are still there."""
    wrong = 0
    for offset in range(0, PAGE_FILLED_BYTES, 8):
        wrong |= load(heap.machine, place + offset) ^ KEY ^ place
    return wrong == 0


@kernel(inline=True)
def guard(heap, block, size, room):
    """Put up the guard behind the `size` bytes that were asked for of a block of `room`. Places
    beyond the last word fall on it, which is written last."""
    machine, last = heap.machine, block + room - 8
    place, kept = block + (size & -8), (1 << ((size & 7) << 3)) - 1
    touch(machine, place, min(GUARDED_BYTES, last + 8 - place))
    touch(machine, last, 8)
    store(machine, place, (load(machine, place) & kept) | (PATTERN & ~kept))
    store(machine, min(place + 8, last), PATTERN)
    store(machine, min(place + 16, last), PATTERN)
    store(machine, last, PATTERN ^ block ^ ((room - size) << SLACK_SHIFT))


@kernel(inline=True)
def slack_of(heap, block, room):
    """The bytes of a block that were not asked for; -1 if its guard is gone."""
    machine, last = heap.machine, block + room - 8
    word = load(machine, last) ^ PATTERN ^ block
    # turned: a bit that is not 0 as it should be makes it negative or larger than any block
    slack = (word & LOW_BITS) << HIGH_BITS | ((word >> SLACK_SHIFT) & ((1 << HIGH_BITS) - 1))
    if unlikely((slack - GUARD_BYTES) | (room - slack) < 0):
        return -1
    size = room - slack
    place, kept = block + (size & -8), (1 << ((size & 7) << 3)) - 1
    second, third = min(place + 8, last), min(place + 16, last)
    # a place minus the last one, shifted, has no bit where it is the last one, which was looked at
    differs = (load(machine, place) ^ PATTERN) & ~kept & (place - last) >> 63
    differs |= (load(machine, second) ^ PATTERN) & (second - last) >> 63
    differs |= (load(machine, third) ^ PATTERN) & (third - last) >> 63
    return slack if differs == 0 else -1


@kernel(cold=True)
def asked_for(heap, address):
    """The bytes that were asked for of a block; -1, and the program's end, if there is none or its
    guard is gone."""
    if begins_anywhere(heap, address):
        room = room_of(heap, address)
        slack = slack_of(heap, address, room)
        if slack >= 0:
            return room - slack
    reject(heap, address)
    return -1


@kernel(cold=True)
def bury(heap, address):
    """A block of a span of its own is no longer in use."""
    place = address + room_of(heap, address) - 8
    store(heap.machine, place, KEY ^ address)
