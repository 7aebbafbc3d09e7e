"""Android's table of agreement: RosAlloc and dlmalloc, the twins beside the real ones.

    python -m benchmarks.agreement_android [RECORDINGS] [-o docs/agreement-android.md]

writes the page. ART's library and dlmalloc's source are wanted: see docs/android.md. RECORDINGS is
a folder of .heap.parquet files; without it two programs are recorded. Nothing in the page is typed
by hand: run this again after a change to a twin.
"""

import argparse
import sys
from pathlib import Path

import heapwright as hw
from benchmarks.tables import here, name_of, pair, share, table, today, written
from heapwright.errors import HeapwrightError
from heapwright.references.android import build
from heapwright.references.android.agreement import Agreement, validate
from heapwright.trace.programs import synthesise
from heapwright.trace.store import Trace

SYNTHETIC = ("producer-consumer", "fleet", "phases", "log-uniform")
EVENTS = 300_000
GRAPHS: dict[str, dict[str, int]] = {
    "bitmap-cache": {"memory_bytes": 16 << 20, "max_bytes": 1 << 20},
    "gcbench": {"depth": 12},
    "request-server": {},
    "red-black-map": {},
    "linked-lists": {},
}
OBJECTS = 100_000
RECORDED = {
    "sort": ["sort", "-o", "/dev/null", "/etc/services", "/proc/cpuinfo"],
    "python": [
        "python3",
        "-c",
        "import json, email, decimal, asyncio",
    ],
}
MIB = 1 << 20
LARGE = {"capacity_bytes": 1 << 30}
SETTINGS: dict[str, tuple[dict[str, int], ...]] = {
    "art-rosalloc": (
        LARGE,
        LARGE | {"page_release_mode": 4},
        LARGE | {"page_release_mode": 2, "page_release_size_threshold_bytes": MIB},
        {"capacity_bytes": 2 * MIB},
    ),
    "dlmalloc": (
        {},
        {"word_bytes": 4},
        {"word_bytes": 4, "space_bytes": 4096, "footprint_limit": 16 * MIB},
        {"word_bytes": 4, "alignment": 16, "granularity": 65536},
        {"trim_threshold": 65536},
    ),
}
DALVIK: tuple[dict[str, int], ...] = (
    {"heapsize": 128 * MIB},
    {"heapsize": 128 * MIB, "concurrent": 0},
    {"heapsize": 128 * MIB, "heaptargetutilization": 75, "heapmaxfree": 8 * MIB},
)
DALVIK_HEADER = (
    *("setting", "trace", "events", "offsets equal", "usable sizes equal"),
    *("for an allocation: twin / real", "concurrent: twin / real"),
    *("freed, left, taken, aimed at by each", "footprint at most, bytes: twin / real"),
)
HEADER = (
    *("setting", "trace", "events", "offsets equal", "usable sizes equal"),
    *("refused: twin / real", "resident at the end, bytes: twin / real"),
    "footprint at most, bytes: twin / real",
)


def row(setting: dict[str, int], name: str, found: Agreement) -> list[str]:
    """The cells of one comparison."""
    knobs = ", ".join(f"`{knob}={value}`" for knob, value in setting.items()) or "as it is"
    tallies = (found.offsets, found.usable_sizes)
    pairs = [found.refused, found.resident, *([found.footprint] if found.footprint else [])]
    return [
        *(knobs, name, f"{found.events:,}"),
        *map(share, tallies),
        *map(pair, pairs),
        *([] if found.footprint else ["does not grow"]),
    ]


def of_dalvik(folder: Path) -> str:
    """The table of Dalvik's spaces."""
    rows = []
    for name, chosen in GRAPHS.items():
        path = folder / f"{name}.heap.parquet"
        synthesise(name, path, chosen | {"objects": OBJECTS})
        for setting in DALVIK:
            print(f"dalvik {setting} on {name}", file=sys.stderr)
            found = validate("dalvik", Trace.open(path), setting)
            assert found.collections and found.footprint
            counts = [f"{twin:,} / {real:,}" for twin, real in zip(*found.collections, strict=True)]
            cells = row(setting, name, found)[:5]
            same = "equal" if found.digests[0] == found.digests[1] else "differs"
            rows.append([*cells, *counts[:2], same, pair(found.footprint)])
    return f"## dalvik {build.version('dalvik')}\n\n{table(DALVIK_HEADER, rows)}\n"


def section(manager: str, traces: list[Path]) -> str:
    """The table of one twin."""
    rows = []
    for path in traces:
        name = name_of(path)
        for setting in SETTINGS[manager]:
            print(f"{manager} {setting} on {name}", file=sys.stderr)
            rows.append(row(setting, name, validate(manager, Trace.open(path), setting)))
    return f"## {manager} {build.version(manager)}\n\n{table(HEADER, rows)}\n"


def page(recordings: list[Path], folder: Path) -> str:
    """The whole page; HeapwrightError where a real one is missing."""
    for manager in SETTINGS:
        if why := build.missing(manager):
            raise HeapwrightError(f"driving the real {manager}: {why}.")
    made = list(recordings)
    if not made:
        for name, command in RECORDED.items():
            made.append(folder / f"{name}.heap.parquet")
            hw.record(command, made[-1])
    for name in SYNTHETIC:
        made.append(folder / f"{name}.heap.parquet")
        synthesise(name, made[-1], {"events": EVENTS})
    sections = "\n".join([*(section(manager, made) for manager in SETTINGS), of_dalvik(folder)])
    return f"""# Agreement with Android's allocators

Written by `benchmarks/agreement_android.py` on {today()}: {here()}.

The key is what the real one answers to the same events in a fresh process: Android 11's own ART
library, without a runtime, and Doug Lea's malloc.c, for words of 4 bytes as a program of 32 bits.
Compared are the offset of every block in its space, what it holds, what was refused, the pages that
were resident at the end, and of dlmalloc the footprint at its highest.

Of `dalvik` the spaces are real: Doug Lea's code in a process of 32 bits, fed with the births and
deaths of object graphs. What decides over them (`heap_source.c`) is written a second time from the
rules of Android 4.4's public source, apart from the twin; no Dalvik ran. `art` is in no table:
there is no live reference. [The page](android.md) says what they omit.

{sections}"""


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", type=Path, nargs="?", help="a folder of .heap.parquet files")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/agreement-android.md"))
    options = parser.parse_args()
    found = sorted(options.recordings.glob("*.heap.parquet")) if options.recordings else []
    return written(options.output, lambda folder: page(found, folder))


if __name__ == "__main__":
    sys.exit(main())
