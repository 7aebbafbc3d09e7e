"""The samples of a process that the recorder left beside its log, told by the trace's events.

    @sample NUMBER NS BYTES ... ─► a row, its number made the event that came next
    @mapped CALLER CALLS BYTES LEAST MOST ─► a mapper, its caller named as a site is

Source     process.h
"""

import re
from collections.abc import Sequence

import numpy as np

from heapwright.trace.process import COLUMNS, EVENT, TIME_NS, Mapper, Process
from heapwright.trace.recorder.sites import stored_sites

_SAMPLE = re.compile(r"^@sample ((?:\d{1,18} ){7}\d{1,18})$", re.MULTILINE)
_MAPPED = re.compile(r"^@mapped ((?:\d{1,18} ){4}\d{1,18})$", re.MULTILINE)


def process(text: str, numbers: Sequence[tuple[int, int]], start_ns: int) -> Process:
    """What the copies of /proc tell; `numbers`: the log's number of an event and how many events
    the trace has before it, ascending; `start_ns`: the clock at the first event."""
    rows = [[int(word) for word in match[1].split()] for match in _SAMPLE.finditer(text)]
    samples = np.array(rows, np.int64).reshape(-1, len(COLUMNS))
    known = np.array(numbers or [(0, 0)], np.int64)
    samples[:, EVENT] = np.interp(samples[:, EVENT], known[:, 0], known[:, 1]).astype(np.int64)
    samples[:, TIME_NS] = np.maximum(samples[:, TIME_NS] - max(start_ns, 0), 0)
    samples = samples[np.argsort(samples[:, EVENT], kind="stable")]
    told = [[int(word) for word in match[1].split()] for match in _MAPPED.finditer(text)]
    places, _ = stored_sites([row[0] for row in told], text)
    merged: dict[str, Mapper] = {}
    for where, (_, calls, size, least, most) in zip(places, told, strict=True):
        one = merged.get(where, Mapper(where, 0, 0, least, most))
        merged[where] = Mapper(
            where, one.calls + calls, one.bytes + size, min(one.least, least), max(one.most, most)
        )
    return Process(samples, tuple(sorted(merged.values(), key=lambda one: -one.bytes)))
