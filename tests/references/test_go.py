"""The real Go against its own account: what is allocated, what is live, when it collects."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.managers.runtime.go.size_classes import published_rule
from heapwright.references.go import build as go_build
from heapwright.references.go.driver import (
    BATCH_EVENTS,
    Go,
    Row,
    checkpoint_events,
    checkpoints,
    observe,
    parts,
    seconds,
)
from heapwright.references.kinds import Kinds, padded
from heapwright.trace.process import NOTHING, Process
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    HOLD,
    MALLOC,
    MEMALIGN,
    NEW,
    POP,
    PUSH,
    REALLOC,
    ROOT,
    THREAD_EXIT,
    UNROOT,
    WRITE,
    Events,
    events,
)

installed = pytest.mark.skipif(bool(go_build.missing()), reason=go_build.missing() or "is here")
MINIMUM_HEAP_BYTES = 4 << 20  # runtime: heapMinimum at GOGC=100
EVENT, _, _, GOAL, MARKED, GLOBALS, STACKS, *_ = range(len(Row._fields))


class InMemory:
    """Events with the face of a `Trace`."""

    def __init__(self, columns: Events, roots: int = 0) -> None:
        self.columns = columns
        self.events = len(columns.op)
        self.slots = max(1, int(columns.slot.max(initial=0)) + 1)
        self.threads = 1
        self.peak_live_bytes = 0  # of which the driver is to know whether there is room
        self.peak_roots = roots
        self.graph = roots > 0

    def process(self) -> Process:
        """Nothing is known of one."""
        return NOTHING

    def batches(self, columns: Sequence[str] = ()) -> Iterator[Events]:
        """Three batches, as a reader would stream them."""
        third = self.events // 3 + 1
        for start in range(0, self.events, third):
            yield Events(*(column[start : start + third] for column in self.columns))


def rows(*of: tuple[int, int, int]) -> InMemory:
    """A malloc trace of (op, slot, size)."""
    op, slot, size = zip(*of, strict=True)
    return InMemory(events(op=op, slot=slot, size=size))


def graph(*of: tuple[int, int, int, int, int], roots: int = 10) -> InMemory:
    """A graph trace of (op, slot, size, field, target)."""
    op, slot, size, field, target = zip(*of, strict=True)
    return InMemory(events(op=op, slot=slot, size=size, field=field, target=target), roots)


def new(slot: int, size: int, fields: int) -> tuple[int, int, int, int, int]:
    return NEW, slot, size, fields, -1


def does(op: int, slot: int = -1, field: int = 0, target: int = -1) -> tuple[int, ...]:
    return op, slot, 0, field, target


def live_bytes(trace: InMemory) -> list[int]:
    """Live bytes beyond the runtime's own at the checkpoints."""
    checked = checkpoints(trace)
    return [state.heap_alloc - checked.before.heap_alloc for state in checked.states]


@installed
def test_a_size_class_is_what_the_heap_gives() -> None:
    asked = [(1, 0), (8, 0), (15, 0), (16, 0), (17, 0), (100, 0), (1024, 0), (1025, 0)]
    asked += [(32768, 0), (32769, 0), (8, 1), (24, 1), (512, 64), (520, 1), (32760, 1), (32768, 1)]
    with Go(rows((MALLOC, 0, 1))) as go:
        taken = go.sizes(np.array(asked)).tolist()
    tiny, header = 16, 8  # tiny objects share blocks; above 512 bytes a header tells the type
    assert taken[:8] == [tiny, tiny, tiny, 16, 24, 112, 1024, 1152]
    assert taken[8:10] == [32768, 40960]
    assert taken[10:] == [8, 24, 512, 528 + 48, 32760 + header, 32768]


@installed
@pytest.mark.parametrize("fields", [0, 1])
def test_the_runtimes_own_spans_have_no_room_for_the_programs_objects(fields: int) -> None:
    """The first object of each class takes a span; two of less than 16 bytes share one, as a hole
    of 16 bytes in a span of the runtime's own once let one of them in."""
    sizes = [size for size, _ in published_rule() if size >= 16]
    sizes = [size - 8 if fields and size > 512 else size for size in sizes]
    if not fields:
        sizes = [1, *sizes[1:]]
    events_ = [new(slot, size, fields) for slot, size in enumerate(sizes)]
    trace = graph(does(PUSH), *events_, roots=len(sizes) + 1)
    with Go(trace, Kinds.of(trace)) as go:
        seen = go.watch(trace.columns, 1)
    in_use = seen[:, [Row._fields.index(part) for part in ("objects_bytes", "unused_bytes")]]
    grown = np.diff(in_use.sum(axis=1))
    assert len(grown) == len(sizes)
    assert (grown >= 8192).all(), [s for s, g in zip(sizes, grown, strict=True) if g < 8192]


