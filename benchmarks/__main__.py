"""Measure, and print JSON: `python -m benchmarks [--scale small|full] [--runs 5] [--output FILE]`.

    loading    events a second from a trace file into the replay's columns
    rates      events a second of every manager and every real allocator, in the same loop on the
               same recordings, in turn; `ratio` is a twin's rate over the real system's own
    recorder   wall time of an allocation-heavy program with the recorder over without it
    bytes      of a trace file for each event, with and without the recorded addresses
    start      seconds of `heapwright --help` and of a second `compare` of a small trace

Times on a shared machine drift, so each figure is a median of alternating runs, and the ratios
matter more than the rates.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.workloads import NAMES, workload
from heapwright.errors import HeapwrightError
from heapwright.managers.registry import usual
from heapwright.references.malloc.measure import installed
from heapwright.references.malloc.rates import rates
from heapwright.trace.recorder.build import library
from heapwright.trace.schema import COLUMNS
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import replay_seconds

REPLAY_COLUMNS = ("op", "slot", "size", "align", "thread")


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def recordings(folder: Path, scale: str) -> dict[str, Path]:
    """A recording of every workload whose program is installed."""
    missing = [name for name in NAMES if not (folder / f"{name}.heap.parquet").exists()]
    if missing:
        script = [sys.executable, "-m", "benchmarks.workloads", str(folder), "--scale", scale]
        subprocess.run(
            [*script, "--only", ",".join(missing)], stdout=subprocess.DEVNULL, check=True
        )
    paths = {name: folder / f"{name}.heap.parquet" for name in NAMES}
    return {name: path for name, path in paths.items() if path.exists()}


def loading(path: Path, runs: int) -> dict[str, float]:
    """Median rate of streaming the columns that a replay needs."""
    trace = Trace.open(path)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        for _batch in trace.batches(REPLAY_COLUMNS):
            pass
        seconds.append(time.perf_counter() - start)
    return {"events_per_second": trace.events / statistics.median(seconds)}


def rate_table(path: Path, runs: int) -> dict[str, Any]:
    """Median events a second of twins and real allocators, run in turn."""
    trace = Trace.open(path)
    names = usual()
    real = installed()
    twin_seconds: dict[str, list[float]] = {name: [] for name in names}
    real_seconds: dict[str, list[float]] = {name: [] for name in real}
    for _ in range(runs):
        for name in names:
            twin_seconds[name].append(replay_seconds(name, trace))
        for name in real:
            real_seconds[name].append(rates(trace, [name])[name])
    twins = {n: trace.events / statistics.median(s) for n, s in twin_seconds.items()}
    reals = {n: trace.events / statistics.median(s) for n, s in real_seconds.items()}
    return {
        "events": trace.events,
        "twins": twins,
        "real": reals,
        "ratio": {name: twins[name] / reals[name] for name in twins if name in reals},
    }


def recorder_slowdown(folder: Path, scale: str, runs: int) -> dict[str, Any] | None:
    """Wall time of python3's json work, every object through malloc, with and without recording."""
    work = workload("python", folder / "inputs" / "python", scale)
    if work is None:
        return None
    environment = {**os.environ, **work.environment}
    plain, recorded = [], []
    for _ in range(runs):
        plain.append(_wall_seconds(work.command, environment))
        with tempfile.TemporaryDirectory(dir=folder) as logs:
            preload = {"LD_PRELOAD": str(library()), "HEAPWRIGHT_RECORD": f"0:{logs}"}
            recorded.append(_wall_seconds(work.command, {**environment, **preload}))
    return {
        "plain_seconds": statistics.median(plain),
        "recorded_seconds": statistics.median(recorded),
        "ratio": statistics.median(recorded) / statistics.median(plain),
    }


def _wall_seconds(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def bytes_per_event(path: Path) -> dict[str, float]:
    """Size of the trace file for each event, and of the same without addresses."""
    trace = Trace.open(path)
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.parquet"
        with TraceWriter(bare, program=trace.program, kind="recording") as writer:
            for batch in trace.batches(tuple(COLUMNS)):
                writer.write(batch._replace(address=batch.address[:0]))
        without = bare.stat().st_size
    return {
        "with_addresses": path.stat().st_size / trace.events,
        "without_addresses": without / trace.events,
    }


def start_up(folder: Path, runs: int) -> dict[str, float]:
    """Median wall seconds of cold commands; the first compare, which compiles, is not counted."""
    heapwright = [sys.executable, "-m", "heapwright"]
    environment = dict(os.environ)
    small = str(folder / "start-up.parquet")
    _wall_seconds(
        [*heapwright, "synthesise", "log-uniform", "--events", "200k", "-o", small], environment
    )
    compare = [*heapwright, "compare", small]
    _wall_seconds(compare, environment)
    return {
        "help_seconds": statistics.median(
            _wall_seconds([*heapwright, "--help"], environment) for _ in range(runs)
        ),
        "second_compare_seconds": statistics.median(
            _wall_seconds(compare, environment) for _ in range(runs)
        ),
    }


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=["small", "full"], default="full")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--recordings", type=Path, default=Path("build/recordings"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    folder: Path = options.recordings / options.scale
    folder.mkdir(parents=True, exist_ok=True)
    found = recordings(folder, options.scale)
    report: dict[str, Any] = {"scale": options.scale, "runs": options.runs, "recordings": {}}
    for name, path in found.items():
        say(f"measuring {name}")
        report["recordings"][name] = {
            "loading": loading(path, options.runs),
            "rates": rate_table(path, options.runs),
            "bytes_per_event": bytes_per_event(path),
        }
    ratios = [each["rates"]["ratio"]["glibc"] for each in report["recordings"].values()]
    if ratios:
        report["glibc_ratio_median"] = statistics.median(ratios)
    say("measuring the recorder")
    report["recorder"] = recorder_slowdown(folder, options.scale, options.runs)
    say("measuring start-up")
    report["start"] = start_up(folder, options.runs)
    pages.tell(report, options.output)


if __name__ == "__main__":
    try:
        main()
    except HeapwrightError as error:
        sys.exit(f"benchmarks: {error}")
