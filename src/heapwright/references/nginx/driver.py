"""A fresh process with nginx's own slab allocator, fed with a trace's events in lockstep.

with Drive(slots, zone_bytes) as drive:
    for batch in trace.batches():
        offsets = drive.replay(batch)    # int64[event], from the zone's first page; -1: none
    told = drive.finish()                # its counters
"""

from typing import NamedTuple

import numpy as np

from heapwright.references.child import Child
from heapwright.references.nginx import build
from heapwright.trace.schema import Events

EVENT = np.dtype([("size", "i8"), ("slot", "i4"), ("op", "u1"), ("align", "u1"), ("pad", "V2")])
SIZES = 9  # of objects that share a page
FIGURES = 5 + 4 * SIZES


class Told(NamedTuple):
    """What nginx's pool says at the end."""

    header_bytes: int  # of ngx_slab_pool_t
    free_pages: int  # pfree
    errors: int  # that it logged: "no memory"
    refused: int
    resident_pages: int
    counters: list[int]  # total, used, reqs, fails of each size


class Drive(Child):
    """The process."""

    blame = "; a trace that frees or grows what was never allocated does this."

    def __init__(self, slots: int, zone_bytes: int, *, touch: bool = True) -> None:
        super().__init__("real nginx-slab", build.driver(), {})
        self.send(np.array([slots, zone_bytes, touch], np.int64))

    def replay(self, events: Events) -> np.ndarray:
        """Replay `events`: int64[event], each block's offset, -1 where there is none."""
        total = len(events.op)
        placed = np.zeros(total, np.int64)
        for rows in self.fed(events, EVENT):
            self.receive(placed[rows])
        return placed - 1

    def finish(self) -> Told:
        """End it: its counters."""
        self.send(np.zeros(1, np.int64))
        figures = self.receive(np.zeros(FIGURES, np.int64)).tolist()
        header, free, errors, refused, resident, *counters = figures
        return Told(header, free, errors, refused, resident, counters)
