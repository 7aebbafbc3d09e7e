"""What `why` prints: the first cause, those that tell, and where no call site is known."""

import io
from functools import partial
from types import SimpleNamespace

import pytest
from rich.console import Console

from heapwright.report import answers, why, why_page
from heapwright.report.rows import Row, Sheet


def finding(cause, share, stacks=()):
    told = {"sentence": f"{cause} has {share}.", "mend": f"Mend {cause}."}
    return SimpleNamespace(cause=cause, share=share, stacks=stacks, **told)


def sheet_of(title, empty, top):
    """A table of one row, or of none, titled by what it was asked."""
    return Sheet("", (), [] if empty else [Row({}, "")], f"{title} {top}")


def printed(monkeypatch, *findings, stacked=False, empty="cycles"):
    """The text of a verdict with these causes, and the titles of its tables."""
    titles = []
    monkeypatch.setattr(why, "print_sheet", lambda console, sheet: titles.append(sheet.title))
    monkeypatch.setattr(why, "shares_sheet", lambda found: Sheet("", (), [Row({}, "")], "shares"))
    monkeypatch.setattr(
        why,
        "stacks_sheet",
        lambda found, cause, top: Sheet("", (), [Row({}, "")], f"{cause} {top}"),
    )
    for name, title in (("cycles_sheet", "cycles"), ("stack_like_sheet", "like")):
        made = partial(sheet_of, title, empty == title)
        monkeypatch.setattr(why, name, lambda found, top, made=made: made(top))
    monkeypatch.setattr(why, "timeline_sheet", lambda found: sheet_of("timeline", False, 8))
    found = SimpleNamespace(
        diagnosis=SimpleNamespace(findings=findings, kind=findings[0].cause),
        cycles=None,
        stacked=stacked,
        trace={"notes": ["of the trace"]},
        result=SimpleNamespace(notes=["of the twin"]),
    )
    console = Console(file=io.StringIO(), width=200)
    why.print_why(console, found, 9)
    return console.file.getvalue(), titles


def test_a_cause_of_a_twentieth_has_a_sentence_and_of_a_tenth_a_table(monkeypatch):
    others = [finding(cause, share) for cause, share in (("b", 0.1), ("c", 0.05), ("d", 0.04))]
    text, titles = printed(monkeypatch, finding("a", 0.7), *others)
    assert text.splitlines()[:4] == ["a has 0.7.", "Mend a.", "  b has 0.1.", "  c has 0.05."]
    assert "d has" not in text and titles == ["shares", "a 9", "b 3", "timeline 8", "like 9"]
    assert "No call sites are known" in text
    assert "note: The trace. of the trace" in text and "note: The twin. of the twin" in text


@pytest.mark.parametrize(("stacked", "site"), [(True, 0), (True, -1), (False, 0)])
def test_the_first_stack_is_told_from_the_inside(monkeypatch, stacked, site):
    frames = [f"f{n}" for n in range(why.FRAMES + 2)]
    first = finding("a", 1.0, [SimpleNamespace(site=site, frames=frames)])
    text, _ = printed(monkeypatch, first, stacked=stacked)
    assert ("No call sites" in text) is (site < 0)
    told = [line.strip() for line in text.splitlines() if line.startswith("  f")]
    assert told == (frames[::-1][: why.FRAMES] if stacked else [])
    assert ("and 2 more: --json has all" in text) is stacked
    assert ("the first of them, from the inside:" in text) is stacked


def test_a_page_has_ten_rows_and_stacks_and_every_figure(monkeypatch, tmp_path):
    """Of a verdict that was made up: which sheets are asked for, and where each word stands."""
    asked = []
    for name in ("stack_like_sheet", "shares_sheet", "timeline_sheet"):
        monkeypatch.setattr(
            why_page, name, lambda *told, name=name: asked.append((name, *told[1:]))
        )
    monkeypatch.setattr(why_page, "table", lambda sheet: "" if sheet is None else "a table")
    monkeypatch.setattr(
        why_page,
        "stacks_sheet",
        lambda found, cause, top: Sheet(
            "", (), [Row({}, "")] * (cause != "c"), f"of {cause} {top}"
        ),
    )
    stack = {"label": "f <g>", "bytes": 3 << 20, "share": 0.25, "blocks": 7}
    deep = SimpleNamespace(frames=["outer", "inner"], **stack)
    others = [finding("b", 0.05), finding("c", 0.5), finding("d", 0.04)]
    found = SimpleNamespace(
        trace={
            **{"notes": ["of the trace"], "program": "p <x>", "path": "x", "origin": {}},
            **{"events": 12_345, "peak_live_bytes": 2 << 20, "peak_live_objects": 678},
        },
        flame=SimpleNamespace(to_json=lambda: "</script>"),
        result=SimpleNamespace(notes=["of the twin"]),
        diagnosis=SimpleNamespace(findings=[finding("a", 0.7, [deep]), *others]),
    )
    page = answers.Why.write_html(found, tmp_path / "why.html").read_text()
    assert asked == [("stack_like_sheet", 10), ("shares_sheet",), ("timeline_sheet", 10)]
    assert "12,345 events; 2.00 MiB in 678 objects alive at most" in page
    listed = "<li>Mend a.</li>\n<li>b has 0.05.</li>\n<li>c has 0.5.</li></ul>"
    assert f'<p class="headline">a has 0.7.</p><ul>{listed}' in page
    assert '<h2 id="of-a">Of a 10</h2><details><summary>f &lt;g&gt;<span>3' in page
    assert '<ol class="stack"><li>inner</li><li>outer</li></ol>' in page
    assert '<h2 id="of-b">Of b 10</h2>a table</section>' in page
    assert "of-c" not in page and "of-d" not in page
    assert "\\u003c/script>" in page and "p &lt;x&gt;" in page
    assert page.index("of the trace") < page.index("of the twin")
    for program, command, title, heading in (
        *(("p", "./p 1", "p", "./p 1"), ("p", "", "p", "p"), ("", "", "x", "x")),
        ("", "./p 1", "x", "./p 1"),
    ):
        found.trace |= {"program": program, "origin": {"command": command}}
        page = why_page.why_page(found)
        assert f"<title>{title}: why" in page and f'<h1 class="clip">{heading}</h1>' in page
