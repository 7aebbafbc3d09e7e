"""Planted causes: found first, with their call stack; the shares are the parts of the result."""

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED
from heapwright.insight.growth import growth, leaking
from heapwright.insight.why import CAUSES, Heaps, diagnosis
from heapwright.trace.ending import ending
from heapwright.trace.mutator import Mutator
from heapwright.trace.schema import FREE, MALLOC, REALLOC
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import replay
from planted import PLANTED, Program, leak
from small_traces import write

pytestmark = pytest.mark.skipif(INTERPRETED, reason="hundreds of thousands of events")


@pytest.fixture(params=PLANTED)
def judged(request, tmp_path):
    make, kind, place = PLANTED[request.param]
    program = Program()
    make(program)
    trace, heaps = program.write(tmp_path / "t.parquet"), Heaps()
    result = replay("glibc", trace, picture=heaps.picture, samples=100)
    return trace, result, diagnosis(trace, result, heaps), (kind, place)


def test_the_planted_cause_is_found_first(judged):
    trace, result, found, (kind, place) = judged
    assert found.kind == kind == found.findings[0].cause
    if place:
        first = found.stacks[0]
        assert first.label == place and trace.stack(first.site) == first.frames
        assert place in found.sentence + found.mend
    for moment, parts in (("end", result.end), ("peak", result.peak)):
        known = found.bytes[moment]
        assert sum(known[cause] for cause in CAUSES) == parts["resident_bytes"]
        assert known["resident_bytes"] == parts["resident_bytes"]
        assert known["live"] <= parts["live_bytes"] <= known["leak"] + known["live"]
        assert sum(found.shares[moment].values()) == pytest.approx(1)
    for finding in found.findings:
        assert sum(one.bytes for one in finding.stacks) <= finding.bytes
        assert finding.sentence.endswith(".") and finding.mend.endswith(".")


def test_an_empty_trace_is_a_sentence(tmp_path):
    trace = write(tmp_path / "t.parquet")
    found = diagnosis(trace, replay("glibc", trace))
    assert found.sentence == "Nothing is resident: no request of the trace was granted."
    assert found.stacks == found.stack_like == [] and not any(found.shares["end"].values())


def test_an_object_graph_that_grows_for_ever(tmp_path):
    """What stays reachable leaks too, and the mutator's frames tell what dies with them."""
    path = tmp_path / "g.parquet"
    with TraceWriter(path, program="g") as out, Mutator(out.write) as m:
        out.sites = ["entry", "local"]
        head = m.root(m.new(64, fields=1, site=0))
        for _ in range(3000):
            with m.frame():
                entry = m.new(64, fields=1, site=0)
                m.write(entry, 0, head)
                m.unroot(head)
                head = m.root(entry)
                m.new(256, site=1)
    trace = Trace.open(path)
    found = diagnosis(trace, replay("glibc", trace))
    assert found.kind == "leak" and found.stacks[0].label == "entry"
    assert [one.label for one in found.stack_like] == ["local"]
    assert found.stack_like[0].frames_up == 0


def naive(trace, at: int) -> dict[int, int]:
    """Live bytes by site after event `at`."""
    book = {}
    (batch,) = trace.batches(("op", "slot", "size", "site"))
    for op, slot, size, site in list(zip(*batch[:3], batch.site, strict=True))[: at + 1]:
        if op == FREE:
            del book[slot]
        elif slot >= 0:
            book[slot] = (site, int(size))
    found: dict[int, int] = {}
    for site, size in book.values():
        found[site] = found.get(site, 0) + size
    return found


def test_the_profile_is_that_of_a_naive_book(tmp_path):
    program, held = Program(), []
    draw = program.draw
    for _ in range(3000):
        kind = draw.random()
        stack = ["main", *"abc"[: int(draw.integers(0, 4))]]
        if kind < 0.5 or not held:
            held.append(program.malloc(int(draw.integers(1, 999)), *stack))
        elif kind < 0.6:
            program.realloc(held[-1], int(draw.integers(1, 999)), *stack)
        else:
            program.free(held.pop(int(draw.integers(len(held)))))
    trace = program.write(tmp_path / "t.parquet")
    ends = ending(trace)
    found = growth(trace, ends, [10, 1234])
    for event in (10, 1234, ends.exit - 1):
        live = (found.moments.get(event) or found.exit).live
        assert {n - 1: int(live[n]) for n in np.flatnonzero(live)} == naive(trace, event)
    (batch,) = trace.batches(("op", "slot", "size", "site"))
    asked = (batch.op == MALLOC) | (batch.op == REALLOC)
    wanted = np.bincount(batch.site[asked] + 1, weights=batch.size[asked])
    np.testing.assert_array_equal(found.allocated[: len(wanted)], wanted)
    at_exit = naive(trace, ends.exit - 1)
    assert found.born.sum() == sum(at_exit.values())
    assert found.kept.sum() == sum(naive(trace, trace.events - 1).values())


def test_a_batch_in_the_middle_of_a_window_changes_nothing(tmp_path, monkeypatch):
    program = Program()
    leak(program)
    trace = program.write(tmp_path / "a.parquet")
    monkeypatch.setattr("heapwright.trace.writer.ROW_GROUP_EVENTS", 700)
    other = program.write(tmp_path / "b.parquet")
    one, two = (growth(t, ending(t), [777]) for t in (trace, other))
    np.testing.assert_array_equal(one.low, two.low)
    np.testing.assert_array_equal(one.kept, two.kept)
    np.testing.assert_array_equal(one.moments[777].live, two.moments[777].live)


def curve(shape) -> np.ndarray:
    """int64[48, 1]: a course in KiB, as the least of each window."""
    return np.array([shape((n + 1) / 48) * 1024 for n in range(48)], np.int64)[:, None]


@pytest.mark.parametrize(
    ("shape", "share"),
    [
        (lambda t: 900 * t, 1.0),  # a leak
        (lambda t: 500 + 400 * t, 0.44),  # beside what is simply there
        (lambda t: 900 * min(1, 4 * t), 0),  # filled by a quarter
        (lambda t: 900 * min(1, 1.3 * t), 0),  # filled late
        (lambda t: 900 * (1 - t), 0),
        (lambda t: 900 if t > 0.8 else 0, 0),  # made late, at once
        (lambda t: 900, 0),
        (lambda t: 900 * t * t, 0.9),
    ],
)
def test_what_counts_as_a_leak(shape, share):
    low = curve(shape)
    live = low[-1]
    assert leaking(low, live, live)[0] == pytest.approx(share * live[0], abs=0.1 * live[0])
    assert leaking(low, live // 10, live)[0] == 0  # most of it is freed at the exit
