"""The comparison as one self-contained page: no network, light and dark, a phone or a wide screen.

    page.html   the frame, with {{places}} filled below
    page.css    the look; colours of the parts are variables
    page.js     draws the timelines and the size histogram from the data that is embedded

What is text or a plain bar is written here, so that the page says the essential without scripts.
The embedded document is the very one that `compare --json` prints.
"""

import itertools
import json
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.insight.statistics import statistics
from heapwright.insight.verdict import ranked, resident, verdict
from heapwright.insight.words import (
    PART_MEANINGS,
    PART_NAMES,
    bytes_text,
    count_text,
    full_title,
    percent_text,
    title,
)
from heapwright.report.beside import beside
from heapwright.report.document import comparison_document
from heapwright.result import PARTS, TIMELINE, Result

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

TIMELINE_ROWS = 1200  # at most, per manager: more than a screen has columns
BAR_LIMIT = 3.0  # a bar longer than this many times the shortest is cut off, and says so


def write_page(
    path: Path, trace: "Trace", results: Sequence[Result], failures: Sequence[str] = ()
) -> None:
    """Write the page of a comparison of `trace`; HeapwrightError when that cannot be done."""
    text = page(trace, results, failures)
    with beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(trace: "Trace", results: Sequence[Result], failures: Sequence[str] = ()) -> str:
    """The page's text."""
    judged = verdict(results)
    order = ranked(results)
    known = statistics(trace)
    data = {
        "document": comparison_document(trace, results),
        "parts": [{"key": part, "name": PART_NAMES[part]} for part in PARTS],
        "timelines": [_timeline(result) for result in order],
        "sizes": known["size_histogram"],
        "lifetimes": known["lifetimes"]["histogram"],
    }
    places = {
        "style": _own("page.css"),
        "script": _own("page.js"),
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        "program": escape(trace.program or trace.path.name),
        "lead": _lead(trace, len(results)),
        "headline": escape(judged.headline),
        "reasons": "\n".join(f"<li>{escape(reason)}</li>" for reason in judged.reasons),
        "bars": _bars(order, judged.winner),
        "legend": _legend(order),
        "table": _table(order, judged.winner),
        "facts": _facts(known),
        "sites": _sites(known),
        "notes": _notes(trace, order, failures),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: places[match[1]], _own("page.html"))


def _own(name: str) -> str:
    return files("heapwright.report").joinpath(name).read_text(encoding="utf-8")


def _timeline(result: Result) -> dict[str, Any]:
    """A result's timeline as columns, thinned to TIMELINE_ROWS; the peak's row is kept."""
    rows = (
        result.timeline if result.timeline is not None else np.zeros((0, len(TIMELINE)), np.int64)
    )
    if len(rows) > TIMELINE_ROWS:
        # of each run of rows the one that holds most, so that no spike is lost
        edges = np.linspace(0, len(rows), TIMELINE_ROWS - 1).astype(int)
        runs = itertools.pairwise(edges)
        held = rows[:, TIMELINE.index("resident_bytes")]
        kept = {0, len(rows) - 1, *(int(a + held[a:b].argmax()) for a, b in runs)}
        rows = rows[sorted(kept)]
    columns = {name: rows[:, n].tolist() for n, name in enumerate(TIMELINE)}
    for name in [f"{part}_bytes" for part in PARTS]:
        if not any(columns[name]):
            del columns[name]
    return {"title": full_title(result), "manager": result.manager, "kind": result.kind, **columns}


def _lead(trace: "Trace", count: int) -> str:
    origin = {"recording": "a recording", "imported": "an imported recording"}.get(
        trace.kind, "a made-up program"
    )
    return (
        f"{origin} of {trace.events:,} events, flown through {count} memory managers; "
        f"{bytes_text(trace.peak_live_bytes)} in {trace.peak_live_objects:,} objects alive at most"
    )


def _bars(order: Sequence[Result], winner: Result | None) -> str:
    """Peaks side by side: a stacked bar per result."""
    least = min((resident(result) for result in order if resident(result)), default=1)
    longest = max((resident(r) for r in order if resident(r) <= BAR_LIMIT * least), default=1)
    rows = []
    for result in order:
        total = resident(result)
        cut = total > longest
        segments, room = [], float(longest)
        for part in PARTS:
            size = result.peak[f"{part}_bytes"]
            shown = min(size, room)
            room -= shown
            if shown <= 0:
                continue
            name, style = PART_NAMES[part], part
            if result.kind == "measured" and part == "partial":
                name, style = "not told apart", "rest"
            label = f"{name}: {bytes_text(size)} ({percent_text(size / total)})"
            segments.append(
                f'<i class="{style}" style="width:{100 * shown / longest:.3f}%" '
                f'title="{escape(label)}"></i>'
            )
        classes = ("winner " if result is winner else "") + ("cut" if cut else "")
        rows.append(
            f'<div class="row {classes}"><span class="name">{_name(result, winner)}</span>'
            f'<span class="bar" role="img" aria-label="{escape(_aloud(result))}">'
            f"{''.join(segments)}</span>"
            f'<span class="value">{bytes_text(total)}</span></div>'
        )
    return "\n".join(rows)


def _aloud(result: Result) -> str:
    """A bar for those who hear the page."""
    parts = [f"{PART_NAMES[p]} {bytes_text(result.peak[f'{p}_bytes'])}" for p in PARTS]
    return f"{full_title(result)}: {bytes_text(resident(result))} resident; " + ", ".join(parts)


