"""The real Go runtime, driven with the events of a trace (drive.go).

    Go          a fresh Go process: events in, the figures of its own runtime out
    observe     a whole trace, undisturbed: every collection and what it left
    checkpoints live bytes after full collections at some events, and its own collections between
    sizes       what allocations of given sizes really take
    seconds     of the bare replay loop

Roots      of a malloc trace each live object is one: a table of pointers, an entry per slot; of a
           graph trace the global roots and a stack of locals. Both are global variables of the
           process, whose bytes its pacer counts: `globals_bytes` of each row says how many
Steady     `steady`: GODEBUG=gcstoptheworld=2 GOMAXPROCS=1, under which collections do not depend
           on time; else the runtime as it comes, on one processor
Before     the runtime's own objects: `Start` says how many bytes they are
Omits      threads: one goroutine replays all events; goroutine stacks, since locals are globals;
           an object with references takes a multiple of 8 bytes, as every Go type does
Source     Go 1.27: runtime (malloc.go, mgcpacer.go, metrics), runtime.MemStats
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heapwright.references.child import Child
from heapwright.references.go.build import build
from heapwright.references.kinds import NO_KINDS, Kinds, padded
from heapwright.references.malloc.harness import check_memory
from heapwright.references.ordinary import as_ordinary
from heapwright.trace.schema import NEW, Events
from heapwright.tunnel.conditions import TOUCH

BATCH_EVENTS = 1 << 15  # drive.go: batchEvents
SAMPLES = 1000  # rows of a timeline, about
CHECKPOINTS = 10
FULL_COLLECTIONS = 2  # at each: the first one keeps the block that tiny objects are cut from
END, REPLAY, WATCH, SIZE, STATE, SETTLE = range(6)  # drive.go: verbs
EVENT = np.dtype(
    [("size", "i8"), ("slot", "i4"), ("field", "i4"), ("target", "i4"), ("op", "u1"), ("pad", "V3")]
)
COLUMNS = ("op", "slot", "size", "field", "target")
SIZE_CLASSES = 61  # rows of runtime.MemStats.BySize
OFF = {"gogc": -1, "gomemlimit": 0}
KNOBS = {"gogc": "GOGC", "gomemlimit": "GOMEMLIMIT"}


class Row(NamedTuple):
    """Columns of `Observed.rows`."""

    event: int  # events replayed when it was read; of a collection, without the one that began it
    collections: int
    requested_bytes: int  # by live objects
    goal_bytes: int  # of the heap, in force from here on
    marked_bytes: int  # live by the last collection
    globals_bytes: int  # scannable global variables, in the pacer's account
    stacks_bytes: int  # scannable stacks, likewise
    objects_bytes: int  # HeapAlloc; what allocation caches hold counts as allocated
    unused_bytes: int  # HeapInuse - HeapAlloc
    free_bytes: int  # in free pages that have memory
    released_bytes: int  # in free pages that have none
    mapped_bytes: int  # all memory of the runtime, with what was released


@dataclass(frozen=True)
class State:
    """runtime.MemStats, and what the driver counted."""

    nanoseconds: int  # of the bare replay loop
    collections: int
    heap_alloc: int
    heap_in_use: int
    heap_sys: int
    heap_released: int
    next_gc: int
    sys: int
    total_alloc: int
    mallocs: int
    frees: int
    pause_nanoseconds: int
    by_size: dict[int, int]  # bytes of a size class: live objects; classes up to 18 KiB


@dataclass(frozen=True)
class Observed:
    """An undisturbed replay."""

    before: State  # of the runtime alone
    rows: np.ndarray  # int64[row, len(Row._fields)]: after each collection and each batch
    after: State

    @property
    def cycles(self) -> np.ndarray:
        """int64[collection, len(Row._fields)], the rows right after each collection."""
        return self.rows[self._after_collection]

    @property
    def samples(self) -> np.ndarray:
        """int64[sample, len(Row._fields)], the other rows, about SAMPLES."""
        return self.rows[~self._after_collection]

    @property
    def cycle_rows(self) -> np.ndarray:
        """int64[collection]: which of `rows` are those."""
        return np.flatnonzero(self._after_collection)

    @property
    def _after_collection(self) -> np.ndarray:
        return np.diff(self.rows[:, Row._fields.index("collections")], prepend=0) > 0


@dataclass(frozen=True)
class Checked(Observed):
    """A replay with full collections, twice, at each checkpoint; `rows` counts only the others."""

    states: list[State]  # after the collections, a checkpoint each
    looks: np.ndarray  # int64[checkpoint, len(Row._fields)], likewise


@dataclass(frozen=True)
class Footprint:
    """What the kernel counts of a process."""

    anonymous_pages: int  # resident
    faults: int  # of pages, so far


class Go(Child):
    """The process. `kinds`: those of the trace, if it is a graph trace."""

    def __init__(  # noqa: PLR0913 the first two say what, the others how
        self,
        trace: Any,
        kinds: Kinds | None = None,
        *,
        steady: bool = True,
        touch: str = "none",
        huge_pages: bool = False,
        gctrace: bool = False,
        settings: dict[str, int] | None = None,
    ) -> None:
        """`settings`: gogc (percent; -1 is off) and gomemlimit (bytes; 0 is off). `touch`: what
        a program that is watched writes, as in `Conditions`.
        `huge_pages`: as this machine has them, instead of none. `gctrace`: print each collection;
        see `goals_printed`."""
        check_memory(trace.peak_live_bytes)
        executable = build(trace.peak_roots if trace.graph else trace.slots, graph=trace.graph)
        super().__init__("real Go", executable, environment(steady, gctrace, settings or {}))
        self.kinds = (kinds or Kinds.of(trace)) if trace.graph else NO_KINDS
        roots = 1 + trace.peak_roots
        parameters = (TOUCH[touch], huge_pages, trace.slots, roots, len(self.kinds.rows))
        self.send(np.array(parameters, np.int64))
        self.send(padded(self.kinds.rows))

    def replay(self, events: Events) -> None:
        """Replay `events`, timed, with nothing else in the loop."""
        for packed in self._packed(events, BATCH_EVENTS):
            self._order(REPLAY, len(packed))
            self.send(packed)

    def watch(self, events: Events, every: int = BATCH_EVENTS) -> np.ndarray:
        """Replay `events`; int64[row, len(Row._fields)] after collections and each `every`."""
        rows = []
        for packed in self._packed(events, min(every, BATCH_EVENTS)):
            self._order(WATCH, len(packed))
            self.send(packed)
            count = int(self.receive(np.zeros(1, np.int64))[0])
            rows.append(self.receive(np.zeros((count, len(Row._fields)), np.int64)))
        return np.concatenate(rows or [NO_ROWS])

    def look(self) -> np.ndarray:
        """int64[1, len(Row._fields)]: what the heap is now."""
        self._order(WATCH, 0)
        self.receive(np.zeros(1, np.int64))
        return self.receive(np.zeros((1, len(Row._fields)), np.int64))

    def sizes(self, kinds: np.ndarray) -> np.ndarray:
        """int64[kind]: bytes that an allocation of each (size, fields) takes of the heap."""
        taken = np.zeros(len(kinds), np.int64)
        for start in range(0, len(kinds), BATCH_EVENTS):
            part = slice(start, start + BATCH_EVENTS)
            self._order(SIZE, len(kinds[part]))
            for kind, into in zip(padded(kinds[part]), taken[part, None], strict=True):
                self.send(kind)
                self.receive(into)
        return taken

    def state(self, *, settle: bool = False) -> State:
        """Its MemStats, which flush the allocation caches; `settle`: collect twice before."""
        self._order(SETTLE if settle else STATE, 0)
        names = list(State.__dataclass_fields__)[:-1]
        count = len(names)
        said = self.receive(np.zeros(count + 2 * SIZE_CLASSES, np.int64)).tolist()
        classes = zip(said[count::2], said[count + 1 :: 2], strict=True)
        live = {size: objects for size, objects in classes if objects}
        return State(**dict(zip(names, said[:count], strict=True)), by_size=live)

    def footprint(self) -> Footprint:
        """What the kernel counts now, while the process waits for its next order."""
        folder = Path(f"/proc/{self.pid}")
        _, resident, shared = (folder / "statm").read_text().split()[:3]
        fields = (folder / "stat").read_text().rpartition(")")[2].split()  # from field 3 on
        minor, major = int(fields[7]), int(fields[9])
        return Footprint(int(resident) - int(shared), minor + major)

    def goals_printed(self) -> list[int]:
        """The goal of each collection so far, in MB rounded down, as gctrace prints it."""
        return [int(goal) for goal in re.findall(r", (\d+) MB goal", self.said())]

    def _order(self, verb: int, count: int) -> None:
        self.send(np.array([verb, count], np.int64))

    def _packed(self, events: Events, every: int) -> Iterator[np.ndarray]:
        for start in range(0, len(events.op), every):
            rows = slice(start, start + every)
            packed = np.zeros(len(events.op[rows]), EVENT)
            for column in COLUMNS:
                values = getattr(events, column)[rows]
                if len(values):
                    packed[column] = values
            as_ordinary(packed)
            new = np.flatnonzero(packed["op"] == NEW)
            if len(new):
                size, fields = packed["size"][new], packed["field"][new]
                packed["size"][new] = padded(np.stack([size, fields], axis=1))[:, 0]
                packed["field"][new] = self.kinds.find(size, fields)
            yield packed


def environment(steady: bool, gctrace: bool, settings: dict[str, int]) -> dict[str, str]:
    """What the Go process gets to know of the world."""
    debug = ["gcstoptheworld=2"] * steady + ["gctrace=1"] * gctrace
    variables = {"GOMAXPROCS": "1", "GODEBUG": ",".join(debug)}
    for knob, value in settings.items():
        if knob in KNOBS:
            variables[KNOBS[knob]] = str(value) if value != OFF[knob] else "off"
    return variables


NO_ROWS = np.zeros((0, len(Row._fields)), np.int64)


def observe(
    trace: Any,
    settings: dict[str, int] | None = None,
    *,
    kinds: Kinds | None = None,
    progress: Callable[[int], None] | None = None,
) -> Observed:
    """Replay `trace`, steady: its collections, and what the heap was, about SAMPLES times."""
    rows, replayed = [], 0
    every = max(1, trace.events // SAMPLES)
    with Go(trace, kinds, settings=settings) as go:
        before = go.state()
        for batch in trace.batches(columns=COLUMNS):
            rows.append(go.watch(batch, every))
            replayed += len(batch.op)
            if progress:
                progress(replayed)
        return Observed(before, np.concatenate(rows or [NO_ROWS]), go.state())


def checkpoint_events(trace: Any) -> list[int]:
    """Numbers of events replayed at CHECKPOINTS moments, the last one at the trace's end."""
    return sorted({trace.events * (k + 1) // CHECKPOINTS for k in range(CHECKPOINTS)} - {0})


def checkpoints(
    trace: Any,
    settings: dict[str, int] | None = None,
    *,
    kinds: Kinds | None = None,
    progress: Callable[[int], None] | None = None,
) -> Checked:
    """Replay `trace` and collect fully, twice, at each of `checkpoint_events`."""
    stops = checkpoint_events(trace)
    every = max(1, trace.events // SAMPLES)
    states: list[State] = []
    rows, looks, replayed = [NO_ROWS], [NO_ROWS], 0
    with Go(trace, kinds, settings=settings) as go:
        before = go.state()
        for part in parts(trace.batches(columns=COLUMNS), stops):
            watched = go.watch(part, every)
            watched[:, Row._fields.index("collections")] -= FULL_COLLECTIONS * len(states)
            rows.append(watched)
            replayed += len(part.op)
            if replayed in stops:
                states.append(go.state(settle=True))
                looks.append(go.look())
            if progress:
                progress(replayed)
        return Checked(before, np.concatenate(rows), go.state(), states, np.concatenate(looks))


def parts(batches: Iterable[Events], stops: Sequence[int]) -> Iterator[Events]:
    """The events of `batches`, none of which reaches past a stop (events from the start)."""
    replayed = 0
    for batch in batches:
        past = replayed + len(batch.op)
        cuts = [replayed, *(stop for stop in stops if replayed < stop < past), past]
        for first, last in itertools.pairwise(cuts):
            yield Events(*(column[first - replayed : last - replayed] for column in batch))
        replayed = past


def seconds(
    trace: Any,
    settings: dict[str, int] | None = None,
    *,
    kinds: Kinds | None = None,
    steady: bool = False,
) -> float:
    """Seconds of the replay loop, with nothing else in it."""
    with Go(trace, kinds, steady=steady, settings=settings) as go:
        for batch in trace.batches(columns=COLUMNS):
            go.replay(batch)
        return go.state().nanoseconds / 1e9
