"""From a result to a person: every figure of every table, in JSON, in a terminal and on the page.

The expected values are read off the results made by hand, in which no two figures are alike. So a
column that shows another's figure fails here, wherever it is read.
"""

import re
from html.parser import HTMLParser

import pytest

from heapwright.report.comparison import (
    collectors_sheet,
    comparison_sheet,
    paths_sheet,
    space_time_sheet,
)
from heapwright.report.markup import table
from heapwright.report.processes import process_row, processes_sheet
from heapwright.report.rows import (
    BYTES,
    COUNT,
    COUNT_BY_KIND,
    SHARE_BY_KIND,
    Column,
    Row,
    Sheet,
    bytes_unit,
)
from heapwright.report.terminal import plain
from heapwright.report.traces import (
    holding_sheet,
    lifetimes_sheet,
    sites_sheet,
    sites_sheets,
    sizes_sheet,
    stranded_sheet,
)
from made_results import MIB, collecting, curve, made, now, processes, spread, statistics, stranded

WIDE = 1 << 14


# What each table must show of one row: key in JSON, value, text on the page, text in a terminal;
# a terminal's unit stands on top of a column of memory where the sheet has one.
COMPARED = [
    ("held_bytes", 190 * MIB, "190 MiB", "190"),
    ("mean_resident_bytes", 98 * MIB, "98.0 MiB", "98.0"),
    ("end_resident_bytes", 47 * MIB, "47.0 MiB", "47.0"),
    ("exit_resident_bytes", 46 * MIB, "46.0 MiB", "46.0"),
    ("change_to_present", 190 / 200 - 1, "−5 %", "−5 %"),
    ("live_share", 100 / 190, "53 %", "53 %"),
    ("peak.rounding_bytes", 11 * MIB, "11.0 MiB", "11.0"),
    ("peak.header_bytes", 12 * MIB, "12.0 MiB", "12.0"),
    ("peak.cached_bytes", 13 * MIB, "13.0 MiB", "13.0"),
    ("peak.partial_bytes", 14 * MIB, "14.0 MiB", "14.0"),
    ("peak.retained_bytes", 15 * MIB, "15.0 MiB", "15.0"),
    ("peak.garbage_bytes", 16 * MIB, "16.0 MiB", "16.0"),
    ("within_event_bytes", 9 * MIB, "9.00 MiB", "9.00"),
    ("mapped_bytes_peak", 333 * MIB, "333 MiB", "333"),
    ("page_faults", 4321, "4,321", "4,321"),
    ("events_per_second", 4e6, "4.00 M/s", "4.00M"),
]
COLLECTED = [
    ("collector.collections", None, "21 full, 1,234 minor", "21 full"),
    ("collector.pauses", 1255, "1,255", "1,255"),
    ("collector.pause_ns.median", 1100, "1.10 µs", "1.10 µs"),
    ("collector.pause_ns.p99", 3300, "3.30 µs", "3.30 µs"),
    ("collector.pause_ns.longest", 44_000, "44.0 µs", "44.0 µs"),
    ("collector.stopped_share", 0.125, "12 %", "12 %"),
    ("collector.totals.marked_bytes", 31 * MIB, "31.0 MiB", "31.0 MiB"),
    ("collector.totals.copied_bytes", 32 * MIB, "32.0 MiB", "32.0 MiB"),
    ("collector.totals.promoted_bytes", 33 * MIB, "33.0 MiB", "33.0 MiB"),
    ("collector.totals.swept_bytes", 34 * MIB, "34.0 MiB", "34.0 MiB"),
    ("collector.survival", None, "50 % full, 3.1 % minor", "50 % full"),
    ("collector.totals.barriers", 5678, "5,678", "5,678"),
]
SPREAD = [
    COMPARED[0],
    ("spread.held_bytes", None, "45.0 MiB, to 345 MiB", "45.0 MiB"),
    *COMPARED[1:4],
    ("change_to_present", 345 / 200 - 1, "+73 %", "+73 %"),
    *COMPARED[5:],
]
SPREAD_COLLECTED = [
    COLLECTED[0],
    ("spread.collections", None, "17, to 29", "17"),
    *COLLECTED[1:],
]
CURVE = [
    ("heap", 3, "3.00×", "3.00×"),
    ("time", 6.0, "6.00×", "6.00×"),
    ("space", 4.0, "4.00×", "4.00×"),
    ("collections", 1255, "1,255", "1,255"),
    ("traced", (31 + 32) / 35, "1.80×", "1.80×"),
]
SIZES = [
    ("count", 400, "400", "400"),
    ("count_share", 1.0, "█" * 24, "█" * 24),
    ("bytes", 12_000, "11.7 KiB", "11.7 KiB"),
    ("bytes_share", 12 / 78, "███▊", "███▊"),
]
LIFETIMES = [
    ("count", 54, "54", "54"),
    ("share", 0.27, "27 %", "27 %"),
    ("count_share", 54 / 146, "████████▉", "████████▉"),
]
SITES = [("bytes", 66_000, "64.5 KiB", "64.5 KiB"), ("count", 77, "77", "77")]
STRANDED = [
    ("bytes", 8200, "8.01 KiB", "8.01 KiB"),
    ("share", 0.9, "90 %", "90 %"),
    ("objects", 31, "31", "31"),
    ("pages", 12, "12", "12"),
    ("median_age_events", 405, "405", "405"),
]
HOLDING = [("pages", 8, "8", "8"), ("bytes", 6300, "6.15 KiB", "6.15 KiB")]
PROCESS = [
    ("process", 4711, "4711", "4711"),
    ("objects", 55, "55", "55"),
    ("resident_bytes", 81 * MIB, "81.0 MiB", "81.0"),
    *(
        (f"parts.{part}_bytes", n * MIB, f"{n}.0 MiB", f"{n}.0")
        for n, part in enumerate(
            ("live", "rounding", "header", "cached", "partial", "retained"), 11
        )
    ),
    ("mapped_bytes_peak", 97 * MIB, "97.0 MiB", "97.0"),
]

