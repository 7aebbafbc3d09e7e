"""Where blocks lie: in the heap, which the break moves or which is mapped from a first segment on;
else in areas of their own. Places of two processes are compared.

Source     glibc: a mapped chunk has two words of its own, any other lends its last to its owner, so
           usable sizes are 0 and 8 modulo 16; from 2.43 on 8 of both, and one word is left behind a
           mapped chunk's; it aligns a further arena's heap to its size
"""

from dataclasses import dataclass

import numpy as np

from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT

HEAP_SPAN = BREAK_LIMIT - BREAK_BASE  # bytes that the heap of either may reach
ARENA_HEAP_BYTES = 1 << 26  # glibc: HEAP_MAX_SIZE


@dataclass(frozen=True)
class Blocks:
    """What one side says of a batch; 0 where an event has no object."""

    address: np.ndarray  # int64[event]
    usable: np.ndarray  # int64[event], bytes; -1 unknown
    heap_start: int
    late: bool = False  # glibc from 2.43 on

    @property
    def offset(self) -> np.ndarray:
        """int64[event], from the heap's start; -1 outside the brk heap."""
        offset = self.address - self.heap_start
        return np.where((offset >= 0) & (offset < HEAP_SPAN), offset, -1)

    @property
    def mapped(self) -> np.ndarray:
        """bool[event]: a block that was mapped on its own."""
        alone = self.usable & 15 == 0
        if self.late:  # a further arena's block may end so too, one in 256
            alone = (self.address + self.usable + 8) & (PAGE_BYTES - 1) == 0
        return (self.address != 0) & (self.offset < 0) & alone

    def place(self, row: int) -> str:
        """Where a block lies and how long it is, in words."""
        address, usable, offset = (int(c[row]) for c in (self.address, self.usable, self.offset))
        if not address:
            return "no block"
        length = f", {usable:,} usable bytes" if usable >= 0 else ""
        if offset >= 0:
            return f"{offset:,} bytes into the heap{length}"
        if usable >= 0 and not self.mapped[row]:
            heap, inside = divmod(address, ARENA_HEAP_BYTES)
            return f"{inside:,} bytes into a further arena's heap at {heap << 26:#x}{length}"
        what = "mapped on its own" if usable >= 0 else "outside the heap"
        return f"{what}, {address % PAGE_BYTES:,} bytes into its page{length}"


def first_area(addresses: np.ndarray, origin: int) -> int:
    """Where the area of so many bytes begins that the first block is in."""
    return int(addresses[(addresses != 0).argmax()]) & -origin


def equal(one: Blocks, other: Blocks) -> np.ndarray:
    """bool[event]: the same place, as far as places compare."""
    first, second = one.offset, other.offset
    outside = (first < 0) & (second < 0)
    alone = one.mapped | (one.usable & 15 != 8)
    within = np.where(alone, PAGE_BYTES, ARENA_HEAP_BYTES) - 1
    same_offset = (one.address ^ other.address) & within == 0
    same_usable = (one.usable == other.usable) | (one.usable < 0) | (other.usable < 0)
    equal: np.ndarray = np.where(outside, same_offset & same_usable, first == second)
    return equal
