"""What mallocs notice of misuse: each deed of misuse.c at each size, under each allocator.

    python -m benchmarks.misuse [--page docs/wright.md] [--peers mimalloc-secure=/path/lib.so]

prints JSON. A deed is noticed where the program ends by a signal. A cell counts the sizes at which
it was, of those that it was tried at.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.flight import allocators, compiled
from benchmarks.keeping import peer
from benchmarks.peers import Served
from heapwright.errors import HeapwrightError
from heapwright.flight.build import build

SIZES = (24, 40, 64, 200, 1000, 5000, 40_000, 100_000, 400_000)
DEEDS = (
    "free twice",
    "free twice, another between",
    "free twice, by threads",
    "resize after free",
    "free inside",
    "free inside, odd",
    "resize inside",
    "free of the stack",
    "free of a variable",
    "free of code",
    "free of 1",
    "free beyond the heap",
    "write after free, first word",
    "write after free, second word",
    "write after free, third word",
    "write after free, all",
    "write after all are free",
    "overrun by a zero",
    "overrun by 1",
    "overrun by 24",
)
PATIENCE_S = 5  # the program takes milliseconds


def is_noticed(program: str, deed: str, size: int, served: Served) -> bool:
    """Whether the program ended by a signal; one that does not end noticed nothing."""
    command = served.command([program, deed, str(size)])
    try:
        done = subprocess.run(
            command, env=served.environment(), capture_output=True, check=False, timeout=PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode == 2:
        raise HeapwrightError(f"misuse.c knows no deed {deed!r}.")
    return done.returncode < 0


def noticed(program: str, found: Mapping[str, Served]) -> dict[str, dict[str, int]]:
    """By deed and allocator: at how many of the sizes."""
    return {
        deed: {
            name: sum(is_noticed(program, deed, size, served) for size in SIZES)
            for name, served in found.items()
        }
        for deed in DEEDS
    }


def as_table(rows: Mapping[str, Mapping[str, int]]) -> str:
    """For a page."""
    names = list(next(iter(rows.values())))
    lines = [[deed, *(str(row[name]) for name in names)] for deed, row in rows.items()]
    whole = len(rows) * len(SIZES)
    lines.append(
        [f"all, of {whole}", *(str(sum(r[name] for r in rows.values())) for name in names)]
    )
    return pages.table([f"of {len(SIZES)} sizes", *names], lines)


def main() -> None:
    """Try and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.misuse", description=main.__doc__)
    parser.add_argument("--page", type=Path, help="a page whose marked table is made anew")
    parser.add_argument("--peers", action="append", default=[], type=peer, metavar="NAME=PATH")
    options = parser.parse_args()
    ours: dict[str, Any] = {"wright": {}, "hardened": {"hardened": 1}}
    found = {**allocators([]), **dict(options.peers)}
    found |= {name: Served(str(build("wright", knobs))) for name, knobs in ours.items()}
    with tempfile.TemporaryDirectory() as made:
        rows = noticed(compiled("misuse", Path(made)), found)
    if options.page:
        pages.replace(options.page, "make flights, misuse", as_table(rows))
    print(json.dumps({"sizes": SIZES, "noticed": rows}, indent=2))


if __name__ == "__main__":
    try:
        main()
    except HeapwrightError as error:
        sys.exit(f"benchmarks.misuse: {error}")
