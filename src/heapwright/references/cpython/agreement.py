"""pymalloc's twin beside the real one on the same trace: every address, every arena.

    trace ─► real   a fresh process: addresses, arenas made and given back ─┐
          ─► twin   survey, placed, an arena where the real one has it     ─┴─► compared

Equal      a block of an arena: the same offset in an arena that was made as the same in order; any
           other block is outside arenas in both. An arena: made, and given back, by the same event.
           What sys._debugmallocstats() says at the end: each figure
Given      where an arena begins modulo its size, which is up to Linux: before the event that makes
           one the twin's address space is filled up to there
Omits      where malloc puts what is passed on to it: `heapwright validate glibc` has that
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.machine import mmap, munmap
from heapwright.machine.gaps import place
from heapwright.references import no_graph
from heapwright.references.cpython.driver import Drive
from heapwright.references.cpython.stats import said_by, stats_of
from heapwright.references.tally import Tally, difference
from heapwright.trace.schema import Events
from heapwright.tunnel.replay import Conditions, Replay
from heapwright.versions import version_text

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

COLUMNS = ("op", "slot", "size", "align", "thread")
OUTSIDE, NOWHERE = -1, -2  # places: of malloc; no block
ORDER_SHIFT = 32  # a place is an arena's number << ORDER_SHIFT, and the offset in it


@dataclass
class Arenas:
    """The arenas of one side that are there, numbered in the order they were made."""

    bytes: int
    bases: dict[int, int] = field(default_factory=dict)  # base: number
    made: int = 0

    def make(self, base: int) -> None:
        """One more, at `base`."""
        self.bases[base] = self.made
        self.made += 1

    def places(self, addresses: np.ndarray) -> np.ndarray:
        """int64[event]: where each address lies; OUTSIDE arenas, NOWHERE of 0."""
        bases = np.array(sorted(self.bases), np.int64)
        found = np.where(addresses == 0, NOWHERE, OUTSIDE)
        if len(bases):
            numbers = np.array([self.bases[base] for base in bases.tolist()], np.int64)
            row = np.searchsorted(bases, addresses, "right") - 1
            offset = addresses - bases[row]
            within = (row >= 0) & (offset < self.bytes)
            found = np.where(within, (numbers[row] << ORDER_SHIFT) + offset, found)
        return found


@dataclass
class Follower:
    """A twin that is led along the real one's events."""

    twin: Any  # loop, heap, run: a `Replay`, or a trial
    ledger: Any
    ours: Arenas
    real: Arenas
    lost: int = 0  # arenas made or given back by one side alone

    def follow(
        self, batch: Events, addresses: np.ndarray, changes: np.ndarray, first: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places of the twin's and the real blocks of a batch whose first event is `first`.

        `addresses` int64[event] and `changes` int64[row, 3] (event, base, bytes) are the real ones.
        """
        ours, real = np.zeros_like(addresses), np.zeros_like(addresses)
        at = changes[:, 0] - first  # such an event is a part of its own: see `_make_room`
        stops = np.unique(np.concatenate([at[at > 0] - 1, at, np.array([len(addresses) - 1])]))
        start = 0
        for stop in stops.tolist():
            rows = changes[changes[:, 0] == first + stop]
            for _, base, bytes_ in rows.tolist():
                if bytes_ > 0:
                    self._make_room(base)
                    self.real.make(base)
            part = slice(start, stop + 1)
            placed = np.zeros((stop + 1 - start, 2), np.int64)
            here = Events(*(column[part] if len(column) else column for column in batch))
            heap = self.twin.heap
            self.twin.loop.survey(heap, self.twin.run, here, self.ledger, placed)
            held = heap.arenas.base[1 : int(heap.rows) + 1]
            now = {int(base) for base in held if base}
            for base in sorted(now - self.ours.bases.keys()):
                self.ours.make(base)
            ours[part] = self.ours.places(placed[:, 0])
            real[part] = self.real.places(addresses[part])
            for _, base, bytes_ in rows.tolist():
                if bytes_ < 0:
                    del self.real.bases[base]
            self.ours.bases = {b: n for b, n in self.ours.bases.items() if b in now}
            self.lost += len(set(self.ours.bases.values()) ^ set(self.real.bases.values()))
            start = stop + 1
        return ours, real

    def _make_room(self, base: int) -> None:
        """Fill the twin's space until the next mapping begins where the real one does in a MiB."""
        space, bytes_ = self.twin.heap.machine, self.ours.bytes
        while True:
            there = int(mmap(space, 0, bytes_))
            if not there:
                raise HeapwrightError("the twin's address space is full; take a shorter trace.")
            munmap(space, there, bytes_)
            away = (there - base) % bytes_
            if not away:
                return
            place(space.gaps, there + bytes_ - away, away)  # nothing is mapped there, but never is


@dataclass
class Agreement:
    """What the twin and the real pymalloc agree on."""

    events: int
    versions: tuple[str, str]  # of the twin and of the real one
    addresses: Tally = field(default_factory=Tally)  # of blocks in arenas, of either
    passed: Tally = field(default_factory=Tally)  # blocks that are malloc's in either
    stats: Tally = field(default_factory=Tally)  # figures of sys._debugmallocstats()
    arenas: tuple[int, int] = (0, 0)  # made: twin, real
    freed: tuple[int, int] = (0, 0)
    lost: int = 0  # moments at which other arenas were there
    first_difference: dict[str, int | str] | None = None
    recorded: bool = False  # the real one is the recorded program's own
    settings: dict[str, int] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether all is equal."""
        tallies = (self.addresses, self.passed, self.stats)
        return not self.lost and all(each.equal == each.compared for each in tallies)

    @property
    def title(self) -> str:
        """What was compared."""
        return f"pymalloc on {self.events:,} events, beside CPython {self.versions[1]}"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """What was compared, the twin's figure, the real one's, and how far they agree."""
        found = [
            self.addresses.row("addresses in arenas"),
            self.passed.row("passed on to malloc"),
        ]
        if not self.recorded:
            found.append(self.stats.row("figures of sys._debugmallocstats"))
        for label, (twin, real) in (("arenas made", self.arenas), ("given back", self.freed)):
            found.append((label, f"{twin:,}", f"{real:,}", difference(twin, real)))
        return found

    def sentences(self) -> list[str]:
        """What the figures are made from, and where they first differ."""
        real = (
            "The real pymalloc is the recorded program's own"
            if self.recorded
            else "The real pymalloc runs in a fresh process with nothing of Python's own in its "
            "pools"
        )
        said = [
            f"{real}; an address is compared as its offset in an arena, arenas in the order they "
            "were made."
        ]
        if self.first_difference:
            at = self.first_difference
            said.append(
                f"First difference at event {at['event']:,}: {at['twin']} (twin) and {at['real']} "
                "(real)."
            )
        twin, real = self.versions
        if self.recorded:
            real = ".".join(real.split(".")[:2])
        if twin != real:
            where = "" if self.recorded else " here"
            said.append(f"The twin is of version {twin} and the real one{where} is {real}.")
        return said

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""

        def both(pair: tuple[Any, Any]) -> dict[str, Any]:
            return dict(zip(("twin", "real"), pair, strict=True))

        return {
            "manager": "pymalloc",
            "events": self.events,
            "versions": both(self.versions),
            "recorded": self.recorded,
            "addresses": vars(self.addresses),
            "passed": vars(self.passed),
            "stats": vars(self.stats),
            "arenas_made": both(self.arenas),
            "arenas_given_back": both(self.freed),
            "arenas_lost": self.lost,
            "first_difference": self.first_difference,
            "settings": self.settings,
        }

    def enter(self, ours: np.ndarray, real: np.ndarray, first: int) -> None:
        """Enter the places of a batch whose first event is `first`."""
        equal = ours == real
        inside = (ours >= 0) | (real >= 0)
        self.addresses.add(equal[inside])
        self.passed.add(equal[~inside & ((ours != NOWHERE) | (real != NOWHERE))])
        if self.first_difference is None and not equal.all():
            row = int((~equal).argmax())
            self.first_difference = {
                "event": first + row,
                "twin": _words(int(ours[row])),
                "real": _words(int(real[row])),
            }


def _words(place_: int) -> str:
    if place_ < 0:
        return "a block of malloc's" if place_ == OUTSIDE else "no block"
    number, offset = divmod(place_, 1 << ORDER_SHIFT)
    return f"{offset:,} bytes into arena {number}"


def validate(
    trace: "Trace",
    settings: Mapping[str, int] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Agreement:
    """Replay `trace` through the twin and the real pymalloc and compare; of a Python program's
    trace the real one is the program's own, as recorded.

    The twin is of the real one's version unless `settings` say another. `progress` is told the
    events compared so far. HeapwrightError for an object graph, and without a libpython.
    """
    no_graph(trace, "the real pymalloc")
    if trace.arenas:
        return _as_recorded(trace, settings, progress)
    with Drive(trace.slots) as drive:
        chosen = {"version": drive.version, **(settings or {})}
        twin = Replay("pymalloc", trace, chosen, Conditions())
        versions = version_text(chosen["version"]), version_text(drive.version)
        found = Agreement(trace.events, versions, settings=dict(settings or {}))
        bytes_ = int(twin.heap.arena_bytes)
        both = Follower(twin, twin.ledger(), Arenas(bytes_), Arenas(bytes_))
        seen = freed = 0
        for batch in trace.batches(columns=COLUMNS):
            addresses, changes = drive.replay(batch)
            freed += int(np.count_nonzero(changes[:, 2] < 0))
            found.enter(*both.follow(batch, addresses, changes, seen), seen)
            seen += len(batch.op)
            if progress:
                progress(seen)
        stats, real = stats_of(twin.heap), said_by(drive.finish())
    found.stats.add(np.array([stats.get(name) == value for name, value in real.items()]))
    found.arenas, found.lost = (both.ours.made, both.real.made), both.lost
    found.freed = int(twin.heap.paths[list(twin.module.PATHS).index("arena_freed")]), freed
    return found


def _as_recorded(
    trace: "Trace",
    settings: Mapping[str, int] | None,
    progress: Callable[[int], None] | None,
) -> Agreement:
    """The twin beside the addresses and the arenas of the recording itself."""
    twin = Replay("pymalloc", trace, dict(settings or {}), Conditions())
    versions = version_text(twin.version), trace.python
    found = Agreement(trace.events, versions, recorded=True, settings=dict(settings or {}))
    bytes_ = int(twin.heap.arena_bytes)
    both = Follower(twin, twin.ledger(), Arenas(bytes_), Arenas(bytes_))
    changes, seen = trace.arena_changes(), 0
    for batch in trace.batches((*twin.loop.COLUMNS, "address")):
        first, past = np.searchsorted(changes[:, 0], [seen, seen + len(batch.op)])
        found.enter(*both.follow(batch, batch.address, changes[first:past], seen), seen)
        seen += len(batch.op)
        if progress:
            progress(seen)
    found.arenas, found.lost = (both.ours.made, both.real.made), both.lost
    freed = int(np.count_nonzero(changes[:, 2] < 0))
    found.freed = int(twin.heap.paths[list(twin.module.PATHS).index("arena_freed")]), freed
    return found
