"""Tables fit their terminal: names give way last, numbers never, and what is left out is told."""

import io

import pytest
from rich.console import Console

from heapwright.report.agreement import agreement_sheet
from heapwright.report.comparison import collectors_sheet, comparison_sheet, paths_sheet
from heapwright.report.comparison import space_time_sheet as curve_sheet
from heapwright.report.processes import processes_sheet
from heapwright.report.standing import TO_COMPARE, grouped
from heapwright.report.terminal import drawn, elided, plain, print_descriptions, print_sheet
from heapwright.report.traces import (
    holding_sheet,
    lifetimes_sheet,
    sites_sheet,
    sizes_sheet,
    stranded_sheet,
)
from made_results import collecting, curve, made, now, processes, spread, statistics, stranded

PIPED = 1 << 14
LONG = "std::__detail::_Map_base<std::string, std::pair<std::string const, long>>::operator[] " * 3
SITE = LONG.strip() + " (map.h:1234)"
LARGE = {
    "peak": dict.fromkeys(made().peak, 9999000000000),
    "high_water_bytes": 99_990_000_000_000,
    "page_faults": 123_456_789,
    "mapped_bytes_peak": 30 << 40,
}


def large():
    """Rows of every kind with every figure large."""
    knobs = {"minimum_block_bytes": 4096, "tcache_unsorted_limit": 1_000_000_000}
    return [
        made("segregated-fit", **LARGE),
        made("jemalloc", "measured", **LARGE),
        made("tri-colour", settings=knobs, refused=9, **LARGE),
        made("a-plug-in-with-a-very-long-name-of-its-own", **LARGE),
        now(),
    ]


def large_collectors():
    did = collecting(
        collections={"full": 123_456, "minor": 1_234_567},
        pauses=123_456_789,
        pause_ns=dict.fromkeys(("median", "p90", "p99", "longest", "total"), 987_654_321),
        totals=dict.fromkeys(collecting().totals, 10**15),
    )
    return [made("generational", settings={"heap_bytes": 1 << 30}, collecting=did)]


class Agreement:
    """Of a twin with the real system, every figure large."""

    title = "glibc beside the real one"

    def rows(self):
        large = "123,456,789,012"
        return [
            ("addresses, of 123,456,789 events", large, large, "100.00 %"),
            (LONG, "1", "2", ""),
        ]


SHEETS = {
    "agreement": lambda: agreement_sheet(Agreement()),
    "comparison": lambda: comparison_sheet(large()),
    "one": lambda: comparison_sheet(large()[:1]),
    "collectors": lambda: collectors_sheet(large_collectors()),
    "space-time": lambda: curve_sheet(curve()),
    "paths": lambda: paths_sheet({LONG: 10**15}),
    "sizes": lambda: sizes_sheet(statistics(many=10**9)),
    "lifetimes": lambda: lifetimes_sheet(statistics(many=10**9)),
    "sites": lambda: sites_sheet(statistics(SITE, 10**9)),
    "stranded": lambda: stranded_sheet(stranded(SITE, 10**9)),
    "holding": lambda: holding_sheet(stranded(SITE, 10**9)),
    "processes": lambda: processes_sheet(processes()),
}


@pytest.mark.parametrize("width", [80, 100, 200, PIPED])
@pytest.mark.parametrize("name", SHEETS)
def test_fits_with_every_name_and_every_number_whole(name, width):
    sheet = SHEETS[name]()
    lines, left_out = drawn(sheet, width)
    texts = [line.plain for line in lines]
    assert max(map(len, texts)) <= width
    whole = "\n".join(texts)
    kept = [c for c in sheet.shown() if c.title.replace("\u00ad", "") not in left_out]
    assert len(kept) + len(left_out) == len(sheet.shown())
    for row in sheet.rows:
        if len(row.name) <= 20 or width == PIPED:
            assert row.name in whole
        else:
            head, _, tail = elided(row.name, 16).partition("…")
            assert row.name in whole or (head[:5] in whole and tail[-5:] in whole)
        for column in kept:
            if sheet.unit is None:
                for part in column.text(row.values).split(", "):
                    assert part in whole or part.replace(" ", "") in whole, column.key
    always = [c.title.replace("\u00ad", "") for c in sheet.shown() if c.rank == 0]
    assert not set(always) & set(left_out)
    if width == PIPED:
        assert not left_out and "…" not in whole


@pytest.mark.parametrize("width", [80, 100, 200])
def test_columns_go_before_a_name_is_shortened(width):
    sheet = comparison_sheet(large())
    lines, left_out = drawn(sheet, width)
    whole = "\n".join(line.plain for line in lines)
    assert "tcache_unsorted_limit=1000000000" in whole
    assert "jemalloc (measured)" in whole
    assert bool(left_out) == (width < 200)
    if left_out:
        ranks = {c.title.replace("\u00ad", ""): c.rank for c in sheet.columns}
        least = min(ranks[title] for title in left_out)
        assert all(rank <= least or t in left_out for t, rank in ranks.items())


