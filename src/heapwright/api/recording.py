"""Record a part of the program that we are in."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heapwright.api.traces import Progress
    from heapwright.trace.store import Trace


class Here:
    """A recording of this process; `trace` opens it once the block has ended."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def trace(self) -> Trace:
        """The trace; HeapwrightError while it is not yet written."""
        from heapwright.errors import HeapwrightError
        from heapwright.trace.store import Trace

        if not self.path.exists():
            raise HeapwrightError("the trace is written when the block ends: ask behind it")
        return Trace.open(self.path)


@contextlib.contextmanager
def recording(
    output: str | os.PathLike[str] | None = None, *, progress: Progress | None = None
) -> Iterator[Here]:
    """Record what this process allocates in a block: all threads, Python's own requests with lines.

    `output` is by default the program's name with `.heap.parquet`; an earlier one is replaced. What
    was there before is not in the trace, and of children nothing is. HeapwrightError where this
    process cannot be recorded (it takes x86-64 Linux and glibc's malloc), or nothing is allocated.

    >>> import heapwright as hw
    >>> with hw.recording("list.heap.parquet") as here:
    ...     kept = [str(number) for number in range(1000)]
    >>> here.trace.allocations >= 1000
    True
    """
    from heapwright.trace.recorder.here import recording_here

    name = Path(sys.argv[0] if sys.argv and sys.argv[0] else sys.executable).name or "python3"
    path = Path(output or f"{name}.heap.parquet")
    path.unlink(missing_ok=True)
    with recording_here(path, progress):
        yield Here(path)
