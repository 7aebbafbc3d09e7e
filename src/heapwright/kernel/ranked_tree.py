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

from heapwright.kernel.compiled import kernel, unsigned
from heapwright.kernel.reserve import reserve

FANOUT = 16
SHIFT = 4  # log2 of FANOUT


class RankedTree(NamedTuple):
    """The sequence. All levels lie one after the other in each array."""

    largest: np.ndarray  # int32[node]  level 0: the size, any positive unit below 2^31
    count: np.ndarray  # int32[node]  occupied positions below; level 0 is not kept
    level: np.ndarray  # int64[level]  first node of each level
    top: np.ndarray  # int64[1]  the root's level


def ranked_tree(positions: int) -> RankedTree:
    """An empty sequence of at least `positions` places."""
    width, level = positions, [0]
    while width > 1:
        width = -(-width // FANOUT)
        level.append(level[-1] + width * FANOUT)
    nodes = level[-1] + 1
    return RankedTree(
        reserve(nodes, np.int32),
        reserve(nodes, np.int32),
        np.array(level, np.int64),
        np.array([len(level) - 1], np.int64),
    )


@kernel
def put(tree, position, size):
    """Set the size at `position`; 0 empties it. About 10 ns."""
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
                new = _largest_child(tree, tree.level[unsigned(depth - 1)] + (node << SHIFT))
                largest[unsigned(i)] = new
                rising = new != here
            else:
                rising = False
        elif not more:
            return


@kernel
def _largest_child(tree, first):
    """Maximum of the FANOUT nodes from `first`."""
    best = np.int32(0)
    for i in range(FANOUT):
        best = max(best, tree.largest[unsigned(first + i)])
    return np.int64(best)


@kernel
def _first_child(tree, first, lowest, size):
    """Index from `lowest` of the first of FANOUT nodes from `first` with >= size, else FANOUT."""
    found = FANOUT
    for i in range(FANOUT):  # without a branch, so that it becomes vector steps
        fits = (tree.largest[unsigned(first + i)] >= size) & (i >= lowest)
        found = min(found, i if fits else FANOUT)
    return found


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
    """The first position >= start whose size is >= size (> 0); -1 if none. About 10 ns."""
    top = tree.top[0]
    depth, node = top, 0
    if start <= 0:
        if tree.largest[tree.level[top]] < size:
            return -1
    else:
        depth, child = 0, _first_child(tree, start & ~(FANOUT - 1), start & (FANOUT - 1), size)
        node = start
        while child == FANOUT:  # no later sibling: look among the parent's
            depth += 1
            node >>= SHIFT
            if depth >= top:
                return -1
            group = tree.level[depth] + (node & ~(FANOUT - 1))
            child = _first_child(tree, group, (node & (FANOUT - 1)) + 1, size)
        node = (node & ~(FANOUT - 1)) + child
    while depth > 0:
        depth -= 1
        node <<= SHIFT
        node += _first_child(tree, tree.level[unsigned(depth)] + node, 0, size)
    return node


@kernel
def rank(tree, position):
    """Occupied positions before `position`, which is at most the length. About 8 ns."""
    before = 0
    node = position
    group = node & ~(FANOUT - 1)
    if node & (FANOUT - 1):
        for i in range(FANOUT):
            before += (tree.largest[unsigned(group + i)] != 0) & (i < node - group)
    for depth in range(1, tree.top[0]):
        node >>= SHIFT
        group = tree.level[unsigned(depth)] + (node & ~(FANOUT - 1))
        within = node & (FANOUT - 1)
        if within:
            for i in range(FANOUT):
                before += tree.count[unsigned(group + i)] * (i < within)
    return before


@kernel
def check(tree, past):
    """0 if every node that covers a position < past agrees with its children, else 1."""
    for depth in range(1, tree.top[0] + 1):
        for node in range(((past - 1) >> (SHIFT * depth)) + 1):
            i = tree.level[depth] + node
            first = tree.level[depth - 1] + (node << SHIFT)
            count = 0
            for child in range(first, first + FANOUT):
                count += np.int64(tree.largest[child] != 0) if depth == 1 else tree.count[child]
            if count != tree.count[i] or _largest_child(tree, first) != tree.largest[i]:
                return 1
    return 0
