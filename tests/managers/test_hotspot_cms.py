"""CMS's concurrent cycle and its free lists, which no key has: the real ones end by the clock."""

from functools import cache

import numpy as np
import pytest

from golden_addresses import ended
from heapwright.collectors.hotspot.history import COLUMNS, CONCURRENT, KINDS, YOUNG, rows
from heapwright.collectors.log import PROMOTED_BYTES, SWEPT_BYTES
from heapwright.errors import HeapwrightError
from heapwright.managers.runtime.hotspot_cms.free_lists import SPOOL_WORDS
from heapwright.managers.runtime.hotspot_cms.scavenge import LAB_BYTES
from heapwright.result import GENERATION
from heapwright.trace.programs import synthesise
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import Conditions, Replay
from trial import CollectedTrial, broken

M = 1 << 20
MAP = {"objects": 7000, "entries": 500, "min_bytes": 2000, "max_bytes": 5000}
CYCLES = {
    "Xmx": 8 * M,
    "Xmn": M,
    "UseTLAB": 0,
    "MaxTenuringThreshold": 1,
    "CMSInitiatingOccupancyFraction": 50,
    "marking_work": 400,
}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The twin after a map under churn, whose entries die old, and how often it took each path."""
    path = tmp_path_factory.mktemp("cms") / "map.heap.parquet"
    synthesise("red-black-map", path, MAP)
    trace = Trace.open(path)

    @cache
    def twin(**others):
        made = Replay("hotspot-cms", trace, {**CYCLES, **others}, Conditions("none"))
        made.replay(made.trace, None)
        assert broken(made) == 0
        return made, dict(zip(made.module.PATHS, made.heap.paths.tolist(), strict=True))

    return twin


def test_a_cycle_frees_what_is_dead_and_moves_nothing(played):
    twin, paths = played()
    assert ended(twin.heap) == "f9107f355985"
    told = rows(twin.heap.history)
    swept = np.flatnonzero(told[:, COLUMNS.index("kind")] == CONCURRENT)
    assert paths["cycle"] >= paths["remark"] == len(swept) >= 2
    assert paths["full"] == paths["mode_failure"] == 0
    old = told[:, COLUMNS.index("old")]
    assert (old[swept] < old[swept - 1]).all()
    assert twin.heap.log.totals[SWEPT_BYTES] == (old[swept - 1] - old[swept]).sum()
    assert 0 < twin.heap.references.used_bytes <= CYCLES["Xmx"]


def test_marking_that_is_too_slow_is_a_mode_failure(played):
    twin, paths = played(marking_work=1)
    assert ended(twin.heap) == "d8c033885341"
    assert paths["mode_failure"] >= 1 and paths["full"] >= paths["mode_failure"]
    assert paths["remark"] == 0 < paths["cycle"]


def test_without_cycles_old_is_compacted(played):
    twin, paths = played(CMSInitiatingOccupancyFraction=100)
    assert ended(twin.heap) == "e730e2789dd1"
    assert paths["cycle"] == 0 and paths["full"] >= 1


def test_the_generations_are_told_at_each_collection(played):
    twin, paths = played(CMSInitiatingOccupancyFraction=100)
    told = twin.module.aged(twin.heap)
    rows_ = {name: told.collections[:, n] for n, name in enumerate(GENERATION)}
    assert told.counted == len(told.collections) == paths["young"] + paths["full"]
    assert told.promoted_bytes["total"] == rows_["promoted"].sum()
    assert told.promoted_bytes["total"] == twin.heap.log.totals[PROMOTED_BYTES]
    young = rows_["kind"] == YOUNG
    grown = rows_["old"] - rows_["old_before"]
    assert set((grown - rows_["promoted"])[young].tolist()) <= {0, SPOOL_WORDS * 8}
    assert (rows_["eden"][young] == 0).all() and (rows_["eden_before"] > 0).all()
    before = rows_["eden_before"] + rows_["survivors_before"]
    assert (rows_["survivors"][young] + rows_["promoted"][young] <= before[young]).all()
    filled = rows_["survivors"][np.flatnonzero(young)[-1]] - sum(told.ages)
    assert 0 <= filled < LAB_BYTES  # what was left of buffers
    assert told.capacity["old"] >= rows_["old"].max() and told.kinds == KINDS


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"CMSInitiatingOccupancyFraction": 101}, "is between 0 and 100, not 101"),
        ({"Xmx": 4 * M, "Xmn": 4 * M}, "Xmn is 4,194,304 bytes of a heap, Xmx, of 4,194,304"),
        ({"TLABSize": 8}, "TLABSize is at least 2048"),
    ],
)
def test_contradictory_options_are_one_sentence(settings, said):
    with pytest.raises(HeapwrightError, match=said):
        CollectedTrial("hotspot-cms", settings)