TABLES = {
    "comparison": (lambda: comparison_sheet([made(), now()]), "buddy", COMPARED),
    "comparison where time decides": (
        lambda: comparison_sheet([made(spread=spread()), now()]),
        "buddy",
        SPREAD,
    ),
    "collectors where time decides": (
        lambda: collectors_sheet([made("generational", collecting=collecting(), spread=spread())]),
        "generational",
        SPREAD_COLLECTED,
    ),
    "collectors": (
        lambda: collectors_sheet([now(), made("generational", collecting=collecting())]),
        "generational",
        COLLECTED,
    ),
    "space-time": (lambda: space_time_sheet(curve()), "semispace", CURVE),
    "paths": (lambda: paths_sheet({"fast": 12_345_678}), "fast", [
        ("times", 12_345_678, "12,345,678", "12,345,678")
    ]),
    "sizes": (lambda: sizes_sheet(statistics()), "32 B", SIZES),
    "lifetimes": (lambda: lifetimes_sheet(statistics()), "never freed", LIFETIMES),
    "sites": (lambda: sites_sheet(statistics()), "parse (json.c:12)", SITES),
    "stranded": (lambda: stranded_sheet(stranded()), "parse (json.c:12)", STRANDED),
    "holding": (lambda: holding_sheet(stranded()), "parse (json.c:12)", HOLDING),
    "processes": (lambda: processes_sheet(processes()), "sqlite3", PROCESS),
}  # fmt: skip


HEADINGS = {
    "comparison": "manager|peak|mean|end|at exit|vs now|live|rounding|headers|cached"
    "|partial|retained|garbage|in one event|mapped peak|faults|events",
    "collectors": "collector|collections|pauses|median pause|99 %|longest pause|of the time|marked"
    "|copied|promoted|swept|survived|barriers",
    "comparison where time decides": "manager|peak|as time decides|mean|end|at exit|vs now|live"
    "|rounding|headers|cached|partial|retained|garbage|in one event|mapped peak|faults|events",
    "collectors where time decides": "collector|collections|as time decides|pauses|median pause"
    "|99 %|longest pause|of the time|marked|copied|promoted|swept|survived|barriers",
    "space-time": "collector|heap|time|memory|collections|mark/cons",
    "paths": "path|times",
    "sizes": "up to|requests||bytes|",
    "lifetimes": "events|objects|share|",
    "sites": "call site|bytes|requests",
    "stranded": "call site|bytes stranded|share|objects|pages|median age, events",
    "holding": "call site|pages it alone holds|free bytes on them",
    "processes": "program|process|objects|resident|live|rounding|headers|cached|partial|retained"
    "|mapped peak",
}


