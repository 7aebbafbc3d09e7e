"""A fresh process with one of Android's allocators, fed with a trace's events in lockstep.

with Drive("art-rosalloc", slots, Space(1 << 20, (3, 4 << 20))) as drive:
    for batch in trace.batches():
        placed = drive.replay(batch)    # int64[event, 2]: offset in its space or -1; usable bytes
    told = drive.finish()
"""

from typing import NamedTuple

import numpy as np

from heapwright.references.android import build
from heapwright.references.child import Child
from heapwright.trace.schema import Events

EVENT = np.dtype(
    [("size", "i8"), ("slot", "i4"), ("thread", "i4"), ("op", "u1"), ("align", "u1"), ("pad", "V6")]
)


FIGURES = 8  # drive.h
MORE = 6  # words that a driver may be told beside its zone's bytes


class Space(NamedTuple):
    """What the real one is told of its space."""

    zone_bytes: int
    told: tuple[int, ...] = ()  # as its driver reads them


class Told(NamedTuple):
    """What it was at the end."""

    refused: int
    resident_pages: int  # of its space
    held_bytes: int  # its footprint
    peak_bytes: int
    collections: tuple[int, ...] = ()  # of a heap source: for an allocation, beside, the last ones
    digest: int = 0  # of what each left


class Drive(Child):
    """The process."""

    blame = "; a trace that frees or grows what was never allocated does this."

    def __init__(self, name: str, slots: int, space: Space, *, touch: bool = True) -> None:
        words = {"dlmalloc": space.told[:2], "dalvik": (4, 8)}
        driver = build.driver(name, *words.get(name, ()))
        super().__init__(f"real {name}", driver, build.environment(name))
        more = [*space.told, *[0] * (MORE - len(space.told))]
        self.send(np.array([slots, touch, space.zone_bytes, *more], np.int64))

    def replay(self, events: Events) -> np.ndarray:
        """Replay `events`: int64[event, 2], each block's offset, or -1, and usable bytes."""
        total = len(events.op)
        placed = np.zeros((total, 2), np.int64)
        for rows in self.fed(events, EVENT):
            self.receive(placed[rows])
        return placed

    def finish(self) -> Told:
        """End it: what it held."""
        self.send(np.zeros(1, np.int64))
        refused, pages, held, peak, *more = self.receive(np.zeros(FIGURES, np.int64)).tolist()
        return Told(refused, pages, held, peak, tuple(more[:-1]), more[-1])
