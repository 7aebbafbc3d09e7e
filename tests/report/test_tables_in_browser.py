"""The page's tables at the widths of a phone, a tablet and a screen: nothing cut or beyond."""

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
# What of a page is drawn beyond its line or its box: cells of more than one line, unit apart.
CUT = """() => [
  ...document.querySelectorAll(".figures td:not(.words, .several), .several span")
].filter((cell) => {
  if (!cell.checkVisibility()) return false;
  const range = document.createRange();
  range.selectNodeContents(cell);
  const lines = new Set([...range.getClientRects()].map((line) => Math.round(line.top)));
  const box = cell.closest(".sheet").getBoundingClientRect(), text = range.getBoundingClientRect();
  return lines.size > 1 || text.left < box.left - 1 || text.right > box.right + 1;
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
        made("jemalloc", "measured", **LARGE),
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
def test_nothing_is_cut_and_nothing_lies_beyond(browser, compared, tmp_path, width, several):
    html.write_page(tmp_path / "out.html", [compared] * (2 if several else 1))
    view = browser.new_page(viewport={"width": width, "height": 900})
    view.goto((tmp_path / "out.html").as_uri())
    view.eval_on_selector_all("details", "all => all.forEach((one) => { one.open = true; })")
    beyond = view.evaluate(
        "width => [...document.querySelectorAll('main *')]"
        ".filter((e) => e.getBoundingClientRect().right > width).map((e) => e.outerHTML)",
        width,
    )
    assert beyond == []
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    sheets = view.locator(".sheet").all()
    assert len(sheets) == 5 * (2 if several else 1)
    for sheet in sheets:
        assert sheet.evaluate("box => box.scrollWidth") <= sheet.evaluate("box => box.clientWidth")
    assert view.evaluate(CUT) == []
    names = view.locator(".figures tbody th").all_inner_texts()
    assert sum(SITE in name for name in names) == 3 * (2 if several else 1)
    view.close()


def test_where_there_is_room_figures_stand_in_columns(browser, compared, tmp_path):
    html.write_page(tmp_path / "out.html", [compared])
    view = browser.new_page(viewport={"width": 1440, "height": 900})
    view.goto((tmp_path / "out.html").as_uri())
    tops = "rows => rows.map((row) => new Set([...row.cells].map((c) => c.offsetTop)).size)"
    assert set(view.eval_on_selector_all("#figures ~ .sheet tbody tr", tops)) == {1}
    view.set_viewport_size({"width": 390, "height": 900})
    before = view.locator("#figures ~ .sheet td").first
    heading = before.evaluate("cell => getComputedStyle(cell, '::before').content")
    assert heading == '"peak"' and before.get_attribute("data-title") == "peak"
    view.close()
