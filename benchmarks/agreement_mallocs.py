"""The other mallocs' table of agreement: recordings and synthetic programs, twin and real library.

    python -m benchmarks.workloads RECORDINGS --scale full
    python -m benchmarks.agreement_mallocs RECORDINGS [-o docs/agreement-mallocs.md]
    python -m benchmarks.agreement_mallocs RECORDINGS --only jemalloc,nginx-slab

fetches what is not installed (see malloc_packages.py) and writes the page, with the sections of
agreement_embedded.py. Nothing in it is typed by hand: run this again after a change to a twin.
"""

import re
import statistics
import sys
from pathlib import Path

from benchmarks import agreement_embedded, malloc_packages
from benchmarks.agreement import record_threaded, twins
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
from heapwright.references.malloc.rates import rates
from heapwright.trace.programs import synthesise
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import replay_seconds
from heapwright.versions import version_number, version_text

SYNTHETIC = ("producer-consumer", "fleet", "phases")  # two threads; all sizes; memalign and realloc
KNOBS: dict[str, tuple[dict[str, int], ...]] = {
    "jemalloc": (
        {"dirty_decay_ms": 0},
        {"dirty_decay_ms": -1},
        {"dirty_decay_ms": 100},
        {"dirty_decay_ms": 50, "muzzy_decay_ms": 50},
        {"narenas": 1},
        {"tcache": 0},
        {"lg_tcache_max": 12},
        {"oversize_threshold": 1 << 16},
    ),
    "tcmalloc": (
        {"aggressive_decommit": 1},
        {"max_total_thread_cache_bytes": 1 << 20},
        {"release_rate": 0},
        {"release_rate": 10},
        {"transfer_num_obj": 4},
        {"transfer_num_obj": 512},
    ),
    "mimalloc": ({"decommit_delay": 0}, {"decommit_delay": 2}, {"max_segment_reclaim": 100}),
    "mimalloc3": (
        {"purge_delay": 0},
        {"purge_delay": 2},
        {"purge_delay": -1},
        {"page_full_retain": 0},
        {"page_max_candidates": 1},
        {"page_reclaim_on_free": 1},
        {"page_reclaim_on_free": -1},
    ),
}
EMBEDDED = {
    "nginx-slab": agreement_embedded.nginx_section,
    "cuda-caching": agreement_embedded.torch_section,
}
OUTPUT = "docs/agreement-mallocs.md"
KNOB_RECORDING = "python-threads"
RUNS = 3
HEADER = (
    "addresses equal",
    "usable sizes equal",
    "its own statistics equal",
    "resident peak, bytes: twin / real",
    "mapped peak, bytes: twin / real",
    "page faults: twin / real",
)


def row(label: list[str], found: Agreement) -> list[str]:
    """The cells of one comparison."""
    tallies = (found.addresses, found.usable_sizes, found.statistics)
    pairs = (found.resident, found.mapped, found.page_faults)
    return [*label, *map(share, tallies), *map(pair, pairs)]


def rate(manager: str, trace: Trace) -> tuple[float, float]:
    """Events a second of the twin and of the real one in the same loop, in millions; medians."""
    seconds = [replay_seconds(manager, trace) for _ in range(RUNS)]
    real = rates(trace, [manager], RUNS)[manager]
    return trace.events / statistics.median(seconds) / 1e6, trace.events / real / 1e6


