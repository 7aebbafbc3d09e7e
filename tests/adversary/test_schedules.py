"""Every schedule of small programs: who loses an object, who does not, and that none was missed."""

import numpy as np
import pytest

from heapwright.adversary import interleaving, schedules, small_world
from heapwright.adversary.schedules import BIRTHS, ROOTS, SOUND, Bounds, Explorer, Graph, Keeper
from heapwright.collectors.barriers import NAMES
from heapwright.collectors.tricolour import IDLE
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError

BOUNDS = Bounds(2, 1, 1, 2, 1) if INTERPRETED else Bounds(2, 1, 2, 4, 1)
WIDER = Bounds(2, 1, 1, 2, 1) if INTERPRETED else Bounds(3, 1, 2, 3, 1)
# What the papers say, and no other pair keeps every object.
KEEPS = {
    *(Keeper(barrier, "again", birth) for barrier in ("dijkstra", "steele") for birth in BIRTHS),
    Keeper("yuasa", "snapshot", "black"),
    *(Keeper("hybrid", roots, "black") for roots in ROOTS),
}


def test_the_settings_of_the_manager_are_among_them():
    assert set(SOUND) < KEEPS


@pytest.mark.skipif(INTERPRETED, reason="the shortest losing programs have up to four steps")
@pytest.mark.parametrize("barrier", NAMES)
def test_keeps_every_object_or_loses_one(barrier):
    for roots in ROOTS:
        for birth in BIRTHS:
            keeper = Keeper(barrier, roots, birth)
            verdict = schedules.explore(keeper, BOUNDS)
            assert (verdict.losing == 0) == (keeper in KEEPS), keeper
            assert 0 <= verdict.losing < verdict.schedules
            assert verdict.broken == 0 or keeper not in KEEPS


@pytest.mark.parametrize("keeper", sorted(KEEPS))
def test_no_state_breaks_an_invariant(keeper):
    verdict = schedules.explore(keeper, WIDER, checked=True)
    assert (verdict.losing, verdict.broken) == (0, 0)
    assert verdict.schedules > verdict.states > verdict.graphs


def unmerged(explorer):
    """Schedules from the present state, and those that lose an object, each run on its own."""
    world, cells = explorer.world, len(explorer.world.cells)
    saved, moves = world.boot.copy(), np.zeros(small_world.MOST_MOVES, np.int64)
    if small_world.has_lost(world):
        return 1, 1
    count = small_world.list_moves(world, moves, 0)
    if world.heap.marking.phase == IDLE:
        return 1, 0
    small_world.save(world, cells, saved, 0)
    total = losing = 0
    for move in moves[:count]:
        small_world.restore(world, cells, saved, 0)
        small_world.make(world, move)
        below = unmerged(explorer)
        total, losing = total + below[0], losing + below[1]
    return total, losing


@pytest.mark.skipif(not INTERPRETED, reason="kernels of a search are parts of one program")
@pytest.mark.parametrize("barrier", NAMES)
def test_merging_states_changes_no_count(barrier):
    explorer = Explorer(Keeper(barrier, "snapshot", "white"), Bounds(2, 1, 1, 2, 1))
    for graph in (Graph((-1, 0), (1,)), Graph((1, 0), (-1,))):
        expected = explorer.explore(graph)[:2]
        explorer.stage(graph)
        assert unmerged(explorer) == expected


def test_graphs_are_told_apart_up_to_names():
    found = list(schedules.graphs(Bounds(objects=2, fields=1, roots=1)))
    # A root at one object, which refers to the other; that to nothing, to itself or back.
    assert len(found) == 6
    assert {len([root for root in graph.roots if root < 0]) for graph in found} == {0, 1}


@pytest.mark.parametrize("barrier", ["none", "yuasa"])
def test_an_example_loses_an_object_with_its_last_move(barrier):
    keeper, bounds = Keeper(barrier, "once", "black"), Bounds(2, 1, 1, 2, 1)
    verdict = schedules.explore(keeper, bounds)
    explorer = Explorer(keeper, bounds)
    explorer.stage(verdict.graph)
    lost = [explorer.make(move) for move in verdict.example]
    assert lost == [False] * (len(lost) - 1) + [True]
    assert verdict.example[-1] == small_world.SWEEP
    assert small_world.ABSENT in explorer.colours()


def test_the_table_grows(monkeypatch):
    keeper, bounds = Keeper("hybrid", "once", "black"), Bounds(2, 1, 1, 2, 1)
    expected = schedules.explore(keeper, bounds)
    monkeypatch.setattr(schedules, "FIRST_ROWS", 16)
    found = schedules.explore(keeper, bounds)
    assert (found.schedules, found.states) == (expected.schedules, expected.states)
    assert expected.longest < interleaving.MOST_DEPTH


def test_bounds_that_are_too_wide():
    with pytest.raises(HeapwrightError, match="6 objects"):
        Explorer(SOUND[0], Bounds(objects=5))
