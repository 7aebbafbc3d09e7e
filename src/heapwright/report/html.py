"""The comparison as one self-contained page: no network, light and dark, a phone or a wide screen.

    page.html      the frame, with {{places}} filled below
    page.css       the look; colours of the parts are variables
    figures.py     text and bars
    markup.py      tables, from the rows that terminal and JSON show too
    draw.js        what the scripts share: elements, words for quantities, packed columns
    standing.py    in which order a person in a hurry meets the rows
    tables.js      sorting by a click, whole names
    lines.js       timelines
    charts.js      histograms, lifetimes against sizes
    collector_charts.py   what charts of collectors draw
    collectors.js  their collections, pauses and utilisation; the space-time curve
    heap.js        heap maps
    slider.js      the slider through time, by which maps go together
    flame.js       the flame graph of call stacks; flame.css its look

What is text or a plain bar is written here, so that the page says the essential without scripts.
The embedded document is the very one that `compare --json` prints. Of several traces each part is
shown side by side.
"""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.insight.flame import flame_of
from heapwright.insight.lower_bound import distance_line, least_bytes
from heapwright.insight.space_time import SpaceTime, space_time
from heapwright.insight.statistics import statistics
from heapwright.insight.verdict import Verdict, present, ranked, verdict
from heapwright.report import figures
from heapwright.report.atomic import atomic
from heapwright.report.collector_charts import chart_data, collected
from heapwright.report.comparison import collectors_sheet, comparison_sheet, space_time_sheet
from heapwright.report.document import Compared, document, documents
from heapwright.report.knobs import said_of_settings
from heapwright.report.limits import limits_sheet
from heapwright.report.maps import map_data
from heapwright.report.markup import table, words
from heapwright.report.notes import notes
from heapwright.report.rows import Sheet
from heapwright.report.standing import Standing, collectors_asked, standing
from heapwright.report.traces import sites_sheet
from heapwright.result import CYCLE, PARTS, TIMELINE, Result
from heapwright.sections import ComparedSection, ComparisonDocument
from heapwright.words import PART_NAMES, bytes_text, full_title

READ_FIRST = 4  # reasons of a verdict that are not folded
TIMELINE_ROWS = 1200  # at most, per manager: more than a screen has columns
SCRIPTS = (
    "draw.js",
    "tables.js",
    "lines.js",
    "charts.js",
    "collectors.js",
    "heap.js",
    "slider.js",
    "flame.js",
)
_SECTION = re.compile(
    r'<section aria-labelledby="([\w-]+)"(?:\{\{(\w+)\}\})?>\s*<h2 id="\1">(.*?)</h2>'
)


class _Seen:
    """A trace with all that the page says of it."""

    def __init__(self, one: Compared, name: str, shown: ComparisonDocument) -> None:
        self.trace, self.failures, self.name = one.trace, one.failures, name
        self.judged: Verdict = verdict(one.results)
        self.now: Result | None = present(one.results)
        self.order: list[Result] = ranked(one.results)
        self.sheet: Sheet = comparison_sheet(one.results)
        graph = one.trace.graph
        self.asked: bool = collectors_asked(one.results, graph=graph, named=one.named)
        self.place: Standing = standing(one.results, graph=graph)
        self.known: dict[str, Any] = statistics(one.trace)
        self.labels: list[str] = one.trace.sites()
        self.flame = flame_of(one.trace, self.now) if one.trace.stack_nodes else None
        pairs = zip(one.results, shown["results"], strict=True)
        self.curve: SpaceTime | None = None
        if one.points:
            self.curve = space_time(one.points, one.results)
        self.shown: dict[int, ComparedSection] = {id(result): said for result, said in pairs}

    def with_maps(self) -> list[Result]:
        """Twins in the order in which maps deserve room: the present, the advised, the rest."""
        twins = [result for result in self.order if result.heap_map]
        first = [r for place in (self.now, self.place.advised) for r in twins if r is place]
        return first + [result for result in twins if not any(result is f for f in first)]


