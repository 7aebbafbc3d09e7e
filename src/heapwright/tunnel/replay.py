"""One replay: a trace through a manager, measured and explained.

    pass 1   replay at full speed: the rate, page faults, paths, and the event of the peak
    pass 2   survey: the same events again, stopped about a thousand times and exactly at the
             peak to say what each resident byte is; filmed if a picture is asked for

Both passes boot the manager anew and are deterministic, so they see the same heap. Where the real
system's course depends on time, a replay at full speed follows for each other course that the
manager names, and the result has their range. Memory is proportional to live objects and pages,
never to events: the trace is streamed.
"""

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.collectors.log import CYCLES
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, machine
from heapwright.machine.address_space import (
    FAULTS,
    MAPPED_BYTES,
    PEAK_MAPPED_BYTES,
    PEAK_RESIDENT_PAGES,
    RESIDENT_PAGES,
    STRAY_TOUCHES,
)
from heapwright.managers.present import ran_on
from heapwright.managers.registry import named
from heapwright.result import PARTS, TIMELINE, HeapMap, Result, Spread
from heapwright.trace.ending import ending
from heapwright.trace.schema import Events, events
from heapwright.tunnel.bind import bound_loop
from heapwright.tunnel.collecting import Clock, collected
from heapwright.tunnel.conditions import CLOCK_STEP_NS, HUGE_PAGES, columns_of, room_text
from heapwright.tunnel.conditions import TOUCH as TOUCH  # noqa: PLC0414 given on
from heapwright.tunnel.conditions import Conditions as Conditions  # noqa: PLC0414 given on
from heapwright.tunnel.graph_run import program
from heapwright.tunnel.keyframes import Keyframes
from heapwright.tunnel.ledger import LIVE, RESIDENT_BYTES, SAMPLE_COLUMNS, Ledger, ledger
from heapwright.tunnel.settled import settle, stops_of
from heapwright.tunnel.steered import of_references, of_version, recorded_for, sentences
from heapwright.words import counted

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

SAMPLES = 1000
MOMENT_SECONDS = 0.05  # a neighbour's noise shows in a shorter replay:
MOMENT_TRIES = 3  # it is replayed so often and the median counts
IDEAL_LIVENESS = (
    "Ideal liveness: the trace knows no references, so each object is a root until the recorded "
    "program freed it; a real collector finds it dead later, or earlier."
)
ALONE = (
    "Serves all that the Python program asks for, its objects too, as PYTHONMALLOC=malloc has it."
)
CLOCK = "Its clock is the recorded program's, as far as the recorder read it."
NO_CLOCK = f"The trace knows no time: its clock moves on by {CLOCK_STEP_NS:,} ns at each event."
ORACLE_DEATHS = "Frees each object as soon as nothing refers to it any longer: the trace's oracle."
_FIRST_BLOCKS = 4096  # rows of Ledger.blocks to begin with; it grows when a manager has more
_SETTLED_SLOTS = 1 << 28  # looked at, in all stops together, for objects that a collector moved
_LEAST_SAMPLES = 60
_CLOCKED = 4  # one sample in so many more is spread over time instead of events

Progress = Callable[[int], None]  # told the events replayed so far, out of `steps_of_replay`


def steps_of_replay(trace: "Trace") -> int:
    """Events replayed in both passes, for a progress bar."""
    return 2 * trace.events


