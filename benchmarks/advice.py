"""Advice proven on ten programs: what was predicted, what was measured, whether the first was best.

    python -m benchmarks.advice [-o docs/advice.md] [--rounds 3] [--only NAME]

compiles the programs of benchmarks/advised, records each, asks `advise`, and runs each under its
present state and the best few. Nothing in the page is typed by hand.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import heapwright as hw
from benchmarks.tables import kernel
from heapwright.api.advising import Advice
from heapwright.api.running import prove
from heapwright.insight.advice import FIGURES, Row, memory_score, value_of
from heapwright.words import bytes_text, change_text

SOURCES = Path(__file__).parent / "advised"
NEAR = 0.05  # a measured figure is as predicted within this share,
# or within so much of next to nothing: 16 pages. The anonymous memory of these programs, as the
# recorder tells it and as they are run again, differs by 2 to 4 pages beside what is in the heap
NEAR_BYTES = 1 << 16
AS_GOOD = 0.03  # of the present state: the first advice is within this of the best measured
FEW = 4
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


@dataclass(frozen=True)
class Program:
    """What is run, and what it is there for."""

    name: str
    source: str
    about: str


PROGRAMS = (
    Program("unwritten", "unwritten.cpp", "reserves what it never writes"),
    Program("knob-at-default", "knob_at_default.c", "large buffers of threads, small records kept"),
    Program("malloc_trim", "trimming.c", "calls malloc_trim itself"),
    Program("arena a thread", "service.c", "a service, a thread each connection"),
    Program("ratchet", "ratchet.c", "buffers that grow, small blocks kept"),
    Program("Ruby", "threads.rb", "threads that build strings"),
    Program("JVM", "Threads.java", "threads that compress"),
    Program("cache", "cache.cpp", "all that it holds is live"),
    Program("pymalloc", "arenas.py", "most of its memory is CPython's own"),
    Program("chunks", "chunks.py", "chunks of a task graph, small results kept"),
)


def command(program: Program, folder: Path) -> list[str]:
    """What runs it, compiled into `folder` if it must be; none where its runtime is not here."""
    source, out = SOURCES / program.source, folder / Path(program.source).stem
    suffix = source.suffix
    if suffix == ".c":
        subprocess.run(["cc", "-O0", "-fno-builtin", "-pthread", "-o", out, source], check=True)
        return [str(out)]
    if suffix == ".cpp":
        subprocess.run(["c++", "-O1", "-pthread", "-o", out, source], check=True)
        return [str(out)]
    if suffix == ".java":
        if not (shutil.which("java") and shutil.which("javac")):
            return []
        subprocess.run(["javac", "-d", folder, source], check=True)
        return ["java", "-Xmx64m", "-XX:+UseSerialGC", "-cp", str(folder), out.name]
    runtime = PYTHON if suffix == ".py" else shutil.which("ruby")
    return [runtime, str(source)] if runtime else []


@dataclass
class Proof:
    """What came of one program."""

    program: Program
    advice: Advice
    first: Row  # by prediction: the first advice, or the present state
    rows: list[Row]  # that were run

    def off(self, row: Row, figure: str) -> float:
        """By which share a measured figure is off what was predicted; 0 within NEAR_BYTES."""
        said, was = value_of(row.predicted, figure), value_of(row.measured, figure)
        return 0.0 if abs(was - said) <= NEAR_BYTES else was / max(said, 1) - 1

    @property
    def near(self) -> bool:
        """Whether end and peak of the present state and of the first advice are as predicted."""
        return all(
            abs(self.off(row, figure)) <= NEAR
            for row in (self.advice.present, self.first)
            for figure in ("end", "peak")
        )

    @property
    def kept(self) -> bool:
        """Whether they are within that share of the present state's figure: what is promised is
        a share of today's."""
        now = self.advice.present.predicted
        return all(
            abs(value_of(row.measured, figure) - value_of(row.predicted, figure))
            <= max(NEAR_BYTES, NEAR * value_of(now, figure))
            for row in (self.advice.present, self.first)
            for figure in ("end", "peak")
        )

    def score(self, row: Row) -> float:
        """What a run held, against the present state's run."""
        return memory_score(row.measured, self.advice.present.measured, None)

    @property
    def best(self) -> Row:
        """The least that was measured."""
        return min(self.rows, key=self.score)

    @property
    def as_good(self) -> bool:
        """Whether the first advice is the best, or as good."""
        return self.score(self.first) <= self.score(self.best) + AS_GOOD

    def cells(self) -> Iterator[list[str]]:
        """A row of the table for the present state and for the first advice."""
        for row in dict.fromkeys([id(self.advice.present), id(self.first)]):
            one = self.advice.present if row == id(self.advice.present) else self.first
            what = "as it is" if one is self.advice.present else f"`{said(one)}`"
            yield [
                self.program.name if one is self.advice.present else "",
                what,
                *(_beside(one, figure) for figure in FIGURES),
                f"{one.measured.seconds:.2f} s" if one.measured else "",
            ]


