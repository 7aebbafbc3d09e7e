"""The table of a comparison under a memory limit."""

from heapwright.report.limits import limits_sheet
from heapwright.result import UnderLimit
from made_results import made

MIB = 1 << 20


def under(**told):
    return UnderLimit(limit_bytes=64 * MIB, swap_bytes=32 * MIB, **told)


def test_who_runs_stands_first_and_who_lasts_longest_next():
    results = [made(name) for name in ("soon", "swaps", "fits", "late", "measured")]
    results[0].under_limit = under(killed_event=10)
    results[1].under_limit = under(swapped_out_bytes=MIB, major_faults=7, wait_seconds=0.5)
    results[2].under_limit = under()
    results[3].under_limit = under(killed_event=9000, killed_seconds=2.5)
    sheet = limits_sheet(results)
    assert [row.name for row in sheet.rows] == ["fits", "swaps", "late", "soon"]
    assert [row.values["outcome"] for row in sheet.rows] == [
        *("fits", "swaps", "killed at event 9,000, 2.50 s", "killed at event 10"),
    ]
    assert sheet.title == "Under a limit of 64.0 MiB and 32.0 MiB of swap"
    assert sheet.rows[1].values["wait_ns"] == 500_000_000
    assert "under_limit.major_faults" in [column.key for column in sheet.shown()]


def test_without_a_limit_there_is_no_table():
    assert limits_sheet([made("glibc")]).rows == []
