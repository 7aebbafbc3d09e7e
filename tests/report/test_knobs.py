"""What was set is explained once for each manager's knob, and nothing where nothing was set."""

from heapwright.managers import named
from heapwright.managers.knobs import knobs
from heapwright.report.knobs import said_of_settings
from made_results import made


def test_each_knob_that_a_row_sets_is_explained_once():
    results = [
        made("glibc"),
        made("glibc", settings={"tcache_count": 0, "arena_max": 1}),
        made("glibc", settings={"tcache_count": 9, "of a later version": 3}),
        made("a real one without a twin", "measured", settings={"tcache_count": 0}),
    ]
    known = knobs(named("glibc"))
    assert said_of_settings(results) == [
        (f"glibc.{name} ({known[name].unit})", known[name].sentence)
        for name in ("tcache_count", "arena_max")
    ]
    assert said_of_settings(results[:1]) == []
