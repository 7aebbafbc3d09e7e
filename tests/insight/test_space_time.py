"""The space-time curve: heap sizes asked for, ratios to explicit freeing, who did not fit."""

import math

import pytest

from heapwright.insight.space_time import asked, space_time
from heapwright.result import PARTS, Result


def result(manager, seconds, high_water, **settings):
    peak = dict.fromkeys(("resident_bytes", *(f"{part}_bytes" for part in PARTS)), 4096)
    return Result(
        manager=manager,
        kind="twin",
        events=10,
        seconds=seconds,
        peak=peak,
        page_faults=0,
        mapped_bytes_peak=0,
        high_water_bytes=high_water,
        settings=settings,
    )


def collected(*known, **settings):
    """The same with a collector."""
    found = result(*known, **settings)
    found.collecting = _Collecting()
    return found


class _Collecting:
    collections = {"full": 3, "minor": 4}  # noqa: RUF012 never changed
    totals = {"marked_bytes": 10, "copied_bytes": 20, "allocated_bytes": 60}  # noqa: RUF012


def test_heaps_are_whole_pages_of_the_live_bytes():
    points = asked("semispace", [{}, {"other": 1}], [1.5, 2], 10_000)
    assert [point.settings["heap_bytes"] for point in points] == [16384, 20480, 16384, 20480]
    assert [point.name for point in points] == ["semispace"] * 2 + ["semispace (other=1)"] * 2
    of_java = asked("hotspot-g1", [{"Xmn": 4096}], [2], 10_000)[0]
    assert of_java.settings == {"Xmn": 4096, "Xmx": 20480} and of_java.name == "hotspot-g1 (Xmn=4K)"


def test_ratios_are_to_explicit_freeing_by_glibc():
    points = asked("semispace", [{}], [3, 1.5, 2], 4096)
    results = [
        collected("semispace", 3.0, 8192, heap_bytes=8192),
        collected("semispace", 1.5, 16384, heap_bytes=12288),
        result("wright", 0.5, 4096),
        result("glibc", 1.0, 8192),
    ]
    found = space_time(points, results)
    assert found.multiples == [1.5, 2, 3]
    assert found.curves == {"semispace": [results[0], results[0], results[1]]}
    points = asked("semispace", [{}], [1, 2, 3], 4096)
    found = space_time(points, results)
    assert found.curves == {"semispace": [None, results[0], results[1]]}
    said = found.to_json()
    assert said["baseline"] == "glibc"
    assert [row["fits"] for row in said["rows"]] == [False, True, True]
    assert said["rows"][2] == {
        "collector": "semispace",
        "heap": 3,
        "fits": True,
        "heap_bytes": 12288,
        "high_water_bytes": 16384,
        "seconds": 1.5,
        "space": 2.0,
        "time": 1.5,
        "collections": 7,
        "traced": 0.5,
    }


def test_without_explicit_freeing_there_are_no_ratios():
    points = asked("semispace", [{}], [1], 4096)
    found = space_time(points, [collected("semispace", 3.0, 8192, heap_bytes=4096)])
    assert found.to_json()["rows"][0]["time"] is None
    assert math.isnan(found.time(found.curves["semispace"][0]))


@pytest.mark.parametrize(("fastest", "names"), [("b", ("b", "c")), ("glibc", ("b", "glibc"))])
def test_the_baseline_is_glibc_or_the_fastest(fastest, names):
    explicit = [result(name, seconds, 4096) for seconds, name in enumerate(names, 1)]
    assert space_time([], explicit).baseline.manager == fastest
