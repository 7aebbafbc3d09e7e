"""G1's concurrent cycle and mixed collections, which no key has: they end by the clock."""

import numpy as np
import pytest

from golden_addresses import ended
from heapwright.collectors.hotspot.history import COLUMNS, CONCURRENT, MIXED, rows
from heapwright.errors import HeapwrightError
from heapwright.trace.programs import synthesise
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import Conditions, Replay
from trial import CollectedTrial, broken

M = 1 << 20
MAP = {"objects": 9000, "entries": 1200, "min_bytes": 800, "max_bytes": 3000}
CYCLES = {
    "Xmx": 20 * M,
    "Xmn": 2 * M,
    "InitiatingHeapOccupancyPercent": 10,
    "marking_work": 400,
    "G1HeapWastePercent": 0,
    "G1MixedGCLiveThresholdPercent": 95,
}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A map under churn, whose entries die old, through G1."""
    path = tmp_path_factory.mktemp("g1") / "map.heap.parquet"
    synthesise("red-black-map", path, MAP)
    twin = Replay("hotspot-g1", Trace.open(path), CYCLES, Conditions("none"))
    twin.replay(twin.trace, None)
    return twin


def test_a_cycle_leads_to_mixed_collections(played):
    paths = dict(zip(played.module.PATHS, played.heap.paths.tolist(), strict=True))
    kinds = rows(played.heap.history)[:, COLUMNS.index("kind")]
    assert paths["cycle"] >= paths["remark"] >= 1 and paths["mixed"] >= 1
    assert paths["full"] == paths["failed"] == 0
    assert np.count_nonzero(kinds == MIXED) == paths["mixed"]
    assert np.count_nonzero(kinds == CONCURRENT) == paths["remark"]
    assert broken(played) == 0
    assert ended(played.heap) == "709b18d36a3e"


def test_mixed_collections_empty_old_regions(played):
    told = rows(played.heap.history)
    old, kinds = told[:, COLUMNS.index("old")], told[:, COLUMNS.index("kind")]
    mixed = np.flatnonzero(kinds == MIXED)
    assert (old[mixed] < old[mixed - 1]).any()


def test_a_collection_without_room_for_what_lives_fails_and_a_full_one_follows(tmp_path):
    path = tmp_path / "map.heap.parquet"
    synthesise("red-black-map", path, MAP | {"objects": 3000})
    knobs = {"Xmx": 4 * M, "Xmn": 2 * M, "G1HeapRegionSize": M}
    twin = Replay("hotspot-g1", Trace.open(path), knobs | {"marking_work": 0}, Conditions("none"))
    twin.replay(twin.trace, None)
    paths = dict(zip(twin.module.PATHS, twin.heap.paths.tolist(), strict=True))
    assert paths["failed"] == paths["full"] == paths["young"] == 2
    assert broken(twin) == 0
    assert ended(twin.heap) == "7032d4a92e79"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"G1HeapRegionSize": 3 * M}, "power of two from 1 to 32 MiB, not 3,145,728"),
        ({"G1NewSizePercent": 70}, "G1NewSizePercent is above G1MaxNewSizePercent"),
        ({"Xmx": 2 * M}, "no room for young and old"),
        ({"SurvivorRatio": 0}, "NewRatio and SurvivorRatio are at least 1"),
    ],
)
def test_contradictory_options_are_one_sentence(settings, said):
    with pytest.raises(HeapwrightError, match=said):
        CollectedTrial("hotspot-g1", settings)
