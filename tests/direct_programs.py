"""What a JVM's pool of direct buffers said after each event of a small program.

    python tests/direct_programs.py      write managers/keys/java-direct.npz anew (make keys)

Nothing in a key comes from the twin; the events are made again from the seed.
"""

import numpy as np

from heapwright.references.hotspot.areas import replay
from heapwright.references.hotspot.build import jvms
from heapwright.trace.schema import FREE, MALLOC, Events, events
from malloc_programs import FOLDER

LIMIT = 9 << 18
SETTINGS = {  # of the twin: flags
    "limited": ({"max_direct_memory": LIMIT}, [f"-XX:MaxDirectMemorySize={LIMIT}"]),
    "aligned": (
        {"max_direct_memory": LIMIT, "page_align": 1},
        [f"-XX:MaxDirectMemorySize={LIMIT}", "-Dsun.nio.PageAlignDirectMemory=true"],
    ),
}
HEAP = ["-XX:+UseSerialGC", "-Xms256m", "-Xmx256m", "-Xmn128m"]  # none of its own collections


def program() -> Events:
    """Buffers of up to 1 MiB; those that live come near the limit, so that a few are refused."""
    draw = np.random.default_rng(5)
    live: list[int] = []
    rows = []
    for slot in range(500):
        size = int(draw.integers(0, 1 << int(draw.integers(4, 21))))
        rows.append((MALLOC, slot, size))
        live.append(slot)
        while live and draw.random() < 0.52:
            rows.append((FREE, live.pop(int(draw.integers(len(live)))), 0))
    op, slots, sizes = zip(*rows, strict=True)
    return events(op=op, slot=slots, size=sizes)


def write() -> None:
    """Write the key from the JVM that is here, the oldest."""
    jvm, found = jvms()[0], {}
    for name, (_, flags) in SETTINGS.items():
        told = replay(jvm, [*HEAP, *flags], program())
        found[f"{name}_counts"] = told.counts
        found[f"{name}_refused"] = np.array(told.refused)
    path = FOLDER / "java-direct.npz"
    np.savez_compressed(path, version=np.array(jvm.version), **found)
    print(f"{path.name}: {len(program().op):,} events")


if __name__ == "__main__":
    write()
