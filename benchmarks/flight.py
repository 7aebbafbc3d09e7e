"""Managers in flight beside the real allocators, in one run: time and peak memory.

    python -m benchmarks.flight [--runs 5] [--managers wright,buddy] [--only SET,ROW,...]

    churn       requests to malloc and nothing else (churn.c): ns for a pair of malloc and free
    resize      buffers that grow (churn.c): ns for a realloc
    programs    real programs on generated inputs: seconds
    settings    wright as it is and with other settings, on rows of the three, and on a walk
                through a large heap

Both are times of the processor, user and system: a neighbour who takes the processor away does not
count. Wall times stand in the JSON. Memory is the peak of resident memory. Runs of all allocators
take turns; each figure is a median. Ratios are to the best of the peers in the row (see peers.py);
of a set, the geometric mean of its rows' ratios, and of ours to each peer alone.
"""

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import pages
from benchmarks.peers import NAMES, Served, peers
from benchmarks.workloads import workload
from heapwright.errors import HeapwrightError
from heapwright.flight.build import build

SOURCES = Path(__file__).parent
CHURN = (
    ("pair", 1), ("batch", 1), ("small", 1), ("small", 2), ("log", 1), ("large", 1),
    ("shared", 2), ("pass", 2), ("hand", 2),
)  # fmt: skip
RESIZE = (("grow", 1),)
WALK = (("walk", 1),)
SETTINGS: dict[str, dict[str, int]] = {
    "wright": {},
    "post at once": {"remote_batch": 1},
    "keep more": {"cache_bytes": 256 << 10},
    "keep nothing": {"cache_bytes": 0},
    "keep no pages": {"single_cache_bytes": 0},
    "four classes": {"steps": 4},
    "small pages": {"huge_from_bytes": 0},
    "huge from 16 MiB": {"huge_from_bytes": 16 << 20},
    "hardened": {"hardened": 1},
}
SETTLED = (
    "pair", "small", "log", "large", "shared", "pass", "grow", "walk", "sqlite3", "python", "lua",
)  # fmt: skip
MEAN = "geometric mean"  # the label of a set's last row
PROGRAMS = ("redis", "g++", "sqlite3", "python", "lua")
REDIS_REQUESTS = 200_000


class Figures(NamedTuple):
    """What one run took."""

    processor: float  # ns a pair, or seconds
    wall: float
    peak_kb: int


Measure = Callable[[Served], Figures]


def allocators(managers: Sequence[str]) -> dict[str, Served]:
    """Every allocator to measure: the peers, then the managers."""
    ours = {f"heapwright {name}": Served(str(build(name))) for name in managers}
    return {**peers(), **ours}


def compiled(name: str, folder: Path) -> str:
    """A C program of this folder, built."""
    compiler = shutil.which("cc")
    if not compiler:
        raise HeapwrightError("cannot measure flights: there is no C compiler; install gcc.")
    program = str(folder / name)
    source = str(SOURCES / f"{name}.c")
    subprocess.run([compiler, "-O2", "-pthread", "-o", program, source], check=True)
    return program


