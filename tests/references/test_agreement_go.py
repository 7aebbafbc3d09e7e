"""Go's twin beside the real one, on a recording's like and on a graph."""

from pathlib import Path

import numpy as np
import pytest

from heapwright.collectors.log import CYCLE_COLUMNS, EVENT, GOAL
from heapwright.errors import HeapwrightError
from heapwright.references.go import build as go_build
from heapwright.references.go import driver as go
from heapwright.references.go.agreement import (
    GoAgreement,
    Live,
    _compare_cycles,
    close,
    own,
    taken,
    validate_go,
)
from heapwright.references.go.driver import Observed, Row, State
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


def observed(real: list[tuple[int, int]]) -> Observed:
    """A real system that collected at (event, goal from then on), after a goal of 4,000,000."""
    rows = np.zeros((len(real), len(Row._fields)), np.int64)
    rows[:, 0], rows[:, 1] = [event for event, _ in real], np.arange(1, len(real) + 1)
    rows[:, Row._fields.index("goal_bytes")] = [goal for _, goal in real]
    before = State(**dict.fromkeys(list(State.__dataclass_fields__)[:-1], 7), by_size={})
    return Observed(State(**{**vars(before), "next_gc": 4_000_000}), rows, before)


def test_a_goal_is_compared_with_that_of_the_nearest_collection() -> None:
    real = observed([(100, 5_000_000), (200, 6_000_000), (300, 7_000_000)])
    twin = np.zeros((4, CYCLE_COLUMNS), np.int64)
    twin[:, EVENT], twin[:, GOAL] = [100, 140, 190, 310], [4_000_000, 9, 5_101_000, 6_100_000]
    found = GoAgreement(400, "1.27")
    again = observed([(100, 5_000_000), (200, 6_000_000), (301, 7_000_000)])
    _compare_cycles(found, twin, real, again)
    assert found.repeated == Tally(3, 2)
    assert found.moments == Tally(3, 1)
    assert found.heap_goals == Tally(3, 2)  # 5,101,000 is more than 2 % away


def test_a_program_that_never_collects_agrees() -> None:
    found = GoAgreement(400, "1.27", live_bytes=[Live(1, 16, 0)])
    _compare_cycles(found, np.zeros((0, CYCLE_COLUMNS), np.int64), observed([]), observed([]))
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
