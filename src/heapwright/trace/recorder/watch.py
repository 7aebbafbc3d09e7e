"""When a recording begins, ends, and goes over into the next trace.

    seconds, signals, bytes of the log ─► Watch.tick ─► the page that the recorder obeys

The recorder looks at the page when a thread has filled its chunk or made 4,096 events.
"""

import time
from collections.abc import Callable

from heapwright.trace.recorder.control import RECORD, SEGMENT, STATE, STOP, USED, WAIT, Control
from heapwright.trace.recorder.wishes import SIGNALS, Wishes

TICK_S = 0.1


def _nothing() -> None:
    pass


class Watch:
    """What the options ask for, as time goes by. `tick` is called every TICK_S or so."""

    def __init__(self, wishes: Wishes, page: Control, *, attaching: bool = False) -> None:
        self.ended = ""  # why the recording ended before the program, words for a note
        self.at_stop: Callable[[], None] = _nothing  # called once when it does
        self.at_tick: Callable[[], None] = _nothing
        self._wishes, self._page = wishes, page
        self._start = self._now = time.monotonic()
        waits = page[STATE] == WAIT or (attaching and (wishes.after_s > 0 or wishes.signal))
        self._began = None if waits else self._start
        self._segment_began, self._segment_used = self._start, 0
        self._signals = 0

    @property
    def began(self) -> bool:
        """Whether it was time to begin."""
        return self._began is not None

    @property
    def toggle(self) -> int | None:
        """The signal that is ours."""
        return SIGNALS.get(self._wishes.signal)

    def signalled(self) -> None:
        """Our signal came; the next tick acts upon it."""
        self._signals += 1

    def tick(self) -> None:
        """Do what it is time for."""
        wishes, now = self._wishes, time.monotonic()
        wanted = self._signals > 0 if wishes.signal else now - self._start >= wishes.after_s
        if self._began is None and wanted and not self.ended:
            self._page[STATE] = RECORD
            self._began = self._segment_began = now
            self._signals = 0
        if self._began is not None and not self.ended:
            if self._signals:
                self.stop(f"as asked by the signal {wishes.signal}")
            elif wishes.for_s and now - self._began >= wishes.for_s:
                self.stop(f"after {wishes.for_s:g} s, as asked")
            elif wishes.rotating:
                self._rotate(now)
        self.at_tick()

    def _rotate(self, now: float) -> None:
        wishes, used = self._wishes, self._page[USED]
        full = wishes.rotate_bytes and used - self._segment_used >= wishes.rotate_bytes
        old = wishes.rotate_s and now - self._segment_began >= wishes.rotate_s
        if full or old:
            self._page[SEGMENT] += 1
            self._segment_began, self._segment_used = now, used

    def stop(self, why: str) -> None:
        """End the recording; the program goes on."""
        if not self.ended:
            self.ended = why
            self._page[STATE] = STOP
            self.at_stop()
