"""The page's tables at the widths of a phone, a tablet and a screen.

The page never scrolls sideways, a table may, and then its names stay; headings sort, a long name
opens.
"""

import pytest

from heapwright.report import html
from heapwright.report.document import Compared
from heapwright.trace.schema import MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from made_results import collecting, made, now, stranded
from made_results import statistics as counted

LONG = "std::__detail::_Map_base<std::string, std::pair<std::string const, long>>::operator[] "
SITE = f"{LONG * 4}(map.h:1234)"
LARGE = {
    "peak": dict.fromkeys(made().peak, 9990000000000),
    "page_faults": 888_888,
    "mapped_bytes_peak": 30 << 40,
}
# What of a page is drawn beyond its line: cells of more than one line, unit apart.
CUT = """() => [
  ...document.querySelectorAll(".figures td:not(.words, .several), .several span")
].filter((cell) => {
  if (!cell.checkVisibility()) return false;
  const range = document.createRange();
  range.selectNodeContents(cell);
  const lines = new Set([...range.getClientRects()].map((line) => Math.round(line.top)));
  return lines.size > 1;
}).map((cell) => cell.outerHTML)"""


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """Large figures, long names, every kind of row and every table."""
    path = tmp_path / "t.heap.parquet"
    with TraceWriter(path, program="t") as out:
        out.sites = [SITE]
        out.write(events(op=[MALLOC], slot=[0], size=[5000], site=[0]))
    results = [
        made("segregated-fit", **LARGE),
        made("jemalloc", "measured", mean_resident_bytes=None, **LARGE),
        made("glibc", settings={"tcache_unsorted_limit": 1 << 30}, refused=1, **LARGE),
        made("generational", settings={"heap_bytes": 1 << 30}, collecting=collecting(), **LARGE),
        now(),
    ]
    monkeypatch.setattr(html, "statistics", lambda trace: counted(SITE, 10**7))
    documented = html.document

    def with_stranded(compared):
        found = documented(compared)
        for one in found.get("comparisons", [found]):
            one["results"][0]["stranded"] = stranded(SITE, 10**7)
        return found

    monkeypatch.setattr(html, "document", with_stranded)
    monkeypatch.setattr(html._Seen, "with_maps", lambda seen: [results[0]])
    monkeypatch.setattr(html, "_maps", lambda seen: [])
    return Compared(Trace.open(path), results)


@pytest.mark.parametrize("several", [False, True], ids=["one", "two"])
@pytest.mark.parametrize("width", [390, 1024, 1440])
def test_nothing_is_cut_and_the_page_is_no_wider_than_the_screen(
    browser, compared, tmp_path, width, several
):
    html.write_page(tmp_path / "out.html", [compared] * (2 if several else 1))
    view = browser.new_page(viewport={"width": width, "height": 900})
    view.goto((tmp_path / "out.html").as_uri())
    view.eval_on_selector_all("details", "all => all.forEach((one) => { one.open = true; })")
    beyond = view.evaluate(
        "width => [...document.querySelectorAll('main *')]"
        ".filter((e) => e.getBoundingClientRect().right > width && !e.closest('.sheet > *'))"
        ".map((e) => e.outerHTML)",
        width,
    )
    assert beyond == []
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    sheets = view.locator(".sheet").all()
    assert len(sheets) == 5 * (2 if several else 1)
    for sheet in sheets:
        names = sheet.locator("tbody th").first
        before = names.bounding_box()
        sheet.evaluate("box => { box.scrollLeft = 9999; }")
        after = names.bounding_box()
        assert before["x"] == pytest.approx(after["x"], abs=1), "the first column stays"
        if sheet.evaluate("box => box.scrollLeft"):
            assert before["width"] <= 0.6 * sheet.bounding_box()["width"]
    assert view.evaluate(CUT) == []
    names = view.locator(".figures tbody th").all_inner_texts()
    assert sum(SITE in name for name in names) == 3 * (2 if several else 1)
    view.close()


@pytest.fixture
def view(browser, compared, tmp_path):
    html.write_page(tmp_path / "out.html", [compared])
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    opened.goto((tmp_path / "out.html").as_uri())
    yield opened
    opened.close()


def test_a_heading_sorts_by_its_column(view):
    table = view.locator("#figures ~ .sheet table")

    def shown(column):
        cells = table.locator(f"tbody td[data-key='{column}']").all()
        return [float(cell.get_attribute("data-value")) for cell in cells]

    written = shown("peak.live_bytes")
    heading = table.locator("thead th", has_text="live").first
    button = heading.locator("button")
    button.click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert shown("live_share") == sorted(shown("live_share"))
    button.focus()
    view.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert shown("live_share") == sorted(shown("live_share"), reverse=True)
    names = table.locator("thead th").first
    names.locator("button").click()
    assert heading.get_attribute("aria-sort") is None
    told = table.locator("tbody th").all_inner_texts()
    assert told == sorted(told)
    names.locator("button").click()
    names.locator("button").click()
    assert names.get_attribute("aria-sort") is None and shown("peak.live_bytes") == written


def test_what_is_not_known_stays_last(view):
    table = view.locator("#figures ~ .sheet table")
    button = table.locator("thead th", has_text="mean").locator("button")
    for _ in range(2):
        button.click()
        values = [
            cell.get_attribute("data-value")
            for cell in table.locator("tbody td[data-key='mean_resident_bytes']").all()
        ]
        known = [value is not None for value in values]
        assert False in known
        assert known == sorted(known, reverse=True)


def test_a_long_name_opens_by_click_and_by_key(view):
    name = view.locator("#asking ~ .sheet .clip").first
    assert name.inner_text() == SITE and name.get_attribute("aria-expanded") == "false"
    low = name.bounding_box()["height"]
    name.click()
    assert name.get_attribute("aria-expanded") == "true"
    assert name.bounding_box()["height"] > low
    name.focus()
    view.keyboard.press("Enter")
    assert name.bounding_box()["height"] == low


def test_a_bar_opens_by_key_into_its_parts(view):
    bar = view.locator(".bars .row").first
    assert not bar.locator(".parts").is_visible()
    bar.locator("summary").focus()
    view.keyboard.press("Enter")
    told = bar.locator(".parts").inner_text()
    assert told.replace("\u00a0", " ") == "live\n100 MiB (50 %)\npartial\n100 MiB (50 %)"


def test_the_contents_lead_to_every_section_that_is_shown(view):
    links = view.locator(".contents a")
    shown = view.locator("section:not([hidden]) > h2").all_inner_texts()
    assert links.all_inner_texts() == shown
    links.last.click()
    assert view.locator("h2#notes").is_visible() and view.url.endswith("#notes")
