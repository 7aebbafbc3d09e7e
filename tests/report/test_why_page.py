"""The page of `why`, in a browser: the flame graph by mouse, finger and keyboard."""

import json
import re

import pytest

from heapwright.api.comparing import compare
from heapwright.api.why import why
from heapwright.compiler import INTERPRETED
from planted import Program

pytestmark = pytest.mark.skipif(INTERPRETED, reason="a replay of thousands of events")
LONG = "std::vector<std::basic_string<char>, std::allocator<char> >::_M_realloc_insert (v.tcc:9)"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    p = Program()
    for _ in range(40):
        p.malloc(10_000, "main", "load <script>", "row")
    for _ in range(400):
        p.free(p.malloc(3000, "main", "serve", "parse (p.c:4)", LONG))
        p.malloc(1000, "main", "serve", "session\nkeep (s.c:7)", "malloc")
    return why(p.write(tmp_path_factory.mktemp("t") / "t.parquet"))


@pytest.fixture(scope="module")
def path(found, tmp_path_factory):
    return found.write_html(tmp_path_factory.mktemp("page") / "why.html")


@pytest.fixture(params=[(390, "dark"), (1440, "light")], ids=["phone", "wide"])
def view(browser, path, request):
    width, scheme = request.param
    opened = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=width < 500
    )
    complaints = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(path.as_uri())
    yield opened
    assert complaints == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    opened.close()


def items(view):
    """Name and share of each frame that is drawn."""
    labels = [item.get_attribute("aria-label") for item in view.locator(".flame > div").all()]
    return {label.rpartition(", ")[0].rpartition(", ")[0]: label for label in labels}


def test_the_data_are_those_of_the_profile(found):
    flame = found.flame
    names = [flame.names[row] for row in flame.name]
    assert names[0] == "all" and flame.parent[0] == -1
    assert all(above < n for n, above in enumerate(flame.parent))
    by_name = dict(zip(names, range(len(names)), strict=True))
    row, keep = by_name["row"], by_name["keep (s.c:7)"]
    assert names[flame.parent[keep]] == "session"  # it was inlined there
    assert flame.values["end"][row] == 400_000 and flame.values["allocated"][keep] == 400_000
    assert flame.values["leaked"][keep] == flame.values["leaked"][0] > 300_000
    assert flame.values["allocated"][0] == 400_000 + 1_600_000
    for n, above in enumerate(flame.parent[1:], 1):
        for values in flame.values.values():
            assert values[n] <= values[above]


def test_values_are_chosen_and_drawn(view):
    assert items(view)["row"].endswith("391 KiB, 50 %")
    view.get_by_role("button", name="Allocated").click()
    assert items(view)["serve"].endswith("1.53 MiB, 80 %")
    widths = view.evaluate(
        "[...document.querySelectorAll('.flame > div')].map((e) => [e.textContent, e.clientWidth])"
    )
    widths = dict(widths)
    assert view.evaluate(
        "[...document.querySelectorAll('.flame > div')].every((e) =>"
        " e.getBoundingClientRect().right <= e.parentNode.getBoundingClientRect().right + 1)"
    )
    assert widths["serve"] / widths["all"] == pytest.approx(0.8, abs=0.02)


def test_a_frame_is_looked_into_and_left_by_mouse_and_finger(view):
    view.get_by_role("button", name="Allocated").click()
    serve = view.locator(".flame > div", has_text="serve").first
    serve.tap() if view.viewport_size["width"] < 500 else serve.click()
    assert set(items(view)) == {"serve", "parse (p.c:4)", LONG, "session", "keep (s.c:7)", "malloc"}
    assert view.locator(".flame-said").inner_text().startswith("serve 1.53 MiB (80 %)")
    view.locator(".trail button", has_text="all").click()
    assert "row" in items(view)


def test_arrow_keys_enter_and_escape(view):
    view.locator(".flame > div").first.focus()
    for key, at in [
        ("ArrowDown", "main"),
        ("ArrowDown", "load <script>"),
        ("ArrowRight", "serve"),
        ("ArrowLeft", "load <script>"),
        ("ArrowDown", "row"),
        ("ArrowUp", "load <script>"),
        ("Enter", "load <script>"),
        ("ArrowUp", "load <script>"),
    ]:
        view.keyboard.press(key)
        assert view.evaluate("document.activeElement.textContent") == at, key
    assert "serve" not in items(view)
    assert "called by main" in view.locator(".flame-said").inner_text()
    view.keyboard.press("Escape")
    view.keyboard.press("Escape")
    assert "serve" in items(view)


def test_names_are_found(view):
    view.locator(".flame-search input").fill("KEEP")
    assert view.locator(".flame > div.found").all_inner_texts() == ["keep (s.c:7)"]
    assert view.locator(".flame-said").inner_text().endswith("(50 %) go through what is marked.")
    view.locator(".flame-search input").fill("")
    assert view.locator(".flame-said").inner_text().startswith("all ")


def test_the_page_says_the_essential_without_scripts(path, found):
    text = path.read_text()
    assert "load &lt;script&gt;" in text and "load <script>" not in text
    assert "A leak: " in text and "keep (s.c:7)" in text
    assert not re.search(r"\{\{\w+\}\}|https?://(?!www\.w3\.org/2000/svg)", text)
    (data,) = re.findall(r'id="data">(.*?)</script>', text)
    assert json.loads(data)["flames"][0]["names"][0] == "all"


def test_the_page_of_a_comparison_has_one_for_each_trace_with_stacks(browser, tmp_path):
    p = Program()
    for _ in range(50):
        p.malloc(1000, "main", "load", "row")
    stacked = p.write(tmp_path / "stacked.parquet")
    other = Program()
    other.malloc(10)  # by an empty stack
    plain = other.write(tmp_path / "plain.parquet")
    compare([plain, stacked], ["glibc"], references=False, maps=False).write_html(
        tmp_path / "c.html"
    )
    compare(plain, ["glibc"], references=False, maps=False).write_html(tmp_path / "p.html")
    view = browser.new_page(viewport={"width": 1280, "height": 900})
    view.goto((tmp_path / "c.html").as_uri())
    assert view.locator(".flame-graph").count() == 1
    assert items(view)["row"].endswith("KiB, 100 %")
    view.goto((tmp_path / "p.html").as_uri())
    assert not view.locator("#flame").is_visible()
    view.close()


def test_what_python_calls_to_import_is_one_frame_and_named_by_the_line_that_imports(tmp_path):
    inside = [f"{name} (<frozen importlib._bootstrap>:1)" for name in ("_find", "_load", "_exec")]
    p = Program()
    for _ in range(300):
        p.malloc(9000, "<module> (app.py:3)", *inside, "<module> (json.py:1)", *inside)
    told = why(p.write(tmp_path / "t.parquet"))
    importing = "importing (importlib)"
    assert [told.flame.names[row] for row in told.flame.name] == [
        "all",
        "<module> (app.py:3)",
        importing,
        "<module> (json.py:1)",
        importing,
    ]
    assert len(set(told.flame.values["end"])) == 1
    assert "importing in <module> (json.py:1)" in told.sentence
