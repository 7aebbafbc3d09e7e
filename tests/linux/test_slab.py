"""The classic slab allocator beside an oracle of lists, and its layouts beside a kernel's table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.compiler import INTERPRETED, kernel
from heapwright.linux import slab
from heapwright.linux.slab_layout import SIZES, Cache, general, layout, slabs_of
from heapwright.linux.zones import physical_memory
from heapwright.machine import machine


@kernel
def serve(slabs, requests, answers):
    for row in range(len(requests)):
        if requests[row] < 0:
            answers[row] = slab.alloc(slabs, 0, np.int64(0xCC0))
        else:
            slab.free(slabs, answers[requests[row]])


class Naive:
    """Slabs as lists of free numbers, in the order that the text of the time gives."""

    def __init__(self, made):
        self.made, self.array, self.touched = made, [], False
        self.full, self.partial, self.free_ = [], [], []  # of [number of the slab, chain]
        self.count = self.colour = 0
        self.colours = {}

    def refill(self):
        batch = self.made.batch if self.touched else min(self.made.batch, 16)
        while batch:
            if not self.partial and not self.free_:
                if self.array:
                    break
                self.colours[self.count] = self.colour
                self.colour = (self.colour + 1) % max(self.made.colours, 1)
                self.free_.append([self.count, list(range(self.made.objects))])
                self.count += 1
            held = (self.partial or self.free_).pop(0)
            while held[1] and batch:
                self.array.append((held[0], held[1].pop(0)))
                batch -= 1
            (self.partial if held[1] else self.full).insert(0, held)
        self.touched = True

    def alloc(self):
        if not self.array:
            self.refill()
        else:
            self.touched = True
        return self.array.pop()

    def free(self, found):
        if len(self.array) == self.made.limit:
            batch, self.array = self.array[: self.made.batch], self.array[self.made.batch :]
            for number, index in batch:
                self.give(number, index)
        self.array.append(found)

    def give(self, number, index):
        lists = (self.full, self.partial, self.free_)
        held = next(each for group in lists for each in group if each[0] == number)
        for group in lists:
            if held in group:
                group.remove(held)
        held[1].insert(0, index)
        free = sum(len(each[1]) for group in lists for each in group) + (held not in self.full) * (
            len(held[1])
        )
        if len(held[1]) < self.made.objects:
            self.partial.append(held)
        elif free <= 2 * self.made.batch + self.made.objects:
            self.free_.insert(0, held)


PICKS = st.lists(st.tuples(st.booleans(), st.integers(0, 1 << 20)), max_size=60)


@pytest.mark.parametrize("size", [40, 700, 3000])
@settings(max_examples=4 if INTERPRETED else 30)
@given(picks=PICKS, grow=st.integers(0, 300))
def test_every_object_is_the_oracles(size, picks, grow):
    made = layout(size)
    slabs = slabs_of(physical_memory(machine(), 64 << 20), [Cache("c", made)])
    naive, live, requests, wanted = Naive(made), [], [], []
    course = [(False, 0)] * grow + picks + [(True, 7)] * (grow // 2) + picks
    for frees, pick in course:
        if frees and live:
            row = live.pop(pick % len(live))
            naive.free(wanted[row])
            requests.append(row)
            wanted.append(None)
        else:
            live.append(len(requests))
            requests.append(-1)
            wanted.append(naive.alloc())
    answers = np.zeros(len(requests), np.int64)
    serve(slabs, np.array(requests, np.int64), answers)
    assert slab.check(slabs) == 0
    first = {}  # of each of the oracle's slabs the address of its first object
    for place, found in zip(answers.tolist(), wanted, strict=True):
        if found is not None:
            number, index = found
            start = place - index * made.size
            assert first.setdefault(number, start) == start
            colour = naive.colours[number] * 64
            assert (start - made.management - colour) % 4096 == 0
    assert len(set(first.values())) == len(first) or naive.count > len(first)


def test_layouts():
    """A kernel of the time, 64 bits: on a page 59 objects of 64 bytes, 15 of 256, 2 of 2048."""
    assert [layout(size, 64).objects for size in (64, 256, 512, 1024, 2048)] == [59, 15, 8, 4, 2]
    assert layout(2048, 64).order == 0 and layout(131072, 64).order == 5
    assert layout(256, 64).management == 128 and layout(512, 64).management == 0
    assert [layout(size, 64).limit for size in (256, 257, 1025, 4097)] == [120, 54, 24, 8]
    assert SIZES[general(131072)] == 131072 and general(131073) == len(SIZES)
