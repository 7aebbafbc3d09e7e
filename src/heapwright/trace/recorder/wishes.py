"""What else a recording is to keep, and when: told to the recorder by the page of `control.py`."""

import platform
from dataclasses import dataclass
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.control import DEPTH, controlled

MOST_FRAMES = 1000  # of a stack, as in tree.h


@dataclass(frozen=True)
class Wishes:
    """Options of a recording."""

    stacks: int = 0  # frames of a call stack at most; 0: the call site alone

    def __post_init__(self) -> None:
        if self.stacks and platform.machine() not in ("x86_64", "AMD64"):
            raise HeapwrightError(
                f"call stacks are recorded on x86-64 only, and this is {platform.machine()}: "
                "record call sites, without --stacks"
            )
        if not 0 <= self.stacks <= MOST_FRAMES:
            raise HeapwrightError(
                f"a stack of {self.stacks:,} frames: give a depth of 1 to {MOST_FRAMES:,}"
            )

    def tell(self, folder: Path) -> None:
        """Leave them in the folder of the logs for the recorder, where there are any."""
        if self != PLAIN:
            with controlled(folder) as page:
                page[DEPTH] = self.stacks


PLAIN = Wishes()