def write_page(path: Path, compared: Sequence[Compared], title: str = "") -> None:
    """Write the page of comparisons; HeapwrightError when that cannot be done."""
    text = page(compared, title)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(compared: Sequence[Compared], title: str = "") -> str:
    """The page's text; its title is the recorded command where none is given."""
    known = document(compared)
    parts = zip(compared, _names(compared), documents(known), strict=True)
    seen = [_Seen(*part) for part in parts]
    found = [(one, result) for one in seen for result in one.order]
    data = {
        "document": known,
        "parts": [{"key": part, "name": PART_NAMES[part]} for part in PARTS],
        "timelines": [
            {
                "title": _row_title(one, result, seen),
                "role": one.place.role(result),
                **_timeline(result),
                **({} if one.asked else {"collected": []}),
            }
            for one, result in found
        ],
        "traces": [
            {
                "name": one.name,
                "sizes": one.known["size_histogram"],
                "lifetimes": one.known["lifetimes"]["histogram"],
                "lifetimes_by_size": one.known["lifetimes_by_size"],
            }
            for one in seen
        ],
        "maps": _maps(seen),
        "flames": [one.flame.to_json() for one in seen if one.flame],
        "collectors": [
            chart_data(_row_title(one, result, seen), did)
            for one in seen
            if one.asked
            for result, did in collected(one.order)
        ],
        "curves": [
            {"name": one.name, **one.curve.to_json()} for one in seen if one.curve is not None
        ],
    }
    places = {
        "style": _own("page.css") + _own("flame.css"),
        "script": "\n".join(map(_own, SCRIPTS)),
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        "program": escape(" and ".join(one.name for one in seen)),
        "command": escape(title or " and ".join(_command(one, seen) for one in seen)),
        "origin": "".join(dict.fromkeys(figures.origin_line(one.trace.origin) for one in seen)),
        "lead": "; ".join(_lead(one) for one in seen),
        "verdicts": _abreast(seen, _verdict),
        "bars": _abreast(
            seen,
            lambda one: f'<div class="bars">{figures.bars(one.order, one.sheet, one.place)}</div>',
        ),
        "legend": figures.legend([result for one in seen for result in one.place.first]),
        "table": _abreast(seen, lambda one: table(one.sheet)),
        "limits": _abreast(
            seen,
            lambda one: table(limits) if (limits := limits_sheet(one.order)).rows else "",
        ),
        "settings": "".join(
            f"<div><dt>{escape(title)}</dt><dd>{words(sentence)}</dd></div>"
            for title, sentence in said_of_settings(result for _, result in found)
        ),
        "facts": _abreast(
            seen, lambda one: f'<dl class="facts">{figures.facts_list(one.known)}</dl>'
        ),
        "flames": _abreast(
            seen, lambda one: '<div class="flame-graph"></div>' if one.flame else ""
        ),
        "asking": _abreast(seen, lambda one: table(sites_sheet(one.known))),
        "stranding": _abreast(seen, _stranding),
        "collecting": _abreast(
            seen, lambda one: table(collectors_sheet(one.order)) if one.asked else ""
        ),
        "space_time": _abreast(
            seen,
            lambda one: table(space_time_sheet(one.curve.to_json())) if one.curve else "",
        ),
        "notes": "\n".join(dict.fromkeys(line for one in seen for line in _notes(one, seen))),
    }
    for name in ("flames", "asking", "stranding", "collecting", "limits", "space_time"):
        if not places[name]:
            places[f"{name}_hidden"] = " hidden"
    places["map_hidden"] = "" if data["maps"] else " hidden"
    frame = _own("page.html")
    places["contents"] = "".join(
        f'<li><a href="#{name}">{title}</a></li>'
        for name, hidden, title in _SECTION.findall(frame)
        if not places.get(hidden)
    )
    return re.sub(r"\{\{(\w+)\}\}", lambda match: places.get(match[1], ""), frame)


def _own(name: str) -> str:
    return files("heapwright.report").joinpath(name).read_text(encoding="utf-8")


def _names(compared: Sequence[Compared]) -> list[str]:
    """A name for each trace, all different: the program's, else the file's, else numbered."""
    for named in (
        [one.trace.program or one.trace.path.name for one in compared],
        [one.trace.path.name for one in compared],
    ):
        if len(set(named)) == len(named):
            return named
    return [f"{one.trace.path.name} ({n})" for n, one in enumerate(compared, 1)]


def _abreast(seen: Sequence[_Seen], made: Callable[[_Seen], str]) -> str:
    """A part of the page for each trace, next to each other under its name."""
    parts = [(one, made(one)) for one in seen]
    if len(seen) == 1:
        return parts[0][1]
    columns = [f"<div><h3>{escape(one.name)}</h3>{part}</div>" for one, part in parts if part]
    return f'<div class="abreast">{"".join(columns)}</div>' if columns else ""


def _row_title(one: _Seen, result: Result, seen: Sequence[_Seen]) -> str:
    return full_title(result) if len(seen) == 1 else f"{full_title(result)} · {one.name}"


