"""A small program of C's requests, and where glibc placed them in each version that was driven.

    HEAPWRIGHT_GLIBC=FOLDER python tests/glibc_versions.py      write managers/keys anew (make keys)

A case is a version and what is set: once nothing, and once each knob that means something else
there. The folder holds the unpacked packages; a version that is not in it keeps its key.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from heapwright.references.malloc import libc
from heapwright.references.malloc.harness import Drive
from heapwright.versions import version_number
from malloc_programs import FOLDER, batch, trace

PROGRAM = "versions"
CASES: tuple[tuple[str, dict[str, int]], ...] = (
    ("2.31", {}),
    ("2.31", {"mmap_max": -1}),  # negative: nothing is mapped
    ("2.31", {"mmap_threshold": 40 << 20}),  # beyond 32 MiB: as if it were not set
    ("2.36", {}),
    ("2.41", {}),
    ("2.43", {}),
    ("2.43", {"tcache_max": 1 << 20}),  # large chunks are cached
    ("2.43", {"tcache_count": 0, "mxfast": 160}),  # no cache is made, and there are no fastbins
)


def named(version: str, settings: dict[str, int]) -> str:
    """What a case is called."""
    return "-".join(["glibc", version, *(f"{knob}_{value}" for knob, value in settings.items())])


def key_of(version: str, settings: dict[str, int]) -> Path:
    """Where its key lies."""
    return FOLDER / f"{named(version, settings)}.npz"


def of_version(version: str, settings: dict[str, int]) -> dict[str, int]:
    """The settings of a case, the version among them."""
    return {"version": version_number(version), **settings}


def write(version: str, settings: dict[str, int]) -> str:
    """Write the key of a case from the real one."""
    with tempfile.TemporaryDirectory() as folder:
        told = of_version(version, settings)
        asked = trace(PROGRAM, Path(folder))
        with Drive("glibc", asked, placed=True, tick_ns=0, tunables=told) as drive:
            placed = drive.replay(batch(PROGRAM))
            held = drive.finish()
    address = placed[:, 0]
    np.savez_compressed(
        key_of(version, settings),
        address=np.where(address != 0, address - drive.heap_start, 0),
        usable=placed[:, 1].astype(np.int32),
        start=np.int64(drive.heap_start),
        resident=np.int64(held.high_water_bytes),
        mapped=np.int64(held.mapped_bytes_peak),
        faults=np.int64(held.page_faults),
    )
    return f"{key_of(version, settings).name}: {len(address):,} events"


if __name__ == "__main__":
    for case in CASES:
        if case[0] in (libc.here(), *libc.unpacked()):
            print(write(*case))
        else:
            print(f"glibc {case[0]} is not here; its key stays. {libc.MEND}", file=sys.stderr)
