"""A page has room for so much: blocks are left out before pages."""

import base64
import zlib
from dataclasses import replace

import numpy as np
import pytest

from heapwright.insight.heap_map import heap_map
from heapwright.report import maps
from heapwright.trace.schema import MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import replay

OBJECTS = 3000


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "t.heap.parquet"
    with TraceWriter(path, program="t") as out:
        sizes = np.random.default_rng(6).integers(1, 700, OBJECTS)
        sizes[-1] = 1 << 16  # the peak is the last event
        out.write(events(op=np.full(OBJECTS, MALLOC), slot=np.arange(OBJECTS), size=sizes))
    return [replay("linear", Trace.open(path), picture=heap_map) for _ in range(2)]


def sited(result):
    """Its blocks, of the call sites -1, 0, 1 and 2."""
    known = result.heap_map.blocks
    site = np.arange(len(known.address)) % 4 - 1
    return replace(known, site=site.astype(known.site.dtype))


def blocks(one):
    return one["columns"]["size"][1]


def test_all_blocks_where_there_is_room(results):
    made = maps.map_data(results, [[], []])
    assert [blocks(one) for one in made] == [OBJECTS, OBJECTS]
    assert made[0]["known_live"] == 4096
    assert made[0]["sites"] == [""]  # the trace names none
    heap_map = replace(results[0].heap_map, blocks=sited(results[0]))
    of_site = replace(results[0], heap_map=heap_map)
    assert maps.map_data([of_site], [["f", "g"]])[0]["sites"] == ["", "f", "g", ""]
    last = max(made[0]["columns"].values())
    assert len(zlib.decompress(base64.b64decode(made[0]["data"]))) == last[0] + last[1] * last[2]


def test_a_block_has_its_place_in_its_page(results):
    one = maps.map_data(results, [[], []])[0]
    first, count, width, _ = one["columns"]["offset"]
    data = zlib.decompress(base64.b64decode(one["data"]))[first : first + count * width]
    planes = np.frombuffer(data, np.uint8).reshape(width, count).astype(np.int64)
    found = sum(plane << 8 * number for number, plane in enumerate(planes))
    address = results[0].heap_map.blocks.address
    assert found.tolist() == (address % 4096).tolist() and (found % 4 == 0).all() and found.any()


def test_each_takes_at_most_half_of_what_is_left(results, monkeypatch):
    monkeypatch.setattr(maps, "BLOCKS", 2 * OBJECTS + 100)
    first, second = maps.map_data(results, [[], []])
    assert blocks(first) == OBJECTS
    assert 0 < blocks(second) <= (OBJECTS + 100) // 2
    assert second["known_live"] < 4096


def test_less_and_less_until_it_fits(results, monkeypatch):
    whole = sum(len(one["data"]) for one in maps.map_data(results, [[], []]))
    monkeypatch.setattr(maps, "LEAST_BLOCKS", 100)
    monkeypatch.setattr(maps, "ROOM", whole // 2)
    fewer = maps.map_data(results, [[], []])
    assert sum(len(one["data"]) for one in fewer) <= whole // 2
    assert 0 < sum(map(blocks, fewer)) < 2 * OBJECTS
    monkeypatch.setattr(maps, "ROOM", whole - 1)
    monkeypatch.setattr(maps, "BLOCKS", 4 * OBJECTS)  # halved once there is room for the first
    first, second = map(blocks, maps.map_data(results, [[], []]))
    assert first == OBJECTS and OBJECTS // 3 < second <= OBJECTS // 2
    monkeypatch.undo()
    monkeypatch.setattr(maps, "ROOM", 1)
    monkeypatch.setattr(maps, "LEAST_BLOCKS", maps.BLOCKS // 4)  # which a halving meets
    assert set(maps.map_data(results, [[], []])[0]["columns"]) == {"pages", "frames"}
