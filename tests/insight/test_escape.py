"""Stack-like lifetimes: found of what is planted, held to a naive reading, exact of a graph."""

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED
from heapwright.insight.escape import Watch
from heapwright.insight.growth import growth
from heapwright.trace.ending import ending
from heapwright.trace.mutator import Mutator
from heapwright.trace.store import Trace, TraceWriter
from planted import Program


def stack_like(trace):
    watch = Watch(trace)
    profile = growth(trace, ending(trace), watch=watch)
    return {one.label: one for one in watch.found(profile, trace.sites())}


def test_what_lives_like_a_stacks(tmp_path):
    p = Program()
    for number in range(300):
        name = p.malloc(64, "main", "serve", "parse", "name")
        value = p.malloc(640, "main", "serve", "parse", "value")
        p.free(value)
        p.free(name)
        body = p.malloc(3000, "main", "serve", "read")
        answer = p.malloc(500, "main", "serve", "render", "answer")
        p.free(body)
        if number % 2:
            p.free(answer)
            p.malloc(10, "main", "log")
        else:
            p.malloc(10, "main", "log")
            p.free(answer)
        p.free(p.malloc(80, "main", "serve", "scratch"))
    found = stack_like(p.write(tmp_path / "t.parquet"))
    assert set(found) == {"name", "value", "read", "scratch", "answer"}
    scratch = found["scratch"]
    assert (scratch.calls, scratch.bytes, scratch.in_order) == (600, 24_000, True)
    assert scratch.frames_up == 0 and "local buffer" in scratch.mend
    assert found["name"].frames_up == 1  # value's request shows that it was left
    assert found["name"].within == "parse" and found["name"].mend == "an arena that parse empties"
    assert found["read"].within == "serve"
    assert "obstack" in found["answer"].mend  # log's request shows that serve was left


def test_blocks_that_stay_or_change_hands_are_left_out(tmp_path):
    p = Program()
    for number in range(200):
        kept = p.malloc(32, "main", "serve", "kept")
        if number % 100:
            p.free(kept)
        p.free(p.malloc(32, "main", "serve", "sent"), thread=1)
    queue = []
    for _ in range(200):
        queue.append(p.malloc(8, "main", "queue"))
        if len(queue) > 3:
            p.free(queue.pop(0))
    for block in queue:
        p.free(block)
    assert stack_like(p.write(tmp_path / "t.parquet")) == {}


@pytest.mark.skipif(INTERPRETED, reason="many events")
def test_order_and_frames_are_those_of_a_naive_reading(tmp_path):
    p, draw = Program(), np.random.default_rng(5)
    paths = [["main", *"abcd"[: int(n)]] for n in draw.integers(0, 5, 30)]
    paths += [["main", x, y] for x in "abx" for y in "pqr"]
    held, rows = [], {}
    seen: list[tuple[int, tuple[str, ...]]] = []
    for event in range(3000):
        if held and draw.random() < 0.5:
            place = -1 if draw.random() < 0.9 else int(draw.integers(len(held)))
            slot, path, birth = held.pop(place)
            p.free(slot)
            # A request of the same stack right after one is taken for another call
            later = [b[:-1] if a == b else b for (_, a), (when, b) in pairs(seen) if when > birth]
            level = min([len(path), *(common(path, at) for at in later)])
            order = not any(other == path and born > birth for _, other, born in held)
            known = rows.setdefault(path, [0, True, 0, 0])
            known[0] += 1
            known[1] &= order
            known[2] = max(known[2], len(path) - level)
            known[3] += level < 2
        else:
            path = tuple(paths[int(draw.integers(len(paths)))])
            held.append((p.malloc(16, *path), path, event))
            seen.append((event, path))
    trace = p.write(tmp_path / "t.parquet")
    watch = Watch(trace)
    growth(trace, ending(trace), watch=watch)
    told = {}
    for row, figures in enumerate(watch.figures.tolist()):
        if figures[0]:
            told[tuple(trace.stack(row - 1))] = [figures[0], figures[2] == 0, *figures[4:6]]
    assert told == rows


def pairs(seen):
    """Each request with the one before it."""
    return zip([(-1, ()), *seen], seen, strict=False)


def common(one, other) -> int:
    """Frames that two stacks share, from the outermost."""
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


def test_a_graph_tells_frames_exactly(tmp_path):
    with TraceWriter(tmp_path / "g.parquet", program="g") as out, Mutator(out.write) as m:
        out.sites = ["local", "returned", "outermost"]
        for _ in range(120):
            with m.frame():
                m.new(32, site=0)
                m.push()
                m.pop(m.new(48, site=1))
                m.new(8)
            m.new(16, site=2)
    found = stack_like(Trace.open(tmp_path / "g.parquet"))
    assert found["local"].frames_up == 0 and "local buffer" in found["local"].mend
    assert found["returned"].frames_up == 1 and "1 up" in found["returned"].mend
    assert "outermost" not in found
