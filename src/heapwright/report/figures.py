"""The parts of the page that are text, bars and tables: legible without a script."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from heapwright.insight.verdict import resident
from heapwright.result import PARTS, Result
from heapwright.words import (
    PART_MEANINGS,
    PART_NAMES,
    bytes_text,
    count_text,
    full_title,
    percent_text,
    title,
)

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

BAR_LIMIT = 3.0  # a bar longer than this many times the shortest is cut off, and says so
COLLECTED_BAR_LIMIT = 8.0  # the same where collectors fly, which take several times the memory
TELLING_SHARE = 0.001  # of the stranded bytes; a call site with less is not named


def bars(order: Sequence[Result], winner: Result | None) -> str:
    """Peaks side by side: a stacked bar per result."""
    least = min((resident(result) for result in order if resident(result)), default=1)
    limit = COLLECTED_BAR_LIMIT if any(result.collecting for result in order) else BAR_LIMIT
    longest = max((resident(r) for r in order if resident(r) <= limit * least), default=1)
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


def legend(order: Sequence[Result]) -> str:
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


def table(order: Sequence[Result], winner: Result | None) -> str:
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


def facts(known: dict[str, Any]) -> str:
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


def asking_sites(known: dict[str, Any]) -> str:
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
        "<div class='scroll'><table class='figures'><thead><tr>"
        "<th scope='col'>call site</th><th scope='col'>bytes requested</th>"
        f"<th scope='col'>requests</th></tr></thead><tbody>{body}</tbody></table></div>"
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
    """Both lists of one twin; sites that hold next to nothing are only counted."""
    telling = [row for row in pinned["by_bytes"] if row["share"] >= TELLING_SHARE]
    rows = "".join(
        f"<tr><th scope='row'>{escape(row['site'])}</th>"
        + _cell("bytes", row["bytes"], bytes_text(row["bytes"]))
        + f"<td>{percent_text(row['share'])}</td><td>{row['objects']:,}</td>"
        f"<td>{row['pages']:,}</td><td>{count_text(row['median_age_events'])}</td></tr>"
        for row in telling
    )
    if len(telling) < len(pinned["by_bytes"]):
        less = percent_text(TELLING_SHARE)
        rows += (
            "<tr><th scope='row'>others</th>"
            f"<td colspan='5' class='less'>less than {less} each</td></tr>"
        )
    freed = "".join(
        f"<tr><th scope='row'>{escape(row['site'])}</th>"
        + _cell("pages", row["pages"], f"{row['pages']:,}")
        + _cell("bytes", row["bytes"], bytes_text(row["bytes"]))
        + "</tr>"
        for row in pinned["by_pages"]
    )
    if freed:
        freed = (
            "<p>Pages that nothing but long-lived objects of one call site keep; an object is "
            "long-lived if it lived through at least half of the events up to the peak.</p>"
            "<div class='scroll'><table class='figures'><thead><tr><th scope='col'>call site</th>"
            "<th scope='col'>pages it alone holds</th><th scope='col'>free bytes on them</th>"
            f"</tr></thead><tbody>{freed}</tbody></table></div>"
        )
    return (
        "<div class='scroll'><table class='figures'><thead><tr><th scope='col'>call site</th>"
        "<th scope='col'>bytes stranded</th><th scope='col'>share</th>"
        "<th scope='col'>objects</th><th scope='col'>pages</th>"
        "<th scope='col'>median age, events</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{freed}"
    )


def notes(
    about: str, trace: "Trace", order: Sequence[Result], failures: Sequence[str]
) -> list[str]:
    """Assumptions: of the trace, called `about`; those that all managers share once, then each
    one's own; then what failed."""
    items = [(about, note) for note in trace.notes]
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
    return [f"<li><b>{escape(whose)}.</b> {escape(note)}</li>" for whose, note in items]


def _of_kind(order: Sequence[Result], kind: str) -> list[Result]:
    return [result for result in order if result.kind == kind]
