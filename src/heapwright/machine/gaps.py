"""Where the next mapping lies: the free ranges of the mapped zone.

Terms      gap: a free range; gaps stand in ascending order, no two touch
Invariant  every byte of the zone is in one gap or in one area                     (check)
Source     Linux mm/mmap.c, arch_get_unmapped_area_topdown: the top of the highest gap that fits;
           mm/huge_memory.c, thp_get_unmapped_area, from 6.7 on: a length of whole huge pages lies
           at a multiple of one, in the highest gap with room for one more
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel

HUGE_PAGE_BYTES = 2 << 20
GAP_ROWS = 1 << 18  # one more gap than areas; Linux stops at 65,530 areas


class Gaps(NamedTuple):
    """The free ranges."""

    start: np.ndarray  # int64[GAP_ROWS]  address
    end: np.ndarray  # int64[GAP_ROWS]  address past the gap
    count: np.ndarray  # int64[1]  rows in use


def gaps(start: int, end: int) -> Gaps:
    """One gap, [start, end)."""
    fresh = Gaps(np.zeros(GAP_ROWS, np.int64), np.zeros(GAP_ROWS, np.int64), np.ones(1, np.int64))
    fresh.start[0], fresh.end[0] = start, end
    return fresh


@kernel
def place(gaps, hint, length):
    """Take `length` bytes; their address, 0 where no gap is wide enough.

    At `hint` if it is not 0 and that range is free, else at the top of the highest gap that fits.
    """
    if not hint and not length & (HUGE_PAGE_BYTES - 1):
        address = _place_huge(gaps, length)
        if address:
            return address
    chosen = -1
    address = 0
    for row in range(gaps.count[0] - 1, -1, -1):
        start, end = gaps.start[row], gaps.end[row]
        if hint and start <= hint and hint + length <= end:
            chosen, address = row, hint
            break
        if chosen < 0 and end - start >= length:
            chosen, address = row, end - length
            if not hint:
                break
        if hint and chosen >= 0 and end <= hint:
            break
    if chosen < 0 or gaps.count[0] + 1 >= GAP_ROWS:
        return 0
    _cut(gaps, chosen, address, length)
    return address


@kernel
def _place_huge(gaps, length):
    """Take whole huge pages; their address, 0 where there is no room to choose it."""
    for row in range(gaps.count[0] - 1, -1, -1):
        start, end = gaps.start[row], gaps.end[row]
        if end - start >= length + HUGE_PAGE_BYTES and gaps.count[0] + 1 < GAP_ROWS:
            address = (end - length) & -HUGE_PAGE_BYTES
            _cut(gaps, row, address, length)
            return address
    return 0


@kernel
def extend(gaps, address, length):
    """Take the `length` bytes at `address`, where an area ends; whether they were free."""
    for row in range(gaps.count[0]):
        if gaps.start[row] == address:
            if gaps.end[row] - address < length:
                return False
            _cut(gaps, row, address, length)
            return True
    return False


@kernel
def _cut(gaps, row, address, length):
    """Take [address, address + length) out of gap `row`, which holds it."""
    start, end = gaps.start[row], gaps.end[row]
    if start == address and end == address + length:
        _shift(gaps, row + 1, -1)
    elif end == address + length:
        gaps.end[row] = address
    elif start == address:
        gaps.start[row] = address + length
    else:
        _shift(gaps, row + 1, 1)
        gaps.end[row] = address
        gaps.start[row + 1] = address + length
        gaps.end[row + 1] = end


@kernel
def _shift(gaps, first, by):
    """Move the rows from `first` up or down by one."""
    count = gaps.count[0]
    if by > 0:
        for row in range(count - 1, first - 1, -1):
            gaps.start[row + 1] = gaps.start[row]
            gaps.end[row + 1] = gaps.end[row]
    else:
        for row in range(first, count):
            gaps.start[row - 1] = gaps.start[row]
            gaps.end[row - 1] = gaps.end[row]
    gaps.count[0] = count + by


@kernel
def give_back(gaps, address, length):
    """Make [address, address + length), all in areas, a gap; merge it with its neighbours."""
    end = address + length
    low, high = 0, gaps.count[0]
    while low < high:  # first gap above the range
        middle = (low + high) >> 1
        if gaps.start[middle] < address:
            low = middle + 1
        else:
            high = middle
    joins_below = low > 0 and gaps.end[low - 1] == address
    joins_above = low < gaps.count[0] and gaps.start[low] == end
    if joins_below and joins_above:
        gaps.end[low - 1] = gaps.end[low]
        _shift(gaps, low + 1, -1)
    elif joins_below:
        gaps.end[low - 1] = end
    elif joins_above:
        gaps.start[low] = address
    else:
        _shift(gaps, low, 1)
        gaps.start[low] = address
        gaps.end[low] = end


@kernel
def check(gaps):
    """Whether the gaps stand in order and no two touch."""
    previous = 0
    for row in range(gaps.count[0]):
        if gaps.start[row] <= previous or gaps.end[row] <= gaps.start[row]:
            return False
        previous = gaps.end[row]
    return True
