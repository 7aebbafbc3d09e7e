"""Free pages go back to the system, the highest first (the scavenger).

    growth      as much as the heap grew by, while it keeps more than SCAVENGE_GOAL
    limit       at once, what memory would exceed MEMORY_LIMIT by
    background  64 KiB for each MiB allocated, while it keeps more than SCAVENGE_GOAL

Invariant  SCAVENGE_PAST: no free page from there on has memory                          (check)
Source     Go 1.27 runtime/mgcscavenge.go, mheap.go (allocSpan)
Differs    the real background scavenger takes 1 % of a processor's time, which a replay does not
           have: its pace here is that time at 10 us for 64 KiB while the program allocates 1 GB/s
Omits      passing over chunks that were dense in the last cycle
"""

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length
from heapwright.machine import ADVISE_DONTNEED, madvise
from heapwright.managers.runtime.go.layout import (
    NEVER,
)
from heapwright.managers.runtime.go.pages import ones
from heapwright.managers.runtime.go.size_classes import PAGE_SHIFT

QUANTUM_PAGES = 8  # a call of the system; runtime: scavengeQuantum, 64 KiB


@kernel
def _highest_run(go):
    """(first, past) of the highest free pages with memory in one word of the bitmap, at most
    QUANTUM_PAGES; 0, 0 if there are none."""
    group = (go.scavenge_past + 63) >> 6
    while group > 0:
        group -= 1
        i = unsigned(group)
        with_memory = go.pages.free[i] & ~go.pages.gone[i]
        if with_memory:
            past = 64 if with_memory < 0 else bit_length(with_memory)
            without = ~with_memory & ones(0, past)  # the highest zero below
            first = max(bit_length(without), past - QUANTUM_PAGES)
            return (group << 6) + first, (group << 6) + past
        go.scavenge_past = group << 6
        if go.free <= 0:
            break
    return 0, 0


@kernel
def scavenge(go, wanted_bytes):
    """Give back free pages of at least `wanted_bytes`, fewer if there are no more; bytes given."""
    given = 0
    while given < wanted_bytes:
        first, past = _highest_run(go)
        if first == past:
            break
        go.pages.gone[unsigned(first >> 6)] |= ones(first & 63, past - (first & ~63))
        length = (past - first) << PAGE_SHIFT
        madvise(go.machine, first << PAGE_SHIFT, length, ADVISE_DONTNEED)
        go.free -= length
        go.released += length
        given += length
    go.scavenged += given
    return given


@kernel
def scavenge_for(go, grown_bytes, regained_bytes):
    """Before a span is made of pages of which `regained_bytes` have no memory: keep the limit and,
    when the heap grew, the goal."""
    kept = go.in_use + go.free
    wanted = 0
    if go.memory_limit != NEVER:
        wanted = max(0, kept + go.outside + regained_bytes - go.memory_limit)
    if grown_bytes and go.scavenge_goal != NEVER:
        over = kept + grown_bytes - go.scavenge_goal
        wanted = max(wanted, min(grown_bytes, over))
    if wanted > 0:
        scavenge(go, wanted)


@kernel
def scavenge_in_background(go):
    """A step of the background scavenger: 64 KiB, if the heap keeps more than its goal."""
    if go.in_use + go.free > go.scavenge_goal:
        scavenge(go, QUANTUM_PAGES << PAGE_SHIFT)
