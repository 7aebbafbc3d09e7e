"""Why memory is what it is, as one self-contained page: the verdict, a flame graph, the tables.

why.html    the frame, with {{places}} filled below
page.css    the look, shared with the page of comparisons; flame.css that of the graph
flame.js    the flame graph; tables.js: a heading sorts
"""

from __future__ import annotations

import json
import re
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from heapwright.report.atomic import atomic
from heapwright.report.figures import notes_list, origin_line
from heapwright.report.markup import table, words
from heapwright.report.notes import Note
from heapwright.report.why import (
    TELLING,
    shares_sheet,
    stack_like_sheet,
    stacks_sheet,
    timeline_sheet,
)
from heapwright.words import bytes_text, counted, percent_text

if TYPE_CHECKING:
    from pathlib import Path

    from heapwright.insight.causes import Culprit
    from heapwright.report.answers import Why

STACKS = 10  # of a cause
TIMES = 10  # rows of the table through time


def write_why_page(path: Path, found: Why) -> None:
    """Write the page; HeapwrightError when that cannot be done."""
    text = why_page(found)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def why_page(found: Why) -> str:
    """The page's text."""
    known = found.trace
    data = {"flames": [found.flame.to_json()]}
    like = table(stack_like_sheet(found, STACKS))
    told = [Note("The trace", text) for text in known["notes"]]
    told += [Note("The twin", text) for text in found.result.notes]
    places = {
        "style": _own("page.css") + _own("flame.css"),
        "script": _own("draw.js") + _own("tables.js") + _own("flame.js"),
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        "program": escape(known["program"] or str(known["path"])),
        "command": escape(known["origin"].get("command") or known["program"] or str(known["path"])),
        "origin": origin_line(known["origin"]),
        "lead": escape(
            f"{known['events']:,} events; {bytes_text(known['peak_live_bytes'])} in "
            f"{known['peak_live_objects']:,} objects alive at most"
        ),
        "verdict": _verdict(found),
        "shares": table(shares_sheet(found)),
        "stacks": _stacks(found),
        "timeline": table(timeline_sheet(found, TIMES)),
        "like": like,
        "like_hidden": "" if like else " hidden",
        "notes": "\n".join(notes_list(told)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: places.get(match[1], ""), _own("why.html"))


def _own(name: str) -> str:
    return files("heapwright.report").joinpath(name).read_text(encoding="utf-8")


def _verdict(found: Why) -> str:
    first, *others = found.diagnosis.findings
    items = [first.mend, *(one.sentence for one in others if one.share >= TELLING)]
    listed = "\n".join(f"<li>{words(item)}</li>" for item in items)
    return f'<p class="headline">{words(first.sentence)}</p><ul>{listed}</ul>'


def _stacks(found: Why) -> str:
    """A section for each telling cause whose stacks are known, the whole stacks folded."""
    sections = []
    for finding in found.diagnosis.findings:
        sheet = stacks_sheet(found, finding.cause, STACKS)
        if not sheet.rows or finding.share < TELLING:
            continue
        if any(len(stack.frames) > 1 for stack in finding.stacks):
            shown = "".join(map(_fold, finding.stacks))
        else:
            shown = table(sheet)
        title = sheet.title[:1].upper() + sheet.title[1:]
        sections.append(
            f'<section aria-labelledby="of-{finding.cause}">'
            f'<h2 id="of-{finding.cause}">{escape(title)}</h2>{shown}</section>'
        )
    return "\n".join(sections)


def _fold(stack: Culprit) -> str:
    """A call stack behind its call site, the innermost frame first."""
    frames = "".join(f"<li>{escape(frame)}</li>" for frame in reversed(stack.frames))
    much = f"{bytes_text(stack.bytes)}, {percent_text(stack.share)}"
    much += f", {counted(stack.blocks, 'block')}"
    return (
        f"<details><summary>{escape(stack.label)}<span>{words(much)}</span></summary>"
        f'<ol class="stack">{frames}</ol></details>'
    )
