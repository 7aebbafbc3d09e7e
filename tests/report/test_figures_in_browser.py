"""What the page's scripts write: each figure is the one of its event, part, bar or cell."""

from itertools import pairwise

import numpy as np
import pytest

from heapwright.report import html
from heapwright.report.document import Compared
from heapwright.result import CYCLE, TIMELINE
from heapwright.trace.schema import MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from made_results import collecting, made, statistics

MIB = 1 << 20
# event, mapped, resident, live, rounding, header, cached, partial, retained, garbage
ROWS = [
    [0, 90, 81, 21, 11, 10, 9, 8, 7, 15],
    [500, 290, 281, 121, 31, 30, 29, 28, 27, 15],  # the peak
    [999, 190, 181, 71, 22, 20, 19, 18, 17, 14],
]
AT_PEAK = {
    "garbage": "15.0 MiB",
    "retained": "27.0 MiB",
    "partial": "28.0 MiB",
    "cached": "29.0 MiB",
    "headers": "30.0 MiB",
    "rounding": "31.0 MiB",
    "live": "121 MiB",
    "resident": "281 MiB",
}
# event, kind (0 full, 1 minor), begin_ns, end_ns, before, after, goal, survived
CYCLES = [[300, 0, 10, 20, 61, 41, 77, 31], [700, 1, 30, 40, 63, 43, 78, 11]]
LIFETIMES = [
    {"to_bytes": 64, "to_events": 1024, "count": 4321},
    {"to_bytes": 256, "to_events": None, "count": 54},
]


@pytest.fixture
def view(browser, tmp_path, monkeypatch, request):
    def timeline(rows):
        found = np.array(rows, np.int64)
        found[:, 1:] *= MIB
        return found

    cycles = np.array(CYCLES, np.int64)
    cycles[:, 4:] *= MIB
    assert cycles.shape[1] == len(CYCLE) and len(ROWS[0]) == len(TIMELINE)
    other = [[row[0], *(size + 300 for size in row[1:])] for row in ROWS]
    did = collecting(cycles=cycles, collections={"full": 1, "minor": 1})
    clock = {"clock_ns": getattr(request, "param", None), "end_event": 999}
    results = [
        made("semispace", timeline=timeline(ROWS), collecting=did, **clock),
        made("jemalloc", "measured", timeline=timeline(other), **clock),
    ]
    known = statistics() | {"lifetimes_by_size": LIFETIMES}
    monkeypatch.setattr(html, "statistics", lambda trace: known)
    with TraceWriter(tmp_path / "t.heap.parquet", program="t") as out:
        out.write(events(op=[MALLOC], slot=[0], size=[5000]))
    html.write_page(
        tmp_path / "out.html", [Compared(Trace.open(tmp_path / "t.heap.parquet"), results)]
    )
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto((tmp_path / "out.html").as_uri())
    yield opened
    assert complaints == []
    opened.close()


def readout(view):
    rows = view.locator(".readout tr").all()
    return {
        row.locator("td").first.inner_text(): row.locator("td").last.inner_text() for row in rows
    }


def test_the_readout_is_that_of_the_moment(view):
    view.locator("#replays button", has_text="semispace").click()
    assert readout(view) == AT_PEAK
    assert view.inner_text(".readout caption") == "at the peak, after event 500"
    view.locator("#timeline svg").focus()
    for _ in range(120):
        view.keyboard.press("ArrowRight")
    assert view.inner_text(".readout caption") == "after event 999"
    assert readout(view)["resident"] == "181 MiB" and readout(view)["headers"] == "20.0 MiB"


def test_of_all_together_resident_memory_is_read_and_of_a_measured_one_the_rest(view):
    view.locator("#replays button").first.click()
    view.locator("#timeline svg").focus()
    view.keyboard.press("ArrowLeft")
    assert view.inner_text(".readout caption") == "resident, after event 994"
    assert readout(view) == {"semispace": "281 MiB", "real jemalloc": "581 MiB"}
    view.locator("#replays button", has_text="real jemalloc").click()
    assert readout(view)["not told apart"] == "328 MiB"


SLEPT = np.array([0, 9_000_000_000, 10_000_000_000])  # nanoseconds at the events of ROWS


@pytest.mark.parametrize("view", [SLEPT], indirect=True)
def test_where_the_recording_has_time_the_axis_counts_seconds_or_events(view):
    view.locator("#replays button", has_text="semispace").click()
    axis = view.locator("#axis button")
    assert axis.all_inner_texts() == ["seconds", "events"]
    assert axis.first.get_attribute("aria-pressed") == "true"
    marks = view.locator("#timeline svg text").all_text_contents()
    assert "10.0 s" in marks and "time of the recorded program" in marks
    assert view.inner_text(".readout caption") == "at the peak, after event 500, at 9.00 s"
    left, right = 66, view.evaluate("document.querySelector('#timeline svg').viewBox.baseVal.width")
    at = float(view.locator("#timeline .peak").get_attribute("cx"))
    assert at == pytest.approx(left + 0.9 * (right - 12 - left), abs=1)
    axis.last.click()
    assert "events" in view.locator("#timeline svg text").all_text_contents()
    at = float(view.locator("#timeline .peak").get_attribute("cx"))
    assert at == pytest.approx(left + 500 / 999 * (right - 12 - left), abs=1)
    view.locator("#replays button").first.click()
    view.locator("#timeline svg").focus()
    view.keyboard.press("ArrowLeft")
    assert view.inner_text(".readout caption") == "resident, after event 994"
    assert readout(view)["semispace"] == "281 MiB"
    axis.first.click()
    assert view.inner_text(".readout caption") == "resident, after event 999, at 10.0 s"
    assert readout(view)["semispace"] == "181 MiB"


