"""Three small programs of Python's requests, and what real versions of pymalloc answered them.

    python tests/pymalloc_programs.py [LIBPYTHON ...]    write managers/keys anew (make keys)

A key has the program's events and, per event, the arena's number and the offset of its block; per
arena, where it began in its size, which event made it and which gave it back; and what
sys._debugmallocstats() said at the end. Nothing in it comes from a twin.
"""

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.references.cpython import build
from heapwright.references.cpython.agreement import Arenas
from heapwright.references.cpython.driver import Drive
from heapwright.trace.schema import CALLOC, FREE, MALLOC, REALLOC, Events, events
from heapwright.versions import version_text

FOLDER = Path(__file__).parent / "managers" / "keys"
Row = tuple[int, int, int]  # op, slot, size


class Slots:
    """Spare slots, the lowest first, and the live ones."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.live: list[int] = []
        self.spare: list[int] = []
        self.used = 0

    def alloc(self, size: int, op: int = MALLOC) -> int:
        if not self.spare:
            self.spare.append(self.used)
            self.used += 1
        slot = self.spare.pop()
        self.rows.append((op, slot, size))
        return slot

    def free(self, slot: int) -> None:
        self.rows.append((FREE, slot, 0))
        self.spare.append(slot)

    def resize(self, slot: int, size: int) -> None:
        self.rows.append((REALLOC, slot, size))


def json_like(draw: Callable[[], float]) -> list[Row]:
    """A parser: strings that grow, numbers, lists and dictionaries, documents freed whole."""
    heap = Slots()
    documents: list[list[int]] = []
    for _ in range(14):
        document: list[int] = []
        for _ in range(int(draw() * 60) + 60):
            text = heap.alloc(49 + int(draw() * 20))
            for size in (80, 130, 230)[: int(draw() * 4)]:
                heap.resize(text, size + int(draw() * 60))
            heap.resize(text, 49 + int(draw() * 200))
            document += [text, heap.alloc(32, CALLOC)]
            if draw() < 0.3:
                document += [heap.alloc(56), heap.alloc(88 + 8 * int(draw() * 70))]
            if draw() < 0.2:
                document += [heap.alloc(64), heap.alloc(232 if draw() < 0.7 else 640)]
            if draw() < 0.5:
                heap.free(heap.alloc(512))
        documents.append(document)
        if len(documents) > 5:
            for slot in documents.pop(int(draw() * 3)):
                heap.free(slot)
    return heap.rows


def service_like(draw: Callable[[], float]) -> list[Row]:
    """Requests that overlap: buffers, headers and objects of each are freed as it ends; a cache
    keeps some. A burst fills several arenas, which then empty in another order."""
    heap, open_, cache = Slots(), [], []
    for step in range(150):
        burst = 150 if step == 60 else 1
        for _ in range(burst):
            request = [
                heap.alloc(512 - int(draw() * draw() * 480)) for _ in range(int(draw() * 14) + 20)
            ]
            request.append(heap.alloc(4096 if draw() < 0.2 else 500))
            open_.append(request)
        for _ in range(burst if step == 100 else 1 if len(open_) > 4 else 0):
            if open_:
                for slot in open_.pop(int(draw() * len(open_))):
                    heap.free(slot)
        if draw() < 0.4:
            cache.append(heap.alloc(120))
        if len(cache) > 20:
            heap.free(cache.pop(int(draw() * len(cache))))
    for request in open_:
        for slot in request:
            heap.free(slot)
    return heap.rows


def random_like(draw: Callable[[], float]) -> list[Row]:
    """Any size at any time, with reallocs over the border of 512 bytes; grows, then shrinks."""
    heap = Slots()
    for step in range(9000):
        size = int(draw() * 560) if draw() < 0.4 else 460 + int(draw() * 53)
        wanted = 0.95 if step < 5000 else 0.1
        if heap.live and draw() < 0.1:
            heap.resize(heap.live[int(draw() * len(heap.live))], max(1, size))
        elif not heap.live or draw() < wanted:
            heap.live.append(heap.alloc(size, CALLOC if draw() < 0.1 else MALLOC))
        else:
            heap.free(heap.live.pop(int(draw() * len(heap.live))))
    for slot in heap.live:
        heap.free(slot)
    return heap.rows


PROGRAMS = {"json": json_like, "service": service_like, "random": random_like}
SEED = 7
STRAY = {"json": 0, "service": 3, "random": 85}  # pages from one arena's beginning to the next's


def batch(name: str) -> Events:
    """The events of a program; `random()` gives the same figures on every Python."""
    op, slot, size = np.array(PROGRAMS[name](random.Random(SEED).random), np.int64).T
    return events(op=op, slot=slot, size=size)


def slots_of(batch_: Events) -> int:
    return int(np.max(batch_.slot)) + 1


def answer(name: str, library: Path) -> tuple[str, dict[str, Any]]:
    """The version of a library and the columns of its key."""
    asked = batch(name)
    with Drive(slots_of(asked), library, STRAY[name]) as drive:
        addresses, changes = drive.replay(asked)
        told = drive.finish()
    bytes_ = int(abs(changes[0, 2]))
    arenas, number, rows, start = Arenas(bytes_), {}, [], 0
    places = np.zeros(len(addresses), np.int64)
    for event, base, change in changes.tolist():
        if change > 0:
            places[start:event] = arenas.places(addresses[start:event])
            start = event
            number[base] = arenas.made
            arenas.make(base)
            rows.append((event, number[base], base % bytes_, 1))
        else:
            places[start : event + 1] = arenas.places(addresses[start : event + 1])
            start = event + 1
            del arenas.bases[base]
            rows.append((event, number[base], base % bytes_, 0))
    places[start:] = arenas.places(addresses[start:])
    return version_text(drive.version), {
        "op": asked.op.astype(np.uint8),
        "slot": asked.slot.astype(np.uint16),
        "size": asked.size.astype(np.uint16),
        "arena": (places >> 32).astype(np.int8),
        "offset": (places & 0xFFFFFFFF).astype(np.uint32),
        "arenas": np.array(rows, np.int64),
        "told": np.array(told),
    }


def write(libraries: list[Path]) -> Iterator[str]:
    FOLDER.mkdir(exist_ok=True)
    for library in libraries:
        for name in PROGRAMS:
            version, columns = answer(name, library)
            path = FOLDER / f"pymalloc-{version}-{name}.npz"
            np.savez_compressed(path, **columns)
            made = int(columns["arenas"][:, 3].sum())
            freed = len(columns["arenas"]) - made
            yield f"{path.name}: {len(columns['op']):,} events, {made} arenas, {freed} given back"


if __name__ == "__main__":
    named = [Path(argument) for argument in sys.argv[1:]] or [build.library()]
    for line in write([path for path in named if path is not None]):
        print(line)
