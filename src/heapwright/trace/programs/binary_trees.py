"""Binary trees, many short-lived ones beside one that lives to the end.

    stretch      one tree of depth + 1, made and dropped
    long-lived   one tree of depth, kept
    short-lived  for each second depth from 4 on: 2^(depth - that + 4) trees, each made and dropped

Each depth allocates equally much, so the shape of what dies at once varies and the volume does not.
The deepest trees for which all that fits in `objects` are made.

Source     "binary-trees", The Computer Language Benchmarks Game
Omits      the walk that counts a tree's nodes: reading is no event
"""

from typing import NamedTuple

from heapwright.trace.mutator import Mutator

SUMMARY = "binary trees of every depth beside one long-lived tree (Benchmarks Game)"
SITES = ("stretch tree", "long-lived tree", "short-lived tree")
LEAST_DEPTH = 4
NODE_BYTES = 16  # two references


class Parameters(NamedTuple):
    """What may be chosen. The program draws nothing, so it has no seed."""

    objects: int = 1_000_000  # at most


LIMITS = {"objects": (1 << 11, 1 << 32)}


def nodes(depth: int) -> int:
    """Nodes of a full tree."""
    return (2 << depth) - 1


def trees(depth: int, deepest: int) -> int:
    """How many short-lived trees of `depth` there are."""
    return 1 << (deepest - depth + LEAST_DEPTH)


def volume(deepest: int) -> int:
    """Objects that the program makes."""
    return (
        nodes(deepest + 1)
        + nodes(deepest)
        + sum(trees(depth, deepest) * nodes(depth) for depth in range(LEAST_DEPTH, deepest + 1, 2))
    )


def run(m: Mutator, parameters: Parameters) -> None:
    """The program."""
    deepest = LEAST_DEPTH
    while volume(deepest + 1) <= parameters.objects:
        deepest += 1
    with m.frame():
        bottom_up(m, deepest + 1, NODE_BYTES, 0)
    m.root(bottom_up(m, deepest, NODE_BYTES, 1))
    for depth in range(LEAST_DEPTH, deepest + 1, 2):
        for _ in range(trees(depth, deepest)):
            with m.frame():
                bottom_up(m, depth, NODE_BYTES, 2)


def bottom_up(m: Mutator, depth: int, size: int, site: int) -> int:
    """A full tree of nodes of `size` bytes, the children before their parent; its root."""
    m.push()
    if depth:
        left = bottom_up(m, depth - 1, size, site)
        right = bottom_up(m, depth - 1, size, site)
        node = m.new(size, 2, site)
        m.write(node, 0, left)
        m.write(node, 1, right)
    else:
        node = m.new(size, 2, site)
    return m.pop(node)
