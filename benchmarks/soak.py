"""A manager in flight for a long time: content, forks, ends of threads, and that memory is bounded.

    python -m benchmarks.soak [--minutes 30] [--threads 8] [--managers wright] [--set hardened=1]

Runs soak.c on each manager and prints JSON: rounds, blocks with another content than was written,
children that ended badly, the most that was resident in the first third of the rounds and in the
last. It fails where content was lost, a child ended badly, or the last third took more than a
quarter above the first. Sizes are drawn anew each round, from the same figures in each third.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.flight import compiled
from heapwright.errors import HeapwrightError
from heapwright.flight.build import build

BOUND = 1.25


def soak(program: str, library: str, minutes: float, threads: int) -> dict[str, Any]:
    """What one manager's run came to."""
    command = [program, str(round(60 * minutes)), str(threads)]
    environment = {**os.environ, "LD_PRELOAD": library}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if not lines or not lines[-1].startswith("wrong"):
        raise HeapwrightError(f"soak ended with status {done.returncode}: {done.stderr.strip()}")
    _, wrong, _, bad = lines[-1].split()
    resident = [int(line.split()[2]) for line in lines[:-1]]
    third = max(1, len(resident) // 3)
    return {
        "rounds": len(resident),
        "wrong": int(wrong),
        "bad_children": int(bad),
        "first_third_most_mb": max(resident[:third]),
        "last_third_most_mb": max(resident[-third:]),
        "most_live_mb": max(int(line.split()[1]) for line in lines[:-1]),
    }


def is_well(figures: dict[str, Any]) -> bool:
    """Whether nothing was lost and memory is bounded."""
    grown = figures["last_third_most_mb"] > BOUND * figures["first_third_most_mb"]
    return not (figures["wrong"] or figures["bad_children"] or grown)


def knob(text: str) -> tuple[str, int]:
    """KNOB=VALUE."""
    name, _, value = text.partition("=")
    return name, int(value)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--managers", default=["wright"], type=lambda text: text.split(","))
    parser.add_argument("--set", dest="knobs", action="append", default=[], type=knob)
    options = parser.parse_args()
    report = {}
    with tempfile.TemporaryDirectory() as made:
        program = compiled("soak", Path(made))
        for manager in options.managers:
            library = str(build(manager, dict(options.knobs)))
            report[manager] = soak(program, library, options.minutes, options.threads)
    print(json.dumps(report, indent=2))
    if not all(map(is_well, report.values())):
        sys.exit("benchmarks.soak: content was lost, a child ended badly, or memory grew.")


if __name__ == "__main__":
    try:
        main()
    except HeapwrightError as error:
        sys.exit(f"benchmarks.soak: {error}")
