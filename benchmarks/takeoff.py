"""What it costs to take off: building a manager's object cold, its size, a program's longer start.

    python -m benchmarks.takeoff [--managers wright,glibc] [--starts 200]

prints JSON. The build is cold: it has an empty cache. A start is that of a C program which does
nothing but one malloc; starts with and without the object alternate, and medians are compared.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MANAGERS = ("linear", "first-fit", "segregated-fit", "buddy", "wright", "glibc")
PROGRAM = "#include <stdlib.h>\nint main(void) { void *volatile p = malloc(9); free(p); }\n"
BUILD = """
import sys
from heapwright.flight.build import build
print(build(sys.argv[1]))
"""


def start_seconds(program: Path, preload: str) -> float:
    """Seconds from the start of the program to its end."""
    environment = {"LD_PRELOAD": preload} if preload else {}
    before = time.perf_counter()
    os.waitpid(os.posix_spawn(program, [str(program)], environment), 0)
    return time.perf_counter() - before


def processor_seconds() -> float:
    """Processor time of the processes started so far that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def takeoff(manager: str, folder: Path, starts: int) -> dict[str, float]:
    """The figures of one manager; its object is left in `folder`."""
    program = folder / "program"
    if not program.exists():
        (folder / "program.c").write_text(PROGRAM)
        compiler = shutil.which("cc") or "cc"
        subprocess.run([compiler, "-O1", "-o", program, folder / "program.c"], check=True)
    environment = {**os.environ, "HEAPWRIGHT_CACHE": str(folder / "cache")}
    before, used = time.perf_counter(), processor_seconds()
    command = [sys.executable, "-c", BUILD, manager]
    library = subprocess.check_output(command, env=environment, text=True).strip()
    build_seconds, used = time.perf_counter() - before, processor_seconds() - used
    plain, flown = [], []
    for _ in range(starts):
        plain.append(start_seconds(program, ""))
        flown.append(start_seconds(program, library))
    return {
        "build_seconds": round(build_seconds, 2),
        "build_processor_seconds": round(used, 2),
        "object_bytes": Path(library).stat().st_size,
        "start_ms_over_glibc": round(
            1e3 * (statistics.median(flown) - statistics.median(plain)), 3
        ),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--managers", default=",".join(MANAGERS))
    parser.add_argument("--starts", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {
            manager: takeoff(manager, Path(folder), arguments.starts)
            for manager in arguments.managers.split(",")
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
