"""Five real Python programs: what a recording predicts that they hold, and what they held.

    python -m benchmarks.python_memory [-o docs/python-memory.md] [--rounds 5] [--only NAME]

records each program of benchmarks/pythons once, replays the recording as "pymalloc over glibc" and
as jemalloc alone, and runs the program, not recorded, as it is and with PYTHONMALLOC=malloc and
jemalloc preloaded, in turns. Of a program with workers each process is judged.

What a process holds is partly luck. As its path and its environment are longer or shorter its first
blocks lie elsewhere, and another one keeps the top of the heap; and jemalloc gives back as time
passes, and looks by where the system put the process. So each run has an environment of another
length, and a program is predicted as often as it may fall: in processes that are drawn, jemalloc at
the pace of each run, its time before it rests as a multiple of the recording's.
Nothing in the page is typed by hand.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import heapwright as hw
from benchmarks.advice import beside
from benchmarks.tables import kernel
from heapwright.api.running import moments_of
from heapwright.insight.advice import value_of
from heapwright.managers.deploying import PRELOAD, WITHOUT_PYTHONS
from heapwright.references.program import Run, held, image_bytes, run
from heapwright.trace.ending import clock, ending
from heapwright.trace.store import Trace
from heapwright.tunnel.footprint import footprint, stops
from heapwright.tunnel.reordered import Another
from heapwright.words import bytes_text

SOURCES = Path(__file__).parent / "pythons"
FIGURES = ("peak", "end")
PROCESSES = 8  # that are drawn
PACED = 3  # that are drawn at the pace of each run, where it depends on that
LONGER = "HEAPWRIGHT_LONGER"  # a variable of the environment that no program knows
LONGEST_BYTES = 4096  # of its value


@dataclass(frozen=True)
class Program:
    """What is run, and what it is there for."""

    name: str
    source: str
    about: str
    workers: bool = False


PROGRAMS = (
    Program("web service", "service.py", "threads, SQLite, templates and JSON, under load"),
    Program("pandas", "frames.py", "tables joined, grouped, written and read"),
    Program("parser", "parser.py", "syntax trees of the standard library, an index of names"),
    Program("cycles", "cycles.py", "documents whose nodes know their parents"),
    Program("workers", "workers.py", "multiprocessing, each counts its share", workers=True),
)


@dataclass(frozen=True)
class Stack:
    """What a program runs on: the twin, what its environment says, how near it must be."""

    manager: str
    environment: dict[str, str]
    near: float
    paced: bool = False  # what it holds depends on the time


STACKS = (
    Stack("pymalloc over glibc", {}, 0.05),
    Stack("jemalloc", {**WITHOUT_PYTHONS, PRELOAD: "libjemalloc.so.2"}, 0.10, paced=True),
)


@dataclass(frozen=True)
class Figure:
    """One process on one stack: bytes predicted and measured, medians with their ranges."""

    program: str
    process: str
    manager: str
    near: float
    paces: list[float]  # of the runs: their time, against the recording's
    predicted: dict[str, list[int]]  # of each replay
    measured: dict[str, list[int]]  # of each run

    def middle(self, name: str) -> tuple[int, int]:
        """The medians, predicted and measured."""
        pair = self.predicted[name], self.measured[name]
        return int(statistics.median(pair[0])), int(statistics.median(pair[1]))

    def off(self, name: str) -> float:
        """By which share of the measured median the predicted one differs."""
        predicted, measured = self.middle(name)
        return predicted / max(1, measured) - 1

    def beyond(self, name: str) -> float:
        """By which share of the measured median the nearest of what is predicted differs; 0 where
        it lies among them."""
        measured, all_ = self.middle(name)[1], self.predicted[name]
        nearest = min(max(measured, min(all_)), max(all_))
        return abs(nearest / max(1, measured) - 1)

    @property
    def holds(self) -> bool:
        """Whether all are near."""
        return all(self.beyond(name) <= self.near for name in FIGURES)

    @property
    def middle_holds(self) -> bool:
        """Whether the medians alone are near."""
        return all(abs(self.off(name)) <= self.near for name in FIGURES)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "off": {name: self.off(name) for name in FIGURES}}


def predicted(trace: Trace, stack: Stack, paces: Sequence[float]) -> dict[str, list[int]]:
    """Peak and end on a stack, as often as they may fall."""
    drawn = [pace for pace in paces for _ in range(PACED)] if stack.paced else [1.0] * PROCESSES
    runs = [Another(pace=pace, process=n) for n, pace in enumerate(drawn, 1)]
    at = stops(trace)
    held = [footprint(stack.manager, trace, {}, at=at, another=one) for one in runs]
    return {name: [value_of(one, name) for one in held] for name in FIGURES}


def pace_of(trace: Trace, one: Run) -> float:
    """How long a run took until its rest, against the recording; 1 where one did not rest."""
    at, began = ending(trace).rest_ns[0], int(trace.inherited_events)
    times = clock(trace, np.array([min(began, trace.events - 1)]))
    since = int(times[0]) if times is not None and began else 0
    first, _ = one.rest()
    return int(one.clock_ns[first]) / (at - since) if first >= 0 and at > since else 1.0


def proven(program: Program, folder: Path, rounds: int) -> Iterator[Figure]:
    """Record, run, predict: a figure of each process on each stack."""
    command = [sys.executable, str(SOURCES / program.source)]
    out = folder / f"{Path(program.source).stem}.heap.parquet"
    traces = list(hw.record(command, out, children=program.workers))
    surroundings = [{**os.environ, **stack.environment} for stack in STACKS]
    images = [image_bytes(one) - image_bytes(dict(os.environ)) for one in surroundings]
    runs: list[list[Run]] = [[] for _ in STACKS]
    lengths = np.random.default_rng(1).integers(0, LONGEST_BYTES, rounds).tolist()
    for turn, length in enumerate(lengths):
        for seen, one in zip(runs, surroundings, strict=True):
            seen.append(run(command, {**one, LONGER: "x" * length}, children=program.workers))
        print(f"{program.name}, round {turn + 1} of {rounds}", file=sys.stderr)
    for number, trace in enumerate(traces):
        process = f"worker {number}" if number else "the program" if program.workers else ""
        for row, stack in enumerate(STACKS):
            made = [one.children[number - 1] if number else one for one in runs[row]]
            yield figure((program.name, process), trace, stack, made, images[row])


def figure(
    of: tuple[str, str], trace: Trace, stack: Stack, made: Sequence[Run], image: int
) -> Figure:
    """What one process held in its runs, beside what its trace predicts."""
    moments = moments_of(trace)
    every = [held(one, moments, image) for one in made]
    paces = [pace_of(trace, one) for one in made]
    return Figure(
        *of,
        stack.manager,
        stack.near,
        paces,
        predicted(trace, stack, paces),
        {name: [value_of(one, name) for one in every] for name in FIGURES},
    )


def page(found: Sequence[Figure]) -> str:
    """The page: what holds, then the table."""
    lines = [
        "# Python's memory, predicted",
        "",
        f"Written by `python -m benchmarks.python_memory` on {datetime.date.today()}: CPython "
        f"{platform.python_version()}, glibc {platform.libc_ver()[1]}, {kernel()}, "
        f"{os.cpu_count()} processors.",
        "",
        "Each program was recorded once, with what Python asks of its own allocator. Predicted is "
        "what the replay of that recording holds; measured is the program run for real without "
        "the recorder: its anonymous memory, less what the recording saw outside of the heap, the "
        "median of the runs and their range. The end is where it rests before it leaves.",
        "",
        "What a process holds is partly luck, so both are ranges. As its path and its environment "
        "are longer or shorter its first blocks lie elsewhere, and another one keeps the top of "
        "the heap: each run has an environment of another length, up to "
        f"{LONGEST_BYTES:,} bytes, and replayed are {PROCESSES} processes whose start is of other "
        "lengths. jemalloc gives back as time passes too, and looks by where the system put the "
        f"process: it is replayed at the pace of each run, {PACED} times. Near is what the median "
        "of the runs is to that range.",
        "",
    ]
    for stack in STACKS:
        rows = [one for one in found if one.manager == stack.manager]
        which = (
            "as it is" if not stack.environment else "with `PYTHONMALLOC=malloc` and it preloaded"
        )
        lines.append(
            f"- {stack.manager}, {which}: peak and end within {stack.near:.0%} of "
            f"**{sum(one.holds for one in rows)} of {len(rows)}** processes; "
            f"the medians alone, of {sum(one.middle_holds for one in rows)}."
        )
    lines += [
        "",
        "| program | process | stack | peak: predicted / measured, ranges | end |",
        "| --- | --- | --- | --- | --- |",
    ]
    last = ""
    for one in found:
        cells = [
            f"{beside(*one.middle(name))}, {range_of(one.predicted[name])} / "
            f"{range_of(one.measured[name])}"
            for name in FIGURES
        ]
        name = "" if one.program == last else one.program
        lines.append(f"| {name} | {one.process} | {one.manager} | {' | '.join(cells)} |")
        last = one.program
    lines += ["", "| program | what it does |", "| --- | --- |"]
    lines += [f"| {one.name} | {one.about} |" for one in PROGRAMS]
    return "\n".join(lines) + "\n"


def range_of(all_: Sequence[int]) -> str:
    """Least and most; one figure where they read alike."""
    return " to ".join(dict.fromkeys(bytes_text(edge) for edge in (min(all_), max(all_))))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("build/pythons"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    found: list[Figure] = []
    for program in PROGRAMS:
        if given.only and program.name not in given.only:
            continue
        found += proven(program, given.folder, given.rounds)
        if given.output:  # as far as it came, should it be ended
            given.output.write_text(page(found))
    if given.json:
        print(json.dumps([one.to_json() for one in found], indent=2))
    elif not given.output:
        print(page(found))


if __name__ == "__main__":
    main()
