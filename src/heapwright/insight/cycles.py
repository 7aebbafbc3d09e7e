"""What only Python's cycle collector could free: who made it, and how long it waited.

    a look finds an object out of reach ─► a root holds it: it waits ─► a collection takes it

A recorded graph tells both: ROOT when a look could no longer reach the object, and what is let go
of right before a collection, UNROOT and FREE, is what it was about to take. From its birth to the
next look an object is held too, so a wait is known to within a look; of what died between two looks
it is not counted.

Terms      a wait is told in births of blocks, which is what gc's thresholds count, too
Omits      what waits still when the program ends
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.insight.why import peak_event
from heapwright.result import TIMELINE
from heapwright.trace.schema import FREE, NEW, RAN, ROOT, STEER, STEER_BITS, UNROOT

if TYPE_CHECKING:
    from heapwright.result import Result
    from heapwright.trace.store import Trace

COLUMNS = ("op", "slot", "size", "site")
BINS = 1 << 12  # of the trace's events, for the most that waited at once
WORST = 20  # call sites that are kept
UNTOLD = ("at", "sites", "course", "width")  # of Cycles, in JSON in other words or not at all

# Columns of Books.by_site
OBJECTS, BYTES, WAITED, LONGEST, SITE_COLUMNS = range(5)  # WAITED: births, of all objects together
# Words of Books.counts
NEXT, BIRTHS, WINDOW, WINDOW_EVENT, LETTING_GO, RUNS, BY_COUNT, COUNTS = range(8)


class Books(NamedTuple):
    """What is kept while a trace streams by."""

    size: np.ndarray  # int64[slot], bytes
    site: np.ndarray  # int32[slot]
    since_births: np.ndarray  # int64[slot], births by then: born, or held by a root
    since_event: np.ndarray  # int64[slot]
    until_event: np.ndarray  # int64[slot], the root that held it was dropped; -1: it holds, or
    # none did
    window: np.ndarray  # int32[slot], freed since the last event of another kind
    by_site: np.ndarray  # int64[site + 1, SITE_COLUMNS]
    bins: np.ndarray  # int64[BINS + 1], bytes that begin to wait less those taken
    moments: np.ndarray  # int64[moment], events
    waiting: np.ndarray  # int64[moment, site + 1], bytes
    counts: np.ndarray  # int64[COUNTS]


@kernel
def follow(books, events, width):
    """Enter a batch; a bin is `width` events."""
    counts, sited = books.counts, len(events.site) > 0
    for row in range(len(events.op)):
        i = unsigned(row)
        op, slot = np.int64(events.op[i]), np.int64(events.slot[i])
        if op == NEW:
            s = unsigned(slot)
            books.size[s] = events.size[i]
            books.site[s] = events.site[i] if sited else -1
            books.until_event[s] = -1
            counts[BIRTHS] += 1
        elif op == UNROOT:
            books.until_event[unsigned(slot)] = counts[NEXT]
            if not counts[LETTING_GO]:  # what was freed before died by its count
                counts[BY_COUNT] += counts[WINDOW]
                counts[WINDOW], counts[LETTING_GO] = 0, 1
        elif op == ROOT:
            s = unsigned(slot)
            books.since_births[s], books.since_event[s] = counts[BIRTHS], counts[NEXT]
        elif op == FREE:
            books.window[unsigned(counts[WINDOW])] = slot
            counts[WINDOW] += 1
        elif op == STEER and events.size[i] & ((1 << STEER_BITS) - 1) == RAN:
            counts[RUNS] += 1
            for taken in range(counts[WINDOW] * counts[LETTING_GO]):
                _taken(books, unsigned(books.window[unsigned(taken)]), width)
            counts[WINDOW] *= 1 - counts[LETTING_GO]
        if op not in (FREE, UNROOT):
            counts[BY_COUNT] += counts[WINDOW]
            counts[WINDOW], counts[LETTING_GO], counts[WINDOW_EVENT] = 0, 0, counts[NEXT]
        counts[NEXT] += 1


@kernel
def _taken(books, s, width):
    """A collection takes the object."""
    counts, of = books.counts, books.by_site[unsigned(books.site[s] + 1)]
    of[OBJECTS] += 1
    of[BYTES] += books.size[s]
    if books.until_event[s] < counts[WINDOW_EVENT]:
        return  # it was within reach at the last look
    waited = counts[BIRTHS] - books.since_births[s]
    of[WAITED] += waited
    of[LONGEST] = max(of[LONGEST], waited)
    since = books.since_event[s]
    books.bins[unsigned(since // width)] += books.size[s]
    books.bins[unsigned(counts[NEXT] // width)] -= books.size[s]
    for moment in range(len(books.moments)):
        m = unsigned(moment)
        if since <= books.moments[m] < counts[NEXT]:
            books.waiting[m, unsigned(books.site[s] + 1)] += books.size[s]


@dataclass(frozen=True)
class Waiting:
    """One call site's objects that only the collector could free."""

    label: str
    objects: int
    bytes: int
    waited_births: int  # on average
    longest_births: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dict(vars(self))


