"""A measured malloc's parts, taken from a twin that held as much."""

import pytest

from heapwright.insight.told_apart import TOLD, tell_apart
from heapwright.result import PARTS, Result

REST = "cannot be told apart"


def result(kind, resident, **more):
    parts = dict.fromkeys((f"{part}_bytes" for part in PARTS), 0)
    parts |= {"resident_bytes": resident, "partial_bytes": resident} | more
    return Result("jemalloc", kind, 1, 1.0, parts, 0, 0, notes=[REST], end=dict(parts))


@pytest.mark.parametrize(("more", "near"), [(0, True), (1000, True), (-900, True), (1100, False)])
def test_the_parts_are_the_twins_where_both_held_as_much(more, near):
    twin = result("twin", 100_000, live_bytes=60_000, header_bytes=30_000, partial_bytes=10_000)
    real = result("measured", 100_000 + more)
    tell_apart([twin, real], REST)
    assert real.notes == [TOLD if near else REST]
    assert real.peak["header_bytes"] == real.end["header_bytes"] == (30_000 if near else 0)
    assert sum(real.peak[f"{part}_bytes"] for part in PARTS) == real.peak["resident_bytes"]


def test_a_twin_of_other_settings_tells_nothing():
    twin, real = result("twin", 100, header_bytes=50, partial_bytes=50), result("measured", 100)
    twin.settings = {"narenas": 1}
    tell_apart([twin, real], REST)
    assert real.notes == [REST] and real.peak["header_bytes"] == 0