def replay(  # noqa: PLR0913 the first three say what, the others how
    manager_name: str,
    trace: "Trace",
    settings: Mapping[str, int] | None = None,
    *,
    touch: str | None = None,
    huge_pages: str = "never",
    samples: int = SAMPLES,
    tries: int = 1,
    progress: Progress | None = None,
    picture: Callable[[Keyframes], HeapMap | None] | None = None,
) -> Result:
    """Replay `trace` through a manager; its timeline has about `samples` rows and the exact peak.

    The time is the median of a few replays where one takes but a moment; with more than one try
    the fastest of so many, as noise only adds to it. With `picture` keyframes are taken, and what
    it makes of the keyframes is the result's `heap_map`.
    Raises HeapwrightError for an unknown manager, knob or condition and for a corrupt trace.
    """
    conditions = Conditions.of(trace, touch, huge_pages)
    settings = dict(settings or {})
    twin = Replay(manager_name, trace, settings, conditions)
    seconds = [twin.replay(trace, progress)]
    while len(seconds) < max(tries, MOMENT_TRIES if seconds[0] < MOMENT_SECONDS else 1):
        seconds.append(Replay(manager_name, trace, settings, conditions).replay(trace, None))
    meters, counts = twin.heap.machine.meters, twin.run.progress
    peak_pages, peak_event = int(counts[twin.loop.PEAK_PAGES]), int(counts[twin.loop.PEAK_EVENT])
    result = Result(
        manager=manager_name,
        kind="twin",
        events=int(counts[twin.loop.NEXT]),
        seconds=min(seconds) if tries > 1 else statistics.median(seconds),
        peak={},
        page_faults=int(meters[FAULTS]),
        mapped_bytes_peak=int(meters[PEAK_MAPPED_BYTES]),
        high_water_bytes=int(meters[PEAK_RESIDENT_PAGES]) * PAGE_BYTES,
        settings=settings,
        conditions=conditions.kept_of(trace),
        recorded=twin.recorded,
        runs_on=ran_on(trace) if trace.python or trace.of_kernel or trace.graph else "",
        paths=dict(zip(twin.module.PATHS, twin.heap.paths.tolist(), strict=True)),
        refused=int(counts[twin.loop.REFUSED]),
        notes=conditions.said_of(trace) + twin.notes(),
        collecting=collected(twin),
    )
    del twin, meters  # give its address space back before the next one is reserved

    survey = Replay(manager_name, trace, settings, conditions)
    if survey.collected:
        samples = min(samples, max(_LEAST_SAMPLES, _SETTLED_SLOTS // max(1, trace.slots)))
    ends = ending(trace, samples // _CLOCKED)
    stops = stops_of(trace.events, samples, peak_event, ends)
    keyframes = None
    if picture and len(stops):
        keyframes = Keyframes(trace, stops, peak_event, ends.end)
    survey.peak_event = peak_event
    result.timeline = survey.survey(trace, stops, progress, keyframes)
    result.storeys = survey.storeys
    result.notes += _of_storeys(result.storeys)
    if picture and keyframes:
        result.heap_map = picture(keyframes)
    result.peak = _peak(result.timeline, peak_event)
    settle(result, trace, ends)
    assert result.peak["resident_bytes"] == peak_pages * PAGE_BYTES, "the two passes differ"
    del survey
    result.spread = _spread(result, trace, conditions)
    return result


def _spread(result: Result, trace: "Trace", conditions: Conditions) -> Spread | None:
    """The range of the replays that may as well be as `result`; None of a manager that has one
    course, or that never collected.

    One that ends early, out of memory, counts with what it held by then.
    """
    cycles = sum(result.collecting.collections.values()) if result.collecting else 0
    others = getattr(named(result.manager).module, "courses", None)
    courses = others(result.settings) if others and cycles else []
    if not courses:
        return None
    held, collections = [result.held_bytes], [cycles]
    for settings in courses:
        other = Replay(result.manager, trace, settings, conditions)
        with contextlib.suppress(HeapwrightError):
            other.replay(trace, None)
        held.append(int(other.heap.machine.meters[PEAK_RESIDENT_PAGES]) * PAGE_BYTES)
        collections.append(int(other.heap.log.totals[CYCLES]))
        del other
    return Spread(len(held), (min(held), max(held)), (min(collections), max(collections)))


def replay_seconds(
    manager_name: str, trace: "Trace", settings: Mapping[str, int] | None = None
) -> float:
    """Seconds in the replay loop alone, under the default conditions."""
    one = Replay(manager_name, trace, dict(settings or {}), Conditions.of(trace))
    return one.replay(trace, None)


def placements(
    manager_name: str,
    trace: "Trace",
    settings: Mapping[str, int] | None = None,
    *,
    touch: str | None = None,
    huge_pages: str = "never",
    progress: Progress | None = None,
) -> Iterator[np.ndarray]:
    """Per batch int64[event, 2]: the address of each event's object and its usable bytes.

    Both are 0 for an event without an object. Addresses are those of the twin's machine, whose
    heap starts at `heapwright.machine.address_space.BREAK_BASE`.
    """
    twin = Replay(
        manager_name, trace, dict(settings or {}), Conditions.of(trace, touch, huge_pages)
    )
    pages = twin.ledger()
    for batch in twin.batches(trace, columns_of(twin.loop, trace)):
        placed = np.zeros((len(batch.op), 2), np.int64)
        twin.loop.survey(twin.heap, twin.run, batch, pages, placed)
        twin.end_if_fatal()
        yield placed
        if progress:
            progress(int(twin.run.progress[twin.loop.NEXT]))


def addresses(
    manager_name: str, trace: "Trace", settings: Mapping[str, int] | None = None, **conditions: Any
) -> Iterator[np.ndarray]:
    """Per batch int64[event]: where each event's object lies; 0 for a free. See `placements`."""
    for placed in placements(manager_name, trace, settings, **conditions):
        yield placed[:, 0]


class Replay:
    """A booted manager, its bound loop, and the state of one pass."""

    def __init__(
        self,
        manager_name: str,
        trace: "Trace",
        settings: dict[str, int],
        conditions: Conditions,
        at: int | None = None,
    ) -> None:
        """`settings` go over those of the recording; `at`: where the heap starts, if not there."""
        self.manager = manager = named(manager_name)
        self.trace = trace
        self.clock = Clock()
        self.module: Any = manager.module
        self.collected = manager.collected
        self.peak_event = -1  # at which storeys are told apart; -1 unknown
        self.storeys: dict[str, dict[str, int]] = {}
        self.apart: Any = None  # of a manager over another
        if hasattr(self.module, "beneath"):
            self.apart = bound_loop(manager, "storeys").apart
        self.loop: Any = bound_loop(manager, manager.template(graph=trace.graph))
        stood_for, self.recorded = recorded_for(manager, trace)
        start = trace.heap_start if getattr(self.module, "AT_HEAP_START", False) else 0
        space = machine(HUGE_PAGES.index(conditions.huge_pages), start if at is None else at)
        self.chosen = chosen = {**stood_for, **settings}
        config, self.ignored = manager.configured(chosen), manager.ignored(chosen)
        lays_out = getattr(self.module, "laid_out", None)
        self.laid_out = lays_out(trace, config._asdict()) if lays_out else None
        # The version of the real system that this is a twin of; 0 where there is none
        self.version = chosen.get("version", getattr(self.module.Config(), "version", 0))
        if manager.collected:
            self.heap = self.module.boot(space, config, program(trace))
        elif hasattr(self.module, "DOORS"):
            self.heap = self.module.boot(space, config, trace.doors())
        else:
            self.heap = self.module.boot(space, config)
        self.run = self.loop.start(self.heap, trace.slots)
        self.run.progress[self.loop.TOUCH] = TOUCH[conditions.touch]
        if getattr(self.loop, "CLOCKED", False):
            self.run.progress[self.loop.STEP_NS] = CLOCK_STEP_NS

    def batches(self, trace: "Trace", columns: Sequence[str]) -> Iterator[Events]:
        """The trace's events, with objects as the real system lays out those of a recording."""
        every = trace.batches(columns)
        return map(self.laid_out, every) if self.laid_out else every

    def replay(self, trace: "Trace", progress: Progress | None) -> float:
        """Pass 1; seconds spent in the loop, without loading the trace or compiling."""
        self.loop.replay(self.heap, self.run, events())  # compile, or load the compiled
        for batch in self.batches(trace, columns_of(self.loop, trace)):
            self.clock.start()
            self.loop.replay(self.heap, self.run, batch)
            self.clock.stop()
            self.end_if_fatal()
            if progress:
                progress(int(self.run.progress[self.loop.NEXT]))
        return self.clock.elapsed_ns / 1e9

    def survey(
        self,
        trace: "Trace",
        stops: np.ndarray,
        progress: Progress | None,
        keyframes: Keyframes | None = None,
    ) -> np.ndarray:
        """Pass 2; int64[stop, len(TIMELINE)], a row for the state after each event of `stops`."""
        loop, heap = self.loop, self.heap
        pages = self.ledger()
        nothing_placed = np.zeros((0, 2), np.int64)
        timeline = np.zeros((len(stops), len(TIMELINE)), np.int64)
        row = first = 0  # of the timeline; the batch's first event
        columns = columns_of(loop, trace)
        for batch in self.batches(trace, (*columns, "site") if keyframes else columns):
            past = first + len(batch.op)
            here = first
            while row < len(stops) and stops[row] < past:
                until = int(stops[row]) + 1
                part = _cut(batch, here - first, until - first)
                loop.survey(heap, self.run, part, pages, nothing_placed)
                pages = _decompose(loop, heap, pages, timeline[row])
                if self.apart and stops[row] == self.peak_event:
                    storeys = self.apart(heap, self.run.objects, pages, timeline[row])
                    self.storeys = dict(zip(self.module.NAMES, storeys.values(), strict=True))
                timeline[row, :2] = stops[row], heap.machine.meters[MAPPED_BYTES]
                if keyframes:
                    keyframes.follow(part, here)
                    keyframes.take(int(stops[row]), heap, self.run.objects, pages)
                here, row = until, row + 1
            rest = _cut(batch, here - first, len(batch.op))
            loop.survey(heap, self.run, rest, pages, nothing_placed)
            if keyframes:
                keyframes.follow(rest, here)
            first = past
            if progress:
                progress(trace.events + first)
        return timeline

    def ledger(self) -> Ledger:
        """An empty ledger of its pages."""
        return ledger(len(self.heap.machine.pages), _FIRST_BLOCKS)

    def end_if_fatal(self) -> None:
        """HeapwrightError where the real program would have been killed, as by a stack overflow."""
        if self.collected and (ended := int(self.run.progress[self.loop.REFUSED])):
            event = int(self.run.progress[self.loop.NEXT])
            if ended == self.loop.UNSOUND:
                raise HeapwrightError(
                    f"event {event:,} of {self.trace.path} writes to an object that nothing "
                    "refers to: record or synthesise the trace again."
                )
            raise HeapwrightError(
                f"out of memory at event {event:,} of {self.trace.events:,}: no room for its "
                "object even after a full collection; give it a larger heap."
            )
        fatal = getattr(self.module, "fatal", None)
        sentence = fatal(self.heap) if fatal else ""
        if sentence:
            raise HeapwrightError(sentence)

    def notes(self) -> list[str]:
        """What a reader of the figures must know."""
        notes = list(self.module.notes(self.heap)) if hasattr(self.module, "notes") else []
        meters, progress = self.heap.machine.meters, self.run.progress
        if self.collected and not self.trace.graph:
            notes.append(IDEAL_LIVENESS)
            if self.trace.aligned:
                notes.append("Alignments are not asked of a collector: they are left out.")
        if self.trace.graph and not self.collected:
            notes.append(ORACLE_DEATHS)
        notes += of_version(self.manager, self.trace, self.chosen)
        notes += of_references(self.manager, self.trace)
        if getattr(self.loop, "CLOCKED", False):
            notes.append(CLOCK if "time_ns" in self.trace.columns else NO_CLOCK)
        notes += [
            *self.ignored,
            *sentences(self.recorded, int(progress[self.loop.PASSED_OVER])),
        ]
        if self.trace.python and not self.collected and not self.loop.BY_DOMAIN:
            notes.append(ALONE)
        refused = int(progress[self.loop.REFUSED])
        if refused:
            notes.append(
                f"Ran out of memory: refused {counted(refused, 'request')} that the real system "
                f"granted ({room_text(self.manager, self.chosen)}), so its figures are too low."
            )
        between = int(meters[PEAK_RESIDENT_PAGES] - progress[self.loop.PEAK_PAGES]) * PAGE_BYTES
        if between:
            notes.append(
                f"Within one event it held {between:,} bytes more than at the peak, which is taken "
                "between events."
            )
        if meters[STRAY_TOUCHES]:
            notes.append(
                f"Wrote to {int(meters[STRAY_TOUCHES]):,} unmapped pages: a bug of the twin."
            )
        return notes


def _of_storeys(storeys: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What each storey costs, a sentence each."""
    told = []
    for name, parts in storeys.items():
        known = ", ".join(f"{part} {size:,}" for part, size in parts.items() if size)
        told.append(f"At the peak {name} holds, in bytes: {known or 'nothing'}.")
    return told


def _peak(timeline: np.ndarray, peak_event: int) -> dict[str, int]:
    """`resident_bytes` and the parts at the peak; all 0 of an empty trace."""
    rows = timeline[timeline[:, 0] == peak_event]
    values = rows[0, 2:].tolist() if len(rows) else [0] * (1 + len(PARTS))
    return dict(zip(TIMELINE[2:], values, strict=True))


def _decompose(loop: Any, heap: Any, pages: Ledger, sample: np.ndarray) -> Ledger:
    """Write the sample; the ledger, with more room for blocks if the manager needed it."""
    while needed := loop.decompose(heap, pages, sample):
        rows = max(needed, 2 * len(pages.blocks))
        pages = pages._replace(blocks=np.zeros((rows, 2), np.int64))
    resident, parts = sample[RESIDENT_BYTES], sample[LIVE:SAMPLE_COLUMNS]
    assert resident == heap.machine.meters[RESIDENT_PAGES] * PAGE_BYTES, "resident pages disagree"
    assert resident == parts.sum() and (parts >= 0).all(), f"parts {parts} of {resident} resident"
    return pages


def _cut(batch: Events, first: int, past: int) -> Events:
    """Events [first, past) of a batch; absent columns stay absent."""
    return Events(*(column[first:past] for column in batch))
