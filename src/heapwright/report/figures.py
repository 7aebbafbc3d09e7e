"""The parts of the page that are text, bars and tables: legible without a script."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from heapwright.report.markup import row_name, table, words
from heapwright.report.notes import Note
from heapwright.report.rows import Row, Sheet
from heapwright.report.standing import Standing
from heapwright.report.traces import facts, holding_sheet, stranded_sheet, tops_sheet
from heapwright.result import PARTS, Result
from heapwright.sections import ComparedSection
from heapwright.words import (
    PART_MEANINGS,
    PART_NAMES,
    bytes_text,
    change_text,
    full_title,
    held_text,
    percent_text,
    title,
)

BAR_LIMIT = 3.0  # a bar longer than this many times the shortest is cut off, and says so
COLLECTED_BAR_LIMIT = 8.0  # the same with collectors, which take several times the memory
WITHIN_EVENT = "within one event"


def bars(order: Sequence[Result], sheet: Sheet, place: Standing | None = None) -> str:
    """Peaks as stacked bars, each row of the comparison's sheet, which is in `order`: the present
    state and what can be deployed first, at a scale of their own; what only compares is folded."""
    place = place or Standing(None, list(order))
    row_of = {id(result): row for result, row in zip(order, sheet.rows, strict=True)}
    least = min((result.held_bytes for result in place.first if result.held_bytes), default=1)
    limit = COLLECTED_BAR_LIMIT if any(result.collecting for result in order) else BAR_LIMIT
    lengths = [result.held_bytes for result in place.first]
    longest = max((length for length in lengths if length <= limit * least), default=1)
    drawn = [_bar(result, row_of[id(result)], longest) for result in place.first]
    if place.others:
        held = [result.held_bytes for result in place.others]
        span = f"{bytes_text(min(held))} to {bytes_text(max(held))}"
        others = "\n".join(_bar(result, row_of[id(result)], longest) for result in place.others)
        drawn.append(
            f'<details class="others"><summary>{len(place.others)} more, to compare '
            f"<span>textbook managers and other runtimes: {span}</span></summary>"
            f"{others}</details>"
        )
    return "\n".join(drawn)


def _bar(result: Result, row: Row, longest: int) -> str:
    """A bar, `longest` bytes wide at most, that opens into its parts: by click, tap or Enter."""
    total, room = result.held_bytes, float(longest)
    segments = []
    for part in _parts(result):
        shown = min(part.size, room)
        room -= shown
        if shown > 0:
            segments.append(
                f'<i class="{part.style}" style="width:{100 * shown / longest:.3f}%" '
                f'title="{escape(part.name)}: {_with_share(part.size, total)}"></i>'
            )
    parts = "".join(
        f'<div><dt><i class="{part.style}"></i>{escape(part.name)}</dt>'
        f"<dd>{words(_with_share(part.size, total))}</dd></div>"
        for part in _parts(result)
        if part.size
    )
    classes = " ".join(
        name
        for name, applies in (
            ("winner", any(kind == "best" for kind, _ in row.flags)),
            ("present", any(kind == "now" for kind, _ in row.flags)),
            ("cut", total > longest),
        )
        if applies
    )
    change = row.values.get("change_to_present")
    difference = "" if change is None or row.values.get("present") else change_text(change)
    return (
        f'<details class="row {classes}"><summary><span class="name">{row_name(row)}</span>'
        f'<span class="bar" role="img" aria-label="{escape(_aloud(result))}">'
        f"{''.join(segments)}</span>"
        f'<span class="value" title="{held_text(result)}">{words(bytes_text(total))}</span>'
        f'<span class="change">{words(difference)}</span></summary>'
        f'<dl class="parts">{parts}</dl></details>'
    )


def _with_share(size: int, total: int) -> str:
    return f"{bytes_text(size)} ({percent_text(size / total)})"


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
    order: Sequence[Result], documents: Sequence[ComparedSection], shown: Result | None
) -> str:
    """Who pins the free bytes of partly used pages, a fold for each twin, that of `shown` open.

    `documents` are the JSON of `order`. Nothing when the traces know no call sites.
    """
    folds = []
    for result, found in zip(order, documents, strict=True):
        pinned = found.get("stranded") or {"by_bytes": []}
        named = any(row["site"] != "unknown" for row in pinned["by_bytes"])
        kept = _kept(found.get("tops"))
        if not named and not kept:
            continue
        said = [f"{bytes_text(pinned['partial_bytes'])} in holes"] if named else []
        if kept:
            empty = sum(row["retained_bytes"] for row in found["tops"]["heaps"])
            said.append(f"{bytes_text(empty)} empty below a last block")
        folds.append(
            f"<details{' open' if result is shown else ''} data-manager='{escape(title(result))}'>"
            f"<summary>{escape(title(result))} <span>{'; '.join(said)}"
            f"</span></summary>{_pinned(pinned) if named else ''}{kept}</details>"
        )
    return "\n".join(folds)


def _kept(tops: dict[str, Any] | None) -> str:
    """What keeps the tops of heaps, if anything is retained below them."""
    if not tops or not tops["heaps"]:
        return ""
    return (
        f"<p>After event {tops['event']:,}: memory goes back from a heap's end only, so each "
        "heap's highest live block keeps all the empty pages below it. Let it die sooner, or "
        f"allocate it before the rest.</p>{table(tops_sheet(tops))}"
    )


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


def origin_line(told: Mapping[str, str]) -> str:
    """When and where a trace was recorded: what a figure depends on."""
    when = told.get("date", "").replace("T", " ").removesuffix("+00:00")
    cores = told.get("cores", "")
    parts = [
        f"recorded {when} UTC" if when else "",
        f"on {told['host']}" if told.get("host") else "",
        f"{cores} core{'' if cores == '1' else 's'}" if cores else "",
        f"glibc {told['libc']}" if told.get("libc") else "",
        f"Linux {told['kernel']}" if told.get("kernel") else "",
        told.get("machine", ""),
    ]
    said = " · ".join(escape(part) for part in parts if part)
    return f'<p class="origin">{said}</p>' if said else ""
