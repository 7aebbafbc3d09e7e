"""What else a recording is to keep, and when: told to the recorder by the page of `control.py`."""

import platform
import signal
from dataclasses import dataclass

from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.control import (
    CHUNK_BYTES,
    DEPTH,
    MOST,
    NO_PYTHON,
    STATE,
    WAIT,
    Control,
)

MOST_FRAMES = 1000  # of a stack, as in tree.h
_USER = ("USR1", "USR2")  # that a system may lack
SIGNALS = {name: getattr(signal, f"SIG{name}") for name in _USER if hasattr(signal, f"SIG{name}")}
LEAST_BYTES = 4 * CHUNK_BYTES  # of a log's size


@dataclass(frozen=True)
class Wishes:
    """Options of a recording."""

    stacks: int = 0  # frames of a call stack at most; 0: the call site alone
    after_s: float = 0.0  # seconds until it begins
    for_s: float = 0.0  # seconds that it lasts; 0: to the end
    signal: str = ""  # sent to us it begins the recording, and ends it; a name in SIGNALS
    most_bytes: int = 0  # of the logs, on the disk; 0: as they come
    rotate_bytes: int = 0  # of a log, behind which the next trace begins
    rotate_s: float = 0.0  # seconds after which it does
    keep: int = 0  # traces that are kept of a rotation; 0: all
    python: bool = True  # of a Python program what it asks of Python's own allocator, and the lines

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
        if self.signal and self.signal not in SIGNALS:
            raise HeapwrightError(
                f"a recording is not begun by {self.signal}: give {' or '.join(SIGNALS)}"
            )
        if min(self.after_s, self.for_s, self.rotate_s, self.keep) < 0:
            raise HeapwrightError("a time or a count of a recording is less than nothing")
        for name, size in (("--max-size", self.most_bytes), ("--rotate", self.rotate_bytes)):
            if size and size < LEAST_BYTES:
                raise HeapwrightError(
                    f"a log of {size:,} bytes, as {name} asks for, holds next to nothing: "
                    f"give at least {LEAST_BYTES:,}"
                )

    @property
    def rotating(self) -> bool:
        """Whether there is to be more than one trace."""
        return bool(self.rotate_bytes or self.rotate_s)

    def tell(self, page: Control, *, waits: bool = True) -> None:
        """The recorder reads them on this page; a process that runs already `waits` for us."""
        page[DEPTH], page[MOST] = self.stacks, self.most_bytes
        page[NO_PYTHON] = not self.python or self.rotating  # parts carry no domains over
        if waits and (self.after_s or self.signal):
            page[STATE] = WAIT


PLAIN = Wishes()
