"""The events that a JVM plays, as Drive.java reads them.

Frames and globals are the table's business. What an object is declared to be is known when it is
made: the NEW before a REFER is left out.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heapwright.collectors.hotspot.recorded import laid_out
from heapwright.errors import HeapwrightError
from heapwright.trace.schema import (
    FINALISABLE,
    FREE,
    GET,
    NEW,
    PHANTOM,
    REFER,
    REFERENCE,
    SOFT,
    WEAK,
    WRITE,
    Events,
)

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

MOST_EVENTS = (1 << 31) // 16 - 1  # that one file can be mapped of
COLUMNS = ("op", "slot", "size", "field", "target")
PLAYED = (FREE, WRITE, NEW, REFER, GET)
# The driver's classes by kind: the size and fields of such an object in a trace, and the kind there
CLASSES = {
    (SOFT, 32, 1): 1,
    (WEAK, 16, 1): 2,
    (PHANTOM, 16, 1): 3,
    (FINALISABLE, 16, 2): 4,
    (WEAK, 24, 3): 5,
}


def write(trace: "Trace", settings: Mapping[str, int], events: Path, clocks: Path) -> int:
    """Write the files EVENTS, and CLOCKS where the trace declares references; how many events."""
    count = first = 0
    as_arrays = laid_out(trace, settings)
    per_ms = max(1, settings.get("events_per_ms", 1))
    with events.open("wb") as out, clocks.open("wb") as times:
        for batch in _batches(trace, COLUMNS):
            rows = played(as_arrays(batch) if as_arrays else batch)
            count += len(rows)
            rows.tofile(out)
            if trace.references:
                ((first + np.flatnonzero(_kept(batch.op))) // per_ms).tofile(times)
            first += len(batch.op)
    if count > MOST_EVENTS:
        raise HeapwrightError(f"the real HotSpot is driven with at most {MOST_EVENTS:,} events.")
    return count


def played(batch: Events) -> np.ndarray:
    """int32[event, 4] of whole runs of events: births, deaths, writes and declarations."""
    kept = _kept(batch.op)
    op, slot, size = batch.op[kept], batch.slot[kept], batch.size[kept]
    field, target = batch.field[kept], batch.target[kept]
    if len(size) and size.max() >= 1 << 31:
        raise HeapwrightError("a Java array has fewer than 2^31 bytes; the trace has a larger one.")
    born, written, declared = op == NEW, op == WRITE, op == REFER
    rows = np.zeros((len(op), 4), np.int32)
    rows[:, 0] = np.select([written, born, declared, op == GET], [1, 2, 3, 4])
    rows[:, 1] = slot
    rows[:, 2] = np.where(born, size, field)
    rows[:, 3] = np.where(born, field, target)
    if declared.any():
        at = np.flatnonzero(batch.op == REFER)
        rows[declared, 2] = _classes(batch.size[at], batch.size[at - 1], batch.field[at - 1])
    return rows


def rows_of_events(trace: "Trace") -> np.ndarray:
    """int64[played event]: the trace's event that each one is; of a declared object the second of
    the two."""
    found, first = [], 0
    for batch in _batches(trace, ("op",)):
        found.append(first + np.flatnonzero(_kept(batch.op)))
        first += len(batch.op)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _kept(op: np.ndarray) -> np.ndarray:
    """bool[event]: which of these events are played."""
    kept = np.isin(op, PLAYED)
    kept[:-1] &= ~((op[:-1] == NEW) & (op[1:] == REFER))
    return kept


def _batches(trace: "Trace", columns: tuple[str, ...]) -> Iterator[Events]:
    """The trace's events; no run ends between a birth and its declaration."""
    before: Events | None = None
    for read in trace.batches(columns=columns):
        batch = read
        if before:
            batch = Events(*(np.concatenate(pair) for pair in zip(before, read, strict=True)))
            before = None
        if trace.references and len(batch.op) and batch.op[-1] == NEW:
            before = Events(*(column[-1:].copy() for column in batch))
            batch = Events(*(column[:-1] for column in batch))
        yield batch
    if before:
        yield before


def _classes(kinds: np.ndarray, sizes: np.ndarray, fields: np.ndarray) -> list[int]:
    """The driver's kind of each declared object; HeapwrightError for one of which it has none."""
    found = []
    for one in zip((kinds & REFERENCE).tolist(), sizes.tolist(), fields.tolist(), strict=True):
        if one not in CLASSES:
            kind, size, count = one
            name = {SOFT: "soft", WEAK: "weak", PHANTOM: "phantom"}.get(kind, "finalisable")
            raise HeapwrightError(
                f"the real HotSpot is driven with reference objects of Java's own sizes, as the "
                f"program soft-cache has them; the trace has a {name} one of {size} bytes and "
                f"{count} fields."
            )
        found.append(CLASSES[one])
    return found
