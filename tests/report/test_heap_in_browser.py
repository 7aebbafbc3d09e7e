"""The heap map, opened in headless Chromium: through time, into a page, into a block."""

import numpy as np
import pytest

from heapwright.insight.heap_map import heap_map
from heapwright.report.document import Compared, comparison_document
from heapwright.report.html import write_page
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import replay

SITES = ["parse (json.c:12)", "grow (table.c:7)", "<b>name</b> (hostile.c:1)"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """400 objects, of which every third is freed at the end: two twins of one trace."""
    path = tmp_path_factory.mktemp("heap") / "t.heap.parquet"
    sizes = np.random.default_rng(3).integers(16, 900, 400)
    freed = np.arange(0, 400, 3)
    with TraceWriter(path, program="t") as out:
        out.sites = SITES
        out.write(
            events(
                op=np.concatenate([np.full(400, MALLOC), np.full(len(freed), FREE)]),
                slot=np.concatenate([np.arange(400), freed]),
                size=np.concatenate([sizes, np.zeros(len(freed), int)]),
                site=np.concatenate([np.arange(400) % 3, np.full(len(freed), -1)]),
            )
        )
    trace = Trace.open(path)
    results = [
        replay("linear", trace, {"growth_bytes": size}, picture=heap_map)
        for size in (8192, 1 << 16)
    ]
    return Compared(trace, results)


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
def view(request, browser, compared, tmp_path):
    width, scheme = request.param
    write_page(tmp_path / "out.html", [compared])
    opened = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=width < 500
    )
    complaints = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto((tmp_path / "out.html").as_uri())
    opened.wait_for_selector(".panel canvas[aria-label]")
    yield opened
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    opened.close()


def words(known, block):
    """What the tooltip of a block must say."""
    blocks = known.blocks
    return (
        f"{blocks.size[block]:,} bytes, alive for {blocks.age[block]:,} events, "
        f"from {SITES[blocks.site[block]]}"
    )


def test_the_slider_moves_the_map_and_the_cursor(view):
    slider = view.locator("#moment")
    canvas = view.locator(".panel canvas").first
    at_peak, cursor = canvas.get_attribute("aria-label"), view.locator(".cursor")
    right = float(cursor.get_attribute("x1"))
    assert "the peak of linear" in view.inner_text("#moment-text")
    slider.focus()
    view.keyboard.press("Home")
    assert view.inner_text("#moment-text").startswith("after event 0")
    assert canvas.get_attribute("aria-label") != at_peak
    assert "after event 0:" in canvas.get_attribute("aria-label")
    assert float(cursor.get_attribute("x1")) < right
    view.locator(".panel .peak").first.click()
    assert canvas.get_attribute("aria-label") == at_peak


def test_with_the_mouse_into_a_page_and_a_block(view, compared):
    known = compared.results[0].heap_map
    canvas, tip = view.locator(".panel canvas").first, view.locator(".panel .tip").first
    canvas.hover(position={"x": 5, "y": 5})
    on_first = int((known.blocks.address < (known.pages[0] + 1) * 4096).sum())
    assert tip.inner_text() == (
        f"page {hex(known.pages[0] * 4096)}: {known.live[0]:,} of 4,096 bytes live "
        f"in {on_first} blocks, {known.free[0]} free"
    )
    canvas.click(position={"x": 5, "y": 5})
    canvas.hover(position={"x": 3, "y": 3})
    assert tip.inner_text() == words(known, 0)
    canvas.click(position={"x": 3, "y": 3})
    panel = view.locator(".panel").first
    assert panel.locator(".ring").count() == 0, "an outline over the block"
    assert not tip.is_visible(), "the list says it, and nothing may lie over it"
    canvas.hover(position={"x": 9, "y": 30})
    assert panel.locator(".ring").count() == 0 and not tip.is_visible()
    details = view.inner_text(".panel .block >> nth=0")
    assert SITES[known.blocks.site[0]] in details
    assert f"{known.blocks.size[0]:,} bytes" in details
    assert f"{known.blocks.age[0]:,} events" in details


