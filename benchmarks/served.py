"""Threaded services under each malloc: what `compare` says of them, and what they really held.

    python -m benchmarks.served [-o docs/served.md] [--rounds 3] [--only NAME]

compiles the programs of benchmarks/advised, records each under glibc, replays the recordings
through every twin, and runs each program for real under every malloc, in turns. Nothing in the page
is typed by hand.
"""

import argparse
import datetime
import functools
import os
import platform
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import heapwright as hw
from benchmarks.advice import NEAR, NEAR_BYTES, Program, command
from benchmarks.tables import kernel
from heapwright.api.advising import Advice, _as_footprint
from heapwright.api.running import prove
from heapwright.insight.advice import FIGURES, Row, value_of
from heapwright.insight.candidates import Field
from heapwright.insight.standing import standing
from heapwright.result import Footprint, Result
from heapwright.trace.store import Trace
from heapwright.words import bytes_text, change_text

SERVICES = (
    Program("server", "server.cpp", "a reader and four workers: requests, sessions, pools"),
    Program(
        "pipeline",
        "pipeline.c",
        "a maker, three packers, a store: what one asks for, another frees",
    ),
    Program("Ruby jobs", "jobs.rb", "four threads work off jobs, a cache keeps their pages"),
)
SETTINGS: tuple[tuple[str, dict[str, int]], ...] = (
    ("glibc", {}),
    ("glibc", {"arena_max": 1}),
    ("glibc", {"arena_max": 2}),
    ("jemalloc", {}),
    ("mimalloc", {}),
    ("tcmalloc", {}),
)


@dataclass
class Served:
    """One program: its rows, the present state first, each with what was said and what was."""

    program: Program
    rows: list[Row]
    told: list[list[Footprint]]  # of each row, what each recording foretells

    def figures(self, number: int, figure: str) -> tuple[list[float], list[float]]:
        """Least, median and most of what was foretold, and of what was measured."""
        said = sorted(float(value_of(one, figure)) for one in self.told[number])
        measured = self.rows[number].measured
        if measured is None:
            raise SystemExit(f"{self.program.name} was not run")
        low, high = measured.spread[figure]
        return (
            [said[0], statistics.median(said), said[-1]],
            [low, float(value_of(measured, figure)), high],
        )

    def near(self, number: int, figure: str) -> bool:
        """Whether the medians are within NEAR, or what recordings foretell and what runs held
        overlap."""
        said, was = self.figures(number, figure)
        if abs(said[1] - was[1]) <= max(NEAR_BYTES, NEAR * was[1]):
            return True
        return said[0] <= was[2] and was[0] <= said[2]

    def cells(self) -> Iterator[list[str]]:
        """A row of the table for each malloc."""
        for number, row in enumerate(self.rows):
            told = [self.program.name if not number else "", f"`{row.candidate.title}`"]
            yield told + [self._beside(number, figure) for figure in FIGURES]

    def _beside(self, number: int, figure: str) -> str:
        """Predicted / measured and the difference; ranges where they are wide."""
        said, was = self.figures(number, figure)
        change = change_text(said[1] / max(1.0, was[1]) - 1)
        text = f"{_ranged(said)} / {_ranged(was)} ({change})"
        return text if self.near(number, figure) else f"**{text}**"


def _ranged(values: Sequence[float]) -> str:
    """The median, and least to most where they are far apart."""
    low, middle, high = (round(value) for value in values)
    if high - low <= max(NEAR_BYTES, NEAR * middle):
        return bytes_text(middle)
    return f"{bytes_text(middle)} [{bytes_text(low)} to {bytes_text(high)}]"


def served(program: Program, folder: Path, recordings: int, rounds: int) -> Served | None:
    """Record, compare, run."""
    run = command(program, folder)
    if not run:
        return None
    stem = Path(program.source).stem
    traces = [
        hw.record(run, folder / f"{stem}-{number}.heap.parquet")[0] for number in range(recordings)
    ]
    told = [[_foretold(trace, name, one) for trace in traces] for name, one in SETTINGS]
    field = Field(traces[0], None)
    rows = []
    for (name, settings), each in zip(SETTINGS, told, strict=True):
        candidate = field.candidate(name, settings)
        if candidate is None:
            raise SystemExit(f"{name} cannot be set so: {settings}")
        rows.append(Row(candidate, each[0]))
    whole = hw.compare(traces[0], [SETTINGS[0][0]]).results[0]
    advice = Advice(traces[0], rows[0], rows[1:], standing(traces[0], whole, None))
    prove(advice, run, rows=rows[1:], rounds=rounds)
    return Served(program, rows, told)


@functools.cache
def _compared(trace: Path, name: str) -> list[Result]:
    own = [settings for manager, settings in SETTINGS if manager == name and settings]
    return hw.compare(trace, [name], {name: own} if own else None, maps=False).results


def _foretold(trace: Trace, name: str, settings: dict[str, int]) -> Footprint:
    """What `compare` says of a malloc on a recording."""
    return next(
        _as_footprint(one)
        for one in _compared(trace.path, name)
        if one.kind == "twin" and one.settings == settings
    )


def page(found: Sequence[Served]) -> str:
    """The page: what holds, then the tables."""
    cells = [
        one.near(row, figure) for one in found for row in range(len(one.rows)) for figure in FIGURES
    ]
    near = sum(cells)
    lines = [
        "# Threaded services under each malloc",
        "",
        f"Written by `python -m benchmarks.served` on {datetime.date.today()}: "
        f"glibc {platform.libc_ver()[1]}, {kernel()}, {os.cpu_count()} processors.",
        "",
        "Each program was recorded a few times, under glibc as it is. The recordings were replayed "
        "through the twins, as `heapwright compare` does; then the program was run for real under "
        "each malloc, in turns. Bytes of the heap: predicted / measured, the medians, and least to "
        "most where the order of threads, or when a collector runs, decides.",
        "",
        f"Within {NEAR:.0%} of what was measured, {bytes_text(NEAR_BYTES)} of next to nothing, or "
        f"with ranges that overlap: **{near} of {len(cells)}** figures.",
        "",
        f"| program | malloc | {' | '.join(FIGURES)} |",
        "| --- | --- | --- | --- | --- |",
        *("| " + " | ".join(row) + " |" for one in found for row in one.cells()),
        "",
        *(f"- {one.program.name}: {one.program.about}." for one in found),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--recordings", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--folder", type=Path, default=Path("build/served"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    found: list[Served] = []
    for program in SERVICES:
        if given.only and program.name not in given.only:
            continue
        one = served(program, given.folder, given.recordings, given.rounds)
        if one is None:
            print(f"{program.name}: its runtime is not here", file=sys.stderr)
            continue
        found.append(one)
        for cells in one.cells():
            print(" | ".join(cells), file=sys.stderr, flush=True)
    text = page(found)
    if given.output:
        given.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
