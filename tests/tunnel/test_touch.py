"""What a program wrote of its blocks, replayed: all, none, or as the trace tells."""

import dataclasses

import pytest

from heapwright.errors import HeapwrightError
from heapwright.managers.registry import named
from heapwright.trace import schema
from heapwright.trace.schema import CALLOC, FREE, LARGE_BYTES, MALLOC, REALLOC, TOUCH
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import Conditions, replay
from small_traces import write

PAGE = 4096
LARGE = 1 << 20
EVENTS = (  # op, slot, size
    (MALLOC, 0, LARGE),
    (TOUCH, 0, 100_000),
    (MALLOC, 1, 10_000),
    (CALLOC, 2, LARGE),
    (TOUCH, 2, 5 * PAGE),
    (REALLOC, 0, 2 * LARGE),
    (TOUCH, 0, 300_000),
    (FREE, 1, 0),
    (FREE, 2, 0),
    (FREE, 0, 0),
)


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    op, slot, size = zip(*EVENTS, strict=True)
    path = tmp_path_factory.mktemp("touch") / "t.heap.parquet"
    return write(path, schema.events(op=op, slot=slot, size=size))


def peaks(trace: Trace, manager: str) -> dict[str, int]:
    return {
        touch: replay(manager, trace, samples=50, touch=touch).held_bytes
        for touch in ("none", "recorded", "all")
    }


def test_what_a_trace_knows(trace):
    assert (trace.touches, trace.written_known) == (3, True)
    assert trace.peak_live_bytes == 3 * LARGE + 10_000
    assert trace.peak_written_bytes == 300_000 + 10_000 + 5 * PAGE


def test_glibc_holds_what_was_written(trace):
    held = peaks(trace, "glibc")
    mapped_pages = -(-300_016 // PAGE) + -(-(5 * PAGE + 16) // PAGE)
    small = -(-(0x290 + 10_016) // PAGE) + 1  # with the thread's cache, and the top's header
    assert held["recorded"] in range(
        (mapped_pages + small - 1) * PAGE, (mapped_pages + small + 1) * PAGE
    )
    assert held["none"] < 8 * PAGE < held["recorded"] < held["all"]
    assert held["all"] > 2 * LARGE


@pytest.mark.parametrize("manager", ["linear", "mark-sweep"])
def test_others_too(trace, manager):
    """A realloc that moves writes what it copies, as the real one does."""
    held = peaks(trace, manager)
    assert held["none"] <= held["recorded"] < held["all"]


def test_the_default_is_what_is_known(trace, tmp_path):
    assert Conditions.of(trace).touch == "recorded"
    assert Conditions.of(trace, "all").touch == "all"
    without = write(tmp_path / "w.heap.parquet", schema.events(op=[MALLOC], slot=[0], size=[9]))
    assert Conditions.of(without).touch == "all"
    with pytest.raises(HeapwrightError, match="does not tell what was written"):
        Conditions.of(without, "recorded")
    with pytest.raises(HeapwrightError, match="touch is one of none, all, recorded"):
        Conditions("some")


def test_the_assumption_is_named(trace):
    result = replay("linear", trace, samples=1)
    assert result.conditions["touch"] == "recorded"
    assert any("Written as recorded" in note for note in result.notes)


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([(MALLOC, 0, LARGE), (TOUCH, 0, LARGE + 1)], "more than its object has"),
        ([(MALLOC, 0, LARGE), (TOUCH, 0, 4 * LARGE)], "of more than it has"),
        ([(MALLOC, 0, LARGE_BYTES - 1), (TOUCH, 0, 1)], "of more than it has"),
        ([(MALLOC, 0, LARGE), (FREE, 0, 0), (TOUCH, 0, 1)], "not live"),
        ([(TOUCH, -1, 1)], "a slot out of range"),
    ],
)
def test_unsound_touches_are_refused(tmp_path, rows, what):
    op, slot, size = zip(*rows, strict=True)
    with pytest.raises(HeapwrightError, match=what):
        write(tmp_path / "x.heap.parquet", schema.events(op=op, slot=slot, size=size))


def test_managers_that_compare_by_default_take_touches(trace):
    """None of them counts a touch as a call it has no answer to."""
    for name in ("linear", "glibc"):
        assert named(name)
        result = replay(name, trace, samples=1)
        assert not any("Passed over" in note for note in result.notes)
        assert dataclasses.asdict(result)["refused"] == 0
