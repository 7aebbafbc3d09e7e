"""Sliding compaction (Lisp2): the marked objects move down over the dead, in order of address.

    pass 1   each marked object gets its new address, in its header; each run of dead ones becomes
             one hole, which the other passes step over at once
    pass 2   each reference of a marked object is replaced by its target's new address
    pass 3   the objects move, and with them their handles; marks and new addresses are cleared

    before   │ a │ dead │ b │ c │ dead │ dead │ d │         after   │ a │ b │ c │ d │ free
               └ 1 ─────► 2 ──► 3 ─────────────► 4

Invariant  an object never moves up, so nothing is overwritten that has yet to move
Source     Knuth, The Art of Computer Programming 1, section 2.5, exercise 33; Cohen and Nicolau,
           "Comparison of compacting algorithms for garbage collection", TOPLAS 1983, names it Lisp2
Omits      the field of its own for the new address: the header's note holds it

Cost: after marking, three walks in order of address, the second of which looks at the header that
each reference leads to; a finger that runs ahead of it fetches those.
"""

from heapwright.allocators.holes import GRANULES_MASK, vacate
from heapwright.collectors.log import COPIED_BYTES, COPIED_OBJECTS, SWEPT_BYTES, SWEPT_OBJECTS
from heapwright.collectors.mutator import moved, reclaimed
from heapwright.collectors.objects import (
    HEADER_BYTES,
    MARK,
    NOTE_MASK,
    NOTE_SHIFT,
    SLOT_MASK,
    WORD_BYTES,
    fields_of,
    forward,
    move,
)
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.prefetch import prefetch
from heapwright.machine import load, store

AHEAD_BYTES = 512  # how far the finger runs before pass 2


@kernel
def compact(machine, mutator, log, region):
    """Slide the marked objects of `region` to its base and set its top after the last of them."""
    top = _place(machine, mutator, log, region)
    _redirect(machine, region)
    _slide(machine, mutator, log, region)
    region.top = top


@kernel
def _place(machine, mutator, log, region):
    """Pass 1; where the last object will end."""
    block, past, free = region.base, region.top, region.base
    run = dead_objects = 0
    while block < past:
        state = load(machine, block + 8)
        size = (state & GRANULES_MASK) << 4
        if state < 0:
            if run:
                vacate(machine, run, block - run, 0)
                run = 0
            forward(machine, block + HEADER_BYTES, free + HEADER_BYTES)
            free += size
        else:
            dead_objects += 1
            reclaimed(mutator, load(machine, block) & SLOT_MASK, block + HEADER_BYTES)
            if not run:
                run = block
        block += size
    if run:
        vacate(machine, run, past - run, 0)
    log.totals[SWEPT_OBJECTS] += dead_objects
    log.totals[SWEPT_BYTES] += past - free
    return free


@kernel
def _redirect(machine, region):
    """Pass 2."""
    words = machine.words
    block, past = region.base, region.top
    finger = block
    while block < past:
        until = min(block + AHEAD_BYTES, past)
        while finger < until:
            state = load(machine, finger + 8)
            if state < 0:
                for field in range(load(machine, finger) >> 32):
                    target = load(machine, finger + HEADER_BYTES + field * WORD_BYTES)
                    prefetch(words, (target - 8) >> 3)
            finger += (state & GRANULES_MASK) << 4
        state = load(machine, block + 8)
        if state < 0:
            redirect_fields(machine, block + HEADER_BYTES)
        block += (state & GRANULES_MASK) << 4


@kernel(inline=True)
def redirect_fields(machine, address):
    """Let each reference of the object hold its target's new address."""
    for field in range(fields_of(machine, address)):
        place = unsigned(address + field * WORD_BYTES) >> unsigned(3)
        target = machine.words[place]
        if target:
            state = load(machine, target - 8)
            machine.words[place] = ((state >> NOTE_SHIFT) & NOTE_MASK) << 4


@kernel
def _slide(machine, mutator, log, region):
    """Pass 3."""
    block, past = region.base, region.top
    objects = bytes_ = 0
    while block < past:
        state = load(machine, block + 8)
        size = (state & GRANULES_MASK) << 4
        if state < 0:
            target = (((state & ~MARK) >> NOTE_SHIFT) & NOTE_MASK) << 4
            store(machine, block + 8, state & GRANULES_MASK)
            if target != block + HEADER_BYTES:
                slot = load(machine, block) & SLOT_MASK
                move(machine, block, target - HEADER_BYTES, size)
                moved(mutator, slot, block + HEADER_BYTES, target)
                objects += 1
                bytes_ += size
        block += size
    log.totals[COPIED_OBJECTS] += objects
    log.totals[COPIED_BYTES] += bytes_
