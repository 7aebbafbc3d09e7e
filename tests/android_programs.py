"""Where Android's own allocators placed the blocks of small programs, and real spaces of dlmalloc
the objects of a cache of bitmaps under Dalvik's rules.

    python tests/android_programs.py [NAME ...]      write managers/keys anew (make keys)

Nothing in a key comes from a twin; the events are made again from the seed.
"""

import sys
from collections.abc import Iterator

import numpy as np

from heapwright.references.android import build
from heapwright.references.android.driver import Drive, Space
from heapwright.trace.mutator import Mutator
from heapwright.trace.programs import bitmap_cache, parameters
from heapwright.trace.schema import Events
from malloc_programs import FOLDER, batch

BY_SIZE_AT_END, ALWAYS = 3, 4
CASES = {  # manager: program and what its space is told
    "art-rosalloc": {
        "threads": Space(64 << 20, (BY_SIZE_AT_END, 4 << 20)),
        "small": Space(1 << 20, (ALWAYS, 0)),
    },
    "dlmalloc": {  # word, alignment, granularity, trim threshold, footprint's limit, space's bytes
        "mixed": Space(1 << 30, (8, 16, 4096, 2 << 20, 0, 0)),
        "small": Space(1 << 30, (4, 8, 4096, 1 << 16, 2 << 20, 16384)),
    },
}


MIB = 1 << 20
BITMAPS = {"images": 150, "files": 30, "memory_bytes": MIB, "max_bytes": 150_000}
# growth limit, first size, utilization of 1,024, least and most free bytes, concurrent collections
DALVIK = {
    "beside": Space(4 * MIB, (4 * MIB, MIB, 512, MIB // 2, 2 * MIB, 1)),
    "tight": Space(4 * MIB, (2 * MIB, MIB // 4, 768, MIB // 8, MIB // 4, 0)),
}


def bitmaps() -> Events:
    """A cache of bitmaps, small."""
    parts: list[Events] = []
    with Mutator(parts.append) as mutator:
        bitmap_cache.play(mutator, parameters("bitmap-cache", {"objects": 1100, **BITMAPS}))
    (batch,) = parts
    return batch


def write_dalvik() -> Iterator[str]:
    """The keys of Dalvik's spaces."""
    if why := build.missing("dalvik"):
        yield f"dalvik: {why}; its keys stay."
        return
    asked = bitmaps()
    for name, space in DALVIK.items():
        with Drive("dalvik", int(asked.slot.max()) + 1, space) as drive:
            placed = drive.replay(asked)
            told = drive.finish()
        np.savez_compressed(
            FOLDER / f"dalvik-{name}.npz",
            offset=placed[:, 0].astype(np.int32),
            usable=placed[:, 1].astype(np.int32),
            resident=np.int64(told.resident_pages),
            peak=np.int64(told.peak_bytes),
            collections=np.array(told.collections),
            digest=np.int64(told.digest),
        )
        yield f"dalvik-{name}.npz: {len(placed):,} events"


def write(names: list[str]) -> Iterator[str]:
    """Write the keys of these managers from the real ones that are here."""
    for manager in names:
        if why := build.missing(manager):
            yield f"{manager}: {why}; its keys stay."
            continue
        for name, space in CASES[manager].items():
            asked = batch(name)
            with Drive(manager, int(asked.slot.max()) + 1, space) as drive:
                placed = drive.replay(asked)
                told = drive.finish()
            np.savez_compressed(
                FOLDER / f"{manager}-{name}.npz",
                offset=placed[:, 0].astype(np.int32),
                usable=placed[:, 1].astype(np.int32),
                refused=np.int64(told.refused),
                resident=np.int64(told.resident_pages),
                peak=np.int64(told.peak_bytes),
                version=np.array(build.version(manager)),
            )
            yield f"{manager}-{name}.npz: {len(placed):,} events"


if __name__ == "__main__":
    for line in write(sys.argv[1:] or list(CASES)):
        print(line)
    for line in write_dalvik():
        print(line)