def section(manager: str, traces: list[Path]) -> str:
    """The tables of one twin."""
    rows, knob_rows, version_rows, ratios = [], [], [], []
    for path in traces:
        trace = Trace.open(path)
        name = name_of(path)
        print(f"{manager} on {name}, {trace.events:,} events", file=sys.stderr)
        if not systems.named(manager).linked:
            twin, real = rate(manager, trace)
            ratios.append(twin / real)
        label = [name, f"{trace.events:,}", f"{trace.threads:,}"]
        rows.append(row(label, validate(manager, trace)))
        if name == KNOB_RECORDING:
            for knobs in KNOBS.get(manager, ()):
                knob_rows.append(row([setting(knobs)], validate(manager, trace, knobs)))
    for number in _others(manager):
        for path in traces:
            trace = Trace.open(path)
            label = [name_of(path), version_text(number)]
            version_rows.append(row(label, validate(manager, trace, {"version": number})))
    first = ("trace", "events", "threads", *HEADER)
    text = f"## {manager} {systems.version(manager)}\n\n{table(first, rows)}\n\n"
    if ratios:
        text += f"Twin / real rate in one loop: median {statistics.median(ratios):.2f}.\n"
    else:
        text += "The real one is linked into its harness and is not timed in the twins' loop.\n"
    if knob_rows:
        text += f"\nWith its knobs turned, on {KNOB_RECORDING}:\n\n"
        text += table(("setting", *HEADER), knob_rows) + "\n"
    if version_rows:
        text += "\nIn other versions, each on the libraries of its own suite:\n\n"
        text += table(("trace", "version", *HEADER), version_rows) + "\n"
    return text


def _others(manager: str) -> list[int]:
    """The versions that a twin has, but for its default, and that are unpacked here."""
    known = map(version_number, managers()[manager].card.versions)
    own = version_number(systems.version(manager))
    return [each for each in known if each != own and systems.reachable(manager, each)]


def synthetic(folder: Path) -> list[Path]:
    """The synthetic programs' traces."""
    made = []
    for name in SYNTHETIC:
        made.append(folder / f"{name}.heap.parquet")
        synthesise(name, made[-1], {})
    return made


def sections(traces: list[Path], only: set[str]) -> list[str]:
    """Those of the page, of `only` these managers where there are any."""
    mine = [name for name in twins() if name != "glibc" and not systems.presence(name).missing]
    made = [section(name, traces) for name in mine if not only or name in only]
    for name, embedded in EMBEDDED.items():
        if not only or name in only:
            made.append(embedded(traces))
    return made


def page(recordings: list[Path], folder: Path) -> str:
    """The whole page."""
    made = "\n".join(sections([*recordings, *synthetic(folder)], set()))
    return f"""# Agreement with the other mallocs

Written by `benchmarks/agreement_mallocs.py` on {today()}: {here()}.

The key is what the real library answers to the same events in a fresh process: a real thread for
each of the trace's, in the trace's order, and the recorded program's clock, which moves on by 1 us
at each event where the trace knows no time. Compared is the offset of every block, from the heap's
start or, of mimalloc, from its first segment on, of mimalloc3, from its first arena on, or, of
jemalloc and mallocng, in the zone of mappings; what `malloc_usable_size` says of every block; the
15 figures of tcmalloc's `MallocExtension` and of jemalloc's `mallctl` at the end; and what the
kernel counts of the process.
The rules, and what is left out, are [a page of their own](mallocs.md).

The real peak is what was held between two events, for the kernel's own mark of the highest is only
exact to some pages; the twin's may lie within an event.

{made}"""


def renewed(old: str, fresh: list[str]) -> str:
    """The page with these sections instead of those of the same managers, or at its end."""
    parts = re.split(r"(?m)^(?=## )", old)
    for text in fresh:
        same = [at for at, part in enumerate(parts) if part.split()[1:2] == text.split()[1:2]]
        where = slice(same[0], same[0] + 1) if same else slice(len(parts), None)
        parts[where] = [text]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def main() -> int:
    """Write the page, or with `--only` some of its sections."""
    malloc_packages.prepare()
    parser = recordings_parser(__doc__, OUTPUT)
    parser.add_argument("--only", default="", help="managers whose sections are made anew")
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))

    def made(recordings: list[Path], folder: Path) -> str:
        if not only:
            return page(recordings, folder)
        traces = [*recordings, *synthetic(folder)]
        return renewed(options.output.read_text(), sections(traces, only))

    return of_recordings(options, made, record_threaded)


if __name__ == "__main__":
    sys.exit(main())
