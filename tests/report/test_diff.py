"""What changed, by call stack: who called whom is told from the inside out."""

import io
from types import SimpleNamespace

from rich.console import Console

from heapwright.report import diff
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


def printed(whole=(), stacks=(), sizes=(), before=(), after=()):
    console = Console(file=io.StringIO(), width=120)
    difference = SimpleNamespace(whole=whole, stacks=stacks, sizes=sizes)
    notes = {"before": list(before), "after": list(after)}
    found = SimpleNamespace(difference=difference, sentence="It grew.", notes=notes)
    diff.print_diff(console, found, 2)
    return [line.strip() for line in console.file.getvalue().splitlines()]


def test_sentence_tables_and_whose_each_note_is():
    figures = {"end": {"before": 5 << 20, "after": 7 << 20, "change": 2 << 20}, "change": 2 << 20}
    whole = [figures | {"key": "live", "what": "live"}]
    stacks = [figures | changed("copy", ["main"], 0)]
    said = printed(whole, stacks, [figures | {"to_bytes": 64}], ["a", "b"], ["b", "c"])
    assert said[:2] == ["It grew.", ""]
    assert said[-4:] == ["", "note: Both. b", "note: Before. a", "note: After. c"]
    assert sum(line == "" for line in said) == 4
    assert [any(word in line for line in said) for word in ("live", "copy", "64 B")] == [True] * 3
    alone = printed(whole)
    assert sum(line == "" for line in alone) == 1 and not any("note" in line for line in alone)
