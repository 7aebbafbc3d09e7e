"""Several processors: each has frames and slabs of its own."""

import numpy as np
import pytest

from heapwright.managers.registry import named
from heapwright.trace.doors import CACHE, Door
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import placements
from heapwright.tunnel.steered import as_recorded, of_processors

PAGE = 4096


def trace_of(path, threads):
    """Twelve objects of one cache, taken by turns on these processors, then freed by the other."""
    count = 12
    with TraceWriter(path, program="linux", kind="imported") as out:
        out.write(
            events(
                op=np.repeat([MALLOC, FREE], count),
                slot=np.tile(np.arange(count), 2),
                size=np.repeat([192, 0], count),
                thread=np.array([i % threads for i in range(count)] * 2)[::-1].copy(),
                field=np.repeat([1, 0], count),
            )
        )
        out.doors = [Door(CACHE, 0xCC0, "dentry", 192)]
    return Trace.open(path)


def slabs(manager, trace, **settings):
    """The pages in which the objects lie."""
    (placed,) = placements(manager, trace, settings)
    return placed[:12, 0] // PAGE


@pytest.fixture
def two(tmp_path):
    return trace_of(tmp_path / "two.heap.parquet", 2)


def test_each_processor_takes_from_a_slab_of_its_own(two):
    found = slabs("slub", two)
    first, second = set(found[::2]), set(found[1::2])
    assert len(first) == len(second) == 1 and first != second
    assert len(set(slabs("slub", two, cpus=1))) == 1


def test_objects_of_a_cache_lie_as_far_apart_as_it_says(two):
    (placed,) = placements("slub", two, {"cpus": 1})
    assert np.diff(placed[:12, 0]).tolist() == [192] * 11


def test_the_trace_says_how_many_there_were(two, tmp_path):
    slub = named("slub")
    assert as_recorded(slub, two) == {"cpus": 2}
    assert of_processors(slub, two, {"cpus": 2}) == []
    assert as_recorded(slub, trace_of(tmp_path / "one.heap.parquet", 1)) == {}


def test_a_manager_that_knows_one_processor_says_so(two):
    assert as_recorded(named("slab"), two) == {}
    (sentence,) = of_processors(named("slab"), two, {})
    assert "2 processors" in sentence and "as one would" in sentence
    assert "as 4 would" in of_processors(named("slub"), two, {"cpus": 4})[0]
