"""One pass says what two passes say; malloc_trim gives back what glibc keeps."""

import numpy as np
import pytest

from heapwright.trace.process import COLUMNS, Process
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.footprint import footprint, stops
from heapwright.tunnel.replay import Conditions, replay
from small_traces import churn, write

KEPT = 400


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return write(tmp_path_factory.mktemp("footprint") / "t", churn(5000))


@pytest.mark.parametrize("touch", ["all", "none"])
def test_it_is_the_replay_to_the_byte(trace, touch):
    whole = replay("glibc", trace, {"tcache_count": 2}, touch=touch)
    held = footprint(
        "glibc", trace, {"tcache_count": 2}, at=stops(trace), conditions=Conditions(touch)
    )
    assert held.peak_resident_bytes == whole.held_bytes
    assert held.end_resident_bytes == whole.end_resident_bytes
    assert held.page_faults == whole.page_faults
    assert held.mean_resident_bytes == pytest.approx(whole.mean_resident_bytes, rel=0.02)


def test_malloc_trim_gives_back_what_the_last_block_holds_up(tmp_path):
    """Blocks under the mmap threshold, freed below one that stays: the heap cannot shrink."""
    op = [MALLOC] * (KEPT + 1) + [FREE] * KEPT + [MALLOC, FREE] * 100
    slot = [*range(KEPT + 1), *range(KEPT), *([0] * 200)]
    size = [20_000] * (KEPT + 1) + [0] * KEPT + [100, 0] * 100
    time = np.linspace(0, 10e9, len(op)).astype(np.int64)
    columns = {"op": op, "slot": slot, "size": size, "time_ns": time}
    trace = write(tmp_path / "t", events(**columns))
    at = stops(trace)
    as_is, trimmed = (footprint("glibc", trace, at=at, trim_seconds=s) for s in (0, 1.0))
    assert (as_is.trims, trimmed.trims) == (0, 10)
    assert as_is.end_resident_bytes > KEPT * 20_000
    assert trimmed.end_resident_bytes < KEPT * 20_000 // 10
    assert trimmed.peak_resident_bytes == as_is.peak_resident_bytes


def test_malloc_trim_comes_in_the_idle_time_behind_the_last_event(tmp_path):
    op = [MALLOC] * (KEPT + 1) + [FREE] * KEPT
    slot = [*range(KEPT + 1), *range(KEPT)]
    size = [20_000] * (KEPT + 1) + [0] * KEPT
    time = np.linspace(0, 0.5e9, len(op)).astype(np.int64)
    path = tmp_path / "t.parquet"
    samples = np.zeros((2, len(COLUMNS)), np.int64)
    samples[1, :2] = len(op), 3 * 10**9
    with TraceWriter(path, program="idle", kind="synthetic") as out:
        out.write(events(op=op, slot=slot, size=size, time_ns=time))
        out.process = Process(samples)
    trace = Trace.open(path)
    as_is, trimmed = (footprint("glibc", trace, at=stops(trace), trim_seconds=s) for s in (0, 1.0))
    assert as_is.end_resident_bytes > KEPT * 20_000 > 10 * trimmed.end_resident_bytes
    assert trimmed.trims == 1


def test_without_a_clock_nothing_is_trimmed(trace):
    assert footprint("glibc", trace, at=stops(trace), trim_seconds=1.0).trims == 0
