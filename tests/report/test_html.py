"""The page, opened in headless Chromium: no error, no request, the numbers of the JSON."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.report.document import Compared, comparison_document, document
from heapwright.report.html import TIMELINE_ROWS, _command, _timeline, page, write_page
from heapwright.result import PARTS, TIMELINE, Result
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import replay
from made_results import made

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{data}}"


@pytest.fixture
def trace(tmp_path):
    sizes = np.random.default_rng(5).integers(1, 3000, 300)
    op = np.repeat([[MALLOC, FREE]], 300, axis=0).ravel()
    with TraceWriter(tmp_path / "t.heap.parquet", program=HOSTILE, kind="synthetic") as out:
        slot = np.repeat(np.arange(300) % 7, 2)
        out.write(events(op=op, slot=slot, size=np.repeat(sizes, 2) * (op == MALLOC)))
        out.write(events(op=np.full(50, MALLOC), slot=np.arange(50), size=sizes[:50]))
    return Trace.open(tmp_path / "t.heap.parquet")


@pytest.fixture
def results(trace):
    measured = Result(
        manager="jemalloc",
        kind="measured",
        events=trace.events,
        seconds=0.001,
        peak={f"{part}_bytes": 0 for part in PARTS}
        | {"resident_bytes": 81920, "live_bytes": 61440, "partial_bytes": 20480},
        page_faults=20,
        mapped_bytes_peak=1 << 21,
        notes=[HOSTILE],
    )
    return [
        replay("linear", trace, {"growth_bytes": 8192}, touch="none"),
        replay("linear", trace),
        measured,
    ]


def embedded(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_embedded_document_is_that_of_json(trace, results):
    data = embedded(page([Compared(trace, results)]))
    assert data["document"] == json.loads(json.dumps(comparison_document(Compared(trace, results))))


def test_the_command_is_told_where_one_trace_is_shown_and_it_is_known():
    known, other = (
        SimpleNamespace(name=name, trace=SimpleNamespace(origin=origin))
        for name, origin in (("t.heap.parquet", {"command": "serve -v"}), ("u.heap.parquet", {}))
    )
    assert _command(known, [known]) == "serve -v"
    assert _command(other, [other]) == "u.heap.parquet"
    assert _command(known, [known, other]) == "t.heap.parquet"


def test_two_traces_side_by_side_under_names_of_their_own(trace, results):
    text = page([Compared(trace, results[:2]), Compared(trace, results)])
    data = embedded(text)
    assert data["document"] == json.loads(
        json.dumps(document([Compared(trace, results[:2]), Compared(trace, results)]))
    )
    assert len(data["document"]["comparisons"]) == 2
    titles = [timeline["title"] for timeline in data["timelines"]]
    assert len(titles) == len(set(titles)) == 5
    assert text.count("<h3>t.heap.parquet (1)</h3>") == text.count("(2)</h3>") > 2


def test_the_first_line_counts_managers_not_rows(trace, results):
    lead = re.search(r'class="lead">(.*?)</p>', page([Compared(trace, results)]))[1]
    held = f"{trace.peak_live_objects} objects alive at most"
    assert lead.startswith(f"a made-up program of {trace.events} events, replayed through 1 memory")
    assert "memory manager and served by 1 real one; " in lead and lead.endswith(held)
    lead = re.search(r'class="lead">(.*?)</p>', page([Compared(trace, results[2:])]))[1]
    assert "events, served by 1 real one; " in lead


def test_a_long_timeline_is_thinned_and_keeps_its_peak(trace, results):
    rows = np.zeros((50_000, len(TIMELINE)), np.int64)
    rows[:, 0] = np.arange(50_000)
    rows[31_234, 2] = 1 << 40
    results[0].timeline = rows
    timelines = embedded(page([Compared(trace, results)]))["timelines"]
    thinned = next(t for t in timelines if len(t["event"]) > 1000)
    assert len(thinned["event"]) <= TIMELINE_ROWS
    assert thinned["event"][0] == 0
    assert thinned["event"][-1] == 49_999
    assert thinned["resident_bytes"][thinned["event"].index(31_234)] == 1 << 40


def test_a_timeline_has_seconds_where_any_pass():
    rows = np.zeros((2, len(TIMELINE)), np.int64)
    assert _timeline(made(timeline=rows))["seconds"] == [0, 7.5]
    still = np.array([7_500_000_000, 7_500_000_000])
    assert "seconds" not in _timeline(made(timeline=rows, clock_ns=still))
    assert "seconds" not in _timeline(made(timeline=rows, clock_ns=None))
    assert _timeline(made(timeline=None, clock_ns=None))["event"] == []


def test_nothing_of_a_stranger_becomes_markup(trace, results):
    text = page([Compared(trace, results, [HOSTILE])])
    assert "<img" not in text
    assert text.count("<script") == 2
    assert text.count("</script") == 2


def test_written_beside_and_refused_with_a_sentence(trace, results, tmp_path):
    write_page(tmp_path / "out.html", [Compared(trace, results)])
    assert (tmp_path / "out.html").stat().st_size < 6_000_000
    (tmp_path / "folder").mkdir()
    for bad in (tmp_path / "folder", tmp_path / "none" / "out.html"):
        with pytest.raises(HeapwrightError, match=r"out\.html|folder"):
            write_page(bad, [Compared(trace, results)])
    assert {path.name for path in tmp_path.iterdir()} == {"out.html", "folder", "t.heap.parquet"}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_in_a_browser(browser, trace, results, tmp_path, width, scheme):
    path = tmp_path / "out.html"
    write_page(path, [Compared(trace, results, ["tcmalloc: not installed; apt install it."])])
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints, requests = [], []
    view.on("console", lambda message: complaints.append(message.text))
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.on("request", lambda request: requests.append(request.url))
    view.goto(path.as_uri())

    document = comparison_document(Compared(trace, results))
    for found in document["results"]:
        row = f'tr[data-manager="{found["manager"]}"][data-kind="{found["kind"]}"]'
        shown = [
            {
                cell.get_attribute("data-key"): float(cell.get_attribute("data-value"))
                for cell in line
                if cell.get_attribute("data-value") is not None
            }
            for line in (one.query_selector_all("td") for one in view.query_selector_all(row))
        ]
        flat = found | {f"peak.{part}": size for part, size in found["peak"].items()}
        assert any(all(value == flat[key] for key, value in line.items()) for line in shown)
        assert all({"held_bytes", "live_share", "page_faults"} <= set(line) for line in shown)

    buttons = view.query_selector_all(".tabs button")
    assert len(buttons) == 1 + 2 + 3  # all, the timelines of two twins; three histograms
    for button in buttons:
        button.click()
    assert view.query_selector_all("#timeline polygon, #histogram rect")
    buttons[0].click()
    assert len(view.query_selector_all("#timeline polyline")) == 2
    view.hover("#timeline svg")
    view.focus("#timeline svg")
    view.keyboard.press("ArrowLeft")
    assert "after event" in view.inner_text(".readout caption")
    assert "tcmalloc: not installed" in view.inner_text(".notes")
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    assert requests == [path.as_uri()]
    view.close()
