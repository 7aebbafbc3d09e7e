"""A sequence of sizes that answers "the first one >= n" and "how many lie before it" in O(log).

    level 2                     [ largest, count ]                    one row per 256 positions
    level 1     [ largest, count ]      ...      [ largest, count ]   one row per 16 positions
    level 0     size size size  0   0   size  0   ...                 one row per position; 0: empty

Terms      position: a place in the sequence; rank: occupied positions before it
Invariant  largest of a node is the maximum of its children's; count is the sum of theirs,
           a position counting 1 while its size is not 0                     (check)
Source     a max segment tree with order statistics (Cormen et al., ch. 17), 16 children a node,
           so that a node's children lie in one cache line and are compared in one vector step
Omits      moving positions: insertion is into an empty position
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler.bits import bit_count, trailing_zeros
from heapwright.compiler.compiled import kernel, unsigned
from heapwright.compiler.lanes import LANES, lanes_at_least, lanes_largest, lanes_sum
from heapwright.compiler.reserve import reserve

FANOUT = LANES
SHIFT = 4  # log2 of FANOUT
INDEX = FANOUT - 1  # of a child among its siblings: the low bits of its number


class RankedTree(NamedTuple):
    """The sequence. All levels lie one after the other in each array."""

    largest: np.ndarray  # int32[node]  level 0: the size, 0 <= size < MOST
    count: np.ndarray  # int32[node]  occupied positions below; level 0 is not kept
    level: np.ndarray  # int64[level]  first node of each level
    top: np.ndarray  # int64[1]  the root's level


def ranked_tree(positions: int) -> RankedTree:
    """An empty sequence of at least `positions` places."""
    width, level = positions, [0]
    while width > 1:
        width = -(-width // FANOUT)
        level.append(level[-1] + width * FANOUT)
    nodes = level[-1] + FANOUT
    return RankedTree(
        reserve(nodes, np.int32),
        reserve(nodes, np.int32),
        np.array(level, np.int64),
        np.array([len(level) - 1], np.int64),
    )


@kernel
def put(tree, position, size):
    """Set the size at `position`, less than MOST; 0 empties it. About 10 ns."""
    largest = tree.largest
    old = np.int64(largest[unsigned(position)])
    if old == size:
        return
    largest[unsigned(position)] = size
    more = np.int64(size != 0) - np.int64(old != 0)
    new = np.int64(size)
    rising = True  # whether the maximum may still change above
    node = position
    for depth in range(1, tree.top[0] + 1):
        node >>= SHIFT
        i = tree.level[unsigned(depth)] + node
        if more:
            tree.count[unsigned(i)] += more
        if rising:
            here = np.int64(largest[unsigned(i)])
            if new > here:
                largest[unsigned(i)] = new
                old = here
            elif old == here:
                first = tree.level[unsigned(depth - 1)] + (node << SHIFT)
                new = lanes_largest(largest, first)
                largest[unsigned(i)] = new
                rising = new != here
            else:
                rising = False
        elif not more:
            return


@kernel
def total(tree):
    """Occupied positions."""
    return np.int64(tree.count[tree.level[tree.top[0]]])


@kernel
def largest(tree):
    """The largest size; 0 when all is empty."""
    return np.int64(tree.largest[tree.level[tree.top[0]]])


@kernel
def size_at(tree, position):
    """The size at `position`; 0 when it is empty."""
    return np.int64(tree.largest[unsigned(position)])


@kernel
def first_at_least(tree, start, size):
    """The first position >= start whose size is >= size (> 0); -1 if none. About 15 ns."""
    nodes, top = tree.largest, tree.top[0]
    depth, node = top, 0
    if start <= 0:
        if nodes[unsigned(tree.level[unsigned(top)])] < size:
            return -1
    else:
        node, depth = start, 0
        fits = lanes_at_least(nodes, start & ~INDEX, size) >> (start & INDEX) << (start & INDEX)
        while fits == 0:  # no later sibling: look among the parent's
            depth += 1
            node >>= SHIFT
            if depth >= top:
                return -1
            siblings = lanes_at_least(nodes, tree.level[unsigned(depth)] + (node & ~INDEX), size)
            fits = siblings & (-2 << (node & INDEX))
        node = (node & ~INDEX) + trailing_zeros(fits)
    while depth > 0:
        depth -= 1
        node <<= SHIFT
        node += trailing_zeros(lanes_at_least(nodes, tree.level[unsigned(depth)] + node, size))
    return node


@kernel
def rank(tree, position):
    """Occupied positions before `position`, which is less than the length. About 10 ns."""
    occupied = lanes_at_least(tree.largest, position & ~INDEX, 1)
    before = bit_count(occupied & ((1 << (position & INDEX)) - 1))
    node = position
    for depth in range(1, tree.top[0]):
        node >>= SHIFT
        if node & INDEX:
            first = tree.level[unsigned(depth)] + (node & ~INDEX)
            before += lanes_sum(tree.count, first, node & INDEX)
    return before


@kernel
def check(tree, past, first_place=0):
    """0 if every node that covers a position from first_place to past agrees with its children,
    else 1."""
    for depth in range(1, tree.top[0] + 1):
        for node in range(first_place >> (SHIFT * depth), ((past - 1) >> (SHIFT * depth)) + 1):
            i = tree.level[depth] + node
            first = tree.level[depth - 1] + (node << SHIFT)
            count = lanes_sum(tree.count, first, FANOUT)
            if depth == 1:
                count = bit_count(lanes_at_least(tree.largest, first, 1))
            if count != tree.count[i] or lanes_largest(tree.largest, first) != tree.largest[i]:
                return 1
    return 0
