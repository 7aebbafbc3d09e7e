"""What managers in flight keep of memory, beside the real allocators, in one run.

    python -m benchmarks.keeping [--runs 3] [--managers wright] [--only handed,phases,...]
                                 [--peers NAME=/path/library.so]

prints JSON, and a table to standard error. Each pattern of keeping.c is a program whose need of
memory changes; it looks at what is resident after the same events whatever serves it. So do two
services (keeping_services.py). A figure is the median of the runs, in MB: the peak, the mean over
the looks, and what stays at the end. The ratios are ours to the least of mimalloc, mimalloc 3 and
jemalloc, of the peak to mimalloc's.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import pages
from benchmarks.flight import allocators, compiled
from benchmarks.keeping_services import SERVICES, measures
from benchmarks.keeping_services import Measure as Service
from benchmarks.peers import NAMES, Served
from heapwright.errors import HeapwrightError

PATTERNS = ("handed", "replaced", "left", "idle", "phases", "cycle", "locked", "burst", "tiny")
MEASURED_AGAINST = ("jemalloc", "mimalloc", "mimalloc 3")


class Kept(NamedTuple):
    """What one run took."""

    processor: float  # s
    wall: float  # s
    peak_kb: float
    mean_kb: float
    stays_kb: float


def run(program: str, pattern: str, served: Served) -> Kept | None:
    """One run of a pattern; None where it may not lock its memory."""
    done = subprocess.run(
        served.command([program, pattern]),
        env=served.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if pattern == "locked" and done.returncode == 4:
        return None
    if done.returncode:
        raise HeapwrightError(
            f"keeping {pattern} on {served.library} ended with {done.returncode}."
        )
    return Kept(*map(float, done.stdout.split()))


Measure = Callable[[Served], Kept | None]


def row(measure: Measure, found: Mapping[str, Served], runs: int) -> dict[str, dict[str, float]]:
    """Medians of a pattern or a service, the allocators in turn."""
    taken: dict[str, list[Kept]] = {name: [] for name in found}
    names = list(found)
    for turn in range(runs):
        first = turn % len(names)  # as in flight.py
        for name in names[first:] + names[:first]:
            kept = measure(found[name])
            if kept:
                taken[name].append(kept)
    return {
        name: {
            field: statistics.median(getattr(one, field) for one in many) for field in Kept._fields
        }
        for name, many in taken.items()
        if many
    }


def every_measure(program: str, only: Sequence[str]) -> dict[str, Measure]:
    """Of the patterns and services that are wanted and can be had, how each is run."""

    def of_pattern(pattern: str) -> Measure:
        return lambda served: run(program, pattern, served)

    def of_service(service: Service) -> Measure:
        return lambda served: Kept(*service(served))

    found = {pattern: of_pattern(pattern) for pattern in PATTERNS if pattern in only}
    if {*SERVICES} & {*only}:
        for name, service in measures().items():
            if name in only:
                found[name] = of_service(service)
    return found


def ratios(figures: Mapping[str, Mapping[str, float]], ours: str) -> dict[str, float]:
    """Ours to those it is measured against: peak, mean and what stays."""
    own, best = figures[ours], {}
    peers = [figures[name] for name in MEASURED_AGAINST if name in figures]
    for field, among in (
        ("peak_kb", [figures["mimalloc"]] if "mimalloc" in figures else []),
        ("mean_kb", peers),
        ("stays_kb", peers),
    ):
        if among:
            best[field] = own[field] / min(peer[field] for peer in among)
    return best


def as_table(rows: Mapping[str, Mapping[str, Mapping[str, float]]], ours: str) -> str:
    """For a page: s and MB of each, and the ratios."""
    names = list(next(iter(rows.values())))
    lines = []
    for pattern, figures in rows.items():
        cells = []
        for name in names:
            one = figures[name]
            memory = (one[field] / 1024 for field in ("peak_kb", "mean_kb", "stays_kb"))
            cells.append(" / ".join([f"{one['processor']:.2f}", *(f"{mb:.0f}" for mb in memory)]))
        beside = " / ".join(f"{ratio:.2f}" for ratio in ratios(figures, ours).values())
        lines.append([pattern, *cells, beside])
    titles = [name.removeprefix("heapwright ") for name in names]
    return pages.table(["s / peak / mean / stays", *titles, "ours to best"], lines)


def peer(text: str) -> tuple[str, Served]:
    """NAME=PATH of one more allocator."""
    name, _, path = text.partition("=")
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{text}: give NAME=PATH of a shared object")
    return name, Served(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.keeping", description=main.__doc__)
    words: dict[str, Any] = {"type": lambda text: text.split(",")}
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--managers", default=["wright"], **words)
    parser.add_argument("--only", default=[*PATTERNS, *SERVICES], **words)
    parser.add_argument("--peers", action="append", default=[], type=peer, metavar="NAME=PATH")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--page", type=Path, help="a page whose marked table is made anew")
    options = parser.parse_args(arguments)
    everyone = allocators(options.managers)
    ours = f"heapwright {options.managers[-1]}"
    mine = {name: served for name, served in everyone.items() if name not in NAMES}
    theirs = {name: served for name, served in everyone.items() if name in NAMES}
    found = {**theirs, **dict(options.peers), **mine}
    rows = {}
    with tempfile.TemporaryDirectory() as made:
        program = compiled("keeping", Path(made))
        for pattern, measure in every_measure(program, options.only).items():
            figures = row(measure, found, options.runs)
            if figures:
                rows[pattern] = figures
                print(as_table({pattern: figures}, ours), file=sys.stderr, flush=True)
    if options.page:
        pages.replace(options.page, "make flights, keeping", as_table(rows, ours))
    pages.tell({"runs": options.runs, "keeping": rows}, options.output)


if __name__ == "__main__":
    try:
        main()
    except HeapwrightError as error:
        sys.exit(f"benchmarks.keeping: {error}")