@dataclass(frozen=True)
class Cycles:
    """What collections took, and what of it waited."""

    collections: int
    births: int
    objects: int  # that collections took
    bytes: int
    by_count: int  # objects that died with their last reference
    most_bytes: int  # that waited at once
    most_event: int
    sites: list[Waiting]  # most bytes times births first
    at: dict[int, np.ndarray] = field(repr=False)  # by event: int64[site + 1], bytes that waited
    course: np.ndarray = field(repr=False)  # int64[bin], bytes that waited through time
    width: int = 1  # events of a bin

    @property
    def sentence(self) -> str:
        """What it comes to."""
        from heapwright.words import bytes_text, counted, percent_text

        if not self.objects:
            return (
                f"Python's {counted(self.collections, 'collection')} found nothing: all that died "
                "did so with its last reference, and gc.disable() would cost no memory."
            )
        worst, share = self.sites[0], self.objects / (self.objects + self.by_count)
        return (
            f"Only the cycle collector could free {counted(self.objects, 'block')} "
            f"({bytes_text(self.bytes)}, {percent_text(share)} of all that died); "
            f"at most {bytes_text(self.most_bytes)} waited for it at once. Most of it "
            f"was made by {worst.label}, and waited {worst.waited_births:,} births on average, "
            f"{worst.longest_births:,} at most."
        )

    def to_json(self) -> dict[str, Any]:
        """As `why --json` prints it."""
        known = {name: value for name, value in vars(self).items() if name not in UNTOLD}
        return known | {"sentence": self.sentence, "sites": [one.to_json() for one in self.sites]}


def cycles(trace: "Trace", moments: Sequence[int] = ()) -> Cycles:
    """Stream a recorded graph by once; `moments`: events at which what waits is told by site."""
    names = [", ".join(trace.stack(row)[::-1]) for row in range(len(trace.sites()))]
    rows = len(names) + 1
    width = max(1, -(-trace.events // BINS))
    slots = max(1, trace.slots)
    books = Books(
        np.zeros(slots, np.int64),
        np.full(slots, -1, np.int32),
        np.zeros(slots, np.int64),
        np.zeros(slots, np.int64),
        np.full(slots, -1, np.int64),
        np.zeros(slots, np.int32),
        np.zeros((rows, SITE_COLUMNS), np.int64),
        np.zeros(BINS + 1, np.int64),
        np.array(moments, np.int64),
        np.zeros((len(moments), rows), np.int64),
        np.zeros(COUNTS, np.int64),
    )
    for batch in trace.batches(COLUMNS):
        follow(books, batch, width)
    course = np.cumsum(books.bins)
    most = int(course.argmax())
    merged: dict[str, list[int]] = {}
    for row, counts in zip(["unknown", *names], books.by_site.tolist(), strict=True):
        known = merged.setdefault(row, [0, 0, 0, 0])
        known[:] = [*(a + b for a, b in zip(known[:3], counts[:3], strict=True)),
                    max(known[LONGEST], counts[LONGEST])]  # fmt: skip
    found = [
        Waiting(label, of[OBJECTS], of[BYTES], of[WAITED] // of[OBJECTS], of[LONGEST])
        for label, of in merged.items()
        if of[OBJECTS]
    ]
    found.sort(key=lambda one: -one.bytes * max(1, one.waited_births))
    return Cycles(
        int(books.counts[RUNS]),
        int(books.counts[BIRTHS]),
        int(books.by_site[:, OBJECTS].sum()),
        int(books.by_site[:, BYTES].sum()),
        int(books.counts[BY_COUNT]),
        int(course[most]),
        min(most * width, max(trace.events - 1, 0)),
        found[:WORST],
        {event: books.waiting[row] for row, event in enumerate(moments)},
        course,
        width,
    )


def tell_apart(result: "Result", found: Cycles) -> None:
    """What waited counts as garbage in the parts of a replay, which know of it from its collection
    on, and no longer as live: at the end, at the peak, and through time."""
    moments = {result.end_event: result.end, peak_event(result): result.peak}
    for event, parts in moments.items():
        size = min(int(found.at[event].sum()), parts["live_bytes"]) if event in found.at else 0
        parts["live_bytes"] -= size
        parts["garbage_bytes"] = parts.get("garbage_bytes", 0) + size
    if result.timeline is not None and len(result.timeline):
        live, garbage = TIMELINE.index("live_bytes"), TIMELINE.index("garbage_bytes")
        at = np.minimum(result.timeline[:, 0] // found.width, BINS)
        size = np.minimum(found.course[at], result.timeline[:, live])
        result.timeline[:, live] -= size
        result.timeline[:, garbage] += size
