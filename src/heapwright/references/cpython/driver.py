"""A fresh process whose pymalloc is a real one, fed with a trace's events in lockstep.

    with Drive(slots) as drive:
        for batch in trace.batches():
            addresses, arenas = drive.replay(batch)   # int64[event]; rows (event, base, bytes)
        told = drive.finish()                         # what sys._debugmallocstats() says

Exact      nothing of Python's own is in a pool before the first event, nor after: see drive.c
"""

from pathlib import Path

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.references.child import Child
from heapwright.references.cpython import build
from heapwright.trace.schema import Events
from heapwright.versions import version_number

EVENT = np.dtype([("size", "i8"), ("slot", "i4"), ("op", "u1"), ("align", "u1"), ("pad", "V2")])


class Drive(Child):
    """The process."""

    blame = "; a trace that frees or grows what was never allocated does this."

    def __init__(self, slots: int, library: Path | None = None, stray: int = 0) -> None:
        """`library` is a libpython; None: see `build.library`. `stray`: pages by
        which an arena begins further into a multiple of its size than the one before."""
        if library is None:
            if missing := build.missing():
                raise HeapwrightError(f"driving the real pymalloc: {missing}.")
            library = build.library()
        environment = {
            build.VARIABLE: str(library),
            "PYTHONHOME": str(library).partition("/lib/")[0],
        }
        super().__init__("real pymalloc", build.driver(), environment)
        self.send(np.array([slots, stray], np.int64))
        number = int(self.receive(np.zeros(1, np.int64))[0])
        self.version = version_number(f"{number >> 8}.{number & 255}")
        self.replayed = 0

    def replay(self, events: Events) -> tuple[np.ndarray, np.ndarray]:
        """Replay `events`: addresses int64[event], 0 where there is none, and int64[row, 3] of
        arenas: the event, the base, and its bytes, negative where it was given back."""
        total = len(events.op)
        placed, changes = np.zeros(total, np.int64), [np.zeros((0, 3), np.int64)]
        for rows in self.fed(events, EVENT):
            self.receive(placed[rows])
            count = int(self.receive(np.zeros(1, np.int64))[0])
            if count:
                changes.append(self.receive(np.zeros((count, 3), np.int64)))
        self.replayed += total
        return placed, np.concatenate(changes)

    def finish(self) -> str:
        """End it: what sys._debugmallocstats() wrote."""
        self.send(np.zeros(1, np.int64))
        length = int(self.receive(np.zeros(1, np.int64))[0])
        return self.receive(np.zeros(length, np.uint8)).tobytes().decode()
