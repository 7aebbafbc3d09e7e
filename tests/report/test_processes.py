"""The table of processes as it gets narrower."""

from heapwright.report.processes import PROCESSES


def test_columns_leave_a_narrow_table_one_by_one():
    leaving = sorted((c.rank, c.title.replace("\u00ad", "")) for c in PROCESSES if c.rank)
    assert [title for _, title in leaving] == [
        "live",
        "objects",
        "partial",
        "retained",
        "rounding",
        "cached",
        "headers",
        "mapped peak",
    ]
    assert [rank for rank, _ in leaving] == list(range(1, 9))
