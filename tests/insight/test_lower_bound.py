"""Bounds against every order of placement; the line in reports."""

from itertools import permutations

import numpy as np
import pytest

from heapwright.insight import lower_bound as module
from heapwright.insight.lower_bound import blocks_of, distance, distance_line, greedy, lower_bound
from heapwright.insight.packing import Blocks, pack
from heapwright.result import PARTS, Result, Spread
from heapwright.trace.schema import FREE, MALLOC, REALLOC, THREAD_EXIT, events
from heapwright.trace.store import Trace, TraceWriter


def trace_of(path, rows):
    """A trace of (op, slot, size) rows."""
    op, slot, size = zip(*rows, strict=True)
    with TraceWriter(path, program="t", kind="synthetic") as out:
        out.write(events(op=op, slot=slot, size=size))
    return Trace.open(path)


def random_blocks(random, count):
    birth = random.integers(0, 12, count)
    return Blocks(birth, birth + random.integers(1, 8, count), random.integers(1, 6, count))


def best_of_all_orders(blocks):
    """The optimum: some order reaches it, that of the offsets in an optimal placement."""
    heights = []
    for order in permutations(range(len(blocks.size))):
        scratch = np.zeros((2, len(order)), np.int64)
        heights.append(int(pack(blocks, np.array(order), scratch[0], scratch[1])))
    return min(heights)


def assert_apart(blocks, offset):
    for one in range(len(offset)):
        for other in range(one):
            together = max(blocks.birth[one], blocks.birth[other]) < min(
                blocks.death[one], blocks.death[other]
            )
            below = offset[one] + blocks.size[one] <= offset[other]
            above = offset[other] + blocks.size[other] <= offset[one]
            assert not together or below or above


@pytest.mark.parametrize("seed", range(8))
def test_greedy_places_blocks_apart(seed):
    blocks = random_blocks(np.random.default_rng(seed), 40)
    offset, height = greedy(blocks)
    assert_apart(blocks, offset)
    assert (offset >= 0).all() and int((offset + blocks.size).max()) == height
    live = [blocks.size[(blocks.birth <= t) & (t < blocks.death)].sum() for t in range(20)]
    assert height >= max(live)


@pytest.mark.parametrize("seed", range(12))
def test_the_solver_finds_the_optimum(seed, tmp_path):
    pytest.importorskip("ortools")
    blocks = random_blocks(np.random.default_rng(seed), 6)
    found = module.LowerBound(0, 0, int(blocks.size.sum()), 6, "greedy")
    offset = np.cumsum(blocks.size) - blocks.size  # none beside another: as bad as can be
    module._solve(found, blocks, offset, 20)
    assert found.proven and found.packing_bytes == best_of_all_orders(blocks)


TIGHT = [
    (MALLOC, 0, 2),
    (MALLOC, 1, 1),
    (MALLOC, 2, 2),
    (FREE, 0, 0),
    (FREE, 2, 0),
    (MALLOC, 0, 4),
]


def test_what_dies_makes_room(tmp_path):
    """4 units fit beside 1 only if that lies at an end, which the whole program tells."""
    found = lower_bound(trace_of(tmp_path / "t.parquet", TIGHT))
    assert (found.peak_live_bytes, found.packing_bytes, found.proven) == (5, 5, True)
    assert (found.blocks, found.method) == (4, "greedy")


def test_a_gap_that_no_placement_closes():
    """5 units alive at most, and no placement in 5: the solver proves what all orders say."""
    pytest.importorskip("ortools")
    rows = [(0, 1, 4), (0, 3, 1), (1, 2, 3), (1, 4, 1), (2, 3, 1), (2, 6, 2), (3, 4, 2), (4, 6, 3)]
    blocks = Blocks(*np.array(rows).T.copy())
    assert best_of_all_orders(blocks) == 6
    found = module.LowerBound(5, 5, greedy(blocks)[1], len(rows), "greedy")
    module._solve(found, blocks, greedy(blocks)[0], 20)
    assert found.proven and found.lower_bound_bytes == 6


def test_blocks_of_a_trace(tmp_path):
    rows = [
        (MALLOC, 0, 10),
        (MALLOC, 1, 0),
        (MALLOC, -1, 99),
        (REALLOC, 0, 30),
        (THREAD_EXIT, -1, 0),
        (FREE, 0, 0),
        (MALLOC, 0, 5),
    ]
    blocks = blocks_of(trace_of(tmp_path / "t.parquet", rows))
    assert list(zip(*(column.tolist() for column in blocks), strict=True)) == [
        (0, 3, 10),
        (3, 5, 30),
        (6, 7, 5),
    ]


def test_an_empty_heap(tmp_path):
    found = lower_bound(trace_of(tmp_path / "t.parquet", [(MALLOC, 0, 0), (FREE, 0, 0)]))
    assert (found.lower_bound_bytes, found.packing_bytes, found.proven) == (0, 0, True)


def test_a_large_trace_gets_the_bound_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_PACKED", 2)
    found = lower_bound(trace_of(tmp_path / "t.parquet", TIGHT))
    assert found.packing_bytes is None and not found.proven
    assert "up to 2 blocks; this trace has 4" in found.notes[0]


def test_without_the_solver_a_sentence_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ortools.sat.python", None)
    found = module.LowerBound(1, 1, 3, 2, "greedy")
    module._solve(found, Blocks(*(np.ones(1, np.int64) for _ in range(3))), np.zeros(1), 1)
    assert "pip install 'heapwright[optimise]'" in found.notes[0]
    assert found.packing_bytes == 3


def result(manager, resident):
    peak = {f"{part}_bytes": 0 for part in PARTS} | {"resident_bytes": resident}
    return Result(manager, "twin", 1, 1.0, peak, 0, 0)


def test_the_line_of_a_report():
    results = [result("big", 3 << 20), result("small", 3 << 19)]
    line = distance_line(results, 1 << 20)
    assert "less than 1.00 MiB" in line and line.index("small 1.50") < line.index("big 3.00")
    assert distance(results[0], 1 << 20) == 3
    ran_out = result("full", 1 << 19)
    ran_out.refused = 1
    assert distance_line([*results, ran_out], 1 << 20) == line
    assert distance(results[0], 0) is None
    assert "Nothing was ever alive" in distance_line(results, 0)
    assert "2 others more" in distance_line([result(f"m{n}", 9) for n in range(8)], 9)


def test_the_distance_of_what_time_decides_is_a_range():
    found = result("a", 30)
    found.spread = Spread(9, (20, 50), (1, 2))
    assert "a 3.00 (2.00 to 5.00)" in distance_line([found], 10)
    found.spread = Spread(9, (30, 30), (1, 2))
    assert distance_line([found], 10).endswith("a 3.00.")


def test_what_is_held_within_an_event_counts():
    copying = result("copying", 3 << 20)
    copying.high_water_bytes = 5 << 20
    assert distance(copying, 1 << 20) == 5
    assert "copying 5.00" in distance_line([copying], 1 << 20)


def test_where_nothing_is_written_mapped_memory_is_compared():
    """Resident is then what managers write themselves: less than the bytes alive, no distance."""
    found = result("best-fit", 1 << 19)
    found.mapped_bytes_peak, found.conditions = 3 << 19, {"touch": "none"}
    assert distance(found, 1 << 20) == 1.5
    line = distance_line([found], 1 << 20)
    assert "assumed to write nothing" in line
    assert "What is mapped can: times that: best-fit 1.50" in line
    assert "0.50" not in line
