"""What each call stack holds, through time: a heap profile, sampled in one streaming pass.

    events ─► follow ─► live bytes of each row ─┬─ at each window's end and the asked moments
                                                ├─ their least within each window
                                                └─ survivors, by when they were born

Row        0 for an unknown site, else 1 + the node of the tree of stacks
Window     one of WINDOWS equal runs of events before the program's exit phase (`trace/ending.py`)
Leak       what is never freed, the exit phase included, and still grows: see `leaking`
Bound      rows x windows; a very large tree gets fewer windows, never less than LEAST_WINDOWS
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError
from heapwright.trace.ending import Ending
from heapwright.trace.schema import FREE, MALLOC, MEMALIGN, NEW, REALLOC, Events

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

WINDOWS, LEAST_WINDOWS = 48, 12
CELLS = 1 << 22  # rows x windows, 8 bytes each
AGES = 3  # a survivor was born in the first, the middle or the last third
COLUMNS = ("op", "slot", "size", "thread", "site")

# What counts as growth, as shares of a leak's size by the thirds of the trace
STEADY = 0.15  # of the last third's growth that falls in either half of it, at least
ONGOING = 0.25  # of the middle third's growth that the last third has, at least
NEVER_FREED = 0.5  # of the growth that must not be freed at all
LEAST_GROWTH = 1024  # bytes from the first third to the end

# Held.words: the next event's number, live bytes, the most there will be (-1: was there)
NEXT, TOTAL, MOST, COUNTS = range(4)

# Columns of Held.now
LIVE, BLOCKS, ALLOCATED, CALLS, FIGURES = range(5)


class Held(NamedTuple):
    """What is live, object by object and row by row; changes with every event."""

    size: np.ndarray  # int64[slot], bytes; -1 of the dead
    birth: np.ndarray  # int64[slot], event
    row: np.ndarray  # int32[slot], of the site that asked last
    now: np.ndarray  # int64[row, FIGURES]: live bytes and blocks; bytes and calls so far
    low: np.ndarray  # int64[row], least live bytes since it was last set
    peak: np.ndarray  # int64[row, 2], live bytes and blocks when most was live at once
    words: np.ndarray  # int64[COUNTS]


@dataclass
class Moment:
    """What the rows hold after an event."""

    event: int
    live: np.ndarray  # int64[row], bytes
    blocks: np.ndarray  # int64[row]
    sizes: np.ndarray | None = None  # int64[bucket, 2], live blocks and their bytes by size, where
    # bucket b holds 2^(b-1) < size <= 2^b


@dataclass
class Growth:
    """The profile of a whole trace. A row is 1 + node; row 0 stands for unknown sites."""

    low: np.ndarray  # int64[window, row]: least live bytes within the window
    live: np.ndarray  # int64[window]: live bytes of all at its end
    moments: dict[int, Moment]  # by the event that was asked for
    exit: Moment  # before the exit phase
    peak: Moment  # when most bytes were live at once; its event is not known
    born: np.ndarray  # int64[row, AGES]: bytes live before the exit phase, by third of birth
    kept: np.ndarray  # int64[row]: bytes of those that the exit phase did not free
    kept_blocks: np.ndarray  # int64[row]
    allocated: np.ndarray  # int64[row], bytes asked for, reallocs included
    calls: np.ndarray  # int64[row]


@kernel
def follow(held, events):  # type: ignore[no-untyped-def]
    """Enter a batch. Slots and sites must lie within the arrays. About 5 ns an event."""
    sited = len(events.site) > 0
    size, now, low, count = held.size, held.now, held.low, held.words
    for number in range(len(events.op)):
        i = unsigned(number)
        op, slot = np.int64(events.op[i]), np.int64(events.slot[i])
        allocates = MALLOC <= op <= MEMALIGN or op == NEW
        if slot < 0 or not (allocates or op == FREE):
            continue
        s = unsigned(slot)
        if size[s] >= 0:  # it dies, or a realloc takes it over
            row = unsigned(np.int64(held.row[s]))
            now[row, LIVE] -= size[s]
            now[row, BLOCKS] -= 1
            low[row] = min(low[row], now[row, LIVE])
            count[TOTAL] -= size[s]
            size[s] = -1
        if not allocates:
            continue
        row = unsigned(np.int64(events.site[i]) + 1) if sited else unsigned(0)
        if op != REALLOC:
            held.birth[s] = count[NEXT] + number
        size[s] = events.size[i]
        held.row[s] = row
        now[row, LIVE] += size[s]
        now[row, BLOCKS] += 1
        now[row, ALLOCATED] += size[s]
        now[row, CALLS] += 1
        count[TOTAL] += size[s]
        if count[TOTAL] == count[MOST]:
            count[MOST] = -1
            for other in range(len(now)):
                held.peak[unsigned(other), LIVE] = now[unsigned(other), LIVE]
                held.peak[unsigned(other), BLOCKS] = now[unsigned(other), BLOCKS]
    count[NEXT] += len(events.op)


def growth(
    trace: "Trace",
    ends: Ending,
    moments: Sequence[int] = (),
    advance: Callable[[int], None] = lambda events: None,
    watch: Callable[[Events, int], None] = lambda events, first: None,
) -> Growth:
    """Stream `trace` by once; `moments` are events after which the rows are kept.

    `watch` is shown the same events, with the number of the first.
    """
    rows = 1 + (trace.stack_nodes or len(trace.frames()))
    windows = min(WINDOWS, max(LEAST_WINDOWS, CELLS // rows))
    held = Held(
        np.full(trace.slots, -1, np.int64),
        np.zeros(trace.slots, np.int64),
        np.zeros(trace.slots, np.int32),
        np.zeros((rows, FIGURES), np.int64),
        np.zeros(rows, np.int64),
        np.zeros((rows, 2), np.int64),
        np.array([0, 0, trace.peak_live_bytes], np.int64),
    )
    leaving = max(ends.exit, 0)
    bounds = [leaving * (window + 1) // windows for window in range(windows)]
    kept = {int(event) for event in moments if 0 <= event < trace.events}
    stops = sorted({*bounds, *(event + 1 for event in kept), leaving} - {0})
    found = Growth(
        np.zeros((windows, rows), np.int64),
        np.zeros(windows, np.int64),
        {},
        _moment(held, -1),
        _moment(held, -1),
        np.zeros((rows, AGES), np.int64),
        *(np.zeros(rows, np.int64) for _ in range(4)),
    )
    survivors, births = np.zeros(0, np.int64), np.zeros(0, np.int64)
    first = window = 0
    for batch in trace.batches(COLUMNS):
        _within(trace, batch, rows - 1, first)
        watch(batch, first)
        here, past = first, first + len(batch.op)
        while stops and stops[0] <= past:
            until = stops.pop(0)
            follow(held, _cut(batch, here - first, until - first))
            here = until
            while window < windows and bounds[window] == until:
                found.low[window] = held.low
                found.live[window] = held.now[:, LIVE].sum()
                held.low[:] = held.now[:, LIVE]
                window += 1
            if until - 1 in kept:
                found.moments[until - 1] = _moment(held, until - 1)
                found.moments[until - 1].sizes = _sizes(held.size)
            if until == leaving:
                found.exit = _moment(held, until - 1)
                survivors = np.flatnonzero(held.size >= 0)
                births = held.birth[survivors]
                thirds = np.minimum(births * AGES // max(1, leaving), AGES - 1)
                np.add.at(found.born, (held.row[survivors], thirds), held.size[survivors])
        follow(held, _cut(batch, here - first, past - first))
        first = past
        advance(len(batch.op))
    still = survivors[(held.size[survivors] >= 0) & (held.birth[survivors] == births)]
    np.add.at(found.kept, held.row[still], held.size[still])
    np.add.at(found.kept_blocks, held.row[still], 1)
    found.peak = Moment(-1, held.peak[:, LIVE].copy(), held.peak[:, BLOCKS].copy())
    found.allocated[:], found.calls[:] = held.now[:, ALLOCATED], held.now[:, CALLS]
    return found


def leaking(low: np.ndarray, kept: np.ndarray, live: np.ndarray) -> np.ndarray:
    """int64[group]: the bytes that each group leaks; 0 where it does not.

    A leak grows in the middle and the last third, in both halves of the last one, and at least
    half of what it grows by is never freed. What it holds is taken to have grown as it did since
    the first third: what was there before and stays is no leak. A cache fills and then stands
    still; a table that is freed at the exit is held on purpose.

    low: int64[window, group]; kept, live: int64[group], bytes never freed, bytes before the exit
    """
    windows = len(low)
    quarter = max(1, windows // 12)

    def at(share: float) -> np.ndarray:
        past = round(share * windows)
        least: np.ndarray = low[past - quarter : past].min(axis=0)
        return least

    first, second, half, last = (at(share) for share in (1 / 3, 2 / 3, 5 / 6, 1))
    late = last - second
    grows = (
        (last - first >= LEAST_GROWTH)
        & (second >= first)
        & (half - second >= STEADY * late)
        & (last - half >= STEADY * late)
        & (late > 0)
        & (late >= ONGOING * (second - first))
        & (kept >= NEVER_FREED * (last - first))
    )
    leaked = np.minimum(np.minimum(kept, live), (last - first) * 3 // 2)
    return np.where(grows, leaked, 0)


def _moment(held: Held, event: int) -> Moment:
    return Moment(event, held.now[:, LIVE].copy(), held.now[:, BLOCKS].copy())


def _sizes(size: np.ndarray) -> np.ndarray:
    """int64[bucket, 2]: live blocks and their bytes by size."""
    live = size[size >= 0]
    bucket = np.searchsorted(1 << np.arange(48, dtype=np.int64), live)
    blocks = np.bincount(bucket, minlength=49)
    total = np.zeros(49, np.int64)
    np.add.at(total, bucket, live)
    return np.stack([blocks, total], axis=1)


def _within(trace: "Trace", batch: Events, sites: int, first: int) -> None:
    """HeapwrightError for an event that names a site past the table."""
    if len(batch.site) and int(batch.site.max()) >= sites:
        row = int((batch.site >= sites).argmax())
        raise HeapwrightError(
            f"{trace.path} is damaged: event {first + row} names call site {batch.site[row]} "
            f"of {sites}; copy or record it again"
        )


def _cut(batch: Events, first: int, past: int) -> Events:
    """Events [first, past) of a batch; absent columns stay absent."""
    return Events(*(column[first:past] for column in batch))


def grouped(values: np.ndarray, group: np.ndarray, groups: int) -> Any:
    """`values` of the rows, int64[..., row], summed by group."""
    found = np.zeros((*values.shape[:-1], groups), np.int64)
    np.add.at(found.T, group, values.T)
    return found