def test_with_the_keyboard_into_a_block_and_back(view, compared):
    known = compared.results[1].heap_map
    canvas, tip = view.locator(".panel canvas").nth(1), view.locator(".panel .tip").nth(1)
    trail = view.locator(".panel .trail").nth(1)
    view.locator(".panel select").nth(1).focus()
    view.keyboard.press("Tab")
    while not canvas.evaluate("node => node === document.activeElement"):
        view.keyboard.press("Tab")
    assert tip.inner_text().startswith("page 0x")
    for key in ("Enter", "ArrowRight", "ArrowRight"):
        view.keyboard.press(key)
    assert tip.inner_text() == words(known, 2)
    view.keyboard.press("Enter")
    assert f"block {hex(known.blocks.address[2])}" in trail.inner_text()
    view.keyboard.press("Escape")
    assert tip.inner_text() == words(known, 2)
    view.keyboard.press("Escape")
    assert trail.locator("[aria-current]").inner_text() == "whole heap"


def test_a_tap_reads_and_a_second_one_looks_inside(browser, compared, tmp_path):
    write_page(tmp_path / "out.html", [compared])
    context = browser.new_context(
        viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    view = context.new_page()
    view.goto((tmp_path / "out.html").as_uri())
    view.wait_for_selector(".panel canvas[aria-label]")
    canvas, trail = view.locator(".panel canvas").first, view.locator(".panel .trail").first
    canvas.tap(position={"x": 5, "y": 5})
    assert view.locator(".panel .tip").first.inner_text().startswith("page 0x")
    assert "page 0x" not in trail.inner_text()
    canvas.tap(position={"x": 5, "y": 5})
    assert "page 0x" in trail.inner_text()
    trail.locator(".inside").tap()
    assert "block 0x" in trail.inner_text()
    context.close()


def test_two_traces_stand_side_by_side_each_at_its_peak(browser, compared, tmp_path):
    with TraceWriter(tmp_path / "u.heap.parquet", program="u") as out:
        for op, size in ((MALLOC, 5000), (FREE, 0)):
            out.write(events(op=np.full(3, op), slot=np.arange(3), size=np.full(3, size)))
    other = Trace.open(tmp_path / "u.heap.parquet")
    results = [replay("linear", other, picture=heap_map)]
    write_page(tmp_path / "out.html", [compared, Compared(other, results)])
    view = browser.new_page()
    view.goto((tmp_path / "out.html").as_uri())
    view.wait_for_selector(".panel canvas[aria-label] >> nth=1")
    chosen = view.locator(".panel select option:checked").all_inner_texts()
    assert [title.partition(" · ")[2] for title in chosen] == ["t", "u"]
    assert view.locator(".panel .chip").all_inner_texts() == ["at its peak"] * 2
    canvas = view.locator(".panel canvas").nth(1)
    for key, event in (("Home", 0), ("End", other.events - 1)):
        view.locator("#moment").press(key)
        assert f"after event {event}:" in canvas.get_attribute("aria-label")
    view.close()


def test_stranded_bytes_are_those_of_json(view, compared):
    document = comparison_document(compared)
    for number, found in enumerate(document["results"]):
        stranded = found["stranded"]
        assert stranded["partial_bytes"] == found["peak"]["partial_bytes"]
        rows = (
            view.locator("details[data-manager]")
            .nth(number)
            .locator("table")
            .first.locator("tbody tr")
        )
        shown = {
            row.locator("th").text_content(): int(
                row.locator("[data-key=bytes]").get_attribute("data-value")
            )
            for row in rows.all()
        }
        assert shown == {row["site"]: row["bytes"] for row in stranded["by_bytes"]}
        assert set(shown) == set(SITES)
