"""A comparison in a terminal has all that belongs to it: each table, the verdict, notes."""

import io
import re

import pytest
from rich.console import Console

from heapwright.report.document import Compared
from heapwright.report.summary import print_comparison
from heapwright.result import UnderLimit
from made_results import collecting, curve, made, now
from small_traces import churn, write


@pytest.fixture
def trace(tmp_path):
    return write(tmp_path / "t.heap.parquet", churn(100))


def printed(compared, page=None):
    console = Console(file=io.StringIO(), width=200)
    print_comparison(console, compared, page)
    return console.file.getvalue()


def test_what_holds_what_and_how_it_collected(trace):
    graph = made("generational", collecting=collecting())
    present = now()
    present.notes.append("It guesses.")
    text = printed(Compared(trace, [present, graph], named=True))
    assert "mapped" in text and "exit" in text, "the table of memory"
    assert "21 full" in text and "barriers" in text, "the collectors' table"
    assert "note: glibc. It guesses." in text and "The report" not in text
    present.under_limit = UnderLimit(1 << 30, 0)
    text = printed(Compared(trace, [present, graph], named=True))
    apart = re.split(r"\n *\n", text)
    wanted = ("mapped", "barriers", "Under a limit", "generational would hold", "note: glibc")
    assert len(apart) == len(wanted)
    assert all(re.search(one, part) for one, part in zip(wanted, apart, strict=True))
    alone = printed(Compared(trace, [now(), made()]))
    assert "barriers" not in alone and "190" in alone


def test_a_curve_of_heap_sizes_stands_for_the_tables(trace, monkeypatch):
    from heapwright.report import summary

    class Known:
        def to_json(self):
            return curve()

    monkeypatch.setattr(summary, "space_time", lambda points, results: Known())
    text = printed(Compared(trace, [now(), made()], points=[object()]))
    assert "mark/cons" in text and "semispace" in text and "mapped" not in text


def test_nothing_without_results(trace):
    assert printed(Compared(trace, [])) == ""


def test_the_page_is_named(trace, tmp_path):
    page = tmp_path / "page.html"
    assert f"The report: {page}" in printed(Compared(trace, [now()]), page).replace("\n", "")
