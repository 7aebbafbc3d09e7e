"""A recording in several traces, written while the program runs: one for each piece of its log.

    log 1 ─ full, or old ─► log 2 ...     log 1 ─► OUT.001 ─ blocks that live ─► OUT.002 ...

A log that was converted goes, so the disk holds the traces and one or two logs.
"""

import contextlib
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.trace.notes import Note
from heapwright.trace.recorder.carry import Carry
from heapwright.trace.recorder.convert import Converted, convert
from heapwright.trace.recorder.log import CONTINUES, Log
from heapwright.trace.recorder.traces import Session, logs_in

# That the last records of a log are waited for, once the next one has begun: of threads that were
# put off between an event's number and its record.
SETTLES_S = 1.0


class Rotation:
    """Converts each log when the next one has begun."""

    def __init__(self, folder: Path, session: Session, out: Path, keep: int) -> None:
        self.written: list[Converted] = []
        self.dropped = 0  # traces that went, as only so many are kept
        self._folder, self._session, self._out, self._keep = folder, session, out, keep
        self._done = 0  # logs that are given to be converted
        self._seen: dict[Path, float] = {}
        self._gone: list[Path] = []  # logs that were converted
        self._number = 0  # of the last trace
        self._carry: Carry | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="heapwright-rotate")
        self._waiting: list[Future[None]] = []

    def tick(self) -> None:
        """Begin with what is complete; HeapwrightError of an earlier one is raised at the end."""
        logs, now = self._logs(), time.monotonic()
        for log in logs:
            self._seen.setdefault(log, now)
        while self._done + 1 < len(logs) and now - self._seen[logs[self._done + 1]] >= SETTLES_S:
            self._waiting.append(self._pool.submit(self._convert, logs[self._done]))
            self._done += 1

    def finish(self) -> list[Converted]:
        """What was written, once all is; HeapwrightError when the disk refused."""
        try:
            for log in self._logs()[self._done :]:
                self._waiting.append(self._pool.submit(self._convert, log))
            for one in self._waiting:
                one.result()
        except HeapwrightError as error:
            raise HeapwrightError(
                f"{error}; the logs that are left are kept in {self._folder}"
            ) from None
        finally:
            self._pool.shutdown(cancel_futures=True)
        return self.written

    def _logs(self) -> list[Path]:
        """Of the process, in the order of time; with those that went."""
        left = [log for pid, _, log in logs_in(self._folder) if pid == self._session.pid]
        gone = list(self._gone)  # looked at behind the folder: a log goes into it and then away
        return [*gone, *(log for log in left if log not in gone)]

    def _convert(self, path: Path) -> None:
        """One log, in our thread."""
        log, number = Log(path), self._number + 1
        first = self._out.name.endswith(".heap.parquet")
        suffix = ".heap.parquet" if first else self._out.suffix
        target = self._out.with_name(f"{self._out.name.removesuffix(suffix)}.{number:03}{suffix}")
        goes_on = bool(log.flags & CONTINUES) and self._carry is not None
        notes = [Note(f"This is part {number:,} of a recording in several traces.", "part", number)]
        found = convert(
            path,
            target,
            program=Path(self._session.command[0]).name,
            notes=notes,
            carried=self._carry if goes_on else None,
            carrying=True,
        )
        self._carry, found.carry = found.carry, None
        self._number = number
        self._gone.append(path)
        empty = path.with_name(
            path.name + ".gone"
        )  # the name stays taken, what is mapped is left alone
        empty.touch()
        empty.replace(path)
        self.written.append(found)
        while self._keep and len(self.written) > self._keep:
            with contextlib.suppress(OSError):
                self.written[0].path.unlink()
            del self.written[0]
            self.dropped += 1
