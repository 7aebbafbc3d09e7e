"""Go's twin beside the real one on the same trace: size classes, live bytes, collections, goals.

    real   observe      ─► its collections, goals, memory in use; what the runtime itself takes
           checkpoints  ─► live bytes after full collections at ten moments
           sizes        ─► what an allocation of each distinct size takes
    twin   the same three, with the runtime's own objects, globals and stacks as settings, told anew
           at each row of the real one's timeline what it scanned of stacks and had outside its heap

Both stop the world to collect and to sweep, on one processor (GODEBUG=gcstoptheworld=2,
GOMAXPROCS=1): then collections do not depend on time.

Goals      that are in force at about 1,000 moments. Under a memory limit a goal moves between two
           collections too, as free slots are used and memory goes back
Live       bytes of the slots of live objects and of the runtime's own; a block that small objects
           share lives as long as one of them
Told       a goal counts the stacks that were scanned: 8 bytes less when a block for tiny objects
           was taken, 64 less while the scavenger sleeps. Under a memory limit it counts what the
           runtime maps for itself, which grows by 256 KiB. Neither is the heap's, and either
           shifts a collection and then all later ones
Repeats    `repeated` says how often a second run of the real one begins a collection by the same
           event
Omits      addresses: the real heap's first arena lies at a random place, and goroutine stacks take
           pages between spans
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.collectors.log import (
    ALLOCATED_BYTES,
    CYCLE_COLUMNS,
    CYCLES,
    EVENT,
    HEAP_AFTER,
)
from heapwright.errors import HeapwrightError
from heapwright.managers.runtime.go.layout import NEVER
from heapwright.managers.runtime.go.pacer import heap_goal
from heapwright.references.go import build as go_build
from heapwright.references.go import driver as go
from heapwright.references.go.surroundings import STACKS_COLUMN, Surroundings, own
from heapwright.references.kinds import Kinds
from heapwright.references.malloc.measured import MOMENT_EVENTS
from heapwright.references.tally import Tally, difference, percent
from heapwright.trace.schema import FREE, NEW, POP, PUSH, events
from heapwright.tunnel.replay import Conditions, Replay
from heapwright.words import bytes_text, counted

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

STEADY = {"gcstoptheworld": 2, "gomaxprocs": 1}
CLOSE = 0.02  # share by which goals and counts may differ
CLOSE_IN_USE = 0.03
TINY_BYTES = 16  # smaller objects without references share a block
GOAL_COLUMN = go.Row._fields.index("goal_bytes")
IN_USE_PARTS = [go.Row._fields.index(part) for part in ("objects_bytes", "unused_bytes")]
PASSES = 6  # over the trace, that take time: three of each


@dataclass(frozen=True)
class Live:
    """Live bytes after a full collection."""

    event: int  # events replayed
    twin: int
    real: int


@dataclass
class GoAgreement:
    """What Go's twin and the real runtime agree on. Pairs are twin, real."""

    events: int
    real_version: str
    size_classes: Tally = field(default_factory=Tally)  # of allocations
    live_bytes: list[Live] = field(default_factory=list)
    collections: tuple[int, int] = (0, 0)
    moments: Tally = field(default_factory=Tally)  # of the collections: begun by the same event
    repeated: Tally = field(default_factory=Tally)  # likewise of the real one beside itself
    heap_goals: Tally = field(default_factory=Tally)  # equal: within CLOSE
    heap_in_use: tuple[int, int] = (0, 0)  # bytes, at the end
    in_use_samples: Tally = field(default_factory=Tally)  # equal: within CLOSE_IN_USE
    seconds: tuple[float, float] = (0.0, 0.0)  # of the replay loop, that touches nothing
    settings: dict[str, int] = field(default_factory=dict)
    manager: str = "go"

    @property
    def agrees(self) -> bool:
        """Whether all is as close as Go's twin claims to be."""
        return (
            self.size_classes.compared == self.size_classes.equal
            and self.heap_goals.compared == self.heap_goals.equal
            and all(at.twin == at.real for at in self.live_bytes)
            and close(*self.collections, CLOSE)
            and close(*self.heap_in_use, CLOSE_IN_USE)
        )

    @property
    def title(self) -> str:
        """What was compared."""
        return f"go on {counted(self.events, 'event')}, beside Go {self.real_version}"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """What was compared, the twin's figure, the real one's, and how far they agree."""
        found = []
        for label, tally in (
            ("size classes of allocations", self.size_classes),
            ("collections by the same event", self.moments),
            ("  the real one, run again", self.repeated),
            ("heap goals within 2 %, samples", self.heap_goals),
            ("heap in use within 3 %, samples", self.in_use_samples),
        ):
            share = percent(tally.equal, tally.compared)
            found.append((label, f"{tally.equal:,}", f"of {tally.compared:,}", share))
        for at in self.live_bytes:
            away = f"{at.twin - at.real:+,} B" if at.twin != at.real else "equal"
            found.append((f"live after event {at.event:,}", f"{at.twin:,}", f"{at.real:,}", away))
        twin, real = self.collections
        found.append(("collections", f"{twin:,}", f"{real:,}", difference(twin, real)))
        twin, real = self.heap_in_use
        in_use = bytes_text(twin), bytes_text(real)
        found.append(("in use at the end", *in_use, difference(twin, real)))
        rates = [self.events / seconds / 1e6 if seconds else 0 for seconds in self.seconds]
        ratio = f"{rates[0] / rates[1]:.2f} x" if rates[1] else "no real figure"
        found.append(("M events/s", f"{rates[0]:.1f}", f"{rates[1]:.1f}", ratio))
        return found

    def sentences(self) -> list[str]:
        """What the figures are made from."""
        return [
            "Both stop the world to collect, on one processor (GODEBUG=gcstoptheworld=2 "
            "GOMAXPROCS=1); live bytes and goals count the runtime's own objects. The rate is that "
            "of Go as it comes."
        ]

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""

        def both(pair: tuple[Any, Any]) -> dict[str, Any]:
            return dict(zip(("twin", "real"), pair, strict=True))

        return {
            "manager": self.manager,
            "events": self.events,
            "size_classes": vars(self.size_classes),
            "live_bytes": [vars(at) for at in self.live_bytes],
            "collections": both(self.collections),
            "heap_goals": {
                "compared": self.heap_goals.compared,
                "within_2_percent": self.heap_goals.equal,
            },
            "heap_in_use_bytes": both(self.heap_in_use),
            "real_version": self.real_version,
            "collections_by_the_same_event": vars(self.moments),
            "real_repeats_its_collections": vars(self.repeated),
            "heap_in_use_samples": {
                "compared": self.in_use_samples.compared,
                "within_3_percent": self.in_use_samples.equal,
            },
            "replay_seconds": both(self.seconds),
            "settings": self.settings,
        }