@installed
def test_a_checkpoint_counts_only_the_collections_between() -> None:
    trace = rows(*[row for _ in range(100) for row in ((MALLOC, 0, 1 << 20), (FREE, 0, 0))])
    checked, undisturbed = checkpoints(trace), observe(trace)
    assert len(checked.states) == len(checked.looks) == 10
    collections = Row._fields.index("collections")
    assert checked.rows[-1, collections] == len(checked.cycles) > 5
    assert undisturbed.rows[-1, collections] == len(undisturbed.cycles) > 5
    assert (checked.looks[:, MARKED] == [state.heap_alloc for state in checked.states]).all()


@installed
def test_live_bytes_are_those_of_the_size_classes_to_the_byte() -> None:
    trace = rows(
        (MALLOC, 0, 100),
        (CALLOC, 1, 2000),
        (MALLOC, 2, 50_000),
        (FREE, 0, 0),
        (REALLOC, 1, 3000),
        (MALLOC, -1, 1 << 47),
        (MEMALIGN, 0, 16),
        (THREAD_EXIT, -1, 0),
        (FREE, 2, 0),
        (FREE, 1, 0),
    )
    assert checkpoint_events(trace) == list(range(1, 11))
    large = 57344  # whole pages of 8 KiB
    assert live_bytes(trace) == [
        112,
        112 + 2048,
        112 + 2048 + large,
        2048 + large,
        3072 + large,
        3072 + large,
        3072 + large + 16,
        3072 + large + 16,
        3072 + 16,
        16,
    ]


@installed
def test_a_graph_lives_by_its_references_and_not_by_our_table() -> None:
    trace = graph(
        new(0, 64, 8),
        new(1, 100, 0),  # 112 bytes
        does(WRITE, 0, 7, 1),
        does(PUSH),
        new(2, 33, 1),  # whole words: 40, in a class of 48 bytes
        does(WRITE, 2, 0, 0),
        does(HOLD, 1),
        does(POP, 2),
        new(3, 1000, 125),  # with a header: 1008 in a class of 1024 bytes
        does(ROOT, 3),
    )
    assert live_bytes(trace) == [64, 176, 176, 176, 224, 224, 224, 224, 1248, 1248]
    trace = graph(
        does(PUSH),
        new(0, 64, 8),
        new(1, 64, 8),
        does(ROOT, 0),
        does(WRITE, 0, 3, 1),
        does(WRITE, 1, 5, 0),  # a cycle
        does(POP),
        does(WRITE, 0, 3, -1),
        does(UNROOT, 0),
        does(FREE, 0),
    )
    assert live_bytes(trace) == [0, 64, 128, 128, 128, 128, 128, 64, 0, 0]


@installed
def test_the_last_global_takes_the_place_of_one_that_is_dropped() -> None:
    steps = [does(PUSH)]
    for slot in range(3):
        steps += [new(slot, 1 << (6 + slot), 1), does(ROOT, slot)]
    steps += [does(POP), does(UNROOT, 0), does(UNROOT, 2)]
    assert live_bytes(graph(*steps))[-3:] == [64 + 128 + 256, 128 + 256, 128]


def churn(count: int, slots: int, seed: int) -> InMemory:
    """Sizes of 16 bytes to 4 KiB, that live until their slot is drawn again."""
    random = np.random.default_rng(seed)
    slot = random.integers(0, slots, count)
    return InMemory(
        events(op=np.full(count, REALLOC), slot=slot, size=2 ** random.uniform(4, 12, count))
    )


@installed
def test_collections_and_goals_are_those_of_gctrace_and_repeat() -> None:
    trace = churn(200_000, slots=10_000, seed=1)
    first, again = observe(trace), observe(trace)
    cycles = first.cycles
    assert len(cycles) == first.after.collections > 5
    steady = [EVENT, MARKED]  # a stack that is scanned may be 64 bytes deeper
    assert np.array_equal(cycles[:, steady], again.cycles[:, steady])
    expected = 2 * cycles[:, MARKED] + cycles[:, GLOBALS] + cycles[:, STACKS]
    assert np.array_equal(cycles[:, GOAL], np.maximum(expected, MINIMUM_HEAP_BYTES))
    assert (np.diff(cycles[:, 0]) > 0).all()
    assert first.rows[-1, 0] == trace.events
    assert first.after.heap_in_use == pytest.approx(first.rows[-1, 7:9].sum(), rel=0.01)
    with Go(trace, gctrace=True) as go:
        for batch in trace.batches():
            go.watch(batch)
        printed = go.goals_printed()
    goals = np.concatenate([[MINIMUM_HEAP_BYTES], cycles[:-1, GOAL]])  # in force when each began
    near = 8192  # bytes: printing deepens the stack that is scanned, and so shifts collections
    said = np.array(printed[-len(cycles) :])
    assert ((said >= goals - near >> 20) & (said <= goals + near >> 20)).all()


