"""Offline packing: where each block would lie if the whole program were known beforehand.

A block is a rectangle, its lifetime wide and its size high; no two may overlap, and the heap is as
high as the highest. The placement of each block, in a given order, is the lowest that is free for
the whole of its life.

Source     Wilson et al. 1995, section 1.2; Garey and Johnson 1979, problem SR2, dynamic storage
           allocation: NP-complete, so the best order is not known
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned


class Blocks(NamedTuple):
    """Every block of a program; one that is reallocated is another block from then on."""

    birth: np.ndarray  # int64[block]  event
    death: np.ndarray  # int64[block]  event after the last in which it lives
    size: np.ndarray  # int64[block]  bytes, more than 0


@kernel
def pack(blocks, order, offset, lowest_first):
    """Place the blocks in `order`, int64[block], each as low as it may lie, and write offsets in
    bytes; `lowest_first` int64[block] is scratch. Returns the height of the heap, bytes.

    Time grows with the square of the number of blocks.
    """
    height = 0
    for placed in range(len(order)):
        block = unsigned(order[unsigned(placed)])
        birth, death = blocks.birth[block], blocks.death[block]
        size, at = blocks.size[block], 0
        for i in range(placed):
            other = unsigned(lowest_first[unsigned(i)])
            if offset[other] - at >= size:
                break
            if blocks.birth[other] < death and birth < blocks.death[other]:
                at = max(at, offset[other] + blocks.size[other])
        offset[block] = at
        height = max(height, at + size)
        i = placed
        while i > 0 and offset[unsigned(lowest_first[unsigned(i - 1)])] > at:
            lowest_first[unsigned(i)] = lowest_first[unsigned(i - 1)]
            i -= 1
        lowest_first[unsigned(i)] = order[unsigned(placed)]
    return height
