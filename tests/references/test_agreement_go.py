"""Go's twin beside the real one, on a recording's like and on a graph."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from heapwright.collectors.log import CYCLE_COLUMNS, EVENT
from heapwright.errors import HeapwrightError
from heapwright.managers.runtime.go.layout import NEVER
from heapwright.references.go import build as go_build
from heapwright.references.go import driver as go
from heapwright.references.go.agreement import (
    GoAgreement,
    Live,
    _compare_cycles,
    _compare_goals,
    close,
    taken,
    validate_go,
)
from heapwright.references.go.driver import Observed, Row, State
from heapwright.references.go.surroundings import Surroundings, own
from heapwright.references.malloc.agreement import Tally
from heapwright.trace.programs import synthesise
from heapwright.trace.schema import CALLOC, FREE, MALLOC, REALLOC, events
from heapwright.trace.store import Trace, TraceWriter

installed = pytest.mark.skipif(bool(go_build.missing()), reason=go_build.missing() or "is here")


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Sizes of 1 byte to 64 KiB in 2,000 slots, some reallocated, some cleared."""
    random = np.random.default_rng(5)
    count, slots = 12_000, 2000
    slot = random.integers(0, slots, count)
    size = (2 ** random.uniform(0, 16, count)).astype(np.int64)
    dice, op, live = random.random(count), np.zeros(count, np.uint8), np.zeros(slots, bool)
    for i, s in enumerate(slot):
        if live[s]:
            op[i] = REALLOC if dice[i] < 0.3 else FREE
        else:
            op[i] = CALLOC if dice[i] < 0.1 else MALLOC
        live[s] = op[i] != FREE
    path = tmp_path_factory.mktemp("go") / "churn.heap.parquet"
    with TraceWriter(path, program="churn", kind="synthetic") as out:
        out.write(events(op=op, slot=slot, size=np.where(op == FREE, 0, size)))
    return Trace.open(path)


@installed
@pytest.mark.parametrize("knobs", [{}, {"gogc": 300}], ids=["default", "gogc"])
def test_the_twin_agrees_on_blocks(churn: Trace, knobs: dict[str, int]) -> None:
    told: list[int] = []
    found = validate_go(churn, knobs, progress=told.append)
    assert found.agrees
    assert found.collections[0] == found.collections[1] == found.moments.compared > 1
    assert found.moments.equal >= found.moments.compared - 1  # a stack may be scanned 64 B deeper
    assert found.heap_in_use[0] == pytest.approx(found.heap_in_use[1], rel=0.01)
    assert [at.event for at in found.live_bytes] == go.checkpoint_events(churn)
    assert [at.twin for at in found.live_bytes] == [at.real for at in found.live_bytes]
    assert found.in_use_samples.compared >= 1000
    assert told[-1] == churn.events
    assert sorted(told) == told
    assert found.real_version.startswith(go_build.RELEASE)
    assert found.settings == knobs


@installed
def test_the_twin_agrees_on_a_graph(tmp_path: Path, effort: int) -> None:
    size = {"objects": 8000 + 1600 * effort, "max_bytes": 16_000}
    synthesise("linked-lists", tmp_path / "t.heap.parquet", size)
    trace = Trace.open(tmp_path / "t.heap.parquet")
    found = validate_go(trace)
    assert found.agrees
    assert found.collections[1] > 1
    assert found.size_classes.compared > 5000
    assert all(at.twin == at.real for at in found.live_bytes)


@installed
def test_only_knobs_of_the_real_one(churn: Trace) -> None:
    with pytest.raises(HeapwrightError, match="the real Go has no knob 'own_bytes'"):
        validate_go(churn, {"own_bytes": 1})


def test_sizes_of_the_twin() -> None:
    kinds = np.array([[1, 0], [15, 0], [8, 1], [17, 0], [520, 1], [32769, 0], [32768, 1]])
    assert taken(kinds).tolist() == [16, 16, 8, 24, 576, 40960, 32768]


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """What a text editor does: most are of less than 16 bytes and share blocks, most bytes are in
    long strings, and a few thousand live at a time."""
    random = np.random.default_rng(11)
    count = 60_000
    dice, kind, pick = random.random((3, count))
    bounds = [(1, 16), (16, 64), (64, 2000), (2000, 80_000)]
    kinds = np.searchsorted([0.55, 0.85, 0.97], kind)
    live: list[int] = []
    spare: list[int] = []
    op, slot, size = np.zeros((3, count), np.int64)
    for i in range(count):
        if live and dice[i] < (0.42 if len(live) < 1500 else 0.58):
            op[i], slot[i] = FREE, live.pop(int(pick[i] * len(live)))
            spare.append(int(slot[i]))
            continue
        low, high = bounds[kinds[i]]
        op[i], size[i] = MALLOC, low + int(pick[i] * (high - low))
        slot[i] = spare.pop() if spare else len(live)
        live.append(int(slot[i]))
    path = tmp_path_factory.mktemp("go") / "editor.heap.parquet"
    with TraceWriter(path, program="editor", kind="synthetic") as out:
        out.write(events(op=op, slot=slot, size=size))
    return Trace.open(path)


