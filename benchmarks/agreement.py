"""The table of agreement: each recording through the twin and through the real system.

    python benchmarks/workloads.py RECORDINGS --scale full
    python benchmarks/agreement.py RECORDINGS [-o docs/agreement.md]

writes glibc's page; agreement_mallocs.py writes the other mallocs', agreement_go.py Go's. Nothing
in it is typed by hand: run this again after a change to a twin.
"""

import os
import sys
from pathlib import Path

from benchmarks.tables import (
    here,
    name_of,
    of_recordings,
    pair,
    recordings_parser,
    setting,
    share,
    table,
    today,
)
from heapwright.managers import managers
from heapwright.references.malloc import systems
from heapwright.references.malloc.agreement import Agreement, validate
from heapwright.trace.recorder.session import record
from heapwright.trace.store import Trace

# Each is given to both, on the shortest recording: a knob must mean the same to twin and real.
KNOBS: tuple[dict[str, int], ...] = (
    {"tcache_count": 0},
    {"tcache_count": 100},
    {"tcache_max": 128},
    {"tcache_unsorted_limit": 1},
    {"mxfast": 0},
    {"top_pad": 0},
    {"top_pad": 1 << 20},
    {"trim_threshold": 1 << 14},
    {"mmap_threshold": 1 << 14},
    {"mmap_max": 0},
    {"arena_max": 1},
)
# Recorded beside the workloads, which have one thread each.
THREADED = """
import json, threading
def work(rows):
    for _ in range(40):
        json.loads(json.dumps([{"a": i, "b": [i, str(i)]} for i in range(rows)]))
threads = [threading.Thread(target=work, args=(200 + 50 * i,)) for i in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
HEADER = (
    "addresses equal",
    "outside the heap",
    "usable sizes equal",
    "resident peak, bytes: twin / real",
    "mapped peak, bytes: twin / real",
    "page faults: twin / real",
)


def record_python(path: Path, program: str) -> None:
    """Record a Python program, on malloc, unless its recording is there."""
    if not path.exists():
        environment = {**os.environ, "PYTHONMALLOC": "malloc"}
        record([sys.executable, "-S", "-c", program], path, environment=environment)


def record_threaded(folder: Path) -> None:
    """Record the threaded program into `folder`, unless it is there."""
    record_python(folder / "python-threads.heap.parquet", THREADED)


def twins() -> list[str]:
    """The managers that are twins of a real malloc."""
    wanted = "heapwright.references.malloc"
    return [name for name, manager in managers().items() if manager.card.reference == wanted]


def row(label: list[str], found: Agreement) -> list[str]:
    """The cells of one comparison."""
    tallies = (found.addresses, found.outside, found.usable_sizes)
    pairs = (found.resident, found.mapped, found.page_faults)
    return [*label, *map(share, tallies), *map(pair, pairs)]


def page(manager: str, recordings: list[Path]) -> str:
    """The page for one twin."""
    rows, knob_rows = [], []
    shortest, first = "", sys.maxsize
    for path in recordings:
        trace = Trace.open(path)
        name = name_of(path)
        print(f"{manager} on {name}, {trace.events:,} events", file=sys.stderr)
        found = validate(manager, trace)
        rows.append(row([name, f"{trace.events:,}", f"{trace.threads:,}", found.key], found))
        if trace.events < first and trace.threads == 1:
            shortest, first = name, trace.events
            chosen = trace
    for knobs in KNOBS if shortest else ():
        print(f"{manager} on {shortest} with {knobs}", file=sys.stderr)
        knob_rows.append(row([setting(knobs)], validate(manager, chosen, knobs)))
    others = [
        f"{found.name} {systems.version(found.name)}"
        for found in systems.available()
        if not found.missing and found.name not in twins()
    ]
    alone = f"""
## Without a twin

{", ".join(others)}: measured beside the twins by `heapwright compare`, compared with none.
"""
    return f"""# Agreement with the real systems

Written by `benchmarks/agreement.py` on {today()}: {manager} {systems.version(manager)}, {here()}.

What is compared, and how:

- **Addresses**: of every block, as the offset from where the heap began. The key is what the real
  allocator returned while the program was recorded (`recorded`), or what it returns to the same
  events in a fresh process (`driven`). A block outside the brk heap is equal when it is outside in
  both, of the same usable size, and at the same offset: in its 64 MiB heap if it is a further
  arena's, in its page if it was mapped on its own.
- **Usable sizes**: what `malloc_usable_size` says of every block.
- **Resident, mapped, page faults**: of the fresh process, over a baseline read before any library's
  constructor ran; the program is taken to write all that it allocates, except calloc's memory.
  Pages are the kernel's own count, huge pages off.

## {manager} on recordings

{table(("recording", "events", "threads", "key", *HEADER), rows)}

A trace of more than one thread is replayed in the recorded order, a real thread for each. Which
arena a thread of the recorded program got may have depended on its locks: there the share is
reported, and less than 100 % is no fault by itself.

## {manager} with its knobs turned, on {shortest or "no recording"}

Twin and real system get the same setting (`--set` and `GLIBC_TUNABLES`); the key is driven.

{table(("setting", *HEADER), knob_rows)}

## Others

Pages of their own have [glibc in other versions](agreement-glibc.md),
[the other mallocs](agreement-mallocs.md), with nginx's slabs and PyTorch's allocator,
[Go](agreement-go.md), [CPython](agreement-cpython.md), [pymalloc](agreement-pymalloc.md),
[HotSpot](agreement-hotspot.md), [Android](agreement-android.md) and [Linux](agreement-linux.md).
{alone if others else ""}"""


def main() -> int:
    """Write the page."""

    def made(recordings: list[Path], _: Path) -> str:
        return page("glibc", recordings)

    options = recordings_parser(__doc__, "docs/agreement.md").parse_args()
    return of_recordings(options, made, record_threaded)


if __name__ == "__main__":
    sys.exit(main())
