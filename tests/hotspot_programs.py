"""Small programs of Java's kind, and what real JVMs' counters said after each collection of them.

    python tests/hotspot_programs.py [MANAGER ...]      write managers/keys/hotspot anew (make keys)

Nothing in a key comes from a twin; the events are made again from the seed. A JVM of each release
must be here: HEAPWRIGHT_JVMS names their folders.
"""

import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heapwright.managers.registry import named
from heapwright.references.hotspot import build, driver
from heapwright.references.hotspot.driver import Observed, observe
from heapwright.trace.programs import synthesise
from heapwright.trace.store import Trace
from heapwright.versions import version_number

FOLDER = Path(__file__).parent / "managers" / "keys" / "hotspot"
M = 1 << 20
LISTS = {"objects": 6000, "lists": 40, "nodes": 20, "min_bytes": 400, "max_bytes": 4000}
SOFT = {"objects": 20_000}
BITMAPS = {"objects": 5000, "memory_bytes": 3 * M, "images": 300, "max_bytes": 300_000}


class Case(NamedTuple):
    """A program under some settings of a manager."""

    manager: str
    program: str
    chosen: dict[str, int]
    settings: dict[str, int]
    releases: tuple[int, ...] = (17, 21, 25)


SMALL = {"Xmx": 4 * M, "Xmn": M}
CASES = {
    "serial-lists": Case(
        "hotspot-serial", "linked-lists", LISTS, {**SMALL, "UseTLAB": 0}, (11, 17, 21, 25)
    ),
    "serial-buffers": Case("hotspot-serial", "linked-lists", LISTS, {**SMALL, "TLABSize": 8192}),
    "serial-bitmaps": Case(
        "hotspot-serial",
        "bitmap-cache",
        BITMAPS,
        {"Xmx": 6 * M, "Xmn": 2 * M, "UseTLAB": 0, "UseCompressedOops": 0},
    ),
    "serial-grows": Case(
        "hotspot-serial",
        "bitmap-cache",
        {**BITMAPS, "objects": 2500},
        {"Xmx": 24 * M, "Xms": 4 * M, "Xmn": 2 * M, "UseTLAB": 0},
        (17,),
    ),
    "serial-born-old": Case(
        "hotspot-serial",
        "bitmap-cache",
        BITMAPS,
        {"Xmx": 8 * M, "Xmn": 2 * M, "UseTLAB": 0, "PretenureSizeThreshold": 100_000},
        (17, 21),
    ),
    "parallel-lists": Case(
        "hotspot-parallel",
        "linked-lists",
        LISTS,
        {"Xmx": 4 * M, "Xmn": M, "UseTLAB": 0, "HeapMaximumCompactionInterval": 0},
        (17, 21),
    ),
    "parallel-bitmaps": Case(
        "hotspot-parallel",
        "bitmap-cache",
        BITMAPS,
        {"Xmx": 6 * M, "Xmn": 2 * M, "UseTLAB": 0, "UseCompressedOops": 0},
        (17, 21),
    ),
}
SOFTLY = {"events_per_ms": 100, "SoftRefLRUPolicyMSPerMB": 50}
CASES |= {
    "serial-references": Case(
        "hotspot-serial",
        "soft-cache",
        SOFT,
        {"Xmx": 6 * M, "Xmn": 2 * M, "UseTLAB": 0, **SOFTLY},
    ),
    "parallel-references": Case(
        "hotspot-parallel",
        "soft-cache",
        SOFT,
        {"Xmx": 8 * M, "Xmn": 3 * M, "UseTLAB": 0, **SOFTLY},
        (17, 21),
    ),
}
REGIONS = {"Xmx": 24 * M, "G1HeapRegionSize": M, "InitiatingHeapOccupancyPercent": 100}
CASES |= {
    "g1-server": Case(
        "hotspot-g1",
        "request-server",
        {"objects": 40_000, "sessions": 100},
        {**REGIONS, "Xmn": 2 * M},
        (17, 21),
    ),
    "g1-humongous": Case(
        "hotspot-g1",
        "bitmap-cache",
        {**BITMAPS, "objects": 6000, "max_bytes": 2 * M},
        {**REGIONS, "Xmx": 48 * M, "Xmn": 8 * M, "UseCompressedOops": 0},
        (17, 21),
    ),
}
SWEPT = {"UseTLAB": 0, "CMSInitiatingOccupancyFraction": 100}  # and no collection at its start
CASES |= {
    "cms-lists": Case(
        "hotspot-cms",
        "linked-lists",
        {**LISTS, "objects": 4000, "nodes": 10, "min_bytes": 3000, "max_bytes": 9000},
        {**SWEPT, "Xmx": 8 * M, "Xmn": 2 * M},
        (11,),
    ),
    "cms-bitmaps": Case(
        "hotspot-cms",
        "bitmap-cache",
        {**BITMAPS, "objects": 2500},
        {**SWEPT, "Xmx": 8 * M, "Xmn": 2 * M},
        (11,),
    ),
    "cms-references": Case(
        "hotspot-cms", "soft-cache", SOFT, {**SWEPT, "Xmx": 8 * M, "Xmn": 2 * M, **SOFTLY}, (11,)
    ),
    "g1-references": Case(
        "hotspot-g1", "soft-cache", SOFT, {**REGIONS, "Xmx": 16 * M, "Xmn": 3 * M, **SOFTLY}, (21,)
    ),
}
KEYS = [(name, release) for name, case in CASES.items() for release in case.releases]


