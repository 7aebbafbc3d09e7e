"""The keyframes of a replay against the timeline and a naive book of objects."""

import numpy as np
import pytest

from heapwright.machine import PAGE_BYTES
from heapwright.result import ABSENT_LEVEL, EMPTY_LEVEL, TIMELINE
from heapwright.trace.schema import CALLOC, FREE, MALLOC, REALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import replay

LIVE, PARTIAL, RETAINED = (
    TIMELINE.index(f"{part}_bytes") for part in ("live", "partial", "retained")
)


@pytest.fixture
def rows():
    """(op, slot, size, site) of a program that grows and shrinks."""
    draw = np.random.default_rng(8)
    free, used, made = list(range(80)), [], []
    for _ in range(900):
        size, site = int(2 ** draw.uniform(0, 13)), int(draw.integers(-1, 5))
        kind = draw.random()
        if free and (not used or kind < 0.5):
            used.append(free.pop())
            made.append((int(draw.choice([MALLOC, CALLOC])), used[-1], size, site))
        elif kind < 0.65:
            made.append((REALLOC, used[int(draw.integers(len(used)))], size, site))
        else:
            free.append(used.pop(int(draw.integers(len(used)))))
            made.append((FREE, free[-1], 0, -1))
    return made


@pytest.fixture
def filmed(rows, tmp_path):
    """The keyframes, and the result."""
    op, slot, size, site = (np.array(column) for column in zip(*rows, strict=True))
    with TraceWriter(tmp_path / "t.parquet", program="t") as out:
        out.sites = list("abcde")
        out.write(events(op=op, slot=slot, size=size, site=site))
    taken = []
    result = replay("linear", Trace.open(tmp_path / "t.parquet"), picture=taken.append, samples=200)
    return taken[0], result


@pytest.mark.parametrize("moment", ["peak_event", "end_event"])
def test_the_objects_at_peak_and_end_are_those_of_a_naive_book(filmed, rows, moment):
    keyframes, _ = filmed
    moment = getattr(keyframes, moment)
    book = {}
    for event, (op, slot, size, site) in enumerate(rows[: moment + 1]):
        if op == FREE:
            del book[slot]
        else:
            born = book[slot][0] if op == REALLOC else event
            book[slot] = (born, size, site)
    wanted = sorted((moment - born, size, site) for born, size, site in book.values())
    blocks = keyframes.taken[moment].blocks
    columns = (blocks.age.tolist(), blocks.size.tolist(), blocks.site.tolist())
    assert sorted(zip(*columns, strict=True)) == wanted
    assert (np.diff(blocks.address) > 0).all()


def test_bytes_of_peak_and_end_are_those_of_the_result(filmed):
    keyframes, result = filmed
    assert keyframes.peak_event != keyframes.end_event == result.end_event
    for event, parts in ((keyframes.peak_event, result.peak), (result.end_event, result.end)):
        live, free = keyframes.bytes_at(event, keyframes.pages())
        assert live.sum() == parts["live_bytes"]
        assert free[live > 0].sum() == parts["partial_bytes"]
        assert free[live == 0].sum() == parts["retained_bytes"]


def test_keyframes_are_spread_and_agree_with_the_timeline(filmed):
    keyframes, result = filmed
    pages = keyframes.pages()
    assert 60 <= len(keyframes.events) <= 61
    assert keyframes.events[0] == 0
    assert keyframes.events[-1] == result.events - 1
    assert keyframes.peak_event in keyframes.events
    for frame, event in enumerate(keyframes.events.tolist()):
        row = result.timeline[result.timeline[:, 0] == event][0]
        levels = keyframes.levels(frame, pages)
        mapped, resident = (levels >= ABSENT_LEVEL).sum(), (levels >= EMPTY_LEVEL).sum()
        assert (mapped * PAGE_BYTES, resident * PAGE_BYTES) == tuple(row[1:3])
        empty = (levels == EMPTY_LEVEL).sum() * PAGE_BYTES
        assert empty >= row[RETAINED]
        steps = (levels[levels > EMPTY_LEVEL] - EMPTY_LEVEL).astype(int) * PAGE_BYTES // 16
        assert steps.sum() - len(steps) * PAGE_BYTES // 16 < row[LIVE] <= steps.sum()
