"""When a program has settled, and where its exit begins: of the trace alone, the same for all.

    0 ───────────────── 2/3 ──── high ───────── end ├── exit phase ──┤
                         └──────── last third ──────┘   frees, by one thread

Exit phase  the run of frees with which the trace ends, all by its last thread, none behind the end
            of a thread: what a program does that frees everything before it returns. One
            request, of a destructor that prints, is made up for by 16 frees: it is the suffix with
            most frees less 16 times its requests. Where the recorder looked at the process (see
            `process`) and it rested in there, by the looks and the events' clock, what comes
            behind the rest
High        within the last third of what is before: the first moment at which live memory is
            within 1/16 of its range there from its most. What comes before, the third's own ascent,
            is not yet settled
Rest        no event for 50 ms and a twentieth of the time, where the clock was read near enough to
            say when; the last one counts, if what comes behind it takes no longer than it did. The
            exit phase does not begin before its end
End         where the program rested, that; else between high and the exit phase: the last moment
            at which live memory is within 1/16 of that range from its least there. Of a load that
            was freed, the quiet after it; of a service, the last quiet between two requests; of
            what only grows, its last moment
Omits       a free of everything by one thread that is followed by nothing is an exit, though the
            program may have gone on without memory: `Ending.note` says so

Events count, not seconds: it does not depend on whether the clock was read. Large traces are looked
at in blocks of one 65,536th of their events.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.process import EVENT, TIME_NS
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    MALLOC,
    MEMALIGN,
    NEW,
    REALLOC,
    THREAD_EXIT,
)
from heapwright.words import bytes_text

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

BLOCKS = 1 << 16  # that a trace is looked at in, at most
FREES_A_REQUEST = 16  # a request within the exit phase weighs as many frees
NEAR = 16  # within one part in so many is as good as there
FEW_PACES = 4  # between looks; from fewer nothing usual is known
REST_NS, RESTS = 50_000_000, 20  # a pause of that, and of one part in so many of the time
RESTS_KEPT = 64  # pauses of REST_NS, the last ones
SURE_EVENTS, SURE_SHARE = 64, 1000  # that share a reading of the clock: of no more, or of one part
# in so many of those before, is it known when the pause came
TELLING = 20  # bytes freed in the exit phase of which it is said: one part of the peak in so many

# Words of Books.counts
(
    NEXT,  # number of the next event
    LIVE,  # bytes requested by live objects
    SCORE,  # frees less FREES_A_REQUEST times requests, since the last thread took over
    LEAST_SCORE,
    EXIT,  # the event after the least score: where the exit phase begins if the trace ends here
    LIVE_AT_EXIT,  # before it
    THREAD,  # of the last event
    CLOCK,  # of the last event, ns
    READ,  # the event at which it was read
    RESTED,  # pauses of REST_NS and more
    COUNTS,
) = range(11)
# Columns of Books.rests: the event that ends the pause, ns at which it began and ended, live bytes
RESUMED, SINCE, UNTIL, HELD, REST_COLUMNS = range(5)


class Ending(NamedTuple):
    """Moments of a trace, as numbers of events; -1 of an empty one."""

    end: int  # the state after this event is what stays
    exit: int  # the first event of the exit phase; the number of events where there is none
    end_live_bytes: int  # requested by live objects after `end`
    exit_live_bytes: int  # before the exit phase
    last_live_bytes: int  # after the last event
    clocked: np.ndarray  # int64[moment]: about evenly spaced in time, ascending; none if not known
    rest_ns: tuple[int, int] = (
        0,
        0,
    )  # when it began to rest at `end` and when it went on, if it did

    def note(self, trace: "Trace") -> list[str]:
        """What a reader must know of the end: a sentence where the exit phase frees much."""
        freed = self.exit_live_bytes - self.last_live_bytes
        if freed * TELLING <= trace.peak_live_bytes or freed <= 0:
            return []
        return [
            f"The trace ends with frees of {bytes_text(freed)} by one thread, taken for the "
            "program's exit: the end is judged before them. If a load was freed there and the "
            "program went on, what stays stands under exit."
        ]


class Books(NamedTuple):
    """What is kept while a trace streams by."""

    size: np.ndarray  # int64[slot], bytes requested; 0 of the dead
    high: np.ndarray  # int64[block], most live bytes after an event of the block
    low: np.ndarray  # int64[block], least
    low_event: np.ndarray  # int64[block], the last event with it
    clock_ns: np.ndarray  # int64[block], of its last event
    rests: np.ndarray  # int64[RESTS_KEPT, REST_COLUMNS], the row of pause n is n % RESTS_KEPT
    counts: np.ndarray  # int64[COUNTS]


@kernel
def follow(books, events, width):
    """Enter a batch; a block is `width` events. About 2 ns an event."""
    count, size = books.counts, books.size
    live, score, least = count[LIVE], count[SCORE], count[LEAST_SCORE]
    threaded, timed = len(events.thread) > 0, len(events.time_ns) > 0
    for row in range(len(events.op)):
        i = unsigned(row)
        number = count[NEXT] + row
        op, slot = np.int64(events.op[i]), np.int64(events.slot[i])
        thread = np.int64(events.thread[i]) if threaded else 0
        if thread != count[THREAD]:
            count[THREAD], count[EXIT], count[LIVE_AT_EXIT] = thread, number, live
            score = least = 0
        if timed and events.time_ns[i] > count[CLOCK]:
            if events.time_ns[i] - count[CLOCK] >= REST_NS and number - count[READ] <= max(
                SURE_EVENTS, number // SURE_SHARE
            ):
                rest = books.rests[unsigned(count[RESTED] % RESTS_KEPT)]
                rest[RESUMED], rest[HELD] = number, live
                rest[SINCE], rest[UNTIL] = count[CLOCK], events.time_ns[i]
                count[RESTED] += 1
            count[CLOCK], count[READ] = events.time_ns[i], number
        if op == FREE:
            score += 1
            live -= size[unsigned(slot)]
            size[unsigned(slot)] = 0
        elif op in (MALLOC, CALLOC, REALLOC, MEMALIGN, NEW):
            score -= FREES_A_REQUEST
            if slot >= 0:
                live += events.size[i] - size[unsigned(slot)]
                size[unsigned(slot)] = events.size[i]
        if score <= least or op == THREAD_EXIT:
            least = score
            count[EXIT], count[LIVE_AT_EXIT] = number + 1, live
        block = unsigned(number // width)
        if number % width == 0 or live > books.high[block]:
            books.high[block] = live
        if number % width == 0 or live <= books.low[block]:
            books.low[block], books.low_event[block] = live, number
        if timed:
            books.clock_ns[block] = events.time_ns[i]
    count[LIVE], count[SCORE], count[LEAST_SCORE] = live, score, least
    count[NEXT] += len(events.op)


def ending(trace: "Trace", moments: int = 0) -> Ending:
    """Stream `trace` by once; `clocked` has up to so many `moments` of its time."""
    if not trace.events:
        return Ending(-1, 0, 0, 0, 0, np.zeros(0, np.int64))
    width = -(-trace.events // BLOCKS)
    rows = -(-trace.events // width)
    timed = "time_ns" in trace.columns
    lengths = (trace.slots, rows, rows, rows, rows, (RESTS_KEPT, REST_COLUMNS), COUNTS)
    books = Books(*(np.zeros(length, np.int64) for length in lengths))
    columns = ("op", "slot", "size", "thread", *(("time_ns",) if timed else ()))
    for batch in trace.batches(columns):
        follow(books, batch, width)
    leaving, last_live = int(books.counts[EXIT]), int(books.counts[LIVE])
    exit_live = int(books.counts[LIVE_AT_EXIT])
    if later := _after_a_rest(_looks(trace, books.clock_ns, width), leaving, trace.events):
        leaving = later
        exit_live = last_live if later >= trace.events else int(books.high[later // width])
    rest = _last_rest(books, ended_ns(trace), trace.events) if timed else None
    if rest is not None and rest[RESUMED] > leaving:
        leaving, exit_live = int(rest[RESUMED]), int(rest[HELD])
    if rest is not None and rest[RESUMED]:
        end, end_live = int(rest[RESUMED]) - 1, int(rest[HELD])
    else:
        # Blocks that end before the exit phase; where there is none, the last one too, full or not
        past = rows if leaving >= trace.events else max(1, leaving // width)
        block = _settled(books.high[:past], books.low[:past])
        end, end_live = int(books.low_event[block]), int(books.low[block])
    return Ending(
        end,
        leaving,
        end_live,
        exit_live,
        last_live,
        _clocked(books.clock_ns, width, trace.events, moments)
        if timed and moments > 0
        else np.zeros(0, np.int64),
        (int(rest[SINCE]), int(rest[UNTIL])) if rest is not None else (0, 0),
    )


def _last_rest(books: Books, ended: int, events: int) -> np.ndarray | None:
    """The row of the last rest; None where the program did not rest. `ended`: when the process was
    last looked at, ns; 0: it was not."""
    count = int(books.counts[RESTED])
    rests = books.rests[np.arange(max(0, count - RESTS_KEPT), count) % RESTS_KEPT]
    last, live = int(books.counts[CLOCK]), int(books.counts[LIVE])
    total = max(last, ended)
    if events - int(books.counts[READ]) <= max(SURE_EVENTS, events // SURE_SHARE):
        rests = np.concatenate([rests, [[events, last, total, live]]])
    took = rests[:, UNTIL] - rests[:, SINCE]
    long = took >= max(REST_NS, total // RESTS)
    telling = np.flatnonzero(long & (total - rests[:, UNTIL] <= took))
    return rests[telling[-1]] if len(telling) else None


def _looks(trace: "Trace", clock_ns: np.ndarray, width: int) -> np.ndarray:
    """int64[look, 2]: an event and its ns, ascending: when the process was looked at, the last time
    at its end, and when an event's clock was read."""
    seen = trace.process().samples[:, [EVENT, TIME_NS]]
    if not len(seen):
        return seen
    clock = np.maximum.accumulate(clock_ns)
    read = np.flatnonzero(np.diff(clock, prepend=0))
    looks = np.concatenate([seen, np.column_stack([read * width, clock[read]])])
    return np.asarray(np.maximum.accumulate(looks[np.lexsort(looks.T[::-1])], axis=0))