@cache
def trace(name: str) -> Trace:
    """The events of a case."""
    folder = tempfile.mkdtemp(prefix="hotspot-programs-")
    case = CASES[name]
    path = Path(folder) / f"{name}.heap.parquet"
    synthesise(case.program, path, case.chosen)
    return Trace.open(path)


def settings(name: str, release: int) -> dict[str, int]:
    """The settings of a case under a release."""
    return {"version": version_number(str(release)), **CASES[name].settings}


def key_of(name: str, release: int) -> Path:
    """Where a key lies."""
    return FOLDER / f"{name}-{release}.npz"


def kept(name: str, release: int) -> Observed:
    """What the real JVM said."""
    with np.load(key_of(name, release)) as found:
        told: dict[str, Any] = {column: found[column] for column in found.files}
    return Observed(
        version=str(told["version"]),
        names=tuple(told["names"].tolist()),
        rows=told["rows"].astype(np.int64),
        table=int(told["table"]),
        old=int(told["old"]),
        promoted=tuple(told["promoted"].tolist()),
        regions=told["regions"].astype(np.int64),
        region_bytes=int(told["region_bytes"]),
        finalizers=int(told["finalizers"]) if "finalizers" in told else 0,
        cleared=told["cleared"].astype(np.int64) if "cleared" in told else driver.nothing_cleared(),
    )


def write(managers: list[str]) -> Iterator[str]:
    """Write the keys of these managers, or of all, from the JVMs that are here."""
    FOLDER.mkdir(exist_ok=True)
    for name, release in KEYS:
        case = CASES[name]
        if managers and case.manager not in managers:
            continue
        build.jvm(release)
        knobs = named(case.manager).configured(settings(name, release))._asdict()
        told = observe(case.manager, trace(name), knobs, release)
        more: dict[str, Any] = {}
        if len(told.cleared):
            more = {"cleared": told.cleared, "finalizers": told.finalizers}
        np.savez_compressed(
            key_of(name, release),
            rows=told.rows.astype(np.int32),
            names=np.array(told.names),
            table=told.table,
            old=told.old,
            promoted=np.array(told.promoted, np.int64),
            version=told.version,
            regions=told.regions.astype(np.int16),
            region_bytes=told.region_bytes,
            **more,
        )
        yield f"{key_of(name, release).name}: {len(told.rows) - 1} events that collected"


if __name__ == "__main__":
    for line in write(sys.argv[1:]):
        print(line)
