"""The parts of the page that are text, bars and tables: legible without a script."""

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from heapwright.report.markup import row_name, table, words
from heapwright.report.notes import Note
from heapwright.report.rows import Sheet
from heapwright.report.traces import facts, holding_sheet, stranded_sheet
from heapwright.result import PARTS, Result
from heapwright.words import (
    PART_MEANINGS,
    PART_NAMES,
    bytes_text,
    full_title,
    held_text,
    percent_text,
    title,
)

BAR_LIMIT = 3.0  # a bar longer than this many times the shortest is cut off, and says so
COLLECTED_BAR_LIMIT = 8.0  # the same with collectors, which take several times the memory
WITHIN_EVENT = "within one event"


def bars(order: Sequence[Result], sheet: Sheet) -> str:
    """Peaks side by side: a stacked bar per row of the comparison's sheet, which is in `order`."""
    least = min((result.held_bytes for result in order if result.held_bytes), default=1)
    limit = COLLECTED_BAR_LIMIT if any(result.collecting for result in order) else BAR_LIMIT
    lengths = [result.held_bytes for result in order]
    longest = max((length for length in lengths if length <= limit * least), default=1)
    rows = []
    for result, row in zip(order, sheet.rows, strict=True):
        total = result.held_bytes
        segments, room = [], float(longest)
        for part in _parts(result):
            shown = min(part.size, room)
            room -= shown
            if shown <= 0:
                continue
            label = f"{part.name}: {bytes_text(part.size)} ({percent_text(part.size / total)})"
            segments.append(
                f'<i class="{part.style}" style="width:{100 * shown / longest:.3f}%" '
                f'title="{escape(label)}"></i>'
            )
        winner = any(kind == "best" for kind, _ in row.flags)
        classes = ("winner " if winner else "") + ("cut" if total > longest else "")
        rows.append(
            f'<div class="row {classes}"><span class="name">{row_name(row)}</span>'
            f'<span class="bar" role="img" aria-label="{escape(_aloud(result))}">'
            f"{''.join(segments)}</span>"
            f'<span class="value" title="{held_text(result)}">{bytes_text(total)}</span></div>'
        )
    return "\n".join(rows)


class _Part(NamedTuple):
    """A segment of a bar."""

    name: str
    style: str
    size: int


def _parts(result: Result) -> list[_Part]:
    """What a result held: they sum to `held_bytes`."""
    parts = []
    for part in PARTS:
        rest = result.kind == "measured" and part == "partial"
        told = ("not told apart", "rest") if rest else (PART_NAMES[part], part)
        parts.append(_Part(*told, result.peak[f"{part}_bytes"]))
    return [*parts, _Part(WITHIN_EVENT, "within", result.within_event_bytes)]


def _aloud(result: Result) -> str:
    """A bar for those who hear the page."""
    parts = [f"{part.name} {bytes_text(part.size)}" for part in _parts(result)]
    return f"{full_title(result)}: {held_text(result)} resident; " + ", ".join(parts)


def legend(order: Sequence[Result]) -> str:
    """What the colours mean; parts that no result has are left out."""
    items = []
    for part in PARTS:
        if any(r.peak[f"{part}_bytes"] for r in order if r.kind == "twin" or part != "partial"):
            items.append((part, PART_NAMES[part], PART_MEANINGS[part]))
    if any(result.kind == "measured" for result in order):
        meaning = "of a real system only live, rounding and the total can be measured from outside"
        items.append(("rest", "not told apart", meaning))
    if any(result.within_event_bytes for result in order):
        meaning = "held only within one event, as while a block or all objects are copied"
        items.append(("within", WITHIN_EVENT, meaning))
    return "\n".join(
        f'<div><dt><i class="{key}"></i>{escape(name)}</dt><dd>{escape(meaning)}</dd></div>'
        for key, name, meaning in items
    )


def facts_list(known: dict[str, Any]) -> str:
    """The trace's facts as a definition list."""
    return "\n".join(
        f"<div><dt>{escape(fact.title)}</dt><dd>{words(fact.text)}</dd></div>"
        for fact in facts(known)
    )


def stranding_sites(
    order: Sequence[Result], documents: Sequence[dict[str, Any]], shown: Result | None
) -> str:
    """Who pins the free bytes of partly used pages, a fold for each twin, that of `shown` open.

    `documents` are the JSON of `order`. Nothing when the traces know no call sites.
    """
    folds = []
    for result, found in zip(order, documents, strict=True):
        pinned = found.get("stranded")
        if not pinned or all(row["site"] == "unknown" for row in pinned["by_bytes"]):
            continue
        folds.append(
            f"<details{' open' if result is shown else ''} data-manager='{escape(title(result))}'>"
            f"<summary>{escape(title(result))} <span>{bytes_text(pinned['partial_bytes'])} in holes"
            f"</span></summary>{_pinned(pinned)}</details>"
        )
    return "\n".join(folds)


def _pinned(pinned: dict[str, Any]) -> str:
    """Both lists of one twin."""
    held = table(holding_sheet(pinned))
    if held:
        held = (
            "<p>Pages that nothing but long-lived objects of one call site keep; an object is "
            f"long-lived if it lived through at least half of the events up to the peak.</p>{held}"
        )
    return table(stranded_sheet(pinned)) + held


def notes_list(told: Sequence[Note]) -> list[str]:
    """Items of a list, each with whom it is about."""
    return [f"<li><b>{escape(about)}.</b> {words(said)}</li>" for about, said in told]
