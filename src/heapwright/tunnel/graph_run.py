"""What a replay of an object graph keeps between batches, for any manager: see graph_loop.py."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heapwright.collectors.mutator import Mutator, mutator
from heapwright.compiler import kernel
from heapwright.compiler.reserve import reserve

if TYPE_CHECKING:
    from heapwright.trace.store import Trace


class Objects(NamedTuple):
    """The objects that the program knows."""

    address: np.ndarray  # int64[slot]; 0 when dead; the mutator's handles
    size: np.ndarray  # int64[slot], bytes requested; kept by `survey` only


class Run(NamedTuple):
    """The state of a replay between batches."""

    objects: Objects
    entered: np.ndarray  # int64[slot], address under which the ledger has the object; 0 not
    block: np.ndarray  # int64[slot * 4], flat: start, bytes, size and usable bytes as entered
    progress: np.ndarray  # int64[PROGRESS]


# Run.progress
(
    NEXT,  # events replayed
    PEAK_PAGES,  # most resident pages at the end of an event
    PEAK_EVENT,  # the first event that reached it
    REFUSED,  # OUT_OF_MEMORY or UNSOUND when the program is dead; no event is replayed after that
    TOUCH,  # setting: blocks below so many bytes are written whole; those above as the trace says
    LIVE_BYTES,  # bytes requested by live objects; kept by `survey` only
    PASSED_OVER,  # calls of mallopt, malloc_trim, sbrk and of Python's gc that are not answered
    PROGRESS,
) = range(8)
OUT_OF_MEMORY = 1  # the manager found no room
UNSOUND = 2  # the trace writes to an object that nothing refers to


def program(trace: "Trace") -> Mutator:
    """What the program of a trace holds before its first event."""
    return mutator(
        trace.slots,
        trace.peak_roots,
        every_handle=not trace.graph,
        references=trace.references,
    )


def start(heap, slots):
    """The state before the first event of a trace with so many slots."""
    objects = Objects(heap.mutator.handles, np.zeros(slots, np.int64))
    entered, block = reserve(slots, np.int64), reserve(4 * slots, np.int64)
    return Run(objects, entered, block, np.zeros(PROGRESS, np.int64))


@kernel
def nothing(heap, operand):
    """For a collector that is not to be told of it."""


@kernel
def no_tracking(heap, slot, on):
    """For a collector that follows every object."""


@kernel
def no_references(heap, slot, target, kind):
    """For a collector that takes every reference for a strong one."""
    return True
