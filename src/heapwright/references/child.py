"""A process that drives a real system, fed and read through pipes by the word.

A context manager: whatever happens, no process is left. A process that ends by itself, or says
nothing any more, becomes one sentence with what it said on its standard error.
"""

import contextlib
import select
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.trace.schema import Events

SILENT_SECONDS = 900  # without a word, and a process is given up: a part of a batch takes seconds
CHUNK_EVENTS = 1 << 15  # drive.c, drive.h: BATCH


class Child:
    """The process `executable`, with nothing but `environment`."""

    blame = "."  # ends the sentence about a process that died: what usually does this

    def __init__(self, name: str, executable: Path, environment: dict[str, str]) -> None:
        """`name` is what it drives, for sentences: "real jemalloc"."""
        self.name = name
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 closed by __exit__
        self._process = subprocess.Popen(
            [executable],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
            bufsize=0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.kill()
        with contextlib.suppress(OSError):
            self._process.communicate()
        self._stderr.close()

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def fed(self, events: Events, row: np.dtype[np.void]) -> Iterator[slice]:
        """Send a batch in parts, their number of events first, each event as `row`; after each
        part which events it holds, whose answers are to be read then."""
        total = len(events.op)
        for start in range(0, total, CHUNK_EVENTS):
            rows = slice(start, min(start + CHUNK_EVENTS, total))
            packed = np.zeros(rows.stop - start, row)
            for column in (row.names or ())[:-1]:  # the last is padding
                values = getattr(events, column)[rows]
                if len(values):
                    packed[column] = values
            self.send(np.array([len(packed)], np.int64))
            self.send(packed)
            yield rows

    def send(self, data: np.ndarray) -> None:
        """Write the array's bytes."""
        assert self._process.stdin is not None
        view = np.ascontiguousarray(data).view(np.uint8).reshape(-1).data
        try:
            while view:
                view = view[self._process.stdin.write(view) :]
        except BrokenPipeError:
            raise self._died() from None

    def receive(self, into: np.ndarray) -> np.ndarray:
        """Fill the array with what the process writes; the array."""
        assert self._process.stdout is not None
        stream: Any = self._process.stdout
        view = into.view(np.uint8).reshape(-1).data
        while view:
            if not select.select([stream], [], [], SILENT_SECONDS)[0]:
                raise HeapwrightError(
                    f"the process of the {self.name} said nothing for {SILENT_SECONDS} seconds."
                )
            got = stream.readinto(view)
            if not got:
                raise self._died()
            view = view[got:]
        return into

    def said(self) -> str:
        """What it wrote to its standard error so far."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").strip()

    def _died(self) -> HeapwrightError:
        status = self._process.wait(30)
        said = self.said()[:300]
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return HeapwrightError(
            f"the process of the {self.name} {how}{': ' + said if said else ''}{self.blame}"
        )
