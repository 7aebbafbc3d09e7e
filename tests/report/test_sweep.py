"""The table of a sweep's best rows: what it says."""

from heapwright.report.sweep import best_sheet


def row(manager, settings="{}", touch="all", **more):
    sizes = {"peak_resident_bytes": 40 << 20, "mean_resident_bytes": 30 << 20}
    conditions = {"touch": touch, "huge_pages": "never", "kind": "twin"}
    return {"manager": manager, "settings": settings, "events": 100, **sizes, **conditions, **more}


def test_settings_conditions_and_rates_of_the_rows():
    chosen = [
        row("glibc", '{"arena_max": 1}', seconds=0.5),
        row("jemalloc", touch="none", seconds=0.0, kind="measured"),
    ]
    sheet = best_sheet("a.heap.parquet", chosen, "mean")
    assert [one.values["events_per_second"] for one in sheet.rows] == [200.0, None]
    assert [one.details for one in sheet.rows] == [
        ("arena_max=1", "touch=all huge_pages=never"),
        ("touch=none huge_pages=never",),
    ]
    assert [one.flags for one in sheet.rows] == [(), (("", "measured"),)]
    assert sheet.caption == "The 2 rows with the least mean."
    assert best_sheet("a", chosen[:1], "mean").caption == "The row with the least mean."
    assert best_sheet("a", chosen[:1], "mean").rows[0].details == ("arena_max=1",)
