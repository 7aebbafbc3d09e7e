"""A fresh process whose malloc is a real allocator, fed with a trace's events in lockstep.

    with Drive("jemalloc", trace) as drive:
        for batch in trace.batches():
            placed = drive.replay(batch)      # int64[event, 2]: address, usable size; or 0, 0
        footprint = drive.finish()

Exact      resident pages are the kernel's own count of anonymous pages over a baseline that was
           read before any library's constructor ran and after the process had touched all of its
           own memory; no allocation of the harness, the loader or libc reaches the heap under test
Omits      time between events: what an allocator gives back by the clock comes later than in the
           program; the allocator's static data, which is part of its image
Source     `drive.c`; proc(5) statm, status, clear_refs; Linux mm/memory.c
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import MAPPED_TOP
from heapwright.references.child import Child
from heapwright.references.malloc import build, systems
from heapwright.trace.schema import THREAD_EXIT, Events
from heapwright.tunnel.conditions import TOUCH

PAGE_BYTES = 4096
CHUNK_EVENTS = 1 << 15  # drive.c: BATCH
STACK_BYTES = 1 << 16  # drive.c: STACK, of each thread that is alive
FEW_THREADS = 64  # up to here a stack for each is cheaper than to look who is alive
SAMPLES = 1000  # rows of the timeline, about
PROBES = 1 << 17  # resident memory is read about this often at most, 0.8 us each,
PROBE_EVENTS = 64  # and at least once in so many events
INEXACT_PAGES = 128  # what the kernel's high-water mark may be off by: 32 a counter and processor

EVENT = np.dtype(
    [
        ("size", "i8"),
        ("slot", "i4"),
        ("thread", "i4"),
        ("op", "u1"),
        ("align", "u1"),
        ("time_high", "u2"),
        ("time_low", "u4"),
    ]
)
FIGURES = (
    "peak_pages",
    "peak_event",
    "peak_live",
    "peak_usable",
    "high_water_pages",
    "mapped_peak",
    "faults",
    "nanoseconds",
    "refused",
    "exact",
    "left_out",
    "samples",
    "told",
)


class Traced(Protocol):
    """What the harness wants to know of a trace."""

    events: int
    slots: int
    threads: int
    peak_live_bytes: int
    heap_start: int

    def batches(self, columns: Sequence[str]) -> Iterator[Events]:
        """Its events."""


@dataclass(frozen=True)
class Footprint:
    """What a real allocator's memory was."""

    resident_bytes: int  # the most that was held between two events
    high_water_bytes: int  # the most that was held at all, within INEXACT_PAGES
    peak_event: int
    live_bytes: int  # requested by live objects, at the probe of the peak
    usable_bytes: int  # malloc_usable_size of live objects, likewise
    mapped_bytes_peak: int
    page_faults: int
    seconds: float  # of the replay, with touching
    refused: int  # requests refused here though not in the trace
    exact: bool  # whether the kernel counts every single page
    left_out: int  # calls of mallopt and malloc_trim, which the library does not have
    samples: np.ndarray  # int64[sample, 5]: event, mapped, resident, live, usable; bytes
    told: list[int]  # what the library says of itself at the end: see told.c


