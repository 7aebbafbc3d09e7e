"""Whether a setting of malloc can help at all: how much of the process is heap, how much is live.

    facts of the recording, the present state's replay ─► sentences, and a ceiling of what is saved

Said before any advice: where the recorded heap is a small part of the process, where what stays is
live, or where the replay holds more than the process ever did.
"""

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from heapwright.result import TIMELINE, Result
from heapwright.words import bytes_text, percent_text

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

SMALL_HEAP = 0.5  # of what the process grew by; a smaller heap is told first
EXCESS_SHARE = 0.05  # by which a replay may exceed the process before it is told
EXCESS_BYTES = 1 << 20
LIVE_SHARE = 0.75  # of what stays; more is live data, which no setting makes less
GROWN = 0.9  # of the most that was ever live, and still live at the end
RISING = 0.1  # of that, added in each of the last two thirds


@dataclass
class Standing:
    """What is known before anything is tried."""

    sentences: list[str] = field(default_factory=list)
    ceiling: int | None = None  # bytes that the heap of the process held at most; None: not known
    excess: float = 0.0  # share by which the replay's peak exceeds that
    live_share: float = 0.0  # of what stays


def standing(trace: "Trace", now: Result) -> Standing:
    """Judge the present state."""
    found = Standing()
    _of_the_process(trace, now, found)
    _of_the_end(now, found)
    return found


def _of_the_process(trace: "Trace", now: Result, found: Standing) -> None:
    grown = grown_bytes(trace)
    if grown is None:
        return
    held, whole = now.held_bytes, int(trace.origin["resident_bytes"])
    found.ceiling = grown
    if held > grown * (1 + EXCESS_SHARE) + EXCESS_BYTES:
        found.excess = held / max(grown, 1) - 1
        found.sentences.append(
            f"The process held {bytes_text(whole)} at most, {bytes_text(grown)} of it since its "
            f"first request, and the replay says {bytes_text(held)}: the program does not write "
            "all that it allocates, so the figures are too high, and no more is promised than what "
            "the process held."
        )
    elif held < SMALL_HEAP * grown:
        found.sentences.append(
            f"The recorded heap is {bytes_text(held)} of the {bytes_text(whole)} that the process "
            f"held at most ({percent_text(held / whole)}): no setting of malloc saves more than "
            "that. The rest is code, stacks, and memory that was not asked of malloc, as a "
            "runtime's own heap or mapped files."
        )


def grown_bytes(trace: "Trace") -> int | None:
    """What the recorded process held at most beyond what it had before its first request; None
    where the recording does not know."""
    told = [trace.origin.get(name, "") for name in ("resident_bytes", "start_resident_bytes")]
    if not all(text.isdecimal() for text in told):
        return None
    return max(0, int(told[0]) - int(told[1]))


def _of_the_end(now: Result, found: Standing) -> None:
    if not now.end or not now.end["resident_bytes"]:
        return
    stay, live = now.end["resident_bytes"], now.end["live_bytes"]
    found.live_share = live / stay
    if found.live_share < LIVE_SHARE:
        return
    growing = _growing(now)
    what = (
        "and it grows until the end: a leak, or data that the program means to keep"
        if growing
        else "asked for by the program and still held"
    )
    found.sentences.append(
        f"Of the {bytes_text(stay)} that stay, {bytes_text(live)} ({percent_text(live / stay)}) is "
        f"live, {what}; a setting can save {bytes_text(stay - live)} at most."
    )


def _growing(now: Result) -> bool:
    """Whether live memory rises through the thirds of the trace and is near its most at the end."""
    timeline = now.timeline
    if timeline is None or len(timeline) < 3:
        return False
    live = timeline[:, TIMELINE.index("live_bytes")]
    end = int(np.searchsorted(timeline[:, 0], now.end_event, side="right"))
    parts = np.array_split(live[:end], 3)
    if any(not len(part) for part in parts):
        return False
    most = [float(part.max()) for part in parts]
    grown = float(live[end - 1]) >= GROWN * max(most)
    return grown and all(b - a > RISING * most[2] for a, b in itertools.pairwise(most))
