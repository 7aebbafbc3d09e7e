"""The traces of a recording that does not simply last from a program's start to its end.

Watch ─ it ends: written at once, beside the program ─┐
      └ it goes over into the next trace: Rotation    ─┴─► finish: what was written
"""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.convert import Converted
from heapwright.trace.recorder.rotate import SETTLES_S, Rotation
from heapwright.trace.recorder.traces import Progress, Session, write_traces
from heapwright.trace.recorder.watch import Watch
from heapwright.trace.recorder.wishes import Wishes


class Parts:
    """Writes traces while the program runs, as a Watch asks for."""

    def __init__(
        self,
        folder: Path,
        session: Session,
        out: Path,
        wishes: Wishes,
        say: Callable[[str], None],
    ) -> None:
        self._folder, self._session, self._out, self._say = folder, session, out, say
        self._rotation = Rotation(folder, session, out, wishes.keep) if wishes.rotating else None
        self._watch: Watch | None = None
        self._written: list[Converted] = []
        self._error: HeapwrightError | None = None
        self._writer: threading.Thread | None = None

    def watched(self, watch: Watch, *, at_once: bool = True) -> Watch:
        """The watch, which tells us now; with `at_once` what ends is written while others wait."""
        self._watch = watch
        if self._rotation:
            watch.at_tick = self._rotation.tick
        elif at_once:
            watch.at_stop = self._stop
        return watch

    def finish(self, progress: Progress | None) -> list[Converted]:
        """The program, or the recording of it, has ended: all its traces. The folder goes."""
        if self._watch and self._watch.ended:
            self._session.ended = self._watch.ended
        if self._writer:
            self._writer.join()
            if self._error:
                raise self._error
        elif self._rotation:
            self._written = self._rotation.finish()
        else:
            return write_traces(self._folder, self._session, self._out, progress)
        shutil.rmtree(self._folder, ignore_errors=True)
        return self._written

    def _stop(self) -> None:
        self._session.ended = self._watch.ended if self._watch else ""
        self._writer = threading.Thread(target=self._write, name="heapwright-write", daemon=True)
        self._writer.start()

    def _write(self) -> None:
        """Beside the program, which goes on."""
        time.sleep(SETTLES_S)
        try:
            self._written = write_traces(self._folder, self._session, self._out, keep=True)
        except HeapwrightError as error:
            self._error = error
            return
        for one in self._written:
            self._say(f"{one.path} is written; the program goes on")
