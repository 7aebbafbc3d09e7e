"""Small traces for the tests of the trace file."""

from pathlib import Path

import numpy as np

from heapwright.trace import schema
from heapwright.trace.schema import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, SIZE_LIMIT, THREAD_EXIT
from heapwright.trace.store import Trace, TraceWriter

SMALL = schema.events(
    op=[MALLOC, CALLOC, REALLOC, FREE, MEMALIGN, MALLOC, FREE, FREE, THREAD_EXIT],
    slot=[0, 1, 0, 1, 1, -1, 0, 1, -1],
    size=[100, 50, 300, 0, 64, SIZE_LIMIT - 1, 0, 0, 0],
    align=[0, 0, 0, 0, 12, 0, 0, 0, 0],
    thread=[0, 0, 1, 1, 0, 0, 1, 0, 0],
    site=[0, 1, 0, -1, 2, 0, -1, -1, -1],
    time_ns=[0, 0, 5, 5, 5, 5, 9, 9, 9],
    address=[4096, 8192, 16384, 0, 12288, 0, 0, 0, 0],
    slack=[4, 6, 4, -1, 8, -1, -1, -1, -1],
    field=np.zeros(9),
    target=np.full(9, -1),
    domain=np.zeros(9),
)


def churn(events: int, seed: int = 1) -> schema.Events:
    """Blocks that live for a few events, so that any cut of the trace has live objects."""
    draw = np.random.default_rng(seed)
    slots = draw.integers(0, 50, events)
    op, live = np.zeros(events, np.uint8), np.zeros(50, bool)
    for row, slot in enumerate(slots):
        op[row] = FREE if live[slot] else MALLOC
        live[slot] = not live[slot]
    size = np.where(op == MALLOC, draw.integers(0, 5000, events), 0)
    return schema.events(op=op, slot=slots, size=size)


def write(path: Path, *batches: schema.Events, **options) -> Trace:
    with TraceWriter(path, program="test", kind="synthetic", **options) as out:
        for batch in batches:
            out.write(batch)
    return Trace.open(path)