@pytest.mark.parametrize(
    ("sheet", "order"),
    [
        (
            comparison_sheet([made(), now()]),
            "at exit, mapped peak, headers, cached, rounding, faults, events, mean, "
            "retained, partial, garbage, in one event, vs now",
        ),
        (
            collectors_sheet([made("a", collecting=collecting())]),
            "promoted, barriers, swept, marked, copied, pauses, 99 %, median pause, survived",
        ),
        (processes_sheet(processes()), "mapped peak, headers, cached, rounding, retained, partial, "
         "objects, live"),
        (sizes_sheet(statistics()), ", "),  # the bars, which have no heading
        (lifetimes_sheet(statistics()), ""),
        (stranded_sheet(stranded()), "median age, events, objects, pages, share"),
    ],
)  # fmt: skip
def test_what_matters_least_goes_first(sheet, order):
    """In a terminal without room for anything."""
    assert ", ".join(drawn(sheet, 20)[1]) == order
    assert drawn(sheet, PIPED)[1] == []


def test_bars_go_first_that_of_requests_before_that_of_bytes():
    def kept(width):
        shown = [line.plain for line in drawn(sizes_sheet(statistics()), width)[0]]
        return "█" * 24 in shown[1], "█" * 24 in shown[2]

    assert [kept(width) for width in (80, 60, 30)] == [(True, True), (False, True), (False, False)]


def test_what_is_left_out_is_told():
    text = io.StringIO()
    print_sheet(Console(file=text, width=80, color_system=None), comparison_sheet(large()))
    assert "Left out at this width: at exit, mapped peak" in " ".join(text.getvalue().split())
    assert max(map(len, text.getvalue().splitlines())) <= 80


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("glibc", 5, "glibc"),
        ("segregated-fit", 9, "segr…-fit"),
        ("segregated-fit", 2, "s…"),
        ("日本語の名前", 7, "日本…前"),
    ],
)
def test_the_middle_is_left_out(text, width, short):
    assert elided(text, width) == short


@pytest.mark.parametrize("width", [80, 100, 200, PIPED])
def test_of_descriptions_only_the_sentence_gives_way(width):
    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None)
    knobs = {"tcache_unsorted_limit": 1_000_000, "growth_bytes": 0}
    sentence = "a block of at least so many bytes, " * 5
    print_descriptions(console, ("name", "what", "knobs"), [("fibonacci-buddy", sentence, knobs)])
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[1].startswith("fibonacci-buddy  a block")
    assert any("tcache_unsorted_limit = 1,000,000" in line for line in lines)
    assert any("growth_bytes = 0" in line for line in lines)
    assert text.getvalue().split().count("bytes,") == 5
    print_descriptions(console, ("name", "what", "knobs"), [("a", "b", {})])
    assert text.getvalue().split()[-3:] == ["a", "b", "none"]


def test_a_name_moves_no_cursor_and_breaks_no_line():
    lines, _ = drawn(sites_sheet(statistics("\x1b[2Jevil\nname\x07")), 80)
    assert lines[1].plain.endswith("\ufffd[2Jevil\ufffdname\ufffd")


def test_the_caption_names_what_is_assumed_written_and_how_long_the_program_took():
    said = comparison_sheet([made(), now()]).caption
    assert "Assumes that all that is allocated is written, but for fresh calloc pages." in said
    assert "The recorded program took 7.50 s." in said
    nothing = made(conditions={"touch": "none", "huge_pages": "never"}, clock_ns=None)
    said = comparison_sheet([nothing]).caption
    assert "Assumes that the program writes nothing." in said
    assert "took" not in said


def test_what_only_compares_stands_below_a_line_of_its_own():
    go = made("go", collecting=collecting(), spread=spread())
    ours = made("wright", peak=now().peak, high_water_bytes=0)
    results = [*(made(name) for name in ("buddy", "linear")), go, now(), ours]
    sheet = grouped(comparison_sheet(results), results, graph=False)
    assert [row.name for row in sheet.rows] == ["glibc", "wright", "buddy", "linear", "go"]
    lines = plain(sheet, 100)
    (at,) = [n for n, line in enumerate(lines) if line.startswith(TO_COMPARE)]
    told = "\n".join(lines)
    assert "wright" in "\n".join(lines[:at]) and "buddy" in "\n".join(lines[at:])
    assert "decides" not in told and "bage" not in told, "of collectors only where one is first"
    few = results[2:]
    assert grouped(comparison_sheet(few), few, graph=False) == comparison_sheet(few)
