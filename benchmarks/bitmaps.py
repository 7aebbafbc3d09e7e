"""The page on a cache of bitmaps: what it keeps in memory against what collections cost.

    python -m benchmarks.bitmaps [-o docs/bitmap-cache.md] [--objects 30000]

Nothing in its tables is typed by hand: run this again after a change to a collector. No figure of
it is a time that was measured, so it is the same on every machine.
"""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.tables import table
from heapwright.collectors.log import CYCLES, MARKED_BYTES
from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import PEAK_RESIDENT_PAGES
from heapwright.report.atomic import atomic
from heapwright.trace.mutator import Mutator
from heapwright.trace.programs import bitmap_cache, parameters, synthesise
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import Conditions, Replay

MIB = 1 << 20
HEAP = 32 * MIB  # of an app
CAPS = (4, 8, 12, 16, 20, 24, 26, 28)  # MiB of pixels in memory; an eighth is Android's advice
PROGRAM = {"images": 1000, "files": 300, "min_bytes": 16 << 10, "max_bytes": 1 << 20}
DALVIK = {"heapsize": HEAP, "heapmaxfree": 2 * MIB}


class Case(NamedTuple):
    """A manager, its settings, and what the cache's entryRemoved does."""

    label: str
    manager: str
    settings: dict[str, int]
    recycled: int = 0


CASES = (
    Case("Dalvik 4.4", "dalvik", DALVIK),
    Case("ART, pixels in the heap", "art", {"heapsize": HEAP}),
    Case("HotSpot's serial", "hotspot-serial", {"Xmx": HEAP, "Xmn": HEAP // 4}),
    Case("ART 11, pixels native", "art", {"heapsize": HEAP, "native_pixels_bytes": 16 << 10}),
    Case("the same, recycled", "art", {"heapsize": HEAP, "native_pixels_bytes": 16 << 10}, 1),
)

INTRODUCTION = """# A cache of bitmaps

Written by `benchmarks/bitmaps.py` (`make bitmaps`).

An app shows images through an LruCache in memory before a tier on disk: `heapwright synthesise
bitmap-cache`. The more it keeps in memory, the less it waits for files and downloads; and the less
room a collector has, so that it looks for the dead more and more often, until each request for
pixels is a collection: a storm. Which cap is right depends on the runtime, and can be read here
before it is shipped.

- The app has {heap} MiB of heap. It asks for {images:,} images of {least} KiB to {most} KiB, some
  far more often than others; the tier on disk keeps {files} files. A file costs {disk:.0f} ms to
  wait for, a download {download:.0f} ms.
- The cap is `memory_bytes`, the LruCache's `maxSize`: what is beyond it is dropped, the least
  recently used first. *Recycled*: `entryRemoved` lets the pixels go at once.
- *Collections* and *traced* are per 1,000 images that were asked for: how often the program stood
  still or was slowed down, and how many MiB of live objects were looked at. *Out of memory* after
  how many of the images.
"""


class Tiers(NamedTuple):
    """What a cap makes of the tiers, and its trace."""

    tally: bitmap_cache.Tally
    waited_ms: float  # for an image, on average
    paths: tuple[Path, Path]  # dropped bitmaps left to the collector, and recycled


def tiers(folder: Path, objects: int) -> Iterator[tuple[int, Tiers]]:
    """(MiB, tiers) of each cap."""
    for cap in CAPS:
        chosen = PROGRAM | {"objects": objects, "memory_bytes": cap * MIB}
        filled = parameters("bitmap-cache", chosen)
        with Mutator(lambda batch: None) as mutator:
            tally = bitmap_cache.play(mutator, filled)
        paths = []
        for recycled in (0, 1):
            paths.append(folder / f"{cap}-{recycled}.heap.parquet")
            synthesise("bitmap-cache", paths[-1], chosen | {"entry_removed": recycled})
        waited = tally.waited_us(filled) / 1000 / tally.asked
        yield cap, Tiers(tally, waited, (paths[0], paths[1]))


def flown(case: Case, found: Tiers) -> tuple[str, str]:
    """The cell of a case, and the most that was resident, MiB."""
    trace = Trace.open(found.paths[case.recycled])
    twin = Replay(case.manager, trace, case.settings, Conditions.of(trace, None, "never"))
    with contextlib.suppress(HeapwrightError):  # out of memory: said below
        twin.replay(trace, None)
    held = int(twin.heap.machine.meters[PEAK_RESIDENT_PAGES]) * 4096 / MIB
    totals, progress = twin.heap.log.totals, twin.run.progress
    if progress[twin.loop.REFUSED]:
        share = int(progress[twin.loop.NEXT]) / trace.events
        return f"out of memory at {100 * share:.0f} %", f"{held:.0f}"
    thousands = found.tally.asked / 1000
    collections = int(totals[CYCLES]) / thousands
    traced = int(totals[MARKED_BYTES]) / MIB / thousands
    return f"{collections:.0f}, {traced:,.0f} MiB", f"{held:.0f}"


def page(folder: Path, objects: int) -> str:
    """The whole page."""
    defaults = bitmap_cache.Parameters(**PROGRAM)
    text = INTRODUCTION.format(
        heap=HEAP // MIB,
        images=defaults.images,
        least=defaults.min_bytes >> 10,
        most=defaults.max_bytes >> 10,
        files=defaults.files,
        disk=defaults.disk_us / 1000,
        download=defaults.download_us / 1000,
    )
    waits: list[list[str]] = []
    storms: list[list[str]] = []
    rooms: list[list[str]] = []
    for cap, found in tiers(folder, objects):
        print(f"a cap of {cap} MiB", file=sys.stderr)
        tally: Any = found.tally
        shares = [tally.from_memory, tally.from_disk, tally.downloaded]
        waits.append(
            [
                f"{cap} MiB",
                f"{tally.asked:,}",
                *(f"{100 * share / tally.asked:.1f} %" for share in shares),
                f"{found.waited_ms:.1f} ms",
            ]
        )
        cells = [flown(case, found) for case in CASES]
        storms.append([f"{cap} MiB", *(cell for cell, _ in cells)])
        rooms.append([f"{cap} MiB", *(held for _, held in cells)])
    head = ("cap", "images", "from memory", "from disk", "downloaded", "wait for an image")
    labels = ("cap", *(case.label for case in CASES))
    return (
        f"{text}\n## What a cap saves\n\n{table(head, waits)}\n\n"
        "## What it costs: collections, MiB traced, per 1,000 images\n\n"
        f"{table(labels, storms)}\n\n"
        "HotSpot counts young and full collections, and traces in full ones only; what survives a\n"
        "young one is copied. Dalvik and ART were not driven: see [Android](android.md).\n\n"
        "## What is resident at most, MiB\n\nNative pixels are beside the heap, and count here.\n\n"
        f"{table(labels, rooms)}\n"
    )


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/bitmap-cache.md"))
    parser.add_argument("--objects", type=int, default=30_000)
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            text = page(Path(folder), options.objects)
        with atomic(options.output) as beside:
            beside.write_text(text)
    except HeapwrightError as error:
        print(error, file=sys.stderr)
        return 1
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