def churn_row(churn: str, pattern: str, threads: int) -> Measure:
    """One pattern of churn.c."""

    def measure(served: Served) -> Figures:
        done = subprocess.run(
            served.command([churn, pattern, str(threads)]),
            env=served.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        wall, processor, peak = done.stdout.split()
        return Figures(float(processor), float(wall), int(peak))

    return measure


def program_row(launch: str, name: str, folder: Path) -> Measure | None:
    """A program of the workloads; None where it is not installed."""
    work = workload(name, folder / name, "full")
    if work is None:
        return None

    def measure(served: Served) -> Figures:
        done = subprocess.run(
            [launch, served.preload, *served.command(work.command)],
            env={**os.environ, **work.environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return _told(done.stdout, name)

    return measure


def redis_row(launch: str, folder: Path) -> Measure | None:
    """A redis server under redis-benchmark: what the server takes for so many requests."""
    server_path = shutil.which("redis-server")
    if not server_path or not shutil.which("redis-benchmark"):
        return None

    def measure(served: Served) -> Figures:
        socket = str(folder / "redis.socket")
        options = ["--port", "0", "--unixsocket", socket, "--save", "", "--dir", str(folder)]
        serve = [launch, served.preload, *served.command([server_path, *options])]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
            client = ["redis-cli", "-s", socket]
            for _ in range(100):
                if (
                    subprocess.run([*client, "ping"], check=False, capture_output=True).returncode
                    == 0
                ):
                    break
                time.sleep(0.05)
            load = ["redis-benchmark", "-s", socket, "-q", "-n", str(REDIS_REQUESTS), "-P", "16"]
            tests = ["-t", "set,get,incr,lpush,lpop,sadd,hset,zadd,mset", "-r", "100000"]
            subprocess.run([*load, *tests, "-d", "200"], stdout=subprocess.DEVNULL, check=True)
            subprocess.run([*client, "shutdown", "nosave"], capture_output=True, check=True)
            told, _ = server.communicate()
        return _told(told, "redis-server")

    return measure


def _told(line: str, name: str) -> Figures:
    """What launch.c printed."""
    status, wall, processor, peak = line.split()
    if int(status):
        raise HeapwrightError(f"{name} ended with wait status {status}.")
    return Figures(float(processor), float(wall), int(peak))


def compare(measure: Measure, found: dict[str, Served], runs: int) -> dict[str, Any]:
    """Medians of a row, the allocators in turn."""
    taken: dict[str, list[Figures]] = {name: [] for name in found}
    names = list(found)
    for turn in range(runs):
        first = turn % len(names)  # whoever began goes last: what drifts hits all alike
        for name in names[first:] + names[:first]:
            taken[name].append(measure(found[name]))
    return {
        name: {field: statistics.median(getattr(run, field) for run in many)
               for field in Figures._fields}
        for name, many in taken.items()
    }  # fmt: skip


def geometric(figures: Iterable[float]) -> float:
    """The geometric mean."""
    return math.exp(statistics.fmean(map(math.log, figures)))


def means(rows: dict[str, Any], found: Iterable[str]) -> dict[str, Any]:
    """Geometric means of a set."""
    return {
        name: {
            field: geometric(row[name][field] for row in rows.values()) for field in Figures._fields
        }
        for name in found
    }


def best(row: Mapping[str, Any]) -> float:
    """The least time of a peer in a row; of the first, where there is none."""
    times = [row[name]["processor"] for name in row if name in NAMES]
    return min(times, default=next(iter(row.values()))["processor"])


def show(title: str, unit: str, rows: dict[str, Any]) -> None:
    """A row for people: time and peak MB of each, the ratio to the best real time."""
    for label, row in rows.items():
        cells = (
            f"{name} {each['processor']:.3g} {unit} ({each['processor'] / best(row):.2f}) "
            f"{each['peak_kb'] / 1024:.1f} MB"
            for name, each in row.items()
        )
        print(f"{title} {label}: " + " | ".join(cells), file=sys.stderr, flush=True)


def _three_digits(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def as_table(unit: str, rows: dict[str, Any]) -> str:
    """Rows of one set for a page: time and peak MB of each, the last one's ratio to the best."""
    names = list(next(iter(rows.values())))
    lines = []
    for label, row in rows.items():
        cells = [
            f"{_three_digits(row[n]['processor'])} / {row[n]['peak_kb'] / 1024:.1f}" for n in names
        ]
        own = [n for n in names if n not in NAMES]
        among = [row] if label != MEAN else [r for other, r in rows.items() if other != MEAN]
        ratios = [geometric(r[n]["processor"] / best(r) for r in among) for n in own]
        lines.append([label, *cells, *[f"{ratio:.2f}" for ratio in ratios]])
        if label == MEAN and len(own) == 1 and len(names) > 1:
            each = [f"{row[own[0]]['processor'] / row[n]['processor']:.2f}" for n in names]
            lines.append([f"{own[0].removeprefix('heapwright ')} to it", *each, ""])
    titles = [name.removeprefix("heapwright ") for name in names]
    if not {*NAMES} & {*names}:  # each beside the first
        return pages.table([f"{unit} / MB", *titles], [line[: len(names) + 1] for line in lines])
    ours = [f"{title} to best" for title in titles if title not in NAMES]
    return pages.table([f"{unit} / MB", *titles, *ours], lines)


class Set(NamedTuple):
    """Rows that are measured with the same allocators."""

    unit: str
    measures: dict[str, Measure | None]  # of a row; None where its program is missing
    found: Callable[[], dict[str, Served]]  # what to measure


def sets(managers: Sequence[str], made: Path, inputs: Path) -> dict[str, Set]:
    """Every set. Programs of C are built in `made`; inputs of programs are kept in `inputs`."""
    churn, launch = (compiled(name, made) for name in ("churn", "launch"))

    def patterns(rows: Sequence[tuple[str, int]]) -> dict[str, Measure | None]:
        return {f"{name} {threads}": churn_row(churn, name, threads) for name, threads in rows}

    def settings() -> dict[str, Served]:
        return {name: Served(str(build("wright", knobs))) for name, knobs in SETTINGS.items()}

    programs = {
        name: redis_row(launch, made) if name == "redis" else program_row(launch, name, inputs)
        for name in PROGRAMS
    }
    every = {**patterns(CHURN), **patterns(RESIZE), **patterns(WALK), **programs}
    settled = {label: row for label, row in every.items() if label.split()[0] in SETTLED}
    return {
        "churn": Set("ns", patterns(CHURN), lambda: allocators(managers)),
        "resize": Set("ns", patterns(RESIZE), lambda: allocators(managers)),
        "programs": Set("s", programs, lambda: allocators(managers)),
        "settings": Set("", settled, settings),
    }


def measured(title: str, chosen: Set, only: Sequence[str], runs: int) -> dict[str, Any]:
    """The rows of a set that are wanted, shown as they come."""
    wanted = {
        label: measure
        for label, measure in chosen.measures.items()
        if measure and {title, label, label.split()[0]} & set(only)
    }
    if title == "settings" and title not in only:
        return {}
    found, rows = chosen.found() if wanted else {}, {}
    for label, measure in wanted.items():
        rows[label] = compare(measure, found, runs)
        show(title, chosen.unit, {label: rows[label]})
    if len(rows) > 1:
        rows[MEAN] = means(rows, found)
        show(title, chosen.unit, {MEAN: rows[MEAN]})
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.flight", description=main.__doc__)
    words: dict[str, Any] = {"type": lambda text: text.split(",")}
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--managers", default=["wright"], **words)
    parser.add_argument("--only", default=["churn", "resize", "programs", "settings"], **words)
    parser.add_argument("--folder", type=Path, default=Path("build/flights").resolve())
    parser.add_argument("--output", type=Path)
    parser.add_argument("--page", type=Path, help="a page whose marked tables are made anew")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"runs": options.runs}
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        for title, chosen in sets(options.managers, Path(made), options.folder).items():
            rows = measured(title, chosen, options.only, options.runs)
            if rows:
                report[title] = rows
            if rows and options.page:
                shown = as_table(chosen.unit or "ns or s", rows)
                pages.replace(options.page, f"make flights, {title}", shown)
    pages.tell(report, options.output)


if __name__ == "__main__":
    try:
        main()
    except HeapwrightError as error:
        sys.exit(f"benchmarks.flight: {error}")