def _name(result: Result, winner: Result | None) -> str:
    chips = ""
    if result is winner:
        chips += ' <b class="chip best">least</b>'
    if result.kind == "measured":
        chips += ' <b class="chip">measured</b>'
    if result.refused:
        chips += ' <b class="chip bad">ran out</b>'
    return escape(title(result)) + chips


def _legend(order: Sequence[Result]) -> str:
    """What the colours mean; parts that no result has are left out."""
    items = []
    for part in PARTS:
        if any(r.peak[f"{part}_bytes"] for r in order if r.kind == "twin" or part != "partial"):
            items.append((part, PART_NAMES[part], PART_MEANINGS[part]))
    if any(result.kind == "measured" for result in order):
        meaning = "of a real system only live, rounding and the total can be measured from outside"
        items.append(("rest", "not told apart", meaning))
    return "\n".join(
        f'<div><dt><i class="{key}"></i>{escape(name)}</dt><dd>{escape(meaning)}</dd></div>'
        for key, name, meaning in items
    )


def _table(order: Sequence[Result], winner: Result | None) -> str:
    """Every figure; `data-bytes` and the like hold what the JSON holds."""
    shown = [p for p in PARTS if any(result.peak[f"{p}_bytes"] for result in order)]
    headings = [
        "peak resident",
        *(PART_NAMES[p] for p in shown),
        "mapped peak",
        "faults",
        "events/s",
    ]
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    rows = []
    for result in order:
        cells = [_cell("resident_bytes", resident(result), bytes_text(resident(result)))]
        for part in shown:
            size = result.peak[f"{part}_bytes"]
            cells.append(_cell(f"{part}_bytes", size, bytes_text(size) if size else "0"))
        mapped = result.mapped_bytes_peak
        cells.append(_cell("mapped_bytes_peak", mapped, bytes_text(mapped)))
        cells.append(_cell("page_faults", result.page_faults, f"{result.page_faults:,}"))
        rate = result.events_per_second
        cells.append(_cell("events_per_second", rate, count_text(rate)))
        rows.append(
            f'<tr class="{"winner" if result is winner else ""}" data-kind="{result.kind}" '
            f'data-manager="{escape(result.manager)}">'
            f'<th scope="row">{_name(result, winner)}</th>{"".join(cells)}</tr>'
        )
    return (
        f'<thead><tr><th scope="col">manager</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
    )


def _cell(key: str, value: float, text: str) -> str:
    exact = f"{value:,}" if isinstance(value, int) else f"{value:,.0f}"
    return f'<td data-key="{key}" data-value="{value}" title="{exact}">{text}</td>'


def _facts(known: dict[str, Any]) -> str:
    """The trace's facts as a definition list."""
    held, left, died = known["peak_live_bytes"], known["live_at_end"], known["lifetimes"]
    median = died["median_events_at_most"]
    facts = {
        "file": f"{known['path']} ({bytes_text(known['size_bytes_on_disk'])})",
        "kind": known["kind"],
        "events": f"{known['events']:,}",
        "allocations": f"{known['allocations']:,}",
        "reallocations": f"{known['reallocations']:,}",
        "frees": f"{known['frees']:,}",
        "frees of unknown objects": f"{known['unmatched_frees']:,}",
        "threads": f"{known['threads']:,}",
        "most bytes alive": f"{held:,} ({bytes_text(held)})",
        "most objects alive": f"{known['peak_live_objects']:,}",
        "never freed": f"{left['objects']:,} objects, {bytes_text(left['bytes'])}",
        "half have died after": f"{median:,} events" if median is not None else "never",
    }
    return "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts.items()
    )


def _sites(known: dict[str, Any]) -> str:
    """Who asks for most bytes; nothing when the trace knows no call sites."""
    rows = known["top_sites"]["by_bytes"]
    if not rows:
        return ""
    body = "".join(
        f"<tr><th scope='row'>{escape(row['site'])}</th><td>{bytes_text(row['bytes'])}</td>"
        f"<td>{row['count']:,}</td></tr>"
        for row in rows
    )
    return (
        "<section><h2>Who asks for most bytes</h2>"
        "<div class='scroll'><table class='figures'><thead><tr>"
        "<th scope='col'>call site</th><th scope='col'>bytes requested</th>"
        f"<th scope='col'>requests</th></tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _notes(trace: "Trace", order: Sequence[Result], failures: Sequence[str]) -> str:
    """Assumptions: those that all share once, then each manager's own; then what failed."""
    items = [("The trace", note) for note in trace.notes]
    noted: dict[str, list[str]] = {}
    for result in order:
        for note in result.notes:
            noted.setdefault(note, []).append(full_title(result))
    groups = {
        "All": order,
        "All twins": _of_kind(order, "twin"),
        "All real ones": _of_kind(order, "measured"),
    }
    for note, names in noted.items():
        whose = [
            group
            for group, members in groups.items()
            if len(members) > 1 and names == list(map(full_title, members))
        ]
        items.append(((whose or [", ".join(names)])[0], note))
    items += [("Missing", failure) for failure in failures]
    return "\n".join(f"<li><b>{escape(whose)}.</b> {escape(note)}</li>" for whose, note in items)


def _of_kind(order: Sequence[Result], kind: str) -> list[Result]:
    return [result for result in order if result.kind == kind]
