"""What recording a Python program costs: processor time over that without, bytes of an event.

python -m benchmarks.python_recording [--runs N]

Two programs: one that does nothing but make objects, and one that computes in NumPy. Times are of
the processor, user and system, the least of some runs in turn; the trace's bytes are of an event
with its stack.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from heapwright.trace.recorder.build import library
from heapwright.trace.recorder.session import record
from heapwright.trace.store import Trace

OBJECTS = """
class Point:
    __slots__ = ("x", "name")
    def __init__(self, x, name):
        self.x, self.name = x, name
for turn in range(8):
    points = [Point(x, str(x)) for x in range(60_000)]
    words = {}
    for x in range(120_000):
        word = "word %d" % (x % 977)
        words.setdefault(word, []).append((x, word))
"""
ARRAYS = """
import numpy as np
one = np.random.default_rng(0).random((400, 400))
for turn in range(300):
    two = one @ one
    three = np.sort(two.ravel()).reshape(400, 400)
    total = float((two * 2 + three).sum())
"""
PROGRAMS = {"objects": OBJECTS, "arrays": ARRAYS}


def processor_seconds(command: list[str], environment: dict[str, str]) -> float:
    """User and system time of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measured(program: str, runs: int, folder: Path) -> dict[str, float]:
    """Seconds without and with the recorder, their ratio, and bytes of an event of the trace."""
    command = [sys.executable, "-c", program]
    plain = dict(os.environ, OPENBLAS_NUM_THREADS="1")
    without, under = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(dir=folder) as logs:
            told = {"HEAPWRIGHT_RECORD": f"0:{logs}", "LD_PRELOAD": str(library())}
            without.append(processor_seconds(command, plain))
            under.append(processor_seconds(command, plain | told))
    record(command, folder / "out.heap.parquet", environment=plain)
    trace = Trace.open(folder / "out.heap.parquet")
    return {
        "seconds": min(without),
        "recorded_seconds": min(under),
        "ratio": round(min(under) / min(without), 2),
        "events": trace.events,
        "bytes_of_an_event": round(trace.size_bytes_on_disk / trace.events, 2),
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measured(text, runs, Path(folder)) for name, text in PROGRAMS.items()}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
