"""Where threads ended: an end is written before glibc is through with the thread, so it is moved to
where the addresses of later threads show that the arena was given back.

    exit is logged ── the thread's own destructors ── its cache is emptied ── its arena is free
                      ▲ another thread may start here, and finds another arena than the freed one

    the arena that a new thread gets, as its first block tells      what it says of ends before it
    the one freed last                                              nothing: they stand right
    one freed before                                                those since then came later
    one that nobody has had                                         none before it was over yet
    that of a thread whose end is logged just behind                it was over already

Terms      base: 64 MiB of addresses, a further arena's heap; an arena may have several; telling: a
           block that cannot come from its thread's cache, so that it is of the thread's arena
Invariant  only THREAD_EXITs move, by at most WINDOW events, never over an event of their thread
Source     glibc 2.36 malloc/arena.c (arena_get2: the arena freed last is taken first, a new one
           only where none is free; HEAP_MAX_SIZE), nptl/pthread_create.c (start_thread)
Omits      arenas that threads share, where there are more threads than arenas: ends say nothing
"""

import numpy as np

from heapwright.trace.notes import Note
from heapwright.trace.schema import (
    CALLOC,
    COLUMNS,
    FREE,
    MALLOC,
    MEMALIGN,
    REALLOC,
    SIZE_LIMIT,
    THREAD_EXIT,
    Events,
)

WINDOW = 1 << 16  # events by which an end may have been logged too early or too late
FIRST_EVENTS = 32  # of a thread, of which one is telling
CACHED_BYTES = 1032  # largest request that a thread's cache answers
UNKNOWN = -1  # size of a block that was freed
HEAP_SHIFT = 26  # log2 of HEAP_MAX_SIZE
BREAK_SPAN = 1 << 35  # bytes above the heap's start that are taken for the main arena's
MAIN = 0  # the main arena's number


