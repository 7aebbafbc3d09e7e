"""Three small programs of C's requests, and where the real mallocs that have a twin placed them.

    python tests/malloc_programs.py [NAME ...]      write managers/keys anew (make keys)

A key has, per event, the offset of its block and its usable bytes, and what the process held at the
end. Nothing in it comes from a twin; the events are made again from the seed.
"""

import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from heapwright.machine.address_space import BREAK_LIMIT
from heapwright.managers import managers
from heapwright.references.malloc import systems
from heapwright.references.malloc.harness import Drive
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    MALLOC,
    MEMALIGN,
    REALLOC,
    THREAD_EXIT,
    Events,
    events,
)
from heapwright.trace.store import Trace, TraceWriter
from heapwright.versions import version_number

FOLDER = Path(__file__).parent / "managers" / "keys"
SEED = 7
STEP_NS = 3_000_000  # from one event to the next, of managers that go by the clock
DOUBLING = 2.0


class Program(NamedTuple):
    """What it asks for."""

    events: int
    threads: int  # alive at any time
    ending: float  # share of events that end a thread, and another begins
    small: float  # share of requests up to 1 KiB
    doublings: int  # above 128 KiB that a large request may have
    swing: int  # events in which it grows, then shrinks


PROGRAMS = {
    "mixed": Program(5000, 1, 0.0, 0.6, 4, 1000),
    "threads": Program(5000, 4, 0.003, 0.75, 3, 1500),
    "small": Program(9000, 1, 0.0, 0.99, 1, 6000),
}
VERSIONS = {"tcmalloc": ("2.16", "2.18.1")}  # that have a key of OF_VERSIONS too
OF_VERSIONS = "threads"
OF_GLIBC = {  # see glibc_versions.py: threads come and go, and sizes reach 16 MiB
    "versions": Program(2600, 3, 0.004, 0.7, 7, 900),
}


def rows_of(name: str) -> list[tuple[int, ...]]:
    """(op, slot, size, align, thread) of a program; `random()` gives every Python the same."""
    program, draw = (PROGRAMS | OF_GLIBC)[name], random.Random(SEED).random
    rows: list[tuple[int, ...]] = []
    live: list[int] = []
    spare: list[int] = []
    slots, threads, next_thread = 0, list(range(program.threads)), program.threads

    def size() -> int:
        if (kind := draw()) < program.small:
            return int(draw() * draw() * 1024)
        if kind < 1 - (1 - program.small) / 10:
            return int(DOUBLING ** (draw() * 18))
        return int(DOUBLING ** (17 + draw() * program.doublings))

    while len(rows) < program.events:
        thread = threads[int(draw() * len(threads))]
        if thread and draw() < program.ending:
            rows.append((THREAD_EXIT, -1, 0, 0, thread))
            threads.remove(thread)
            threads.append(next_thread)
            next_thread += 1
            continue
        growing = len(rows) // program.swing % 2 == 0
        if not live or draw() < (0.72 if growing else 0.35):
            slot = spare.pop() if spare else slots
            slots = max(slots, slot + 1)
            live.append(slot)
            verb = draw()
            align = 5 + int(draw() * 12) if verb < 0.03 else 0
            op = MEMALIGN if align else CALLOC if verb < 0.1 else MALLOC
            rows.append((op, slot, size(), align, thread))
            continue
        place = int(draw() * len(live))
        live[place], live[-1] = live[-1], live[place]
        if draw() < 0.15:
            rows.append((REALLOC, live[-1], max(1, size()), 0, thread))
        else:
            spare.append(live.pop())
            rows.append((FREE, spare[-1], 0, 0, thread))
    return rows


def batch(name: str, *, clocked: bool = False) -> Events:
    """The events of a program, with their times if they matter."""
    op, slot, size, align, thread = np.array(rows_of(name), np.int64).T
    times = np.arange(len(op)) * STEP_NS if clocked else np.zeros(0, np.int64)
    return events(op=op, slot=slot, size=size, align=align, thread=thread, time_ns=times)


def clocked(manager: str) -> bool:
    """Whether it asks what time it is."""
    return getattr(managers()[manager].module, "CLOCKED", False)


def trace(name: str, folder: Path) -> Trace:
    """The program as a trace in `folder`."""
    path = folder / f"{name}.heap.parquet"
    with TraceWriter(path, program=name, kind="synthetic") as out:
        out.write(batch(name))
    return Trace.open(path)


def key_of(manager: str, name: str, version: str = "") -> Path:
    """Where a key lies; with `version`: of one that is not the twin's default."""
    return FOLDER / f"{manager}{version and '-' + version}-{name}.npz"


def origin(manager: str, addresses: np.ndarray, heap_start: int) -> int:
    """What offsets count from: the heap's start, or, of one that maps, its first area."""
    first = int(addresses[np.argmax(addresses != 0)])
    area = getattr(managers()[manager].module, "ORIGIN_BYTES", 0)
    return first & -area if area else heap_start


def write(names: list[str]) -> Iterator[str]:
    """Write the keys of these managers from the libraries that are installed, or, of VERSIONS,
    unpacked."""
    FOLDER.mkdir(exist_ok=True)
    for manager in names:
        cases = [(name, "") for name in PROGRAMS]
        for name, version in [*cases, *((OF_VERSIONS, each) for each in VERSIONS.get(manager, ()))]:
            if version and not systems.reachable(manager, version_number(version)):
                yield f"{manager} {version} is not here: its key is left as it is"
                continue
            events = _write(manager, name, version)
            yield f"{key_of(manager, name, version).name}: {events:,} events"


def _write(manager: str, name: str, version: str) -> int:
    knobs = {"version": version_number(version)} if version else {}
    with tempfile.TemporaryDirectory() as folder:
        asked = trace(name, Path(folder))
        with Drive(manager, asked, placed=True, tick_ns=0, tunables=knobs) as drive:
            placed = drive.replay(batch(name, clocked=clocked(manager)))
            held = drive.finish()
    start = origin(manager, placed[:, 0], drive.heap_start)
    if hasattr(managers()[manager].module, "seed"):
        start = BREAK_LIMIT + drive.origin
    offsets = np.where(placed[:, 0] != 0, placed[:, 0] - start, -1)
    np.savez_compressed(
        key_of(manager, name, version),
        offset=offsets,
        usable=placed[:, 1].astype(np.int32),
        resident=np.int64(held.high_water_bytes),
        mapped=np.int64(held.mapped_bytes_peak),
        faults=np.int64(held.page_faults),
        told=np.array(held.told, np.int64),
        seeds=np.array(drive.seeds, np.int64),
        version=np.array(version or systems.version(manager)),
    )
    return len(offsets)


def twins() -> list[str]:
    """The twins of real mallocs but for glibc's, which recordings are the keys of."""
    wanted = "heapwright.references.malloc"
    found = [name for name, one in managers().items() if one.card.reference == wanted]
    return [name for name in found if not managers()[name].card.recorded]


if __name__ == "__main__":
    for line in write(sys.argv[1:] or twins()):
        print(line)