class Drive(Child):
    """The process."""

    blame = "; a trace that frees or grows what was never allocated does this."

    def __init__(  # noqa: PLR0913 the first two say what, the others how
        self,
        name: str,
        trace: Traced,
        *,
        touch: str = "all",
        placed: bool = False,
        huge_pages: bool = False,
        tunables: dict[str, int] | None = None,
        end_event: int = -1,
        tick_ns: int = -1,
    ) -> None:
        """`touch`: what the program writes, as in `Conditions`. `placed`:
        `replay` returns addresses. `tunables`: its settings, as {"arena_max": 2}. `end_event`:
        always among the samples. `tick_ns`: its clock is the events', which moves on by so much
        at each where the trace knows no time; -1: the system's clock."""
        system, library = systems.named(name), systems.library(name, tunables)
        alive = alive_at_once(trace)
        check_memory((trace.peak_live_bytes if touch == "all" else 0) + alive * STACK_BYTES)
        environment = {"LD_BIND_NOW": "1", **system.environment}
        if library is not None and not system.linked:
            environment["LD_PRELOAD"] = str(library)
        environment |= systems.variables(name, tunables or {})
        executable = build.harness(name, systems.elsewhere(name, tunables or {}))
        super().__init__(f"real {name}", executable, environment)
        self.placed = placed
        settings = (
            trace.slots,
            trace.threads,
            alive,
            TOUCH[touch],
            placed,
            max(1, trace.events // SAMPLES),
            min(PROBE_EVENTS, 1 + trace.events // PROBES),
            huge_pages,
            trace.heap_start,
            end_event,
            tick_ns >= 0,
            MAPPED_TOP,
        )
        self._tick_ns, self._events = tick_ns, 0
        self.send(np.array(settings, np.int64))
        places = self.receive(np.zeros(4, np.int64)).tolist()
        self.heap_start = int(places[0])  # the break before the first allocation; see place.h
        self.origin = int(places[1])  # bytes from the twin's mappings to the process's
        # Where a library keeps a thread's state: of the first thread, of the next, from one to the
        # next; and the origin. What it draws at random is seeded with them.
        self.seeds = (int(places[2]), int(places[3]), STACK_BYTES, self.origin)

    def replay(self, events: Events) -> np.ndarray:
        """Replay `events`; addresses and usable sizes int64[event, 2], no rows unless `placed`."""
        total = len(events.op)
        out = np.empty((total if self.placed else 0, 2), np.int64)
        for start in range(0, total, CHUNK_EVENTS):
            rows = slice(start, min(start + CHUNK_EVENTS, total))
            packed = np.zeros(rows.stop - start, EVENT)
            for column in ("size", "slot", "op", "align", "thread"):
                values = getattr(events, column)[rows]
                if len(values):
                    packed[column] = values
            if self._tick_ns >= 0:
                times = self._times(events, rows)
                packed["time_high"], packed["time_low"] = times >> 32, times & 0xFFFF_FFFF
            self._events += len(packed)
            self.send(np.array([len(packed)], np.int64))
            self.send(packed)
            if self.placed:
                self.receive(out[rows])
        return out

    def _times(self, events: Events, rows: slice) -> np.ndarray:
        """int64[event]: nanoseconds since the first event."""
        if len(events.time_ns):
            return np.maximum(events.time_ns[rows], 0)
        first = self._events
        return np.arange(first, first + rows.stop - rows.start, dtype=np.int64) * self._tick_ns

    def finish(self) -> Footprint:
        """End the process and say what its memory was."""
        self.send(np.zeros(1, np.int64))
        figures = np.zeros(len(FIGURES), np.int64)
        self.receive(figures)
        known: dict[str, int] = dict(zip(FIGURES, figures.tolist(), strict=True))
        samples = np.zeros((known["samples"], 5), np.int64)
        self.receive(samples)
        samples[:, 1:3] *= PAGE_BYTES
        told = self.receive(np.zeros(known["told"], np.int64)).tolist()
        high_water = known["peak_pages"]
        if known["high_water_pages"] > high_water + INEXACT_PAGES:  # a peak within one event
            high_water = known["high_water_pages"]
        return Footprint(
            resident_bytes=known["peak_pages"] * PAGE_BYTES,
            high_water_bytes=high_water * PAGE_BYTES,
            peak_event=known["peak_event"],
            live_bytes=known["peak_live"],
            usable_bytes=known["peak_usable"],
            mapped_bytes_peak=known["mapped_peak"],
            page_faults=known["faults"],
            seconds=known["nanoseconds"] / 1e9,
            refused=known["refused"],
            exact=bool(known["exact"]),
            left_out=known["left_out"],
            samples=samples,
            told=told,
        )


def alive_at_once(trace: Traced) -> int:
    """Most threads between their first event and their end; `thread` 0 is always there."""
    if trace.threads <= FEW_THREADS:
        return max(1, trace.threads)
    alive, most = {0}, 1
    for batch in trace.batches(("op", "thread")):
        ends = np.flatnonzero(batch.op == THREAD_EXIT)
        first = 0
        for end in [*ends.tolist(), len(batch.op) - 1]:
            alive.update(np.unique(batch.thread[first : end + 1]).tolist())
            most = max(most, len(alive))
            if batch.op[end] == THREAD_EXIT and batch.thread[end]:
                alive.discard(int(batch.thread[end]))
            first = end + 1
    return most


def check_memory(peak_live_bytes: int) -> None:
    """The replay really takes the memory: refuse what this machine cannot give."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    with contextlib.suppress(OSError), open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    if peak_live_bytes > free:
        raise HeapwrightError(
            f"the trace keeps {peak_live_bytes:,} bytes alive, its threads' stacks included, and "
            f"this machine has {free:,} free: drive the real allocators on a larger one, or "
            "without touching."
        )
