"""What changed, by call stack: who called whom is told from the inside out."""

from types import SimpleNamespace

from heapwright.report.diff import stacks_sheet, whole_sheet


def changed(function, frames, asked, state=""):
    return {"function": function, "frames": frames, "asked": asked, "state": state}


def test_the_callers_of_what_changed_stand_innermost_first():
    rows = [
        changed("copy", ["main", "serve", "load", "copy"], 3, "new"),
        changed("main", ["main"], 0),
        changed("left out", ["main"], 0),
    ]
    sheet = stacks_sheet(SimpleNamespace(difference=SimpleNamespace(stacks=rows)), 2)
    assert [(row.name, row.details) for row in sheet.rows] == [
        ("copy", ("new, < load < serve < main",)),
        ("main", ()),
    ]
    assert sheet.caption.startswith("1 more changed")
    assert stacks_sheet(SimpleNamespace(difference=SimpleNamespace(stacks=rows)), 3).caption == ""


def test_the_whole_is_told_in_bytes_alone():
    rows = [{"key": key, "what": key.upper()} for key in ("live", "requests", "resident")]
    sheet = whole_sheet(SimpleNamespace(difference=SimpleNamespace(whole=rows)))
    assert [row.name for row in sheet.rows] == ["LIVE", "RESIDENT"]
