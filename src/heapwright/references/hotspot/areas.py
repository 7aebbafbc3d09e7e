"""What a real JVM says when one of its run-time areas is full; of direct buffers, after each event.

flags, area ─► java Areas ─► Told, a row each            trace ─► java Areas replay ─► Buffers
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.references.bounded import bounded
from heapwright.references.hotspot.build import Jvm, driver
from heapwright.trace.schema import FREE, Events

SOURCE = Path(__file__).with_name("Areas.java")
SECONDS = 120  # for one area
COLUMNS = ("buffers", "capacity", "reserved", "collections")


@dataclass(frozen=True)
class Told:
    """How one area ended."""

    area: str
    what: int  # local words of a frame, elements of an array, bytes of a piece
    after: int  # frames, or pieces
    error: str  # class and text; the type of an array that was made


class Buffers(NamedTuple):
    """After each event of a trace of direct buffers."""

    counts: np.ndarray  # int64[event, len(COLUMNS)]  the pool's bean, collections so far
    refused: list[str]  # the text of each refusal, "" where there was none


def fill(jvm: Jvm, flags: Sequence[str], *asked: str) -> list[Told]:
    """Fill an area of `jvm`; HeapwrightError when it ends otherwise."""
    rows = (line.split("\t") for line in _run(jvm, flags, *asked).splitlines())
    return [Told(row[0], int(row[1]), int(row[2]), row[3]) for row in rows if len(row) == 4]


def replay(jvm: Jvm, flags: Sequence[str], batch: Events) -> Buffers:
    """Allocate and drop direct buffers as `batch` does; each has a slot below 65,536."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events"
        columns = (batch.op.tolist(), batch.slot.tolist(), batch.size.tolist())
        path.write_text(
            "".join(
                f"- {slot}\n" if op == FREE else f"+ {slot} {size}\n"
                for op, slot, size in zip(*columns, strict=True)
            )
        )
        rows = [line.split("\t") for line in _run(jvm, flags, "replay", str(path)).splitlines()]
    if len(rows) != len(batch.op):
        raise HeapwrightError(f"java answered {len(rows)} of {len(batch.op)} events.")
    counts = np.array([row[: len(COLUMNS)] for row in rows], np.int64)
    return Buffers(counts, [row[len(COLUMNS)] for row in rows])


def _run(jvm: Jvm, flags: Sequence[str], *asked: str) -> str:
    command = [str(jvm.command), *flags, "-cp", str(driver(SOURCE)), "Areas", *asked]
    ran = bounded(command, f"java {jvm.version}, filling an area ({asked[0]}),", SECONDS)
    if ran.returncode:
        said = next(iter((ran.stderr or ran.stdout).strip().splitlines()), "no message")
        raise HeapwrightError(f"java {jvm.version} ended with status {ran.returncode}: {said}")
    return ran.stdout
