"""The real Go as a row of a comparison."""

from pathlib import Path

import numpy as np
import pytest

from heapwright.references.go import build as go_build
from heapwright.references.go.measured import go_lane, measured_go
from heapwright.result import TIMELINE
from heapwright.trace.schema import CALLOC, FREE, MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import Conditions

pytestmark = pytest.mark.skipif(bool(go_build.missing()), reason=go_build.missing() or "is here")
COUNT, SIZE, PAGE = 2000, 10_000, 4096


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Blocks of 10,000 bytes, 2,000 alive at once, then as many, and freed."""
    path = tmp_path_factory.mktemp("go") / "t.heap.parquet"
    slots = np.arange(COUNT)
    op = np.repeat([MALLOC, FREE, MALLOC], COUNT)
    size = np.where(op == FREE, 0, SIZE)
    with TraceWriter(path, program="made", kind="synthetic") as out:
        out.write(events(op=op, slot=np.tile(slots, 3), size=size))
    return Trace.open(path)


def test_parts_sum_to_resident_and_garbage_is_collected(trace: Trace) -> None:
    done: list[int] = []
    result = measured_go(trace, progress=done.append)
    assert done[-1] == trace.events == result.events
    assert result.timeline is not None
    column = dict(zip(TIMELINE, result.timeline.T, strict=True))
    assert np.array_equal(column["resident_bytes"], result.timeline[:, 3:].sum(axis=1))
    assert result.peak["resident_bytes"] == column["resident_bytes"].max()
    assert sum(result.peak.values()) == 2 * result.peak["resident_bytes"]
    live = column["live_bytes"]
    assert live.max() == live[-1] == COUNT * SIZE
    dead = (column["event"] >= COUNT).argmax() + live[column["event"] >= COUNT].argmin()
    assert live[dead] < COUNT * SIZE / 100
    assert column["garbage_bytes"][dead] > COUNT * SIZE / 2
    assert COUNT * SIZE < result.peak["resident_bytes"] < 4 * COUNT * SIZE
    assert result.mapped_bytes_peak >= result.peak["resident_bytes"]
    assert result.page_faults >= COUNT * SIZE // PAGE
    assert 0 < result.seconds < 5
    assert "Ideal liveness" in result.notes[-1]


def test_what_is_not_written_is_not_resident(trace: Trace, tmp_path: Path) -> None:
    path = tmp_path / "t.heap.parquet"
    with TraceWriter(path, program="made", kind="synthetic") as out:
        out.write(events(op=[CALLOC], slot=[0], size=[1 << 26]))
    result = measured_go(Trace.open(path))
    assert result.peak["resident_bytes"] < 1 << 20
    assert result.mapped_bytes_peak >= 1 << 26


def test_knobs_reach_it_and_the_lane_is_run(trace: Trace) -> None:
    lane = go_lane(trace.path, Conditions(), {"gogc": 400, "globals_bytes": 1})
    result = lane.run(lambda done: None)
    assert result.settings == {"gogc": 400}
    assert lane.name == "real go"
    assert result.peak["garbage_bytes"] > measured_go(trace).peak["garbage_bytes"]
