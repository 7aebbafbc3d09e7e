"""glibc's table of agreement by version: each real one, on its own loader, beside its twin.

    python -m benchmarks.workloads RECORDINGS --scale full
    python -m benchmarks.agreement_glibc RECORDINGS [-o docs/agreement-glibc.md]

fetches the packages (see glibc_packages.py) unless HEAPWRIGHT_GLIBC names them, and writes the
page. Nothing in it is typed by hand: run this again after a change to the twin.
"""

import os
import statistics
import sys
from pathlib import Path

from benchmarks.agreement import record_python, record_threaded
from benchmarks.agreement_mallocs import row, synthetic
from benchmarks.glibc_packages import unpacked
from benchmarks.glibc_rate import seconds
from benchmarks.tables import here, name_of, of_recordings, recordings_parser, setting, table, today
from heapwright.managers import managers
from heapwright.references.malloc import libc, systems
from heapwright.references.malloc.agreement import validate
from heapwright.references.malloc.rates import rates
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import replay_seconds
from heapwright.versions import version_number

# Threads that end while others begin, beside the workloads and python-threads.
COMING = """
import threading
def work(rows):
    kept = [bytes(i * i % 5000) for i in range(rows)]
    for i in range(0, rows, 3): kept[i] = bytearray(i % 700)
for turn in range(30):
    threads = [threading.Thread(target=work, args=(400 + 70 * i,)) for i in range(5)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
"""
# What a version takes that the one before did not, or takes otherwise.
KNOBS: dict[str, tuple[dict[str, int], ...]] = {
    "2.31": ({"mmap_max": -1}, {"mmap_threshold": 40 << 20}, {"mxfast": 7}),
    "2.41": ({"tcache_count": 0}, {"tcache_max": 128}, {"mmap_threshold": 40 << 20}),
    "2.43": (
        *({"tcache_max": 4096}, {"tcache_max": 1 << 20}, {"tcache_max": 4_194_280}),
        *({"tcache_max": 0}, {"tcache_count": 0}, {"tcache_count": 100}, {"mxfast": 160}),
        *({"tcache_unsorted_limit": 1}, {"mmap_max": 0}, {"arena_max": 1}),
    ),
}
KNOB_RECORDING = "python-threads"
RUNS = 5
FIRST = ("addresses equal", "usable sizes equal")
HEADER = (
    *FIRST,
    "resident peak, bytes: twin / real",
    "mapped peak, bytes: twin / real",
    "page faults: twin / real",
)


def record_coming(folder: Path) -> None:
    """Record the program whose threads come and go into `folder`, unless it is there."""
    record_python(folder / "python-coming.heap.parquet", COMING)


def cells(label: list[str], trace: Trace, settings: dict[str, int]) -> list[str]:
    """A row without glibc's own statistics, of which there are none."""
    told = row(label, validate("glibc", trace, settings))
    del told[len(label) + len(FIRST)]
    return told


def section(version: str, traces: list[Path]) -> str:
    """The tables of one version."""
    asked = {"version": version_number(version)}
    rows, knob_rows, ratios, slower, loops = [], [], [], [], []
    for path in traces:
        trace = Trace.open(path)
        name = name_of(path)
        print(f"glibc {version} on {name}, {trace.events:,} events", file=sys.stderr)
        label = [name, f"{trace.events:,}", f"{trace.threads:,}"]
        rows.append(cells(label, trace, asked))
        twin = min(replay_seconds("glibc", trace, asked) for _ in range(RUNS))
        usual = min(replay_seconds("glibc", trace) for _ in range(RUNS))
        slower.append(usual / twin)
        if systems.timed("glibc", asked):
            real = min(rates(trace, ["glibc"], 1, asked)["glibc"] for _ in range(RUNS))
            ratios.append(real / twin)
        else:
            ratios.append(seconds(trace, libc.libraries(version), RUNS) / twin)
            real = min(rates(trace, ["glibc"])["glibc"] for _ in range(RUNS))
            loops.append(seconds(trace, None, RUNS) / real)
        if name == KNOB_RECORDING:
            for knobs in KNOBS.get(version, ()):
                knob_rows.append(cells([setting(knobs)], trace, {**asked, **knobs}))
    text = f"## glibc {version}\n\n{table(('trace', 'events', 'threads', *HEADER), rows)}\n\n"
    text += f"The twin's rate over that of 2.36's twin: median {statistics.median(slower):.2f}"
    told = "the same loop in C" if loops else "one loop"
    text += f"; twin / real rate in {told}: median {statistics.median(ratios):.2f}"
    if loops:
        text += f" (of {libc.here()} that loop takes {statistics.median(loops):.2f} of the time)"
    text += f"; the best of {RUNS} runs each.\n"
    if knob_rows:
        text += f"\nWith knobs turned that mean something else here, on {KNOB_RECORDING}:\n\n"
        text += table(("setting", *HEADER), knob_rows) + "\n"
    return text


def page(recordings: list[Path], folder: Path) -> str:
    """The whole page."""
    if not os.environ.get(libc.VARIABLE):
        os.environ[libc.VARIABLE] = str(unpacked())
    made = synthetic(folder)
    card = managers()["glibc"].card
    wanted = [version for version in card.versions if version not in card.unproven]
    mine = [version for version in wanted if version in (libc.here(), *libc.unpacked())]
    for version in set(wanted) - set(mine):
        print(f"glibc {version} is left out: its files are not here", file=sys.stderr)
    sections = "\n".join(section(version, [*recordings, *made]) for version in mine)
    return f"""# Agreement with glibc by version

Written by `benchmarks/agreement_glibc.py` on {today()}: {here()}; the \
real ones are those of Debian's suites.

Each version's own loader and libraries run the harness; the key is what that malloc answers to the
same events in a fresh process, a real thread for each of the trace's, in the trace's order.
Compared are the offset of every block from the heap's start, that of a further arena's block in its
64 MiB heap and of a mapped one in its page; what `malloc_usable_size` says of every block; and what
the kernel counts of the process. Which distribution has which version, and what differs between
them, is [a page of its own](glibc.md); {", ".join(card.unproven)} were not driven.

The real peak is what was held between two events; the twin's may lie within an event. Up to 2.33
glibc takes one more page fault when it first counts the processors, for the arena after the eighth.
For a further arena 128 MiB are mapped for a moment, to find an aligned half; where Linux by chance
puts them at a multiple of 64 MiB, the next arena takes the other half, and the most that is mapped
may be 64 MiB less.

{sections}"""


def record_programs(folder: Path) -> None:
    """Record the programs with threads into `folder`."""
    record_threaded(folder)
    record_coming(folder)


def main() -> int:
    """Write the page."""
    options = recordings_parser(__doc__, "docs/agreement-glibc.md").parse_args()
    return of_recordings(options, page, record_programs)


if __name__ == "__main__":
    sys.exit(main())
