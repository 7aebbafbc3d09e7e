"""NumPy's arrays by four memory managers, in one run: what a temporary and a zeroed array cost.

    python -m benchmarks.arrays [--runs 5] [--output FILE] [--page docs/numpy.md]

    default    NumPy as it is, over glibc
    tunables   the same, glibc told by GLIBC_TUNABLES to map and trim nothing
    tcmalloc   the same, tcmalloc preloaded
    pool       heapwright.flight.numpy.install()

Times are of the processor, user and system. Each run is a process of its own; the four take turns;
a figure is the median over runs of the median of several tries.
"""

import argparse
import ctypes.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import pages

TRIES = 7
TEMPORARIES_KB = (8, 80, 800, 2000, 4000, 8000)
WORK_BYTES = 80_000_000  # of temporaries in a try
ZEROED_BYTES = 80_000_000
TUNABLES = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296"


def main() -> None:
    """Run all four and print the table."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.arrays",
        description="Time NumPy's arrays: `python -m benchmarks.arrays [--runs 5] [--output FILE]`",
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--page", type=Path, help="a page whose marked table is made anew")
    parser.add_argument("--measure", choices=("as-it-is", "pool"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(_measured(pool=chosen.measure == "pool")))
        return
    columns: dict[str, tuple[str, dict[str, str]]] = {
        "default": ("as-it-is", {}),
        "tunables": ("as-it-is", {"GLIBC_TUNABLES": TUNABLES}),
        "tcmalloc": ("as-it-is", {"LD_PRELOAD": _tcmalloc()}),
        "pool": ("pool", {}),
    }
    if not columns["tcmalloc"][1]["LD_PRELOAD"]:
        print("tcmalloc is not installed (Debian: libtcmalloc-minimal4): left out", file=sys.stderr)
        del columns["tcmalloc"]
    _run("pool", {})  # builds
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in columns}
    for _ in range(chosen.runs):
        for name, (measure, environment) in columns.items():
            runs[name].append(_run(measure, environment))
    rows = {
        row: {
            name: statistics.median(run[row] for run in measured) for name, measured in runs.items()
        }
        for row in runs["pool"][0]
    }
    shown = _table(rows, list(columns))
    print(shown)
    if chosen.page:
        pages.replace(chosen.page, "make arrays", shown)
    if chosen.output:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(json.dumps(rows, indent=2) + "\n")


def _tcmalloc() -> str:
    return ctypes.util.find_library("tcmalloc_minimal") or ""


def _run(measure: str, environment: dict[str, str]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.arrays", "--measure", measure],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def _measured(*, pool: bool) -> dict[str, float]:
    """Microseconds of each row, in this process."""
    import numpy as np

    if pool:
        from heapwright.flight.numpy import install

        install()

    def temporaries(size_bytes: int) -> Callable[[], None]:
        left, right = np.ones(size_bytes // 8), np.ones(size_bytes // 8)

        def work() -> None:
            result = left
            for _ in range(
                WORK_BYTES // size_bytes
            ):  # the last result lives while the next is made
                result = left * right + left
            assert result[0] == 2

        return work

    def zeroed() -> None:
        for _ in range(50):
            np.zeros(ZEROED_BYTES // 8)

    def zeroed_and_filled() -> None:
        for _ in range(3):
            np.zeros(ZEROED_BYTES // 8)[:] = 1

    figures = {
        f"temporaries of {kb} kB": _time(temporaries(kb * 1000)) / (WORK_BYTES // (kb * 1000))
        for kb in TEMPORARIES_KB
    }
    figures["np.zeros of 80 MB"] = _time(zeroed) / 50
    figures["np.zeros of 80 MB, filled"] = _time(zeroed_and_filled) / 3
    return figures


def _time(work: Callable[[], None]) -> float:
    """Microseconds of the processor that `work` takes, the median of TRIES."""
    taken = []
    for _ in range(TRIES):
        start = time.process_time_ns()
        work()
        taken.append((time.process_time_ns() - start) / 1000)
    return statistics.median(taken)


def _table(rows: dict[str, dict[str, float]], columns: list[str]) -> str:
    lines = []
    for row, figures in rows.items():
        cells = [f"{figures[name]:,.1f}" for name in columns]
        for other in ("tcmalloc", "default"):
            known = other in figures
            cells.append(f"{figures['pool'] / figures[other]:.2f}" if known else "-")
        lines.append([row, *cells])
    return pages.table(["µs", *columns, "pool / tcmalloc", "pool / default"], lines)


if __name__ == "__main__":
    main()