class Cells(HTMLParser):
    """The rows of a page's table: the name, then attributes and text of each cell."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.inside = [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.inside = [dict(attributes), ""]
            self.rows[-1].append(self.inside)

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self.inside = None

    def handle_data(self, data):
        if self.inside is not None:
            self.inside[1] += data


def found_row(sheet, name):
    """The last row of that name."""
    return [row for row in sheet.rows if row.name == name][-1]


@pytest.mark.parametrize("table_name", TABLES)
def test_every_figure_from_the_result_to_the_eye(table_name):
    make, name, expected = TABLES[table_name]
    sheet = make()
    row = found_row(sheet, name)
    shown = sheet.shown()
    assert [column.key for column in shown] == [key for key, *_ in expected]

    for key, value, _, _ in expected:  # JSON
        said = row.values
        for step in key.split("."):
            said = said[step]
        if value is not None:
            assert said == pytest.approx(value), key

    head, *_ = Cells(table(sheet)).rows
    assert "|".join(text.replace("\u00ad", "") for _, text in head) == HEADINGS[table_name]
    cells = [line for line in Cells(table(sheet)).rows if line[0][1].startswith(name)][-1]
    for (attributes, text), (key, value, on_page, _) in zip(cells[1:], expected, strict=True):
        assert (attributes["data-key"], text) == (key, on_page)
        assert attributes["data-title"] in HEADINGS[table_name]
        if value is not None:
            assert float(attributes["data-value"]) == pytest.approx(value), key

    lines = plain(sheet, WIDE)
    line = [line for line in lines if name in line][-1]
    positions, at = [], 0
    for _, _, _, in_terminal in expected:  # in this order, and nothing else but the name
        at = line.index(in_terminal, at)
        positions.append(at)
        line = line[:at] + " " * len(in_terminal) + line[at + len(in_terminal) :]
    assert line.strip(" ★") == name
    assert positions == sorted(positions)


def test_no_two_figures_are_alike():
    """Or else the test above could not tell them apart."""
    for _, _, expected in TABLES.values():
        texts = [text for *_, text in expected]
        assert len(set(texts)) == len(texts)
        values = [value for _, value, *_ in expected if value is not None]
        assert len(set(values)) == len(values)


def test_the_unit_stands_on_top_of_a_column_without_one():
    lines = plain(comparison_sheet([made(), now()]), WIDE)
    units = [line for line in lines if line.startswith("manager")]
    assert re.sub(" +", " ", units[0]) == (
        "manager MiB MiB MiB MiB now live MiB MiB MiB MiB MiB MiB MiB MiB faults events/s"
    )
    top = " ".join(lines[:3])
    for heading in ("peak", "vs", "cached", "partial", "mapped"):
        assert heading in top


def test_a_process_with_too_many_caches_says_nothing_it_does_not_know():
    known, unknown = processes()
    assert process_row(unknown)["resident_bytes"] is None
    line = plain(processes_sheet([known, unknown]), 200)[-1]
    assert line.split() == ["sh", "4712", "6", *"-" * 7, "98.0"]


def test_call_sites_in_another_order_are_not_shown_twice():
    assert [sheet.title for sheet in sites_sheets(statistics(), 10)] == ["call sites by bytes"]
    assert len(sites_sheets(statistics(), 2)) == 2
    nameless = statistics("unknown")
    for rows in nameless["top_sites"].values():
        rows[:] = [row for row in rows if row["site"] == "unknown"]
    assert sites_sheets(nameless, 10) == []
    assert "1 more call sites, less than 0.1 % each." in stranded_sheet(stranded()).caption


def test_the_page_marks_the_winner_and_knows_how_broad_a_table_is():
    rows = table(comparison_sheet([made(), now()])).split("<tr")
    assert [' class="winner"' in row for row in rows[2:]] == [True, False]
    assert 'data-manager="buddy" data-kind="twin"' in rows[2] and "measured" not in rows[2]
    assert 'class="words"' not in rows[2], "figures stand to the right"
    assert '<td data-key="count_share" data-title="" ' in table(sizes_sheet(statistics()))
    assert 'class="words">' in table(sizes_sheet(statistics()))
    sizes = {4: "few", 5: "some", 7: "some", 8: "many", 12: "many", 13: "most"}
    for number, breadth in sizes.items():
        columns = tuple(Column(f"c{n}", "c") for n in range(number))
        made_up = table(Sheet("", columns, [Row({}, "a")]))
        assert f'<table class="figures {breadth}">' in made_up and made_up.count("<td") == number
        assert made_up.count(">-</td>") == number, "not known"


def test_the_unit_of_a_column_is_one_that_the_smallest_has_ten_of():
    units = {10: (10, "KiB"), 20: (20, "MiB"), 30: (30, "GiB"), 40: (40, "TiB")}
    for shift, (unit, name) in units.items():
        assert bytes_unit([0, 10 << shift, 99 << shift]) == (1 << unit, name)
        below = units.get(shift - 10, units[10])
        assert bytes_unit([(10 << shift) - 1]) == (1 << below[0], below[1])
    assert bytes_unit([]) == bytes_unit([0]) == (1 << 10, "KiB")


def test_quantities_at_their_bounds():
    assert [COUNT.text(n) for n in (0, 999_999, 1_000_000)] == ["0", "999,999", "1.00 M"]
    assert COUNT_BY_KIND.text({"full": 3, "minor": 0}) == "3"
    assert COUNT_BY_KIND.text({"full": 0, "minor": 4}) == "4 minor"
    assert SHARE_BY_KIND.text({"full": 0.0}) == "0 %"
    assert [BYTES.text(n) for n in (0, 1)] == ["0", "1 B"]