class Ends:
    """Takes a recording's events as they come and gives them back with ends of threads in place."""

    def __init__(self, heap_start: int) -> None:
        self.moved = 0  # ends that were moved
        self._heap_start = heap_start
        self._held: Events | None = None  # the last events, whose ends may move yet
        self._seen = 0  # rows of the held ones that were looked at
        self._arena_of = {MAIN: MAIN}  # base: arena
        self._arenas = 1
        self._own = {0: MAIN}  # thread: the arena that it is attached to
        self._users = {MAIN: {0}}  # arena: its threads
        self._free: list[
            tuple[int, int]
        ] = []  # arena, row of the end that freed it; freed last is last
        self._keys: np.ndarray = np.zeros(0)  # where each row goes

    def note(self) -> list[str]:
        """What was done, for the trace."""
        if not self.moved:
            return []
        return [
            Note(
                f"{self.moved:,} ends of threads stand where later threads' arenas show them, at "
                f"most {WINDOW:,} events from where they were seen.",
                "ends",
                self.moved,
            )
        ]

    def settle(self, events: Events) -> Events:
        """Those of the events so far that are settled; others are held, twice WINDOW at most."""
        return self._settle(events, last=False)

    def rest(self) -> Events:
        """The events that are held, at the end of the recording."""
        nothing = Events(*(np.empty(0, dtype) for dtype in COLUMNS.values()))
        return nothing if self._held is None else self._settle(nothing, last=True)

    def _settle(self, events: Events, *, last: bool) -> Events:
        if self._held is not None:
            columns = zip(self._held, events, strict=True)
            events = Events(*(np.concatenate(pair) for pair in columns))
        count = len(events.op)
        seen = count if last else max(count - WINDOW, self._seen)
        if len(events.thread) == count and len(events.address) == count and self._heap_start:
            self._keys = np.arange(count, dtype=np.float64)
            self._look(events, (self._seen, seen))
            order = np.argsort(self._keys, kind="stable")
            if (np.diff(order) != 1).any():
                moved = np.flatnonzero(self._keys != np.arange(count))
                events = Events(*(c[order] if len(c) else c for c in events))
                place = np.empty(count, np.int64)
                place[order] = np.arange(count)
                if len(events.time_ns):  # times rise: of an end the time of what it stands behind
                    for row in np.sort(place[moved]).tolist():
                        events.time_ns[row] = events.time_ns[max(row - 1, 0)]
                self._free = [(a, int(place[row]) if row >= 0 else row) for a, row in self._free]
        cut = count if last else max(count - 2 * WINDOW, 0)
        self._free = [(arena, max(row - cut, -1)) for arena, row in self._free]
        self._held = Events(*(column[cut:].copy() for column in events))
        self._seen = seen - cut
        return Events(*(column[:cut] for column in events))

    def _look(self, events: Events, rows_: tuple[int, int]) -> None:
        """Follow ends and first blocks of rows [rows_[0], rows_[1])."""
        first, past = rows_
        base = self._bases(events)
        thread, known = events.thread[:past], np.array(sorted(self._own), np.int64)
        rows = first + np.flatnonzero(~np.isin(thread[first:], known))
        starters, at = np.unique(thread[rows], return_index=True)
        starts = [(int(rows[i]), int(who)) for who, i in zip(starters, at, strict=True)]
        ends = first + np.flatnonzero(events.op[first:past] == THREAD_EXIT)
        told = [(row, True, who) for row, who in starts]
        told += [(row, False, int(thread[row])) for row in ends.tolist()]
        for row, starting, who in sorted(told):
            if not starting:
                self._ended(row, who)
            elif events.op[row] != THREAD_EXIT:
                self._started(events, base, row, who)

    def _bases(self, events: Events) -> np.ndarray:
        """int64[event]: MAIN for a block in the brk heap, a base for one in a further, else -1."""
        offset = events.address - self._heap_start
        usable = events.size + events.slack if len(events.slack) else np.zeros(1, np.int64)
        in_heap = (offset >= 0) & (offset < BREAK_SPAN)
        further = (events.address > 0) & (usable & 15 == 8) & (events.size < SIZE_LIMIT)
        far = np.where(further, events.address >> HEAP_SHIFT, -1)
        return np.where(in_heap & (events.address > 0), MAIN, far)

    def _started(self, events: Events, base: np.ndarray, row: int, who: int) -> None:
        """A thread's first event: the arena that its block tells, or the one that it must get."""
        telling = _telling(events, row)
        here = int(base[telling]) if telling >= 0 else -1
        arena = self._arena_of.get(here, -1)
        if here < 0:  # it tells nothing: as if all ends stood right
            arena = self._free.pop()[0] if self._free else self._new(-1)
        elif arena < 0:
            if self._free and self._free[-1][1] >= 0:
                self._postpone([entry for entry in self._free if entry[1] >= 0], row)
            arena = self._new(here)
        elif any(entry[0] == arena for entry in self._free):
            at = [entry[0] for entry in self._free].index(arena)
            above = self._free[at + 1 :]
            if all(end >= 0 for _, end in above):
                self._postpone(above, row)
            self._free = [entry for entry in self._free if entry[0] != arena]
        else:
            self._advance(events, arena, row)
        self._own[who] = arena
        self._users.setdefault(arena, set()).add(who)

    def _new(self, base: int) -> int:
        """Another arena, at `base` if that is known."""
        arena = self._arenas
        self._arenas += 1
        if base >= 0:
            self._arena_of[base] = arena
        return arena

    def _ended(self, row: int, who: int) -> None:
        """A thread's end: its arena is free unless others have it too."""
        arena = self._own.pop(who, -1)
        users = self._users.get(arena, set())
        if who not in users or who == 0:
            return
        users.discard(who)
        if not users:
            self._free.append((arena, row))

    def _postpone(self, entries: list[tuple[int, int]], row: int) -> None:
        """Ends that came after the event in `row`."""
        for step, (_, end) in enumerate(entries, 1):
            self.moved += self._keys[end] == end
            self._keys[end] = row + step / (len(entries) + 1)

    def _advance(self, events: Events, arena: int, row: int) -> None:
        """If the arena's only thread is about to end, it had ended before the event in `row`."""
        users = self._users.get(arena, set())
        if len(users) != 1 or 0 in users:
            return
        (who,) = users
        coming = row + 1 + np.flatnonzero(events.thread[row + 1 : row + WINDOW] == who)
        if len(coming) and events.op[coming[0]] == THREAD_EXIT:
            self.moved += 1
            self._keys[coming[0]] = row - 0.5
            users.discard(who)
            self._own.pop(who, None)


def _telling(events: Events, row: int) -> int:
    """The first telling event of the thread whose first one is in `row`; -1 if none is soon."""
    window = slice(row, row + WINDOW)
    mine = row + np.flatnonzero(events.thread[window] == events.thread[row])[:FIRST_EVENTS]
    freed: set[int] = set()  # chunk sizes that its cache may hold
    for here in mine.tolist():
        op, size = int(events.op[here]), int(events.size[here])
        if op in (FREE, REALLOC):
            freed.add(_freed_bytes(events, here))
        elif op in (CALLOC, MEMALIGN) or (op == MALLOC and size > CACHED_BYTES):
            if events.slack[here] >= 0 and (size + int(events.slack[here])) & 15 == 8:
                return here
        elif op == MALLOC and UNKNOWN not in freed and _chunk_bytes(size) not in freed:
            return here
    return -1


def _chunk_bytes(size: int) -> int:
    return max((size + 23) & ~15, 32)


def _freed_bytes(events: Events, row: int) -> int:
    """Chunk bytes of the block that is freed in `row`; UNKNOWN when it is older than WINDOW."""
    before = slice(max(row - WINDOW, 0), row)
    born = np.flatnonzero(events.slot[before] == events.slot[row])
    return _chunk_bytes(int(events.size[before][born[-1]])) if len(born) else UNKNOWN
