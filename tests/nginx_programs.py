"""Where nginx's own slab allocator placed the blocks of two small programs.

    python tests/nginx_programs.py      write managers/keys/nginx-slab-*.npz anew (make keys)

Nothing in a key comes from the twin; the events are made again from the seed.
"""

from collections.abc import Iterator

import numpy as np

from heapwright.references.nginx import build
from heapwright.references.nginx.driver import Drive
from malloc_programs import FOLDER, batch

ZONES = {"mixed": 4 << 20, "small": 1 << 20}  # programs and bytes of the zone, which they fill


def write() -> Iterator[str]:
    """Write the keys from nginx's sources."""
    for name, zone_bytes in ZONES.items():
        asked = batch(name)
        with Drive(int(asked.slot.max()) + 1, zone_bytes) as drive:
            offsets = drive.replay(asked)
            told = drive.finish()
        np.savez_compressed(
            FOLDER / f"nginx-slab-{name}.npz",
            offset=offsets.astype(np.int32),
            free_pages=np.int64(told.free_pages),
            counters=np.array(told.counters, np.int64),
            refused=np.int64(told.refused),
            resident=np.int64(told.resident_pages),
            version=np.array(build.version()),
        )
        yield f"nginx-slab-{name}.npz: {len(offsets):,} events"


if __name__ == "__main__":
    for line in write():
        print(line)
