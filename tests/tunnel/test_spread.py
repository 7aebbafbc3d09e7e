"""Where time decides, a result has the range of the replays that differ in nothing else."""

import pytest

from heapwright.collectors.log import CYCLES
from heapwright.compiler import INTERPRETED
from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import PEAK_RESIDENT_PAGES
from heapwright.managers import named
from heapwright.trace.mutator import Mutator
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import Conditions, Replay, replay

DEPTH, TURNS = (4, 24) if INTERPRETED else (10, 60)


@pytest.fixture(scope="module")
def spiky(tmp_path_factory):
    """Trees that die, a spike that lives for a while, trees again: what a collection in the spike
    finds alive sets the goal of the rest."""
    path = tmp_path_factory.mktemp("spread") / "spiky.heap.parquet"
    with (
        TraceWriter(path, program="spiky", kind="synthetic") as writer,
        Mutator(writer.write) as program,
    ):

        def tree(depth):
            program.push()
            node = program.new(64, fields=2)
            if depth:
                program.write(node, 0, tree(depth - 1))
                program.write(node, 1, tree(depth - 1))
            return program.pop(node)

        program.push()
        program.root(tree(DEPTH))
        program.pop()
        for turn in range(TURNS):
            with program.frame():
                tree(DEPTH + 1)
                program.new(400_000)
            if turn == TURNS // 2:
                spike = []
                for _ in range(100):
                    with program.frame():
                        spike.append(program.root(program.new(50_000)))
                for one in spike:
                    program.unroot(one)
    return Trace.open(path)


def test_the_range_is_that_of_the_courses_of_the_manager(spiky):
    settings = {"gogc": 25}
    result = replay("go", spiky, settings, samples=20)
    courses = named("go").module.courses(settings)
    assert len(courses) >= 5 and all(course["gogc"] == 25 for course in courses)
    held, collections = [], []
    for course in [settings, *courses]:
        other = Replay("go", spiky, course, Conditions())
        other.replay(spiky, None)
        held.append(int(other.heap.machine.meters[PEAK_RESIDENT_PAGES]) * PAGE_BYTES)
        collections.append(int(other.heap.log.totals[CYCLES]))
    assert held[0] == result.held_bytes
    assert result.spread.replays == len(held)
    assert result.spread.held_bytes == (min(held), max(held))
    assert result.spread.collections == (min(collections), max(collections))
    assert result.room_bytes == max(held) > min(held)
    assert result.to_json()["spread"]["held_bytes"] == {"least": min(held), "most": max(held)}


@pytest.mark.parametrize("settings", [{"gcstoptheworld": 2}, {"workers_work": 50}, {"gogc": -1}])
def test_no_range_where_a_course_was_chosen_or_nothing_was_collected(spiky, settings):
    assert replay("go", spiky, settings, samples=20).spread is None


def test_no_range_of_a_manager_that_knows_no_time(spiky):
    result = replay("mark-sweep", spiky, samples=20)
    assert result.spread is None and "spread" not in result.to_json()
    assert result.room_bytes == result.held_bytes
