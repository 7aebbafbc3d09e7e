"""Why a twin and a recording of several threads may differ though the twin is right."""

from typing import TYPE_CHECKING

import numpy as np

from heapwright.trace.schema import THREAD_EXIT
from heapwright.words import counted

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

NEARBY_EVENTS = 4096  # before a difference, in which the end of a thread may be its cause
AT_ONCE_EVENTS = 64  # likewise a call by another thread


def at_once(trace: "Trace", event: int) -> str:
    """What other threads did just before an event, in an order that a recording cannot tell."""
    first, past = max(event - NEARBY_EVENTS, 0), min(event + NEARBY_EVENTS, trace.events)
    parts = list(trace.batches(("op", "slot", "thread"), rows=(first, past)))
    op, thread = (np.concatenate([getattr(b, c) for b in parts]) for c in ("op", "thread"))
    since = "after that what one thread finds depends on it"
    here = event - first
    for row in (here + np.flatnonzero(op[here:] == THREAD_EXIT)).tolist():
        own = np.flatnonzero(thread[:row] == thread[row])
        if len(own) and own[-1] < here:  # it did nothing more, and where it ended is inferred
            return (
                f"Thread {int(thread[row]):,} was ending, {counted(here - int(own[-1]), 'event')}"
                " before it and on: which blocks of its cache went back to the arenas between "
                f"the calls of others is not recorded; {since}."
            )
    op, thread = op[: here + 1], thread[: here + 1]
    ended = np.flatnonzero(op == THREAD_EXIT)
    if len(ended):
        who, ago = int(thread[ended[-1]]), event - first - int(ended[-1])
        return (
            f"Thread {who:,} had ended {counted(ago, 'event')} before it: when its cache was "
            "emptied into the arenas, and its own was free for another thread, is not recorded; "
            f"{since}."
        )
    others = np.flatnonzero(thread[-AT_ONCE_EVENTS:] != thread[-1])
    if len(others):
        who = int(thread[-AT_ONCE_EVENTS:][others[-1]])
        ago = min(AT_ONCE_EVENTS, len(thread)) - 1 - int(others[-1])
        return (
            f"Thread {who:,} was in malloc {counted(ago, 'event')} before it: which of two calls "
            f"at once had an arena's lock first is not recorded; {since}."
        )
    return ""
