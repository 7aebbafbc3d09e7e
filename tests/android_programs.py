"""Where Android's own allocators placed the blocks of small programs.

    python tests/android_programs.py [NAME ...]      write managers/keys anew (make keys)

Nothing in a key comes from a twin; the events are made again from the seed.
"""

import sys
from collections.abc import Iterator

import numpy as np

from heapwright.references.android import build
from heapwright.references.android.driver import Drive, Space
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


def write(names: list[str]) -> Iterator[str]:
    """Write the keys of these managers from the real ones that are here."""
    for manager in names:
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