def test_without_time_the_axis_counts_events_and_has_no_other(view):
    assert view.locator("#axis button").count() == 0
    assert "events" in view.locator("#timeline svg text").all_text_contents()


def test_the_end_is_marked_where_the_program_has_settled(view):
    view.locator("#replays button", has_text="semispace").click()
    said = view.locator("#timeline .end title").text_content()
    assert said == "the end, settled: 181 MiB stay"


def drawn_mib(view, element, attribute, most):
    """What the heights of an element's points stand for; `most` MiB are 1 of 1.04 of the axis."""
    cursor = view.locator("#timeline line.cursor")
    top, bottom = (float(cursor.get_attribute(end)) for end in ("y1", "y2"))
    told = view.locator(f"#timeline {element}").get_attribute(attribute)
    heights = [float(point.split(",")[-1]) for point in told.split()]
    return [(bottom - y) / (bottom - top) * 1.04 * most for y in heights]


def test_lines_are_as_high_as_what_was_resident(view):
    view.locator("#replays button").first.click()
    for number, more in enumerate((0, 300)):
        line = drawn_mib(view, f"polyline >> nth={number}", "points", 581)
        assert line == pytest.approx([81 + more, 281 + more, 181 + more], abs=0.5)
    view.locator("#replays button", has_text="semispace").click()
    assert drawn_mib(view, "circle.peak", "cy", 281) == pytest.approx([281], abs=0.5)
    live = drawn_mib(view, 'polygon[fill="var(--live)"]', "points", 281)
    assert live[0] - live[5] == pytest.approx(21, abs=0.5)
    assert live[1] - live[4] == pytest.approx(121, abs=0.5)


def test_lines_have_a_colour_each_and_their_names_and_the_rest_is_grey(
    browser, tmp_path, monkeypatch
):
    monkeypatch.setattr(html, "statistics", lambda trace: statistics())
    rows = np.array(ROWS, np.int64)

    def held(name, share, *, kind="twin", **more):
        timeline = rows.copy()
        timeline[:, 1:] = timeline[:, 1:] * MIB * share // 100
        peak = {key: size * share // 100 for key, size in made().peak.items()}
        more |= {"timeline": timeline, "peak": peak, "high_water_bytes": 0, "clock_ns": None}
        return made(name, kind, **more)

    results = [
        held("glibc", 100),
        held("glibc", 70, settings={"arena_max": 1}),
        held("jemalloc", 80, kind="measured"),
        *(held(name, 60 + n) for n, name in enumerate(("buddy", "best-fit", "linear"))),
    ]
    with TraceWriter(tmp_path / "t.heap.parquet", program="t") as out:
        out.write(events(op=[MALLOC], slot=[0], size=[5000]))
    trace = Trace.open(tmp_path / "t.heap.parquet")
    html.write_page(tmp_path / "out.html", [Compared(trace, results)])
    view = browser.new_page(viewport={"width": 1280, "height": 900})
    view.goto((tmp_path / "out.html").as_uri())
    strokes = view.eval_on_selector_all(
        "#timeline polyline:not(.grey)", "all => all.map((line) => line.getAttribute('stroke'))"
    )
    assert len(strokes) == len(set(strokes)) == 3
    assert {"var(--ink)", "var(--accent)"} < set(strokes), "the present state, the advised one"
    ends = view.locator("#timeline .end-name")
    told = ends.evaluate_all("all => all.map((one) => one.querySelector('title').textContent)")
    assert sorted(told) == ["glibc", "glibc (arena_max=1)", "real jemalloc"]
    heights = sorted(float(end.get_attribute("y")) for end in ends.all())
    assert all(b - a >= 14.9 for a, b in pairwise(heights))
    assert view.locator("#timeline polyline.grey").count() == 3
    assert "3 more, to compare" in readout(view)
    view.select_option("#others", label="buddy")
    assert view.inner_text(".readout caption").startswith("at the peak")
    assert view.locator("#replays [aria-pressed=true]").count() == 0
    view.locator("#replays button").first.click()
    assert view.locator("#timeline polyline").count() == 6
    assert view.locator(".contents a", has_text="collectors").count() == 0
    view.close()


def test_bars_of_histograms(view):
    for tab, words in (
        ("requests by size", ["up to 32 B: 400 requests", "up to 2 KiB: 153 requests"]),
        ("bytes by size", ["up to 32 B: 11.7 KiB", "up to 2 KiB: 76.2 KiB"]),
        ("lifetimes", ["up to 1: 146 objects"]),
    ):
        view.locator("#counted button", has_text=tab).click()
        assert view.locator("#histograms rect title").all_text_contents() == words


def test_cells_of_lifetimes_against_sizes(view):
    cells = view.locator("#lifetimes rect:not(.ring)")
    for number, words in enumerate(
        [
            "4,321 objects of up to 64 B, freed within 1,024 events",
            "54 objects of up to 256 B, never freed",
        ]
    ):
        cells.nth(number).hover()
        assert view.inner_text("#lifetimes .said") == words


def test_what_survived_each_collection(view):
    assert view.locator("#collecting .dot title").all_text_contents() == [
        "full: 31.0 MiB of 51.0 MiB survived",
        "minor: 11.0 MiB of 31.0 MiB survived",
    ]
    said = view.locator("#collecting .said").all_inner_texts()
    assert said[2] == "In any 2.00 µs at least half of the time is the program's."
    assert (
        said[3]
        == "In all, 50 % of full collections' bytes, 3 % of minor collections' bytes survived."
    )
