"""Tables of managers beside each other: who is marked, what is ranked, and what is left out."""

from heapwright.report.comparison import (
    collectors_sheet,
    comparison_rows,
    comparison_sheet,
    space_time_sheet,
)
from heapwright.report.markup import table
from heapwright.report.terminal import plain
from heapwright.result import Spread
from made_results import MIB, collecting, curve, made, now, spread


def test_a_range_says_its_least_and_its_most():
    sheet = comparison_sheet([made(spread=spread()), made("b")])
    assert comparison_rows([made(spread=spread())])[0]["spread"] == {
        "replays": 9,
        "held_bytes": {"least": 45 * MIB, "most": 345 * MIB},
        "collections": {"least": 17, "most": 29},
    }
    lines = "\n".join(plain(sheet, 80))
    assert "45.0 MiB" in lines and "to 345 MiB" in lines, "it is never left out"
    assert "differ in nothing else" in sheet.caption
    assert "as time decides, most bytes" in made(spread=spread())._repr_html_()
    assert "as time decides" not in made()._repr_html_()
    alike = made(spread=Spread(9, (45 * MIB, 45 * MIB), (3, 3)))
    assert "45.0 MiB" in "\n".join(plain(comparison_sheet([alike]), 80))
    assert " to " not in "\n".join(plain(comparison_sheet([alike]), 80))
    assert [row.name for row in sheet.rows] == ["b", "buddy"], "ranked by the most"


def test_json_says_who_is_the_present_state_and_what_was_refused():
    rows = comparison_rows([made(refused=7, conditions={"touch": "none"}), now()])
    assert [row["present"] for row in rows] == [False, True]
    assert [row["refused"] for row in rows] == [7, 0]
    assert rows[0]["conditions"] == {"touch": "none"}
    assert rows[0]["high_water_bytes"] == 190 * MIB and rows[1]["held_bytes"] == 200 * MIB
    assert comparison_rows([made()])[0]["change_to_present"] == 0
    assert comparison_rows([made("a"), made("b")])[0]["change_to_present"] is None


def test_least_first_one_star_and_the_present_state():
    lines = plain(comparison_sheet([now(), made()]), 200)
    rows = [line for line in lines if "buddy" in line or "glibc" in line]
    assert [row[:13].strip() for row in rows] == ["★ buddy", "glibc (now)"]


def test_who_ran_out_is_marked_and_never_wins():
    small = made("a", refused=1, peak=dict.fromkeys(made().peak, 0), high_water_bytes=0)
    sheet = comparison_sheet([small, made("b", settings={"knob": 4})])
    lines = plain(sheet, 200)
    assert "★ b" in "\n".join(lines)
    assert [line.strip() for line in lines[-3:]][1:] == [lines[-2].strip(), "ran out of memory"]
    assert 'class="chip bad"' in table(sheet)
    assert "knob=4" in table(sheet) and any(line.strip() == "knob=4" for line in lines)


def test_settings_of_the_recording_are_told_apart_from_those_of_the_row():
    found = made(recorded={"arena_max": 2, "top_pad": 5}, settings={"top_pad": 0})
    lines = [line.strip() for line in plain(comparison_sheet([found, now()]), 200)]
    at = lines.index("arena_max=2 as recorded")
    assert lines[at + 1] == "top_pad=0"
    assert "<small>arena_max=2 as recorded, top_pad=0</small>" in table(comparison_sheet([found]))


def test_a_measured_row_says_so_and_a_heap_that_is_too_small_too():
    sheet = comparison_sheet([made("jemalloc", "measured"), now()])
    assert "jemalloc (measured)" in "\n".join(plain(sheet, 200))
    lines = [line.split() for line in plain(space_time_sheet(curve()), 80)]
    assert ["semispace", "(no", "room)", "2.00×", *"----"] in lines


def test_collectors_without_one_have_no_table():
    assert table(collectors_sheet([now()])) == ""
    lines = "\n".join(plain(collectors_sheet([made("a", collecting=collecting())]), 200))
    for shown in ("21 full", "1,234 minor", "50 % full", "3.1 % minor"):
        assert shown in lines
    only_full = collecting(collections={"full": 3, "minor": 0}, survival={"full": 0.25})
    lines = plain(collectors_sheet([made("a", collecting=only_full)]), 200)
    assert lines[-1].split()[:2] == ["a", "3"] and "25 %" in lines[-1]


def test_where_nothing_is_the_present_state_there_is_no_change_to_it():
    beside = [column.key for column in comparison_sheet([made(), now()]).shown()]
    shown = [column.key for column in comparison_sheet([made("a"), made("b")]).shown()]
    assert shown == [key for key in beside if key != "change_to_present"] != beside
    assert [column.key for column in comparison_sheet([now()]).shown()][3:5] == [
        "exit_resident_bytes",
        "live_share",
    ]


COMPARED_LEAVING = [
    "exit_resident_bytes",
    "mapped_bytes_peak",
    "peak.header_bytes",
    "peak.cached_bytes",
    "peak.rounding_bytes",
    "page_faults",
    "events_per_second",
    "mean_resident_bytes",
    "peak.retained_bytes",
    "peak.partial_bytes",
    "peak.garbage_bytes",
    "within_event_bytes",
    "change_to_present",
]
COLLECTED_LEAVING = [
    "collector.totals.promoted_bytes",
    "collector.totals.barriers",
    "collector.totals.swept_bytes",
    "collector.totals.marked_bytes",
    "collector.totals.copied_bytes",
    "collector.pauses",
    "collector.pause_ns.p99",
    "collector.pause_ns.median",
    "collector.survival",
]


def leaving(sheet):
    """Keys of the columns in the order in which a narrow terminal leaves them out."""
    columns = [column for column in sheet.columns if column.rank]
    found = []
    while columns:
        columns.remove(gone := max(columns, key=lambda column: column.rank))
        found.append(gone.key)
    return found


def test_what_matters_least_is_left_out_first():
    assert leaving(comparison_sheet([made(), now()])) == COMPARED_LEAVING
    assert leaving(collectors_sheet([made("a", collecting=collecting())])) == COLLECTED_LEAVING


def test_a_part_that_is_large_goes_late():
    peak = made().peak | {"cached_bytes": made().held_bytes // 2}
    gone = leaving(comparison_sheet([made(peak=peak)]))
    assert gone.index("peak.cached_bytes") > gone.index("peak.partial_bytes")


def test_columns_in_which_there_is_nothing_are_left_out():
    peak = made().peak | {"garbage_bytes": 0}
    shown = {column.key for column in comparison_sheet([now(), made(peak=peak)]).shown()}
    assert "peak.garbage_bytes" not in shown and "within_event_bytes" in shown
    none = comparison_sheet([now(), made(peak=peak, high_water_bytes=0)])
    assert "within_event_bytes" not in {column.key for column in none.shown()}
    assert "one event" not in none.caption and "measured" not in none.caption
    did = collecting(totals=dict.fromkeys(collecting().totals, 0))
    keys = {c.key for c in collectors_sheet([made("a", collecting=did)]).shown()}
    assert not any("totals" in key for key in keys) and "collector.pauses" in keys


def test_captions_say_which_peak_and_what_a_measured_rest_is():
    assert "within one event too" in comparison_sheet([made()]).caption
    assert "Of a measured system" in comparison_sheet([made("a", "measured"), now()]).caption
    assert "those of explicit freeing by glibc." in space_time_sheet(curve()).caption
    assert "those of nothing." in space_time_sheet({"baseline": None, "rows": []}).caption