def _held(one: Proof) -> str:
    """Whether a prediction held, in a word."""
    return "yes" if one.near else "of today's" if one.kept else "**no**"


def _beside(row: Row, figure: str) -> str:
    return beside(value_of(row.predicted, figure), value_of(row.measured, figure))


def beside(told: int, was: int) -> str:
    """Predicted / measured, and the difference."""
    return f"{bytes_text(told)} / {bytes_text(was)} ({change_text(was / max(1, told) - 1)})"


def said(row: Row) -> str:
    """What is set, in short."""
    return row.candidate.deployment.said()


def proof(program: Program, folder: Path, rounds: int) -> Proof | None:
    """Record, advise, run."""
    run = command(program, folder)
    if not run:
        return None
    (trace, *_) = hw.record(run, folder / f"{Path(program.source).stem}.heap.parquet")
    advice = hw.advise(trace)
    first = advice.best or advice.present
    prove(advice, run, few=FEW, rounds=rounds)
    rows = [row for row in [advice.present, *advice.rows] if row.measured]
    return Proof(program, advice, first, rows)


def page(proofs: Sequence[Proof]) -> str:
    """The page: what holds, then the table."""
    near, good = sum(one.near for one in proofs), sum(one.as_good for one in proofs)
    kept = sum(one.kept for one in proofs)
    lines = [
        "# Advice, proven",
        "",
        f"Written by `python -m benchmarks.advice` on {datetime.date.today()}: "
        f"glibc {platform.libc_ver()[1]}, {kernel()}, {os.cpu_count()} processors.",
        "",
        "Each program was recorded once; `heapwright advise` said what to change; then it was run "
        "for real as it is and under the best few, in turns, with the printed lines. Bytes of the "
        "heap, over the process's baseline: predicted / measured, the median of the runs.",
        "",
        f"- As predicted, end and peak, of the present state and of the first advice (within "
        f"{NEAR:.0%}; of next to nothing within {bytes_text(NEAR_BYTES)}, as a process's own pages "
        f"differ by a few from run to run): **{near} of {len(proofs)}**.",
        f"- Within {NEAR:.0%} of the present state's figure, which is what a saving is promised "
        f"of: **{kept} of {len(proofs)}**.",
        f"- The first advice is the best that was measured, or within {AS_GOOD:.0%} of the present "
        f"state of it: **{good} of {len(proofs)}**.",
        "",
        "| program | what it is given | end | mean | peak | took |",
        "| --- | --- | --- | --- | --- | --- |",
        *("| " + " | ".join(cells) + " |" for one in proofs for cells in one.cells()),
        "",
        "| program | what it does | as predicted | first advice | best measured |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in proofs:
        best = "the first" if one.best is one.first else f"`{said(one.best) or 'as it is'}`"
        lines.append(
            f"| {one.program.name} | {one.program.about} | {_held(one)} | "
            f"{'best' if one.as_good else '**not best**'} | {best}, "
            f"{change_text(one.score(one.best) - 1)} |"
        )
    lines += ["", "What it said of each first:", ""]
    lines += [f"- {one.program.name}: {one.advice.sentences[0]}" for one in proofs]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--folder", type=Path, default=Path("build/advised"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    proofs: list[Proof] = []
    kept: dict[str, Any] = {}
    for program in PROGRAMS:
        if given.only and program.name not in given.only:
            continue
        found = proof(program, given.folder, given.rounds)
        if found is None:
            print(f"{program.name}: its runtime is not here", file=sys.stderr)
            continue
        proofs.append(found)
        kept[program.name] = found.advice.to_json()
        (given.folder / "advice.json").write_text(json.dumps(kept, indent=1, default=str))
        for cells in found.cells():
            print(" | ".join(cells), file=sys.stderr)
        held = f"  near {found.near}, kept {found.kept}, as good {found.as_good}"
        print(held, file=sys.stderr, flush=True)
        if given.output:  # as far as it came, should it be ended
            given.output.write_text(page(proofs))
    if not given.output:
        print(page(proofs))


if __name__ == "__main__":
    main()
