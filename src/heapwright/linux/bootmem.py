"""The boot allocator before memblock: a bit for each frame, first fit, the last page shared.

    map    0 0 0 0 1 1 1 1 1 0 ...      1: taken
    alloc  first run of free frames from the hint on; it starts in the page before, where the last
           one ended, if it follows that
    free   the frames that lie wholly within

Terms      hint: frame past the last allocation; end: byte offset where the last one ended
Source     Linux 4.19, mm/bootmem.c (removed in 4.20)
Omits      more than one node; the variant of early 2.6
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.machine.address_space import PAGE_BYTES, PAGE_SHIFT

WORD_FRAMES = 64  # of the real bitmap's word
WORD_ORDER = 6


@record("frames", "hint", "end")
class Bootmem(NamedTuple):
    """One node's map."""

    map: np.ndarray  # uint8[frame]  1: taken
    fields: np.ndarray  # int64[word]


def bootmem(frames: int) -> Bootmem:
    """A node of which every frame is taken."""
    return Bootmem(np.ones(frames, np.uint8), words(Bootmem, frames=frames))


@kernel
def reserve(node, address, size):
    """Take the frames that [address, address + size) touches."""
    for frame in range(address >> PAGE_SHIFT, (address + size + PAGE_BYTES - 1) >> PAGE_SHIFT):
        node.map[unsigned(frame)] = 1


@kernel
def free(node, address, size):
    """Give back the frames that lie wholly in [address, address + size)."""
    first = (address + PAGE_BYTES - 1) >> PAGE_SHIFT
    past = (address + size) >> PAGE_SHIFT
    node.hint = min(node.hint, first)
    for frame in range(first, past):
        node.map[unsigned(frame)] = 0


@kernel
def _aligned(number, step):
    """The next multiple of `step`, a power of two."""
    return (number + step - 1) & ~(step - 1)


@kernel
def _run(node, first, frames, step, past):
    """The first run of so many free frames from `first` on, at a multiple of `step`; -1."""
    while True:
        while first < past and node.map[unsigned(first)]:
            first += 1
        first = _aligned(first, step)
        if first >= past or first + frames > past:
            return -1
        taken = -1
        for frame in range(first, first + frames):
            if node.map[unsigned(frame)]:
                taken = frame
                break
        if taken < 0:
            return first
        first = _aligned(taken, step)
        if first == taken:
            first += step


@kernel
def alloc(node, size, align, goal, limit):
    """Byte offset of a place at or above `goal` and below `limit` (0: none), or anywhere if there
    is no room there; -1."""
    place = _alloc_once(node, size, align, goal, limit)
    if place < 0 and goal:
        place = _alloc_once(node, size, align, 0, limit)
    return place


@kernel
def _alloc_once(node, size, align, goal, limit):
    """Likewise, above the goal alone."""
    past = node.frames
    if limit:
        past = min(past, limit >> PAGE_SHIFT)
    step, frames = max(align >> PAGE_SHIFT, 1), (size + PAGE_BYTES - 1) >> PAGE_SHIFT
    first = 0
    if 0 < goal >> PAGE_SHIFT < past:
        first = _aligned(goal >> PAGE_SHIFT, step)
    found = -1
    if node.hint > first:
        found = _run(node, _aligned(node.hint, step), frames, step, past)
    if found < 0:
        found = _run(node, first, frames, step, past)
    if found < 0:
        return -1
    start = found << PAGE_SHIFT
    if node.end & (PAGE_BYTES - 1) and (node.end >> PAGE_SHIFT) + 1 == found:
        start = _aligned(node.end, align)
    node.end = start + size
    node.hint = (node.end + PAGE_BYTES - 1) >> PAGE_SHIFT
    for frame in range(start >> PAGE_SHIFT, node.hint):
        node.map[unsigned(frame)] = 1
    return start


def handed_over(node: Bootmem, map_frames: range = range(0)) -> Iterator[tuple[int, int]]:
    """The blocks that the page allocator is given at the end, in their order: (frame, order).

    A free word of the map that is aligned goes as one block, others frame by frame; last the
    frames of the map itself.
    """
    frames = int(node.fields[0])
    frame = 0
    while frame < frames:
        whole = frame % WORD_FRAMES == 0 and frame + WORD_FRAMES <= frames
        if whole and not node.map[frame : frame + WORD_FRAMES].any():
            yield frame, WORD_ORDER
            frame += WORD_FRAMES
        else:
            if not node.map[frame]:
                yield frame, 0
            frame += 1
    yield from ((each, 0) for each in map_frames)
