"""What a recorded process had in memory as a whole, through time: a footer entry of its trace.

    recorder ─► samples, and who mapped memory itself ─► `heapwright.process` ─► Trace.process()

The recording explains what lies in the recorded heap. What else is resident is known by its kind:
stacks, memory that the program mapped past malloc, files, and the rest: the image's own data.

Stored     JSON: columns, samples (at most SAMPLES, the largest among them), mappers
"""

import json
from typing import Any, NamedTuple

import numpy as np

SAMPLES = 2000  # kept of a recording
MAPPERS = 64
PROCESS_BYTES = 1 << 22  # the longest entry that is read
LABEL_CHARACTERS = 4096
COUNT_LIMIT = 1 << 62
# Of a sample: the trace's next event then, ns since the first one, bytes of memory: all that is
# resident; anonymous and of files (shared memory too), its parts; and of the anonymous what lies in
# the recorded heap, in stacks, in memory that the program mapped itself.
COLUMNS = ("event", "time_ns", "rss", "anon", "file", "heap", "stacks", "mapped")
EVENT, TIME_NS, RSS, ANON, FILE, HEAP, STACKS, MAPPED = range(8)


class Mapper(NamedTuple):
    """A place in the program that maps anonymous memory past malloc."""

    where: str  # file+0xoffset
    calls: int
    bytes: int  # of all calls together; what was unmapped since is not taken off
    least: int  # bytes of the smallest
    most: int


class Process(NamedTuple):
    """A process's memory through time; no rows where nothing is known."""

    samples: np.ndarray  # int64[sample, len(COLUMNS)], ascending by event
    mappers: tuple[Mapper, ...] = ()  # most bytes first

    @property
    def peak(self) -> np.ndarray | None:
        """The sample with most anonymous memory; None without one."""
        return self.samples[self.samples[:, ANON].argmax()] if len(self.samples) else None

    def at(self, event: int) -> np.ndarray | None:
        """The first sample at or behind an event, else the last one; None without one."""
        if not len(self.samples):
            return None
        row = int(np.searchsorted(self.samples[:, EVENT], event))
        return self.samples[min(row, len(self.samples) - 1)]


NOTHING = Process(np.zeros((0, len(COLUMNS)), np.int64))


def thinned(samples: np.ndarray) -> np.ndarray:
    """At most SAMPLES of the samples, evenly chosen, the largest and the last among them."""
    if len(samples) <= SAMPLES:
        return samples
    rows = np.linspace(0, len(samples) - 1, SAMPLES - 2).astype(np.int64)
    most = [int(samples[:, column].argmax()) for column in (RSS, ANON)]
    return samples[np.unique([*rows.tolist(), *most])]


def stored(process: Process) -> bytes:
    """The entry as it is kept."""
    return json.dumps(
        {
            "columns": COLUMNS,
            "samples": thinned(process.samples).tolist(),
            "mapped": [mapper._asdict() for mapper in process.mappers[:MAPPERS]],
        }
    ).encode()


def parsed(text: bytes) -> Process:
    """A stored entry; a ValueError says what is wrong with it."""
    if not text:
        return NOTHING
    if len(text) > PROCESS_BYTES:
        raise ValueError(f"it takes {len(text)} bytes, more than {PROCESS_BYTES}")
    record = json.loads(text)
    if not isinstance(record, dict) or record.get("columns") != list(COLUMNS):
        raise ValueError("its columns are others")
    rows, mappers = record.get("samples"), record.get("mapped")
    if not isinstance(rows, list) or len(rows) > SAMPLES or not isinstance(mappers, list):
        raise ValueError("its samples are no list, or too many")
    if not all(
        isinstance(r, list) and len(r) == len(COLUMNS) and all(map(_count, r)) for r in rows
    ):
        raise ValueError("a sample is no row of counts")
    return Process(
        np.array(rows, np.int64).reshape(-1, len(COLUMNS)),
        tuple(_mapper(one) for one in mappers[:MAPPERS]),
    )


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < COUNT_LIMIT


def _mapper(one: Any) -> Mapper:
    if not isinstance(one, dict) or set(one) != set(Mapper._fields):
        raise ValueError("who mapped memory is told in other words")
    mapper = Mapper(**one)
    if not isinstance(mapper.where, str) or not all(map(_count, mapper[1:])):
        raise ValueError("who mapped memory is out of range")
    return mapper._replace(where=mapper.where[:LABEL_CHARACTERS])
