"""The table of agreement: each recording through the twin and through the real system.

    python benchmarks/workloads.py RECORDINGS --scale full
    python benchmarks/agreement.py RECORDINGS [-o docs/agreement.md]

writes glibc's page; agreement_mallocs.py writes the other mallocs', agreement_go.py Go's. Nothing
in it is typed by hand: run this again after a change to a twin.
"""

import argparse
import datetime
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.managers import managers
from heapwright.references.malloc import systems
from heapwright.references.malloc.agreement import Agreement, validate
from heapwright.references.tally import difference, percent
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


def record_threaded(folder: Path) -> None:
    """Record the threaded program into `folder`, unless it is there."""
    path = folder / "python-threads.heap.parquet"
    if not path.exists():
        environment = {**os.environ, "PYTHONMALLOC": "malloc"}
        record([sys.executable, "-S", "-c", THREADED], path, environment=environment)


def twins() -> list[str]:
    """The managers that are twins of a real malloc."""
    wanted = "heapwright.references.malloc"
    return [name for name, manager in managers().items() if manager.card.reference == wanted]


def row(label: list[str], found: Agreement) -> list[str]:
    """The cells of one comparison."""
    tallies = (found.addresses, found.outside, found.usable_sizes)
    pairs = (found.resident, found.mapped, found.page_faults)
    return [
        *label,
        *(
            f"{percent(each.equal, each.compared)} of {each.compared:,}"
            if each.compared
            else "none"
            for each in tallies
        ),
        *(f"{twin:,} / {real:,} ({difference(twin, real)})" for twin, real in pairs),
    ]


def table(header: Iterable[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    head = list(header)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def page(manager: str, recordings: list[Path]) -> str:
    """The page for one twin."""
    rows, knob_rows = [], []
    shortest, first = "", sys.maxsize
    for path in recordings:
        trace = Trace.open(path)
        name = path.name.removesuffix(".heap.parquet")
        print(f"{manager} on {name}, {trace.events:,} events", file=sys.stderr)
        found = validate(manager, trace)
        rows.append(row([name, f"{trace.events:,}", f"{trace.threads:,}", found.key], found))
        if trace.events < first and trace.threads == 1:
            shortest, first = name, trace.events
            chosen = trace
    for knobs in KNOBS if shortest else ():
        print(f"{manager} on {shortest} with {knobs}", file=sys.stderr)
        setting = ", ".join(f"`{knob}={value}`" for knob, value in knobs.items())
        knob_rows.append(row([setting], validate(manager, chosen, knobs)))
    kernel = ".".join(platform.release().split(".")[:2])
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    others = [
        f"{found.name} {systems.version(found.name)}"
        for found in systems.available()
        if not found.missing and found.name not in twins()
    ]
    return f"""# Agreement with the real systems

Written by `benchmarks/agreement.py` on {today}: {manager} {systems.version(manager)}, \
Linux {kernel}, {platform.machine()}.

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

tcmalloc and mimalloc have [a page of their own](agreement-mallocs.md); so has Go, which is compared
[by other figures](agreement-go.md).

## Without a twin

{", ".join(others) or "No other real allocator was installed"}: measured beside the twins by \
`heapwright compare`, compared with none.
"""


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", type=Path, help="a folder of .heap.parquet files")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/agreement.md"))
    options = parser.parse_args()
    if options.recordings.is_dir():
        record_threaded(options.recordings)
    found = sorted(options.recordings.glob("*.heap.parquet"))
    if not found:
        print(f"{options.recordings} holds no .heap.parquet: see workloads.py", file=sys.stderr)
        return 1
    try:
        text = page("glibc", found)
    except HeapwrightError as error:
        print(error, file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    beside = options.output.with_name(f".{options.output.name}.partial")
    beside.write_text(text)
    os.replace(beside, options.output)
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
