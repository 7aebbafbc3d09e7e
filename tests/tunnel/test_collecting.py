"""What is said of a collector: times, pauses, utilisation, survival, against plain arithmetic."""

import numpy as np
import pytest

from heapwright.collectors import log as logs
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.managers import registry
from heapwright.result import CYCLE, PARTS
from heapwright.trace.schema import FREE, MALLOC, NEW, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel import collecting as made
from heapwright.tunnel.collecting import Clock, collecting
from heapwright.tunnel.replay import IDEAL_LIVENESS, ORACLE_DEATHS, replay
from naive.graph_program import random_rows


def clock_of(*batches):
    """A clock of batches (ticks at the start, at the end, nanoseconds taken)."""
    clock = Clock()
    for start, end, taken in batches:
        clock._ticks += [start, end]
        clock._ns += [clock.elapsed_ns, clock.elapsed_ns + taken]
        clock.elapsed_ns += taken
    return clock


def log_of(pauses, cycles):
    """A log of pauses (start, length) and of cycles given by name."""
    log = logs.log()
    for row, (start, length) in enumerate(pauses):
        log.pauses[row * logs.PAUSE_COLUMNS + logs.PAUSE_START] = start
        log.pauses[row * logs.PAUSE_COLUMNS + logs.PAUSE_LENGTH] = length
    for row, cycle in enumerate(cycles):
        for name, value in cycle.items():
            log.cycles[row * logs.CYCLE_COLUMNS + logs.TOTALS.index(name)] = value
    log.totals[logs.PAUSES], log.totals[logs.CYCLES] = len(pauses), len(cycles)
    return log


def test_time_between_batches_does_not_count():
    clock = clock_of((1000, 2000, 500), (9000, 9100, 50))
    ticks = np.array([1000, 1500, 2000, 5000, 9000, 9100])
    assert clock.nanoseconds(ticks).tolist() == [0, 250, 500, 500, 500, 550]


def test_pauses_in_nanoseconds():
    did = collecting(log_of([(100, 10), (200, 30), (400, 20)], []), clock_of((0, 1000, 2000)))
    assert did.pause_ns == {"median": 40, "p90": 56, "p99": 60, "longest": 60, "total": 120}
    assert did.utilisation == pytest.approx(1 - 120 / 2000)
    assert sum(did.pause_histogram) == 3
    assert [number for number, n in enumerate(did.pause_histogram) if n] == [5, 6]  # < 32, < 64


def test_minimum_utilisation_is_that_of_the_worst_window():
    draw = np.random.default_rng(3)
    edges = np.sort(draw.choice(40_000, 60, replace=False))
    begin, end = edges[0::2].astype(float), edges[1::2].astype(float)
    stopped = np.zeros(40_000)
    for first, past in zip(edges[0::2], edges[1::2], strict=True):
        stopped[first:past] = 1
    before = np.concatenate([[0], np.cumsum(stopped)])
    curve = made._utilisation(begin, end, 40_000)
    for window, share in curve:
        worst = max(before[at + window] - before[at] for at in range(40_000 - window + 1))
        assert share == pytest.approx(1 - worst / window, abs=2 / window)
    assert curve[-1] == (40_000, pytest.approx(1 - stopped.mean(), abs=1e-6))


def test_without_a_pause_there_is_no_curve():
    did = collecting(logs.log(), clock_of((0, 10, 5000)))
    assert (did.minimum_utilisation, did.pause_histogram, did.utilisation) == ([], [], 1.0)
    assert did.survival == did.goal_bytes == {}
    assert did.cycles.shape == (0, len(CYCLE))


def test_survival_is_that_of_the_bytes_looked_at():
    """Minor: 30 + 10 of 60 + 40 survive. Full: 50 of 100."""
    cycles = [
        {"kind": 1, "heap_before_bytes": 200, "heap_after_bytes": 170, "copied_bytes": 30},
        {"kind": 0, "heap_before_bytes": 100, "heap_after_bytes": 50, "copied_bytes": 80},
        {"kind": 1, "heap_before_bytes": 90, "heap_after_bytes": 60, "copied_bytes": 90},
    ]
    cycles[1]["goal_bytes"] = 300
    did = collecting(log_of([], cycles), clock_of((0, 10, 10)))
    assert did.survival == {"full": 0.5, "minor": pytest.approx(0.4)}
    assert did.collections == {"full": 1, "minor": 2}
    assert did.goal_bytes == {"least": 300, "median": 300, "most": 300}


def test_very_many_cycles_are_thinned(monkeypatch):
    monkeypatch.setattr(made, "CYCLES_SHOWN", 3)
    cycles = [{"event": 10 * n, "end_ticks": n} for n in range(9)]
    did = collecting(log_of([], cycles), clock_of((0, 10, 100)))
    assert did.cycles[:, CYCLE.index("event")].tolist() == [0, 40, 80]
    assert did.cycles[:, CYCLE.index("end_ns")].tolist() == [0, 40, 80]
    assert did.collections["full"] == 9


@pytest.fixture
def smallest(monkeypatch):
    """Registers a copying manager of 24 KiB."""
    manager = registry.Manager("smallest", "tunnel.smallest")
    known = registry.managers() | {"smallest": manager}
    monkeypatch.setattr(registry, "managers", lambda: known)


def written(path, rows):
    columns = zip(("op", "slot", "size", "field", "target"), np.array(rows).T, strict=True)
    with TraceWriter(path, program="rows", kind="synthetic") as out:
        out.write(events(**dict(columns)))
    return Trace.open(path)


def test_a_flight_says_what_its_collector_did(tmp_path, smallest):
    trace = written(tmp_path / "t.parquet", random_rows(4, 300 if INTERPRETED else 3000))
    result = replay("smallest", trace, samples=50)
    did = result.collecting
    assert sum(did.collections.values()) == did.pauses == result.paths["collect"] > 0
    assert did.totals["copied_objects"] > 0
    assert 0 < did.utilisation < 1
    assert result.to_json()["collector"]["pauses"] == did.pauses
    assert sum(result.peak[f"{part}_bytes"] for part in PARTS) == result.peak["resident_bytes"]
    assert result.peak["garbage_bytes"] > 0
    assert IDEAL_LIVENESS not in result.notes
    explicit = replay("first-fit", trace)
    assert explicit.collecting is None and "collector" not in explicit.to_json()
    assert ORACLE_DEATHS in explicit.notes


def test_of_a_malloc_trace_liveness_is_ideal(tmp_path, smallest):
    rows = [(MALLOC, 0, 100, 0, -1), (FREE, 0, 0, 0, -1)]
    assert IDEAL_LIVENESS in replay("smallest", written(tmp_path / "t.parquet", rows)).notes


def test_out_of_memory_is_a_sentence(tmp_path, smallest):
    trace = written(tmp_path / "t.parquet", [(NEW, slot, 3000, 0, -1) for slot in range(5)])
    with pytest.raises(HeapwrightError, match="out of memory at event 4 of 5: no room"):
        replay("smallest", trace)


def test_graph_traces_are_replayed_by_all_with_a_collector_and_two_without():
    names = registry.usual(graph=True)
    told = {n: m for n, m in registry.managers().items() if m.collected}
    meant = {n for n, m in told.items() if m.card.compared_on("graph")}
    assert {"mark-sweep", "go", "refcount"} <= meant and "hotspot-serial" in set(told) - meant
    assert set(names) == meant | {"glibc", "wright"}
    assert "semispace" not in registry.usual()