def _maps(seen: Sequence[_Seen]) -> list[dict[str, Any]]:
    """The maps of all traces; those to be seen first stand first: of each trace its first."""
    turns = itertools.zip_longest(*([(one, r) for r in one.with_maps()] for one in seen))
    dealt = [pair for turn in turns for pair in turn if pair]
    maps = map_data([result for _, result in dealt], [one.labels for one, _ in dealt])
    return [
        {
            "title": _row_title(one, result, seen),
            "trace": one.name,
            "trace_events": one.trace.events,
            **map_,
        }
        for (one, result), map_ in zip(dealt, maps, strict=True)
    ]


def _timeline(result: Result) -> dict[str, Any]:
    """A result's timeline as columns, thinned to TIMELINE_ROWS; the peak's row is kept."""
    rows = (
        result.timeline if result.timeline is not None else np.zeros((0, len(TIMELINE)), np.int64)
    )
    kept = list(range(len(rows)))
    if len(rows) > TIMELINE_ROWS:
        # of each run of rows the one that holds most, so that no spike is lost
        edges = np.linspace(0, len(rows), TIMELINE_ROWS - 1).astype(int)
        runs = itertools.pairwise(edges)
        held = rows[:, TIMELINE.index("resident_bytes")]
        kept = sorted({0, len(rows) - 1, *(int(a + held[a:b].argmax()) for a, b in runs)})
        rows = rows[kept]
    columns = {name: rows[:, n].tolist() for n, name in enumerate(TIMELINE)}
    for name in [f"{part}_bytes" for part in PARTS]:
        if not any(columns[name]):
            del columns[name]
    if result.clock_ns is not None and result.clock_ns[-1] > result.clock_ns[0]:
        columns["seconds"] = (result.clock_ns[kept] / 1e9).round(6).tolist()
    did = result.collecting
    cycles = did.cycles[:, CYCLE.index("event")].tolist() if did is not None else []
    return {
        "manager": result.manager,
        "kind": result.kind,
        "collected": cycles,
        "end_event": result.end_event if result.end else None,
        **columns,
    }


def _command(one: _Seen, seen: Sequence[_Seen]) -> str:
    """The command line that was recorded, where it is known and one is shown; else the name."""
    return one.trace.origin.get("command", "") or one.name if len(seen) == 1 else one.name


def _lead(one: _Seen) -> str:
    trace = one.trace
    origin = {"recording": "a recording", "imported": "an imported recording"}.get(
        trace.kind, "a made-up program"
    )
    twins, real = (
        len({result.manager for result in one.order if result.kind == kind})
        for kind in ("twin", "measured")
    )
    served = " and ".join(
        [f"replayed through {twins} memory manager{'s' * (twins != 1)}"] * bool(twins)
        + [f"served by {real} real one{'s' * (real != 1)}"] * bool(real)
    )
    return (
        f"{origin} of {trace.events:,} events, {served}; "
        f"{bytes_text(trace.peak_live_bytes)} in {trace.peak_live_objects:,} objects alive at most"
    )


def _verdict(one: _Seen) -> str:
    said = [*one.judged.reasons, distance_line(one.order, least_bytes(one.trace, one.order))]
    items = [f"<li>{words(reason)}</li>" for reason in said]
    first, more = items[:READ_FIRST], items[READ_FIRST:]
    if len(more) < 2:  # not worth a fold
        first, more = items, []
    folded = ""
    if more:
        count = f"{len(more)} more reasons and checks"
        folded = f"<details><summary>{count}</summary><ul>{''.join(more)}</ul></details>"
    return f'<p class="headline">{words(one.judged.headline)}</p><ul>{"".join(first)}</ul>{folded}'


def _notes(one: _Seen, seen: Sequence[_Seen]) -> list[str]:
    about = "The trace" if len(seen) == 1 else one.name
    return figures.notes_list(notes(about, one.trace.notes, one.order, one.failures))


def _stranding(one: _Seen) -> str:
    """The folds of stranded bytes; that of the present state is open, or else the winner's."""
    twins = one.with_maps()
    now = [result for result in twins if result is one.now]
    opened = next(iter(now or twins), None)
    near = [twin for twin in twins if one.place.role(twin) != "other"]
    rest = [twin for twin in twins if one.place.role(twin) == "other"]
    told, more = (
        figures.stranding_sites(some, [one.shown[id(twin)] for twin in some], opened)
        for some in (near, rest)
    )
    if told and more:
        more = f'<details class="others"><summary>More, to compare</summary>{more}</details>'
    return told + more
