"""Advice as a terminal, a notebook and JSON show it: rows told apart, sentences, lines to copy."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from heapwright.report import advice as shown
from heapwright.report.rows import CHANGE

MIB = 1 << 20


class Tried(SimpleNamespace):
    """A row of advice."""

    def to_json(self, present, command=""):
        figures = {
            f"{name}_resident_bytes": n * MIB for name, n in zip("abc", self.mib, strict=True)
        }
        change = {name: n / 100 for name, n in zip("abc", (10, 20, -60), strict=True)}
        measured = {"seconds": 2.5, "collections": 7} if self.ran else None
        return {"predicted": figures, "change": change, "measured": measured, "command": command}


def tried(manager, mib=(1, 2, 3), kind="twin", ran=False, code="", **more):
    def lines(command):
        return {"shell": f"A=1 {command}\nB=2", "dockerfile": "ENV A=1"}

    deployment = SimpleNamespace(code=code, lines=lines)
    candidate = SimpleNamespace(manager=manager, details=("x=1",), kind=kind, deployment=deployment)
    flags = {"level": False, "worse": False, "killed": ""} | more
    return Tried(candidate=candidate, mib=mib, ran=ran, **flags)


def advised(*rows, best=None, **more):
    trace = SimpleNamespace(origin={"command": "./p 1"}, notes=["It lacks."])
    known: dict[str, object] = {"trace": trace, "headline": "Second.", "by": None, "best": best}
    known |= {"sentences": ["First.", "Second.", "Third."], "rows": rows, "failures": []}
    known |= {"present": tried("now", (40, 50, 60)), "notes": ["It lacks.", "It guesses."]}
    return SimpleNamespace(**known | {"standing": SimpleNamespace(live_share=0.25)} | more)


@pytest.mark.parametrize(("count", "left"), [(0, 0), (2, 0), (3, 1), (5, 3)])
def test_the_best_are_shown_and_the_rest_counted(count, left):
    sheet = shown.advice_sheet(advised(*(tried(f"m{n}") for n in range(count))), 2)
    assert [row.name for row in sheet.rows] == ["now", "m0", "m1"][: 1 + min(count, 2)]
    more = f" {left} more were tried and do no better; --json has them." if left else ""
    assert sheet.caption == "Bytes of the heap." + more


def test_what_a_row_says_of_itself():
    best, real = tried("b", level=True), tried("r", kind="measured", ran=True)
    others = [tried("l", level=True), tried("w", level=True, worse=True)]
    others += [tried("k", level=True, killed="dies")]
    found = advised(best, real, *others, best=best)
    found.present.level = True
    rows = shown.advice_sheet(found).rows
    assert [row.flags for row in rows] == [
        *((("now", "now"),), (("best", "best"), ("", "level")), (("", "real"),)),
        *((("", "level"),), (), (("", "killed"),)),
    ]
    assert all(row.details == ("x=1",) for row in rows)
    assert (
        rows[0].values["against_now"] == pytest.approx(-0.1) and shown.ADVICE[3].quantity is CHANGE
    )
    assert rows[2].values["measured_ns"] == 2_500_000_000 and "measured_ns" not in rows[1].values
    assert shown.advice_sheet(found).unit == (1 << 10, "KiB")  # of the least


def printed(found):
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="standard")
    shown.print_advice(console, found)
    return console.file.getvalue().splitlines()


def test_sentences_table_lines_and_notes():
    best = tried("b")
    said = printed(advised(best, best=best))
    bold = "\x1b[1m{}\x1b[0m"
    assert said[:4] == [bold.format("First."), bold.format("  Second."), "  Third.", ""]
    assert any("what the program is given" in line for line in said[4:])
    said = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in said]
    at = said.index("In a shell:")
    lines = ["", "In a shell:", "  A=1 ./p 1", "  B=2", "", "In a Dockerfile:", "  ENV A=1", ""]
    assert said[at - 1 : at + 7] == lines
    assert said[at + 7 :] == ["note: The trace. It lacks.", "note: The twin. It guesses."]
    assert not any("In a shell" in line for line in printed(advised(best)))
    assert shown.deployed(tried("c", code="f()"), "./p") == ["", "In the program: f()"]


def test_the_document_and_the_cell(monkeypatch):
    monkeypatch.setattr(shown, "trace_facts", lambda trace: {"program": "p"})
    found = advised(tried("b", (7, 8, 9)), by="peak")
    told = shown.document(found)
    assert told["by"] == "peak" and shown.document(advised())["by"] == "all"
    assert [row["command"] for row in (told["present"], *told["advice"])] == ["./p 1"] * 2
    assert told["advice"][0]["predicted"]["a_resident_bytes"] == 7 * MIB
    assert told["present"]["predicted"]["a_resident_bytes"] == 40 * MIB
    assert (told["live_share_of_end"], told["headline"]) == (0.25, "Second.")
    assert "<p>Second" in shown.advice_html(found)