def _after_a_rest(looks: np.ndarray, leaving: int, end: int) -> int:
    """The event at which the program went on after it rested in what looks like its exit phase; 0
    where it did not rest, or nobody looked. Who leaves does not rest. `end`: the trace's events."""
    if len(looks) < 2:
        return 0
    events, times = looks.T
    rest = max(REST_NS, int(times[-1]) // RESTS)
    # Looks are the further apart the more there is to look at: what the events between two usually
    # take is no rest
    took, done = np.diff(times), np.diff(events)
    paces = took[done > 0] / done[done > 0]
    usual = np.median(paces) if len(paces) >= FEW_PACES else 0.0
    # Between two looks it rested after what came before or before what came then: the larger part
    mostly_before = events[:-1] - leaving > done
    long = np.flatnonzero((took - usual * done >= rest) & mostly_before & (events[:-1] > leaving))
    return min(int(events[long[-1] + 1]), end) if len(long) else 0


def _settled(high: np.ndarray, low: np.ndarray) -> int:
    """The block in whose quietest moment the program has settled, of those before its exit."""
    start = 2 * len(high) // 3
    most, least = int(high[start:].max()), int(low[start:].min())
    reached = start + int((high[start:] >= most - (most - least) // NEAR).argmax())
    near = low[reached:] <= int(low[reached:].min()) + (most - least) // NEAR
    return reached + int(np.flatnonzero(near)[-1])


def _clocked(clock_ns: np.ndarray, width: int, events: int, moments: int) -> np.ndarray:
    """int64[moment]: at each of as many evenly spaced times the last event before it, so that one
    that a pause follows is among them."""
    clock = np.maximum.accumulate(clock_ns)
    times = np.linspace(0, int(clock[-1]), moments + 1)[:-1]
    blocks = np.searchsorted(clock, times, side="right") - 1
    return np.unique(np.clip((blocks + 1) * width - 1, 0, events - 1))


def ended_ns(trace: "Trace") -> int:
    """When the process was last looked at, if that was behind its last event, ns since the first
    one; 0 where it was not."""
    last = trace.process().at(trace.events)
    return int(last[TIME_NS]) if last is not None and last[EVENT] >= trace.events else 0


def clock(trace: "Trace", numbers: np.ndarray) -> np.ndarray | None:
    """int64[number]: nanoseconds since the first event at these events, which ascend; None where
    the trace has no time.

    A recorder reads its clock now and then: the events between two readings are taken to be evenly
    apart, those after the last one to follow at once.
    """
    if "time_ns" not in trace.columns or not len(numbers):
        return None
    first, latest = 0, -1
    events, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for batch in trace.batches(("op", "time_ns")):
        rising = np.maximum(np.maximum.accumulate(batch.time_ns), latest)
        read = np.flatnonzero(np.diff(rising, prepend=latest))
        low, high = np.searchsorted(numbers, (first, first + len(rising)))
        before = np.searchsorted(first + read, numbers[low:high], side="right") - 1
        around = np.concatenate([before, before + 1, [0, len(read) - 1]])
        kept = read[np.unique(around[(around >= 0) & (around < len(read))])]
        events.append(first + kept)
        times.append(rising[kept])
        first, latest = first + len(rising), int(rising[-1])
    return np.interp(numbers, np.concatenate(events), np.concatenate(times)).astype(np.int64)