def close(twin: float, real: float, share: float) -> bool:
    """Whether two figures differ by at most `share` of the real one."""
    return abs(twin - real) <= share * real


def validate_go(
    trace: "Trace",
    settings: Mapping[str, int] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> GoAgreement:
    """Replay `trace` through Go's twin and the real Go and compare.

    `settings` are knobs that both get: gogc, gomemlimit. `progress` is told the events compared
    so far. HeapwrightError without Go of the right release, and for a knob that the real one
    lacks.
    """
    settings = dict(settings or {})
    for knob in settings:
        if knob not in go.KNOBS:
            raise HeapwrightError(
                f"the real Go has no knob {knob!r} to be set in its environment; "
                f"it has: {', '.join(go.KNOBS)}."
            )
    passes = 0

    def told(replayed: int) -> None:
        if progress:
            progress((passes * trace.events + replayed) // PASSES)

    version = go_build.toolchain().version
    kinds = Kinds.of(trace)
    observed = go.observe(trace, settings, kinds=kinds, progress=told)
    passes = 1
    again = go.observe(trace, settings, kinds=kinds, progress=told)
    passes = 2
    checked = go.checkpoints(trace, settings, kinds=kinds, progress=told)
    passes = 3
    found = GoAgreement(trace.events, version, settings=settings)
    knobs = {**settings, **STEADY, **own(observed)}
    ours = _replay(trace, knobs, observed, told)
    passes = 4
    found.collections = (len(ours.cycles), observed.after.collections)
    found.heap_in_use = (ours.in_use[-1], observed.after.heap_in_use)
    _compare_cycles(found, ours.cycles, observed, again)
    in_use = observed.samples[:, IN_USE_PARTS].sum(axis=1)
    found.in_use_samples.add(np.abs(np.array(ours.in_use) - in_use) <= CLOSE_IN_USE * in_use)
    _compare_goals(found.heap_goals, ours.goals, observed.samples[:, GOAL_COLUMN])
    knobs["own_bytes"] = checked.before.heap_alloc
    live = live_at_checkpoints(trace, knobs, checked, told)
    for event, bytes_, state in zip(go.checkpoint_events(trace), live, checked.states, strict=True):
        found.live_bytes.append(Live(event, bytes_, state.heap_alloc))
    passes = 5
    _compare_sizes(found.size_classes, trace, kinds)
    found.seconds = _rates(trace, {**settings, **STEADY}, kinds, told)
    return found


def live_at_checkpoints(
    trace: "Trace",
    knobs: dict[str, int],
    checked: go.Checked,
    progress: Callable[[int], None] | None = None,
) -> list[int]:
    """Live bytes of the twin after full collections at each of `go.checkpoint_events`."""
    stops, replayed = go.checkpoint_events(trace), 0
    live: list[int] = []
    twin = Replay("go", trace, knobs, Conditions())
    surroundings = Surroundings(checked)
    surroundings.tell(twin.heap, 0)
    cuts = sorted({*stops, *surroundings.stops})
    for part in go.parts(trace.batches(columns=twin.loop.COLUMNS), cuts):
        twin.loop.replay(twin.heap, twin.run, part)
        twin.end_if_fatal()
        replayed += len(part.op)
        if replayed in stops:
            look = checked.looks[len(live)]
            twin.heap.pacer.next_stacks = look[STACKS_COLUMN]
            for _ in range(go.FULL_COLLECTIONS):
                twin.module.collect(twin.heap)
            live.append(int(twin.heap.log.totals[HEAP_AFTER]))
        surroundings.tell(twin.heap, replayed)
        if progress:
            progress(replayed)
    return live


def _rates(
    trace: "Trace", knobs: dict[str, int], kinds: Kinds, progress: Callable[[int], None]
) -> tuple[float, float]:
    """Seconds of the bare replay loops of twin and real in turns: medians of three for a trace
    that takes a moment. The twin touches no memory; the real one clears what it hands out."""
    twin, real = [], []
    for _ in range(3 if trace.events < MOMENT_EVENTS else 1):
        twin.append(Replay("go", trace, knobs, Conditions("none")).replay(trace, progress))
        real.append(go.seconds(trace, knobs, kinds=kinds))
    return statistics.median(twin), statistics.median(real)


@dataclass(frozen=True)
class _Replayed:
    """The twin on a whole trace, undisturbed."""

    cycles: np.ndarray  # int64[collection, CYCLE_COLUMNS]
    in_use: list[int]  # HeapInuse at the samples, bytes
    goals: list[int]  # in force there


def _replay(
    trace: "Trace", knobs: dict[str, int], observed: go.Observed, progress: Callable[[int], None]
) -> _Replayed:
    twin = Replay("go", trace, knobs, Conditions())
    stops = set(observed.samples[:, 0].tolist())
    surroundings = Surroundings(observed)
    replayed, in_use, goals = 0, [], []
    surroundings.tell(twin.heap, 0)
    for part in go.parts(trace.batches(columns=twin.loop.COLUMNS), surroundings.stops):
        twin.loop.replay(twin.heap, twin.run, part)
        twin.end_if_fatal()
        replayed += len(part.op)
        surroundings.tell(twin.heap, replayed)
        if replayed in stops:
            in_use.append(int(twin.heap.go.in_use))
            goals.append(int(heap_goal(twin.heap.pacer, twin.heap.go)[0]))
        progress(replayed)
    rows = twin.heap.log.cycles.reshape(-1, CYCLE_COLUMNS)
    return _Replayed(rows[: int(twin.heap.log.totals[CYCLES])].copy(), in_use, goals)


def _compare_cycles(
    found: GoAgreement, twin: np.ndarray, observed: go.Observed, again: go.Observed
) -> None:
    """Enter each real collection beside the twin's nearest, and whether it comes `again`."""
    real = observed.cycles
    if not len(real) or not len(twin):
        return
    at = np.searchsorted(twin[:, EVENT], real[:, 0]).clip(0, len(twin) - 1)
    earlier = (at - 1).clip(0)
    nearer = abs(twin[earlier, EVENT] - real[:, 0]) < abs(twin[at, EVENT] - real[:, 0])
    beside = twin[np.where(nearer, earlier, at)]
    found.moments.add(beside[:, EVENT] == real[:, 0])
    found.repeated.add(np.isin(real[:, 0], again.cycles[:, 0]))


def _compare_goals(tally: Tally, twin: list[int], real: np.ndarray) -> None:
    """Enter the goals of the same moments; the real one's is -1 where there is none."""
    is_off = real < 0
    near = np.abs(np.array(twin, np.int64) - real) <= CLOSE * real
    tally.add(np.where(is_off, np.array(twin, np.int64) == NEVER, near))


def _compare_sizes(tally: Tally, trace: "Trace", kinds: Kinds) -> None:
    """Enter every allocation: an equal one takes as many bytes of the heap in both."""
    with go.Go(trace, kinds) as process:
        equal = process.sizes(kinds.rows) == taken(kinds.rows)
    tally.compared += int(kinds.counts.sum())
    tally.equal += int(kinds.counts[equal].sum())


@dataclass(frozen=True)
class _OneObject:
    """What a replay asks of a trace, of a program that knows one object at a time."""

    slots: int = 1
    peak_roots: int = 2
    graph: bool = True
    aligned: bool = False
    of_kernel: bool = False
    references: int = 0


def taken(kinds: np.ndarray) -> np.ndarray:
    """int64[kind]: bytes that an allocation of each (size, fields) takes of the twin's heap; of a
    tiny one, those of a fresh block."""
    twin = Replay("go", _OneObject(), STEADY, Conditions("none"))  # type: ignore[arg-type]
    totals = twin.heap.log.totals
    bytes_ = np.zeros(len(kinds), np.int64)
    for number, (size, fields) in enumerate(kinds.tolist()):
        if size < TINY_BYTES:
            twin.module.collect(twin.heap)  # the block that tiny objects share is given up
        before = int(totals[ALLOCATED_BYTES])
        one = events(
            op=np.array([PUSH, NEW, POP, FREE]),
            slot=np.array([-1, 0, -1, 0]),
            size=np.array([0, size, 0, 0]),
            field=np.array([0, fields, 0, 0]),
            target=np.full(4, -1),
        )
        twin.loop.replay(twin.heap, twin.run, one)
        bytes_[number] = totals[ALLOCATED_BYTES] - before
    return bytes_
