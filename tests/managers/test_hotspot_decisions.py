"""Two decisions of HotSpot's collectors at their edges, in these kernels alone."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from heapwright.collectors.log import REMEMBERED
from heapwright.compiler import INTERPRETED
from heapwright.managers.runtime.hotspot_g1 import evacuation
from heapwright.managers.runtime.hotspot_g1.state import OLD
from heapwright.managers.runtime.hotspot_parallel import collection

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="kernels are compiled for whole heaps")


@pytest.mark.parametrize(
    ("likely", "young", "spare", "made"),
    [
        (99, 500, 0, True),
        (100, 500, 0, False),
        (500, 99, 0, True),
        (500, 100, 0, False),
        (99, 500, 8, False),
    ],
)
def test_a_scavenge_is_safe_where_old_has_room_for_more(likely, young, spare, made, monkeypatch):
    """Room of 100 bytes, for what is likely or for all of young, and an empty spare space."""
    nothing = {name: lambda *_: None for name in ("retire", "begin", "end", "reopen")}
    for name, what in (nothing | {"scavenge": lambda _: True}).items():
        monkeypatch.setattr(collection, name, what)
    monkeypatch.setattr(collection, "expected", lambda _: likely)
    monkeypatch.setattr(collection, "young_bytes", lambda _: young)
    heap = SimpleNamespace(
        promoted=None, spare=64, spare_top=64 + spare, old_top=1000, old_end=1100, paths=[0] * 40
    )
    assert collection.young(heap) is made
    assert sum(heap.paths) == made


@pytest.mark.parametrize(("shift", "cards"), [(20, 32), (21, 64), (25, 256)])
def test_runs_of_cards_end_where_a_chunk_does(shift, cards, monkeypatch):
    """JDK 17's G1RemSetScanState: 64 chunks a region of 1 or 2 MiB, 256 of 32 MiB."""
    dirty = np.zeros(4 << (shift - 9), np.uint8)
    region, first = 2, 2 << (shift - 9)
    past = first + 2 * cards + 3
    dirty[first + 1 : past] = evacuation.WAITS
    runs = []
    monkeypatch.setattr(evacuation, "_scan_objects", lambda *run: runs.append(run[2:]))
    top = {region: past << 9}
    heap = SimpleNamespace(
        java=SimpleNamespace(base=0, cards=dirty, card_words=dirty.view(np.int64)),
        regions=SimpleNamespace(scan_top=top, top=top, kind={region: OLD}),
        region_shift=shift,
        log=SimpleNamespace(totals=np.zeros(64, np.int64)),
        grey=0,
    )
    evacuation._scan_region(heap, region, False)
    edges = [first + 1, first + cards, first + 2 * cards, past]
    assert [(a >> 9, b >> 9) for a, b in runs] == list(pairwise(edges))
    assert heap.log.totals[REMEMBERED] == past - first - 1 and not dirty.any()
