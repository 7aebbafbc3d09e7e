"""What `why` prints: the first cause, those that tell, and where no call site is known."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from heapwright.report import why
from heapwright.report.rows import Row, Sheet


def finding(cause, share, stacks=()):
    told = {"sentence": f"{cause} has {share}.", "mend": f"Mend {cause}."}
    return SimpleNamespace(cause=cause, share=share, stacks=stacks, **told)


def printed(monkeypatch, *findings, stacked=False):
    """The text of a verdict with these causes, and the titles of its tables."""
    titles = []
    nothing = Sheet("", (), [])
    monkeypatch.setattr(why, "print_sheet", lambda console, sheet: titles.append(sheet.title))
    monkeypatch.setattr(why, "shares_sheet", lambda found: Sheet("", (), [Row({}, "")], "shares"))
    monkeypatch.setattr(
        why,
        "stacks_sheet",
        lambda found, cause, top: Sheet("", (), [Row({}, "")], f"{cause} {top}"),
    )
    for name in ("cycles_sheet", "stack_like_sheet"):
        monkeypatch.setattr(why, name, lambda found, top: nothing)
    monkeypatch.setattr(why, "timeline_sheet", lambda found: nothing)
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
    assert "d has" not in text and titles == ["shares", "a 9", "b 3"]
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
