"""What marking costs: `python -m benchmarks.marking [--objects N] [--runs 7]`, JSON.

A graph of binary nodes as GCBench's (two references, two integers; a block of 48 bytes) is laid out
in two ways: `built` in the order in which a program that builds trees depth first allocates them,
`shuffled` anywhere, as after years of reuse. Each is marked as a collector marks it. Beside it a
plain chase follows one pointer an object through the same memory, in the order in which the marker
visits: a load that waits for the load before it, the limit of a marker that fetches nothing ahead.
Times are medians of alternating runs, in nanoseconds an object.
"""

import argparse
import json
import statistics
import time

import numpy as np

from heapwright.allocators.holes import GRANULES_MASK
from heapwright.collectors import log as logs
from heapwright.collectors.mark import drain, mark_stack, push
from heapwright.collectors.objects import FIELDS_SHIFT, HEADER_BYTES
from heapwright.compiler import bare, kernel, unsigned
from heapwright.machine import Machine, brk, machine
from heapwright.machine.address_space import BREAK_BASE

BLOCK_BYTES = 48  # header, two references, two integers
WORDS = BLOCK_BYTES // 8
CHASED = 2  # the word of an object, after its references, that the chase follows


def depth_first(objects: int) -> np.ndarray:
    """int64[node]: when node i of a complete tree, whose children are 2i+1 and 2i+2, is visited."""
    below = np.ones(objects, np.int64)
    for first, past in reversed(list(_levels(objects))):
        children = np.arange(max(1, first), past)
        np.add.at(below, (children - 1) // 2, below[children])
    visit = np.zeros(objects, np.int64)
    for first, past in list(_levels(objects))[1:]:
        children = np.arange(first, past)
        before = np.where(children % 2 == 0, below[children - 1], 0)
        visit[children] = visit[(children - 1) // 2] + 1 + before
    return visit


def _levels(objects: int) -> list[tuple[int, int]]:
    return [
        ((1 << depth) - 1, min(objects, (2 << depth) - 1)) for depth in range(objects.bit_length())
    ]


def graph(space: Machine, place: np.ndarray, visit: np.ndarray) -> int:
    """Write the tree whose node i lies in block `place[i]`, linked for the chase in order of
    `visit`; the address of its root."""
    objects = len(place)
    brk(space, BREAK_BASE + objects * BLOCK_BYTES)
    address = BREAK_BASE + HEADER_BYTES + place * BLOCK_BYTES
    first = BREAK_BASE >> 3
    rows = space.words[first : first + objects * WORDS].reshape(objects, WORDS)
    rows[place, 0] = np.arange(objects) | (2 << FIELDS_SHIFT)
    rows[:, 1] = BLOCK_BYTES >> 4
    for side in (0, 1):
        parents = np.arange((objects - 1 - side + 1) // 2)
        rows[place[parents], 2 + side] = address[2 * parents + 1 + side]
    order = np.empty(objects, np.int64)
    order[visit] = address
    rows[(order[:-1] - BREAK_BASE) // BLOCK_BYTES, 2 + CHASED] = order[1:]
    return int(address[0])


@kernel
def whiten(words, first, objects):
    """Clear every mark."""
    for number in range(objects):
        words[unsigned(first + number * WORDS + 1)] &= GRANULES_MASK


@kernel
def mark_once(heap, address):
    """Mark all that can be reached from `address`."""
    space, stack, log = bare(heap)
    push(space, stack, address)
    drain(space, stack, log)


@kernel
def chase(words, address):
    """Follow the list; how many objects it has."""
    count = 0
    while address:
        address = words[unsigned(address >> 3) + unsigned(CHASED)]
        count += 1
    return count


def measured(objects: int, runs: int, layout: str) -> dict[str, float]:
    """Nanoseconds an object to mark and to chase, and their ratio."""
    visit = depth_first(objects)
    place = visit if layout == "built" else np.random.default_rng(1).permutation(objects)
    space, stack, log = machine(), mark_stack(), logs.log()
    root = graph(space, place, visit)
    seconds: dict[str, list[float]] = {"mark": [], "chase": []}
    for run in range(runs + 1):  # the first compiles
        whiten(space.words, BREAK_BASE >> 3, objects)
        start = time.perf_counter()
        mark_once((space, stack, log), root)
        middle = time.perf_counter()
        found = chase(space.words, root)
        end = time.perf_counter()
        assert found == objects
        assert log.totals[logs.MARKED_OBJECTS] == objects * (run + 1)
        if run:
            seconds["mark"].append(middle - start)
            seconds["chase"].append(end - middle)
    mark, walk = (statistics.median(seconds[name]) / objects * 1e9 for name in ("mark", "chase"))
    return {"mark_ns": mark, "chase_ns": walk, "ratio": mark / walk}


def main() -> None:
    """Measure both layouts and print JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--objects", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    report = {
        layout: measured(options.objects, options.runs, layout) for layout in ("built", "shuffled")
    }
    print(json.dumps({"objects": options.objects, **report}, indent=2))


if __name__ == "__main__":
    main()