@installed
def test_the_knobs_reach_the_runtime() -> None:
    trace = churn(100_000, slots=10_000, seed=2)
    assert len(observe(trace, {"gogc": -1}).cycles) == 0
    some, few = (len(observe(trace, {"gogc": percent}).cycles) for percent in (100, 400))
    assert some > 2 * few > 0
    limited = observe(trace, {"gogc": -1, "gomemlimit": 30 << 20})
    assert len(limited.cycles) > 0
    assert limited.rows[:, Row._fields.index("objects_bytes")].max() < 30 << 20


@installed
def test_reading_and_timing_do_not_change_what_is_allocated() -> None:
    trace = churn(50_000, slots=1000, seed=3)
    watched = observe(trace).after
    with Go(trace) as go:
        for batch in trace.batches():
            go.replay(batch)
        replayed = go.state()
    assert (replayed.collections, replayed.heap_in_use) == (
        watched.collections,
        watched.heap_in_use,
    )
    assert watched.mallocs - replayed.mallocs == 0
    assert replayed.nanoseconds > 0
    assert 0 < seconds(trace) < 10


@installed
def test_more_events_than_a_batch_holds_are_replayed() -> None:
    count = 2 * BATCH_EVENTS + 5
    trace = InMemory(
        events(op=np.full(count, MALLOC), slot=np.arange(count), size=np.full(count, 32))
    )
    assert live_bytes(trace)[-1] == 32 * count


@installed
def test_a_slot_beyond_the_table_is_a_sentence() -> None:
    trace = rows((MALLOC, 1000, 8))
    trace.slots = 1
    with pytest.raises(HeapwrightError, match="real Go ended with status 2"), Go(trace) as go:
        go.replay(trace.columns)
        go.state()


def test_parts_end_at_the_stops() -> None:
    trace = churn(100, slots=5, seed=4)
    lengths = [len(part.op) for part in parts(trace.batches(), [10, 34, 90, 100])]
    assert lengths == [10, 24, 34, 22, 10]


def test_kinds_are_counted_and_found() -> None:
    trace = graph(new(0, 30, 2), new(1, 16, 0), new(2, 30, 2), does(FREE, 0), new(0, 30, 3))
    kinds = Kinds.of(trace)
    assert kinds.rows.tolist() == [[16, 0], [30, 2], [30, 3]]
    assert kinds.counts.tolist() == [1, 2, 1]
    assert kinds.find(np.array([30, 16]), np.array([3, 0])).tolist() == [2, 0]
    assert padded(kinds.rows).tolist() == [[16, 0], [32, 2], [32, 3]]
    assert Kinds.of(rows((FREE, 0, 0))).rows.shape == (0, 2)


def test_an_object_larger_than_any_address_space_is_a_sentence() -> None:
    with pytest.raises(HeapwrightError, match="larger than Go's address space"):
        Kinds.of(graph(new(0, 1 << 47, 1 << 20)))


@pytest.mark.parametrize("count", [0, 1, 8, 9, 1000, 4272, 1 << 20, (1 << 20) + 1])
def test_tables_are_little_longer_than_asked(count: int) -> None:
    assert max(8, count) <= go_build.rounded(count) <= max(8, 1.25 * count)


def test_without_go_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go_build, "_commands", list)
    go_build._toolchain.cache_clear()
    try:
        with pytest.raises(HeapwrightError, match=r"Go 1\.27 is not here; install it: pip install"):
            go_build.toolchain()
    finally:
        go_build._toolchain.cache_clear()


def test_another_release_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "go"
    other.write_text("#!/bin/sh\necho go1.19.8\n")
    other.chmod(0o755)
    monkeypatch.setattr(go_build, "_commands", lambda: [other])
    go_build._toolchain.cache_clear()
    try:
        assert go_build.missing().startswith("this machine's Go is 1.19.8 and 1.27 is needed")
    finally:
        go_build._toolchain.cache_clear()
