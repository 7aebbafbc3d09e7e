"""The page on space and time: what textbook collectors cost at heaps of several sizes.

    python -m benchmarks.space_time [-o docs/space-time.md] [--objects 1000000]

Nothing in its tables is typed by hand: run this again after a change to a collector.
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.worst_cases import table
from heapwright.api.selection import curve, selected
from heapwright.errors import HeapwrightError
from heapwright.insight.space_time import SpaceTime, collections, space_time, traced
from heapwright.result import Result
from heapwright.trace import programs
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import replay
from heapwright.words import bytes_text, digits

PROGRAMS = ("gcbench", "binary-trees", "linked-lists", "request-server")
HEAPS = "2x,3x,4x,5x,7x,10x"
TRIES = 7  # the fastest counts
# Those whose every collection traces all live objects, and how many heaps of these they need.
COPIES = {"mark-sweep": 1, "mark-compact": 1, "semispace": 2, "tri-colour": 1}
HEADER_BYTES = 16  # of an object
# Hertz and Berger 2005, abstract: by heap over what explicit freeing takes, time over its time.
PUBLISHED = {2: 1.70, 3: 1.17, 5: 1.00}

INTRODUCTION = """# Space against time

Written by `benchmarks/space_time.py` (`make space-time`).

A collector buys time with memory: the larger its heap, the less often it must look for the dead.
`heapwright compare gcbench --heap 2x,3x,5x` measures the exchange. Each collector is given a heap
of so many times the most bytes that the program ever had live, and replays the program's graph; so
does glibc's twin, which frees each object at the moment when nothing refers to it any longer. That
is the oracle of Hertz and Berger ("Quantifying the performance of garbage collection vs. explicit
memory management", OOPSLA 2005, section 3).

- **Heap**: everything the collector may take, both spaces of a copying one. An object of these
  collectors has a header of 16 bytes, and the programs' objects are small, so most need more than
  twice the bytes asked for; who finds no room says so.
- **Time**: that of the replay, the fastest of {tries}, over glibc's. The replay is requests,
  written references and collections; the program's own work takes no time in it. So a ratio of 3
  here is not 3 for a program: if it spends a tenth of its time in malloc and free, it is
  1 + 0.1 x (3 - 1) = 1.2.
- **Memory**: the most that was resident, collections included, over glibc's.

A cell is time, then memory, then the number of collections.
"""

SHAPE = """## Beside Hertz and Berger

They ran whole Java programs on a simulated machine. Over explicit freeing their collector took
{published}.

Ratios of programs and ratios of replays differ by how much a program computes between its
requests. That factor drops out of

    steepness = (work at a heap - work at the largest) / (work at the next heap - the same)

which says how fast work rises as the heap shrinks. Their times give {published_steepness} from
heaps of {heaps}. If a collection costs the live bytes and comes when the room beyond them is used
up, the work at a heap of h is proportional to 1 / (h - 1), and the steepness there is {model}.

Here work is counted, not timed: bytes marked and copied for each byte allocated (the mark/cons
ratio), which is the same on every machine. The last two columns compare the least heap tried in
which the collector had room, the next and the largest: as counted, and as 1 / (h - m) has it, m
being the least heap in which the live objects fit with headers, in a copying collector twice.
"""


SAID = """**Where the shapes agree.** In {falling} of {rows} rows work falls with every larger
heap, and each step buys less than the one before in most: memory and time are exchanged
as they found. A copying collector needs the room twice. Collectors that trace
everything follow 1 / (h - m) roughly; it speaks of a program that always has its peak
alive, and these have less most of the time, so that m is smaller than at the peak.

**Where they differ.** Hertz and Berger's curve is steeper between its two least heaps
than most rows here: their times hold a program's cache misses as well, and a nursery
that shrinks with the heap. Their collector is level with explicit freeing at five times
the memory; here {even} of {curves} curves are at some heap. For that there are two
reasons beside the collectors themselves. A replay leaves out what a program computes,
which in their figures brings every ratio nearer to 1. And glibc's replay has nothing to
do where a reference is written or a frame is left, while a collector's keeps fields and
roots: so a ratio is above 1 before anything was collected, and only differences along a
row are the collector's own. Times, unlike counts, carry the noise of the machine.
"""


def steepness(first: float, second: float, last: float) -> float:
    """How much more the first lies above the last than the second does."""
    return (first - last) / (second - last)


def expected(heaps: Sequence[float], least: float) -> float:
    """The steepness if work is inverse to the room beyond `least`."""
    return steepness(*(1 / (heap - least) for heap in heaps))


def flights(name: str, objects: int, folder: Path) -> tuple[Trace, SpaceTime]:
    """The curves of one program."""
    path = folder / f"{name}.heap.parquet"
    programs.synthesise(name, path, {"objects": objects})
    trace = Trace.open(path)
    names, settings, points = curve(trace, selected(trace, None), {}, HEAPS)
    explicit = [name for name in names if name not in settings and name in ("glibc", "wright")]
    asked_for: list[tuple[str, dict[str, int]]] = [(name, {}) for name in explicit]
    asked_for += [(point.manager, point.settings) for point in points]
    results = list(flown(trace, asked_for))
    return trace, space_time(points, results)


def flown(trace: Trace, asked_for: list[tuple[str, dict[str, int]]]) -> Iterator[Result]:
    """Those that had room."""
    for name, knobs in asked_for:
        try:
            yield replay(name, trace, knobs, samples=1, tries=TRIES)
        except HeapwrightError as error:
            if "out of memory" not in str(error):
                raise


def curve_rows(found: SpaceTime) -> Iterator[list[str]]:
    """A row per collector."""
    for name, results in found.curves.items():
        cells = [
            f"{digits(found.time(r))}, {digits(found.space(r))}, {collections(r):,}"
            if r
            else "no room"
            for r in results
        ]
        yield [name, *cells]


def work_rows(program: str, trace: Trace, found: SpaceTime) -> Iterator[tuple[list[str], bool]]:
    """A row per collector that traces: work at each heap, then the two steepnesses; and whether the
    work falls with every larger heap."""
    for name, results in found.curves.items():
        fitting = [(m, r) for m, r in zip(found.multiples, results, strict=True) if r is not None]
        if len(fitting) < 3 or name not in COPIES:
            continue
        heaps = [fitting[place][0] for place in (0, 1, -1)]
        least = COPIES[name] * (1 + HEADER_BYTES * trace.peak_live_objects / trace.peak_live_bytes)
        work = [traced(result) for _, result in fitting]
        cells = [
            program,
            name,
            *(digits(traced(result)) if result else "no room" for result in results),
            digits(steepness(work[0], work[1], work[-1])),
            digits(expected(heaps, least)) if heaps[0] > least else "-",
        ]
        yield cells, all(more > less for more, less in itertools.pairwise(work))


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/space-time.md"))
    parser.add_argument("--objects", type=int, default=1_000_000)
    options = parser.parse_args()
    lines = [INTRODUCTION.format(tries=TRIES)]
    curves: list[SpaceTime] = []
    work: list[tuple[list[str], bool]] = []
    with tempfile.TemporaryDirectory() as folder:
        for program in PROGRAMS:
            trace, found = flights(program, options.objects, Path(folder))
            curves.append(found)
            work += work_rows(program, trace, found)
            live = bytes_text(trace.peak_live_bytes)
            lines += [
                f"## {program}",
                "",
                f"{trace.allocations:,} objects, {trace.peak_live_objects:,} of them and {live} "
                "alive at most.",
                "",
            ]
            header = ["collector", *(f"{multiple:g}x" for multiple in found.multiples)]
            lines += [*table(header, curve_rows(found)), ""]
    heaps = list(PUBLISHED)
    shape = SHAPE.format(
        published=", ".join(f"{time:.2f} at {heap}x" for heap, time in PUBLISHED.items()),
        published_steepness=digits(steepness(*PUBLISHED.values())),
        heaps=", ".join(f"{heap}x" for heap in heaps),
        model=digits(expected(heaps, 1)),
    )
    header = ["program", "collector", *HEAPS.split(","), "steepness", "of 1 / (h - m)"]
    best = [
        min(found.time(result) for result in results if result)
        for found in curves
        for results in found.curves.values()
        if any(results)
    ]
    said = SAID.format(
        falling=sum(falls for *_, falls in work),
        rows=len(work),
        even=sum(time <= 1 for time in best),
        curves=len(best),
    )
    lines += [shape, *table(header, (cells for cells, _ in work)), "", said]
    options.output.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
