"""What a write costs with each barrier: beside a cycle, in one with nothing to shade, in one where
each write meets a white object.

    python -m benchmarks.barrier_cost
"""

import statistics
import time
from typing import Any

import numpy as np

from heapwright.collectors import barriers, log, mutator, object_bins, tricolour
from heapwright.collectors.barriers import BIRTH_OF, NAMES, ROOTS_OF
from heapwright.compiler import bare, kernel, unsigned
from heapwright.machine import machine

OBJECTS = 1 << 14  # of 48 bytes: few enough for the caches, so that instructions are measured
FIELDS = 2
TRIES = 15
BESIDE, REACHED, WHITE = range(3)


@kernel
def lay_out(heap):
    """Let each object refer to the next, and the first be a root; nothing is marked."""
    heap = bare(heap)
    for slot in range(OBJECTS):
        object_bins.allocate(heap, slot, object_bins.bytes_for(8 * FIELDS), FIELDS)
    for slot in range(OBJECTS):
        barriers.write(heap.marking, slot, 0, (slot + 1) % OBJECTS)
        barriers.write(heap.marking, slot, 1, (slot + 7) % OBJECTS)
    mutator.root(heap.marking.mutator, 0)
    barriers.rooted(heap.marking, 0)


@kernel
def begin(heap, reached):
    """Begin a cycle; with `reached`, reach all."""
    heap = bare(heap)
    tricolour.begin(heap.marking)
    if reached:
        tricolour.advance(heap.marking, 1 << 40)


@kernel
def write(heap, targets):
    """Write field 1 of each object."""
    count = len(targets)
    heap = bare(heap)
    for slot in range(count):
        barriers.write(heap.marking, slot, 1, targets[unsigned(slot)])


@kernel
def end(heap):
    """End the cycle."""
    heap = bare(heap)
    tricolour.advance(heap.marking, 1 << 40)
    object_bins.finish(heap)
    while heap.marking.phase == tricolour.SWEEPING:
        object_bins.sweep(heap)


def _heap(kind: int) -> Any:
    space, program, record = machine(), mutator.mutator(OBJECTS, 8), log.log()
    colours = tricolour.marking(space, program, record, kind, ROOTS_OF[kind], BIRTH_OF[kind])
    heap = object_bins.object_bins(colours, 0, 1 << 20)
    lay_out(heap)
    return heap


def _measure(heap: Any, state: int, targets: np.ndarray) -> float:
    """Nanoseconds of one write."""
    if state in (REACHED, WHITE):
        begin(heap, state == REACHED)
    start = time.perf_counter_ns()
    write(heap, targets)
    elapsed = time.perf_counter_ns() - start
    if state in (REACHED, WHITE):
        end(heap)
    return elapsed / len(targets)


def nanoseconds() -> dict[str, list[float]]:
    """Medians by barrier: of a write beside a cycle, in one where all is reached, and in one where
    all that is written and overwritten is white at first."""
    draw = np.random.default_rng(1)
    heaps = [_heap(kind) for kind in range(len(NAMES))]
    times: dict[tuple[int, int], list[float]] = {}
    for _ in range(TRIES):
        targets = draw.permutation(OBJECTS)
        for kind, heap in enumerate(heaps):
            for state in (BESIDE, REACHED, WHITE):
                times.setdefault((kind, state), []).append(_measure(heap, state, targets))
    return {
        name: [statistics.median(times[kind, state]) for state in (BESIDE, REACHED, WHITE)]
        for kind, name in enumerate(NAMES)
    }


if __name__ == "__main__":
    for barrier, (beside, reached, white) in nanoseconds().items():
        print(f"{barrier:9} {beside:6.1f} {reached:6.1f} {white:6.1f} ns")
