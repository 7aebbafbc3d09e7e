"""Decisions of HotSpot's collectors at their edges, in these kernels alone."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from heapwright.collectors.hotspot.layout import HEADER_BYTES
from heapwright.collectors.log import REMEMBERED, SWEPT_BYTES
from heapwright.compiler import INTERPRETED
from heapwright.managers.runtime.hotspot_cms import buffers
from heapwright.managers.runtime.hotspot_g1 import destinations, evacuation, marking
from heapwright.managers.runtime.hotspot_g1.state import HUMONGOUS, OLD, SURVIVOR
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


@pytest.mark.parametrize(("left", "placed"), [(640, 1 << 16), (648, 1 << 16), (632, 0)])
def test_an_object_beside_the_buffers_takes_the_last_bytes_of_to_space(left, placed):
    top = 1 << 16
    heap = SimpleNamespace(
        **{"young_lab": 0, "young_lab_end": 0, "young_full": 0, "direct": 1},
        **{"spare_top": top, "spare": top + left - 8192, "survivor_bytes": 8192},
    )
    assert buffers.in_to_space(heap, 640) == placed
    assert heap.spare_top == top + (640 if placed else 0)


REGION_BYTES, LARGE_BYTES = 1 << 20, 5000


@pytest.mark.parametrize("young", [False, True])
@pytest.mark.parametrize("left", [LARGE_BYTES, LARGE_BYTES - 8, 0])
def test_a_region_without_room_is_filled_up_and_another_taken(left, young, monkeypatch):
    """For an object that has no place in a buffer; one that fits exactly takes the last bytes."""
    filled, settled, kinds = [], [], []
    monkeypatch.setattr(destinations, "fill", lambda _, top, bytes_: filled.append((top, bytes_)))
    monkeypatch.setattr(destinations, "settle", lambda _, top, end: settled.append((top, end)))
    monkeypatch.setattr(destinations, "take_region", lambda _, kind: kinds.append(kind) or 5)
    top = {3: 4 * REGION_BYTES - left, 5: 5 * REGION_BYTES}
    heap = SimpleNamespace(
        **dict.fromkeys(("young_lab", "young_lab_end", "old_lab", "old_lab_end"), 0),
        **dict.fromkeys(("survivors_full", "old_full", "machine", "emptied"), 0),
        **{"to_region": 3, "to_old": 3, "most_survivors": 1, "region_bytes": REGION_BYTES},
        **{"region_shift": 20, "java": SimpleNamespace(base=0)},
        regions=SimpleNamespace(top=top, counts={SURVIVOR: 0}),
    )
    ask = destinations.in_survivors if young else destinations.in_old
    bytes_ = LARGE_BYTES
    fits = left == bytes_
    assert ask(heap, bytes_) == (4 * REGION_BYTES - bytes_ if fits else 5 * REGION_BYTES)
    assert top == {3: 4 * REGION_BYTES, 5: 5 * REGION_BYTES + (0 if fits else bytes_)}
    rest = [(4 * REGION_BYTES - left, left)] if left and not fits else []
    assert filled == settled == rest
    assert kinds == ([] if fits else [SURVIVOR if young else OLD])


def test_a_humongous_object_goes_when_no_handle_and_no_reference_leads_to_it(monkeypatch):
    """Of four, one each is held, found by the look at old regions, without an owner, and dead."""
    freed = []
    tops = {region: region * REGION_BYTES + 100 * region for region in range(1, 5)}
    heap = SimpleNamespace(
        **{"own": 1, "total": 5, "region_shift": 20, "machine": None},
        java=SimpleNamespace(base=0),
        mutator=SimpleNamespace(handles=[REGION_BYTES + HEADER_BYTES, 0, 0]),
        regions=SimpleNamespace(
            kind=[HUMONGOUS] * 5, owner=[0, 0, 1, -1, 2], top=tops, scan_top=[9] * 5
        ),
        log=SimpleNamespace(totals=np.zeros(64, np.int64)),
    )
    found = heap.regions.scan_top
    monkeypatch.setattr(marking, "load", lambda _, address: 0)  # no object has references
    monkeypatch.setattr(marking, "_find_humongous", lambda _: found.__setitem__(2, 0))
    monkeypatch.setattr(marking, "free_old", lambda _, region: freed.append(region))
    assert marking.reclaim_humongous(heap) == 400 == heap.log.totals[SWEPT_BYTES]
    assert freed == [4]
    heap.mutator.handles[1:] = [2 * REGION_BYTES + HEADER_BYTES, 4 * REGION_BYTES + HEADER_BYTES]
    assert marking.reclaim_humongous(heap) == 0 and freed == [4]
