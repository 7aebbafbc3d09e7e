"""GCBench: trees of every size made top down and bottom up, beside a long-lived tree and array.

    stretch     ────▶ one tree of `depth`, made and dropped
    long-lived  ══════════════════════════════════════════  a tree of depth - 2, an array of numbers
    short-lived ▁▁▁▁▁ ▂▂▂▂ ▃▃▃ ▄▄ ▅▅ ▆ ▇                    trees of depths 4, 6, ... depth - 2

Each depth has the same number of objects, half of them in trees made from the root down: there an
old node gets a reference to a younger one, which a generational collector must remember.

Source     GCBench: Ellis and Kovac, Post Communications, adapted by Boehm. There depth is 18, the
           array holds 500,000 doubles and each depth has 2 x 2 x 524,287 objects; here the depth
           follows from `objects` in that proportion, and the array from the depth
Omits      threads; the array's elements, which hold no reference
"""

from typing import NamedTuple

from heapwright.errors import HeapwrightError
from heapwright.trace.mutator import Mutator
from heapwright.trace.programs.binary_trees import bottom_up, nodes

SUMMARY = "GCBench: trees top down and bottom up beside a long-lived tree and array"
SITES = ("stretch tree", "long-lived tree", "long-lived array", "top down", "bottom up")
LEAST_DEPTH = 4
NODE_BYTES = 24  # two references, two 4-byte integers
ORIGINAL_DEPTH, ORIGINAL_ARRAY_BYTES = 18, 500_000 * 8


class Parameters(NamedTuple):
    """What may be chosen. The program draws nothing, so it has no seed."""

    objects: int = 1_000_000  # about
    depth: int = 0  # of the stretch tree; 0: as in the original for so many objects


LIMITS = {"objects": (1 << 12, 1 << 32), "depth": (0, 26)}


def volume(depth: int) -> int:
    """Objects of the original program, were its stretch tree of `depth`."""
    depths = len(range(LEAST_DEPTH, depth - 1, 2))
    return nodes(depth) + nodes(depth - 2) + 1 + depths * 4 * nodes(depth)


def run(m: Mutator, parameters: Parameters) -> None:
    """The program."""
    depth = parameters.depth
    if 0 < depth < LEAST_DEPTH + 2:
        raise HeapwrightError(
            f"gcbench: depth is {depth}, and not 0 or at least {LEAST_DEPTH + 2}."
        )
    if depth == 0:
        depth = LEAST_DEPTH + 2
        while volume(depth + 1) <= parameters.objects:
            depth += 1
    with m.frame():
        bottom_up(m, depth, NODE_BYTES, 0)
    kept = m.root(m.new(NODE_BYTES, 2, 1))
    populate(m, kept, depth - 2, 1)
    m.root(m.new(max(8, ORIGINAL_ARRAY_BYTES << depth >> ORIGINAL_DEPTH), 0, 2))
    depths = range(LEAST_DEPTH, depth - 1, 2)
    for short in depths:
        left = parameters.objects - m.objects
        share = left // (2 * (len(depths) - depths.index(short)) * nodes(short))
        for _ in range(share):
            with m.frame():
                populate(m, m.new(NODE_BYTES, 2, 3), short, 3)
        for _ in range(share):
            with m.frame():
                bottom_up(m, short, NODE_BYTES, 4)


def populate(m: Mutator, node: int, depth: int, site: int) -> None:
    """Give `node` a full tree of `depth` below it, from the root down."""
    if depth == 0:
        return
    m.push()
    left, right = m.new(NODE_BYTES, 2, site), m.new(NODE_BYTES, 2, site)
    m.write(node, 0, left)
    m.write(node, 1, right)
    populate(m, left, depth - 1, site)
    populate(m, right, depth - 1, site)
    m.pop()
