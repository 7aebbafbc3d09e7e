"""The page's parts about collectors, opened in headless Chromium."""

import re
from dataclasses import replace

import numpy as np
import pytest

from heapwright.insight.space_time import asked
from heapwright.managers import registry
from heapwright.report.document import Compared, comparison_document
from heapwright.report.html import page, write_page
from heapwright.trace.schema import events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import replay
from made_results import generations
from naive.graph_program import random_rows

HEAPS = [2, 4, 6]


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """A copying collector at three heap sizes, of which the first is too small, and glibc."""
    manager = registry.Manager("smallest", "tunnel.smallest")
    known = registry.managers() | {"smallest": manager}
    monkeypatch.setattr(registry, "managers", lambda: known)
    columns = np.array(random_rows(6, 3000)).T
    path = tmp_path / "t.heap.parquet"
    with TraceWriter(path, program="rows", kind="synthetic") as out:
        out.write(
            events(**dict(zip(("op", "slot", "size", "field", "target"), columns, strict=True)))
        )
    trace = Trace.open(path)
    points = asked("smallest", [{}], HEAPS, trace.peak_live_bytes)
    results = [replay("smallest", trace, point.settings) for point in points[1:]]
    return Compared(trace, [*results, replay("glibc", trace)], ["too small"], points)


def opened(browser, path, width=1280, scheme="light"):
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints = []
    view.on("console", lambda message: complaints.append(message.text))
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.goto(path.as_uri())
    return view, complaints


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_each_collector_has_its_charts(browser, compared, tmp_path, width, scheme):
    write_page(tmp_path / "out.html", [compared])
    view, complaints = opened(browser, tmp_path / "out.html", width, scheme)
    tabs = view.locator("#collector button")
    assert tabs.count() == view.locator("tr[data-collector]").count() == len(HEAPS) - 1
    for number, result in enumerate(compared.results[:-1]):
        tabs.nth(number).click()
        assert view.locator("#collecting figure svg").count() == 4
        teeth = view.locator("#collecting .tooth").first.get_attribute("d")
        assert teeth.count("M") == sum(result.collecting.collections.values()) > 0
        bars = view.locator("#collecting rect title").all_text_contents()
        counted = sum(int(bar.split(": ")[1].split(" ")[0].replace(",", "")) for bar in bars)
        assert counted == result.collecting.pauses
        assert view.locator("#collecting .chosen").count() == 1
        assert view.locator("#collecting .other").count() == len(HEAPS) - 2
        assert view.locator("#collecting .dot").count() == teeth.count("M")
        widths = view.eval_on_selector_all("#collecting svg", "all => all.map(s => s.clientWidth)")
        assert len(set(widths)) == 1
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []


def test_a_heap_of_generations_has_charts_of_them(browser, compared, tmp_path):
    first, *others = compared.results
    did = replace(first.collecting, generations=generations())
    given = compared._replace(results=[replace(first, collecting=did), *others])
    write_page(tmp_path / "out.html", [given])
    view, complaints = opened(browser, tmp_path / "out.html", 390)
    charts = view.locator("#collecting figure")
    assert charts.count() == 7
    assert [each.text_content() for each in view.locator("#collecting .space title").all()] == [
        *("old", "survivors", "eden")
    ]
    old = view.locator("#collecting .space").first.get_attribute("points").split()
    assert len(old) == 2 * (1 + 2 * 3)  # above and below: from nothing, before and after each
    stems = view.locator("#collecting .stem title").all_text_contents()
    assert stems == ["young: 50 B", "young: 200 B"]
    assert view.locator("#collecting .age").count() == 3
    assert "promoted from age 2 on" in charts.last.text_content()
    view.locator("#collector button").nth(1).click()
    assert view.locator("#collecting figure").count() == 4
    assert view.evaluate("document.documentElement.scrollWidth") <= 390
    assert complaints == []


def test_the_timeline_marks_collections(browser, compared, tmp_path):
    write_page(tmp_path / "out.html", [compared])
    view, complaints = opened(browser, tmp_path / "out.html")
    for number, button in enumerate(view.locator("#replays button").all()[1:]):
        button.click()
        expected = 0 if button.text_content() == "glibc" else 1
        assert view.locator("#timeline .collected").count() == expected, number
    assert complaints == []


def test_the_curve_has_a_dot_for_each_heap_that_fits(browser, compared, tmp_path):
    write_page(tmp_path / "out.html", [compared])
    view, complaints = opened(browser, tmp_path / "out.html")
    assert view.locator("#curves figure").count() == 2  # time and memory
    assert view.locator("#curves circle").count() == 2 * (len(HEAPS) - 1)
    assert view.locator("#curves .baseline").count() == 2
    rows = view.locator("section[aria-labelledby=space-time] tbody tr")
    assert [row.get_attribute("data-heap") for row in rows.all()] == list(map(str, HEAPS))
    assert "no room" in rows.first.text_content()
    assert rows.first.locator("[data-key=time]").text_content() == "-"
    curve = comparison_document(compared)["space_time"]["rows"]
    for row, values in zip(rows.all()[1:], curve[1:], strict=True):
        for key in ("heap", "time", "space", "collections", "traced"):
            shown = row.locator(f"[data-key={key}]").get_attribute("data-value")
            assert float(shown) == values[key]
    assert complaints == []


def test_without_collectors_the_page_says_nothing_of_them(compared):
    text = page([compared._replace(results=compared.results[-1:], points=())])
    assert 'aria-labelledby="collectors" hidden' in text
    assert 'aria-labelledby="space-time" hidden' in text


@pytest.mark.parametrize("axis", ["seconds", "events"])
def test_collections_lie_within_the_axis_whatever_it_counts(browser, compared, tmp_path, axis):
    """The same collections, at the same share of the way where events are evenly apart."""
    timed = [
        replace(one, clock_ns=np.asarray(one.timeline[:, 0]) * 1_000_000)
        for one in compared.results
    ]
    write_page(tmp_path / "out.html", [compared._replace(results=timed)])
    view, complaints = opened(browser, tmp_path / "out.html")
    view.locator("#axis button", has_text=axis).click()
    teeth = view.locator("#collecting .tooth").first.get_attribute("d")
    across = [float(place.split()[0]) for place in re.findall(r"[ML]([-0-9.]+ [-0-9.]+)", teeth)]
    width = view.eval_on_selector("#collecting svg", "svg => svg.viewBox.baseVal.width")
    assert len(across) > 2 and min(across) > 0 and max(across) < width
    assert max(across) - min(across) > width / 3
    named = "time of the recorded program" if axis == "seconds" else "events"
    assert named in view.locator("#collecting svg").first.text_content()
    assert complaints == []
