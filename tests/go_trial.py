"""Go's heap, driven step by step: after each step its `check` must hold.

trial = Trial(graph=True, gogc=50)
address = trial.new(slot=0, size=24, fields=1)
trial.take((WRITE, 0, 0, 1), (COLLECT,))
"""

import numpy as np

from heapwright.collectors import mutator as programs
from heapwright.compiler import bare, kernel
from heapwright.machine import machine, touch
from heapwright.managers.runtime.go import manager as go
from heapwright.managers.runtime.go.layout import (
    CACHE_SHIFT,
    CACHE_WORDS,
    FREE_BITS,
    NEXT_PAIR,
    OBJECTS,
    PAGES,
    PAIRS_SHIFT,
    SIZE,
    SPAN,
    field,
    span_of,
)
from heapwright.managers.runtime.go.size_classes import PAGE_SHIFT
from heapwright.managers.runtime.go.vacancies import next_span

SLOTS = 64
NEW, DROP, WRITE, ROOT, UNROOT, COLLECT, SPOIL = range(7)


@kernel
def run(heap, steps, placed):
    """Take steps (verb, slot, number, number) and check after each; `placed` gets the addresses.

    0, or what `check` said first.
    """
    heap = bare(heap)
    for row in range(len(steps)):
        verb, slot = steps[row, 0], steps[row, 1]
        if verb == NEW:
            placed[row] = go.new(heap, row % 3, slot, steps[row, 2], steps[row, 3])
            if placed[row]:
                touch(heap.machine, placed[row], steps[row, 2])
        elif verb == DROP:
            heap.mutator.handles[slot] = 0
        elif verb == WRITE:
            go.write(heap, slot, steps[row, 2], steps[row, 3])
        elif verb == ROOT:
            programs.root(heap.mutator, slot)
        elif verb == UNROOT:
            programs.unroot(heap.mutator, slot)
        elif verb == SPOIL:  # a word that is no reference, where one should be
            heap.machine.words[(heap.mutator.handles[slot] >> 3) + steps[row, 2]] = steps[row, 3]
        else:
            go.collect(heap)
        broken = go.check(heap)
        if broken:
            return broken
    return 0


@kernel
def blocks_of(heap, which, blocks):
    """Rows of `cached` (0), `metadata` (1) or `vacant` (2)."""
    heap = bare(heap)
    if which == 0:
        return go.cached(heap, blocks)
    return go.metadata(heap, blocks) if which == 1 else go.vacant(heap, blocks)


@kernel
def objects_of(heap, found):
    """Write the addresses of the blocks that hold an object; how many there are."""
    heap = bare(heap)
    heap_, count = heap.go, 0
    span = next_span(heap_, heap_.lowest_page)
    while span:
        for number in range(field(heap_, span, OBJECTS)):
            pair = (span << PAIRS_SHIFT) + (number >> 6 << 1)
            bit = np.int64(1) << (number & 63)
            taken = heap_.bits[pair] & bit
            for row in range(0, heap_.processor_count * CACHE_WORDS, 1 << CACHE_SHIFT):
                if heap_.caches[row + SPAN] == span:
                    if heap_.caches[row + NEXT_PAIR] - 1 == number >> 6:
                        taken &= ~heap_.caches[row + FREE_BITS]
            if taken:
                found[count] = (span << PAGE_SHIFT) + number * field(heap_, span, SIZE)
                count += 1
        span = next_span(heap_, span + field(heap_, span, PAGES))
    return count


class Trial:
    """A heap and the steps it took. Of a malloc trace every handle is a root."""

    def __init__(self, *, graph=False, **knobs):
        self.mutator = programs.mutator(SLOTS, SLOTS, every_handle=not graph)
        self.heap = go.boot(machine(), go.Config(**knobs), self.mutator)

    def take(self, *steps):
        """Addresses that the steps gave."""
        rows = np.zeros((len(steps), 4), np.int64)
        for row, given_step in zip(rows, steps, strict=True):
            row[: len(given_step)] = given_step
        placed = np.zeros(len(steps), np.int64)
        assert run(self.heap, rows, placed) == 0
        return placed.tolist()

    def new(self, slot, size, fields=0):
        return self.take((NEW, slot, size, fields))[0]

    def meter(self, name):
        return int(getattr(self.heap.go, name))

    def total(self, name):
        return int(self.heap.log.totals[name])

    def size(self, address):
        """Bytes of the block at an address."""
        return int(field(self.heap.go, span_of(self.heap.go, address), SIZE))

    def blocks(self):
        """Set of the addresses of blocks that hold an object."""
        found = np.zeros(1 << 14, np.int64)
        return set(found[: objects_of(self.heap, found)].tolist())

    def rows(self, which):
        blocks = np.zeros((1 << 14, 2), np.int64)
        count = blocks_of(self.heap, which, blocks)
        assert count <= len(blocks)
        return blocks[:count].tolist()

    def block_of(self, address):
        go_heap = self.heap.go
        start = int(span_of(go_heap, address)) << PAGE_SHIFT
        return start + (address - start) // self.size(address) * self.size(address)
