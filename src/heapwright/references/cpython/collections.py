"""CPython's collector and its twin on the same object graph: every collection.

    trace ─► real   a fresh interpreter: rows of gc.callbacks, gc.get_count() ─┐
          ─► twin   the same events, from the same counts                     ─┴─► compared

Equal      a collection: begun by the same event, of the same generation, as many objects collected
           and as many uncollectable. Of weak references: which one was cleared, or its callback
           called, by which event. The counts of the three generations after the last event
Given      gc.get_count() before the first event, and how many objects of its own the interpreter
           follows; that a callback is there, whose dictionary is a birth after a full collection

Of a recording (`record --graph`) the real one is the recorded program's own collector, from the
event on at which its callback was there. Given are the moments, what was about to be collected as
references that nothing else leads to, and the count of the young after each collection; found are
that a collection is due, its generation, and how many objects it collects.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import PEAK_RESIDENT_PAGES
from heapwright.managers import named
from heapwright.managers.runtime.cpython.state import RUN, runs_of
from heapwright.managers.runtime.cpython.weak import heard, ordered
from heapwright.references.cpython import collector
from heapwright.references.tally import Tally, difference, percent
from heapwright.trace.schema import COUNT, RAN, STEER, STEER_BITS, ran
from heapwright.tunnel.replay import Conditions, Replay
from heapwright.tunnel.steered import nearest
from heapwright.versions import version_text
from heapwright.words import bytes_text

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

FROZEN = "The real one's own objects are frozen."
OF_A_RECORDING = (
    "The recording tells when the program's own collector ran, and what kept each other then; that "
    "a collection is due, of which generation, and what it takes is the twin's."
)
GENERATIONS = ("young", "middle", "old")


@dataclass
class Agreement:
    """What the twin and the real collector agree on. Pairs are twin, real."""

    events: int
    versions: tuple[str, str]
    runs: Tally = field(default_factory=Tally)  # collections
    weak: Tally = field(default_factory=Tally)  # rows of weak references: `weak.HEARD`
    heard: dict[str, tuple[int, int]] = field(default_factory=dict)  # of those, by what it is
    made: dict[str, tuple[int, int]] = field(default_factory=dict)  # by generation
    collected: tuple[int, int] = (0, 0)  # objects
    uncollectable: tuple[int, int] = (0, 0)
    counts: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())  # at the end
    grown: tuple[int, int] = (0, 0)  # bytes resident at the peak, over those at the start
    first_difference: dict[str, list[int]] | None = None
    settings: dict[str, int] = field(default_factory=dict)
    recorded: bool = False  # the real one is the recorded program's own

    @property
    def agrees(self) -> bool:
        """Whether all is equal."""
        tallies = (self.runs, self.weak)
        same = all(each.equal == each.compared for each in tallies)
        return same and self.counts[0] == self.counts[1]

    @property
    def title(self) -> str:
        """What was compared."""
        whose = "the recorded CPython" if self.recorded else "CPython"
        return f"cpython on {self.events:,} events, beside {whose} {self.versions[1]}"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """What was compared, the twin's figure, the real one's, and how far they agree."""
        share = percent(self.runs.equal, self.runs.compared)
        found = [("collections", f"{self.runs.equal:,} equal", f"of {self.runs.compared:,}", share)]
        figures = {f"of the {name} generation": pair for name, pair in self.made.items()}
        if self.weak.compared:
            share = percent(self.weak.equal, self.weak.compared)
            row = (
                "weak references",
                f"{self.weak.equal:,} equal",
                f"of {self.weak.compared:,}",
                share,
            )
            found.append(row)
            figures |= self.heard
        figures |= {"objects collected": self.collected, "uncollectable": self.uncollectable}
        for label, (twin, real) in figures.items():
            found.append((label, f"{twin:,}", f"{real:,}", difference(twin, real)))
        if self.recorded:
            return found
        twin_, real_ = (" ".join(map(str, counts)) for counts in self.counts)
        found.append(("gc.get_count at the end", twin_, real_, "equal" if twin_ == real_ else "no"))
        grown = [bytes_text(bytes_) for bytes_ in self.grown]
        found.append(("resident at the peak", grown[0], grown[1], difference(*self.grown)))
        return found

    def sentences(self) -> list[str]:
        """What the figures are made from, and where they first differ."""
        said = [
            "A collection is equal if the same event began it, of the same generation, with as "
            "many objects collected and uncollectable.",
            OF_A_RECORDING if self.recorded else FROZEN,
        ]
        if self.first_difference:
            twin, real = (
                ", ".join(f"{name} {value:,}" for name, value in zip(RUN, row, strict=False))
                or "no further one"
                for row in (self.first_difference["twin"], self.first_difference["real"])
            )
            said.append(f"First difference: {twin} (twin) and {real} (real).")
        return said

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""

        def both(pair: tuple[Any, Any]) -> dict[str, Any]:
            return dict(zip(("twin", "real"), pair, strict=True))

        return {
            "manager": "cpython",
            "events": self.events,
            "versions": both(self.versions),
            "collections": vars(self.runs),
            "weak_references": vars(self.weak),
            "weak_references_by_what": {name: both(pair) for name, pair in self.heard.items()},
            "collections_by_generation": {name: both(pair) for name, pair in self.made.items()},
            "collected": both(self.collected),
            "uncollectable": both(self.uncollectable),
            "recorded": self.recorded,
            "counts_at_the_end": both(self.counts),
            "peak_bytes_over_start": both(self.grown),
            "first_difference": self.first_difference,
            "settings": self.settings,
        }

    def hear(self, twin: np.ndarray, real: np.ndarray) -> None:
        """Enter what both say of weak references, int64[row, len(HEARD)]."""
        self.weak.add(equal_rows(twin, ordered(real)))
        for called, name in enumerate(("weak references cleared", "callbacks called")):
            pair = [int((rows[:, 1] == called).sum()) for rows in (twin, real)]
            self.heard[name] = pair[0], pair[1]

    def enter(self, twin: np.ndarray, real: np.ndarray) -> None:
        """Enter the runs of both, int64[collection, len(RUN)]."""
        equal = equal_rows(twin, real)
        self.runs.add(equal)
        generation, collected, uncollectable = (
            RUN.index(name) for name in ("generation", "collected", "uncollectable")
        )
        for number, name in enumerate(GENERATIONS):
            made = [int((rows[:, generation] == number).sum()) for rows in (twin, real)]
            self.made[name] = made[0], made[1]
        self.collected = int(twin[:, collected].sum()), int(real[:, collected].sum())
        self.uncollectable = int(twin[:, uncollectable].sum()), int(real[:, uncollectable].sum())
        if not equal.all():
            row = int((~equal).argmax())
            self.first_difference = {
                "twin": twin[row].tolist() if row < len(twin) else [],
                "real": real[row].tolist() if row < len(real) else [],
            }


def equal_rows(twin: np.ndarray, real: np.ndarray) -> np.ndarray:
    """bool[the longer one's rows]: which rows are equal; one without a partner is not."""
    longest, shared = max(len(twin), len(real)), min(len(twin), len(real))
    equal = np.zeros(longest, bool)
    equal[:shared] = (twin[:shared] == real[:shared]).all(axis=1)
    return equal


def lead(heap: Any, real: collector.Collected) -> None:
    """Let the twin begin as the real interpreter did."""
    heap.watched = 1
    heap.own = heap.total = real.own
    heap.own_frozen = real.frozen
    heap.counts[:] = real.counts


def validate(
    trace: "Trace",
    settings: Mapping[str, int] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Agreement:
    """Replay `trace` through the twin and the real collector and compare.

    The twin is of the real one's version unless `settings` say another; thresholds and disable go
    to both. HeapwrightError for a trace without references.
    """
    if not trace.graph:
        raise HeapwrightError(
            f"{trace.path} has no references, and so no cycles to collect: give cpython an object "
            "graph, of `heapwright synthesise` or `record --graph`."
        )
    if len(recorded := recorded_runs(trace)):
        return _as_recorded(trace, recorded, settings, progress)
    chosen = dict(settings or {})
    real = collector.drive(trace.batches(collector.COLUMNS), trace.slots, chosen)
    chosen = {"version": nearest(named("cpython"), real.version), **chosen}
    twin = Replay("cpython", trace, chosen, Conditions())
    lead(twin.heap, real)
    done = 0
    for batch in trace.batches(twin.loop.COLUMNS):
        twin.loop.replay(twin.heap, twin.run, batch)
        twin.end_if_fatal()
        done += len(batch.op)
        if progress:
            progress(done)
    versions = version_text(chosen["version"]), real.version
    found = Agreement(trace.events, versions, settings=dict(settings or {}))
    found.enter(runs_of(twin.heap), real.runs)
    if trace.references:
        found.hear(heard(twin.heap.weak), real.heard)
    pages = int(twin.heap.machine.meters[PEAK_RESIDENT_PAGES])
    found.grown = pages * PAGE_BYTES, real.grown
    found.counts = tuple(twin.heap.counts.tolist()), real.end
    return found


def recorded_runs(trace: "Trace") -> np.ndarray:
    """int64[collection, len(RUN)]: what the recorded program's own collector did."""
    rows: list[tuple[int, ...]] = []
    first = 0
    for batch in trace.batches(("op", "size")):
        steers = np.flatnonzero(batch.op == STEER)
        asked = batch.size[steers]
        for place in np.flatnonzero(asked & (1 << STEER_BITS) - 1 == RAN).tolist():
            generation, _, collected, left = ran(int(asked[place]))
            rows.append((first + int(steers[place]), generation, collected, left))
        first += len(batch.op)
    return np.array(rows, np.int64).reshape(-1, len(RUN))


def _as_recorded(
    trace: "Trace",
    real: np.ndarray,
    settings: Mapping[str, int] | None,
    progress: Callable[[int], None] | None,
) -> Agreement:
    """The twin beside what the recorded program's own collector did."""
    twin = Replay("cpython", trace, dict(settings or {}), Conditions("none"))
    done = seen_from = 0
    for batch in trace.batches(twin.loop.COLUMNS):
        if not seen_from:
            counted = (batch.op == STEER) & (batch.size & (1 << STEER_BITS) - 1 >= COUNT)
            seen_from = done + int(counted.argmax()) if counted.any() else 0
        twin.loop.replay(twin.heap, twin.run, batch)
        twin.end_if_fatal()
        done += len(batch.op)
        if progress:
            progress(done)
    versions = version_text(twin.version), trace.origin.get("python", "")
    found = Agreement(trace.events, versions, settings=dict(settings or {}), recorded=True)
    ours = runs_of(twin.heap)
    found.enter(ours[ours[:, 0] >= seen_from], real)
    return found
