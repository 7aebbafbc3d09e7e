"""pymalloc's table of agreement: real programs recorded, each address beside the one it got.

    python -m benchmarks.agreement_pymalloc ["COMMAND" ...] [-o docs/agreement-pymalloc.md]

writes the page. A COMMAND starts an interpreter with pandas and jinja2; without one it is this
Python. Nothing in the page is typed by hand: run this again after a change to the twin.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import cast

import heapwright as hw
from benchmarks.tables import here, pair, share, table, today, written
from heapwright.references.cpython.agreement import Agreement
from heapwright.trace.store import Trace

SOURCES = Path(__file__).parent / "pythons"
# What is recorded, and the module that it needs, "" for none of its own
PROGRAMS = {
    "JSON": ("documents.py", ""),
    "pandas": ("frames.py", "pandas"),
    "web service": ("service.py", "jinja2"),
}
HEADER = (
    "CPython",
    "program",
    "events",
    "addresses in arenas equal",
    "passed on to malloc equal",
    "arenas made: twin / real",
    "given back",
)


def has(python: list[str], module: str) -> bool:
    """Whether an interpreter can import a module."""
    command = [*python, "-c", f"import {module or 'json'}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def version(python: list[str]) -> str:
    """As it says itself."""
    said = subprocess.run([*python, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def cells(program: str, recording: Path) -> list[str]:
    """One recording, compared."""
    found = cast(Agreement, hw.validate("pymalloc", recording))
    return [
        found.versions[1],
        program,
        f"{Trace.open(recording).events:,}",
        share(found.addresses),
        share(found.passed),
        pair(found.arenas),
        pair(found.freed),
    ]


def page(commands: list[str], folder: Path) -> str:
    """The page."""
    rows, missing = [], []
    for command in commands:
        python = shlex.split(command)
        for program, (source, module) in PROGRAMS.items():
            if not has(python, module):
                missing.append(f"- {version(python)} has no {module}: {program} was not recorded.")
                continue
            print(f"pymalloc on {program} by {command}", file=sys.stderr)
            recording = folder / "one.heap.parquet"
            hw.record([*python, str(SOURCES / source)], recording)
            rows.append(cells(program, recording))
    said = "".join(f"{line}\n" for line in ["", *missing]) if missing else ""
    return f"""# Agreement with real pymallocs

Written by `benchmarks/agreement_pymalloc.py` on {today()}: {here()}.

Real programs, recorded with all that Python asks of its own allocator: `heapwright validate \
pymalloc` replays the requests and compares the address of each block, as its offset in its arena, \
arenas in the order they are made, with the one that the program got; and whether a request was \
passed on to malloc. Where an arena begins is up to Linux.

{table(HEADER, rows)}
{said}"""


def main() -> int:
    """Record, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*", help="commands that start an interpreter")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/agreement-pymalloc.md"))
    asked = parser.parse_args()
    commands = asked.commands or [sys.executable]
    return written(asked.output, lambda folder: page(commands, folder))


if __name__ == "__main__":
    sys.exit(main())