@installed
@pytest.mark.parametrize(
    "knobs",
    [{}, {"gogc": 50}, {"gogc": -1, "gomemlimit": 16_000_000}],
    ids=["default", "gogc", "limit"],
)
def test_the_twin_agrees_on_tiny_blocks_to_the_byte(editor: Trace, knobs: dict[str, int]) -> None:
    """A block more or less would shift the groups in all later blocks, and collections with it."""
    found = validate_go(editor, knobs)
    assert found.agrees, found.rows()
    assert [at.twin for at in found.live_bytes] == [at.real for at in found.live_bytes]
    assert found.collections[0] == found.collections[1] > 5
    assert found.heap_goals.compared >= 1000
    assert found.in_use_samples.equal >= found.in_use_samples.compared - 2
    if "gomemlimit" not in knobs:  # under one, what is mapped is known at the samples only
        assert found.moments.equal == found.moments.compared
        assert found.heap_in_use[0] == found.heap_in_use[1]


def observed(real: list[tuple[int, int]]) -> Observed:
    """A real system that collected at (event, goal from then on), after a goal of 4,000,000."""
    rows = np.zeros((len(real), len(Row._fields)), np.int64)
    rows[:, 0], rows[:, 1] = [event for event, _ in real], np.arange(1, len(real) + 1)
    rows[:, Row._fields.index("goal_bytes")] = [goal for _, goal in real]
    before = State(**dict.fromkeys(list(State.__dataclass_fields__)[:-1], 7), by_size={})
    return Observed(State(**{**vars(before), "next_gc": 4_000_000}), rows, before)


def test_a_collection_is_compared_with_the_nearest() -> None:
    real = observed([(100, 5_000_000), (200, 6_000_000), (300, 7_000_000)])
    twin = np.zeros((4, CYCLE_COLUMNS), np.int64)
    twin[:, EVENT] = [100, 140, 190, 310]
    found = GoAgreement(400, "1.27")
    again = observed([(100, 5_000_000), (200, 6_000_000), (301, 7_000_000)])
    _compare_cycles(found, twin, real, again)
    assert found.repeated == Tally(3, 2)
    assert found.moments == Tally(3, 1)


def test_goals_of_the_same_moment_are_compared() -> None:
    tally = Tally()
    real = np.array([5_000_000, 5_000_000, -1, -1])
    _compare_goals(tally, [5_099_000, 5_101_000, NEVER, 7], real)
    assert tally == Tally(4, 2)


def test_the_twin_is_told_what_the_real_one_has_beside_its_heap() -> None:
    real = observed([(100, 5), (200, 5), (300, 5)])
    columns = Row._fields.index
    real.rows[:, columns("stacks_bytes")] = [10, 20, 30]
    real.rows[:, columns("mapped_bytes")] = [1000, 2000, 3000]
    real.rows[:, columns("unused_bytes")] = 300
    heap = SimpleNamespace(go=SimpleNamespace(outside=0), pacer=SimpleNamespace(next_stacks=0))
    surroundings, told = Surroundings(real), []
    assert surroundings.stops == [101, 201, 301], "the event that began a collection is past"
    for replayed in (0, 100, 101, 250, 301):
        surroundings.tell(heap, replayed)
        told.append((int(heap.go.outside), int(heap.pacer.next_stacks)))
    assert told == [(0, 10), (0, 10), (700, 20), (1700, 30), (2700, 30)]


def test_a_program_that_never_collects_agrees() -> None:
    found = GoAgreement(400, "1.27", live_bytes=[Live(1, 16, 0)])
    _compare_cycles(found, np.zeros((0, CYCLE_COLUMNS), np.int64), observed([]), observed([]))
    assert not found.agrees
    found.live_bytes[0] = Live(1, 16, 16)
    assert found.agrees
    found.live_bytes.append(Live(2, 0, 17))
    assert not found.agrees


def test_what_the_runtime_takes_itself_is_read_from_its_collections() -> None:
    real = observed([(1, 5), (2, 5), (3, 5)])
    for name, values in (("mapped_bytes", [90, 100, 110]), ("stacks_bytes", [2, 2, 3])):
        real.rows[:, Row._fields.index(name)] = values
    settings = own(real)
    assert settings["own_bytes"] == settings["own_span_bytes"] == 7
    assert (settings["outside_bytes"], settings["stacks_bytes"]) == (100, 2)


def test_close_is_a_share_of_the_real_figure() -> None:
    assert close(98, 100, 0.02)
    assert not close(97, 100, 0.02)
    assert close(0, 0, 0.02)
