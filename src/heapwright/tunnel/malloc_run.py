"""What a replay keeps between batches, for any manager without a collector: see loop.py.

Written once and not in each copy of the loop: Numba's dispatcher tells named tuples apart by the
names of their classes alone, takes one manager's `Run` for another's, and looks for what it has
compiled at each call anew, at a twentieth of the speed.
"""

from typing import Any, NamedTuple

import numpy as np


class Objects(NamedTuple):
    """Where each live object of the trace lies."""

    address: np.ndarray  # int64[slot]; 0 when dead or refused
    size: np.ndarray  # int64[slot], bytes requested; not kept by `replay`


class Run(NamedTuple):
    """The state of a replay between batches."""

    objects: Objects
    progress: np.ndarray  # int64[PROGRESS]


# Run.progress
(
    NEXT,  # events replayed
    PEAK_PAGES,  # most resident pages at the end of an event
    PEAK_EVENT,  # the first event that reached it
    REFUSED,  # requests that the manager refused though the real system did not
    TOUCH,  # setting: blocks below so many bytes are written whole; those above as the trace says
    LIVE_BYTES,  # bytes requested by live objects; kept by `survey` only
    PASSED_OVER,  # calls of mallopt, malloc_trim and sbrk that the manager has no answer to
    STEP_NS,  # setting: from one event to the next, where the trace knows no time
    PROGRESS,
) = range(9)


def start(heap: Any, slots: int) -> Run:
    """The state before the first event of a trace with so many slots."""
    objects = Objects(np.zeros(slots, np.int64), np.zeros(slots, np.int64))
    return Run(objects, np.zeros(PROGRESS, np.int64))
