"""Two traces of one program, before and after a change: what grew, by call stack and by size.

    trace, result ─► Side: what each stack holds at the peak and at the end ─┐
    stacks by the names of their functions ─────────────────────────────────┼─► Difference
    sizes by powers of two ─────────────────────────────────────────────────┘

A stack is known by the names of its functions alone: lines and offsets shift when a program is
changed. Where one trace has call stacks and the other only call sites, call sites are compared.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.insight.growth import growth
from heapwright.insight.why import peak_event
from heapwright.result import Result
from heapwright.trace.ending import ending
from heapwright.trace.stacks import hands_on
from heapwright.words import bytes_text, change_text

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

STACKS = 200  # that a difference keeps, those that changed most
SMALL_SHARE = 0.01  # of what is held: a smaller change is none
_PLACE = re.compile(r" \([^()]*?(?::\d+)?\)$")  # of a label: where the function stands
_OFFSET = re.compile(r"(?:\+| )?0x[0-9a-f]+$")
UNKNOWN = "unknown"

Key = tuple[str, ...]


@dataclass
class Side:
    """What a trace holds: rows by the names of their functions."""

    whole: dict[str, int]  # resident and live bytes at peak and end, requests, bytes asked for
    rows: dict[Key, np.ndarray]  # int64[4]: bytes at the end and at the peak, blocks likewise
    sizes: dict[str, np.ndarray]  # of end and peak: int64[bucket, 2]


@dataclass(frozen=True)
class Difference:
    """Before and after: `whole`, `stacks` and `sizes` are rows as `--json` prints them."""

    sentence: str
    whole: list[dict[str, Any]]
    stacks: list[dict[str, Any]]
    sizes: list[dict[str, Any]]
    growth: dict[str, float]  # of end and peak resident bytes, as a share of those before

    def to_json(self) -> dict[str, Any]:
        """As `diff --json` prints it."""
        return dict(vars(self))


def function(label: str) -> str:
    """A frame's label without line, file and offset: what stays when a program is built again."""
    name = _PLACE.sub("", label)
    shorter = _OFFSET.sub("", name)
    return shorter or UNKNOWN


def side(
    trace: "Trace",
    result: Result,
    whole_stacks: bool,
    advance: Callable[[int], None] = lambda events: None,
) -> Side:
    """What `trace` holds, `result` being the twin's; it is streamed once more."""
    events = {"end": result.end_event, "peak": peak_event(result)}
    found = growth(trace, ending(trace), list(events.values()), advance)
    whole = {
        "end_resident_bytes": result.end.get("resident_bytes", 0),
        "peak_resident_bytes": result.peak.get("resident_bytes", 0),
        "end_live_bytes": result.end.get("live_bytes", 0),
        "peak_live_bytes": trace.peak_live_bytes,
        "requests": int(found.calls.sum()),
        "requested_bytes": int(found.allocated.sum()),
    }
    nothing = np.zeros(len(found.calls), np.int64)
    moments = [found.moments.get(event) for event in events.values()]
    columns = [moment.live if moment else nothing for moment in moments]
    columns += [moment.blocks if moment else nothing for moment in moments]
    table = np.stack(columns, axis=1)
    names = _names(trace, whole_stacks)
    rows: dict[Key, np.ndarray] = {}
    for row in np.flatnonzero(table.any(axis=1)).tolist():
        key = names(row - 1)
        rows[key] = rows.get(key, 0) + table[row]
    empty = np.zeros((1, 2), np.int64)
    sizes = {
        name: moment.sizes if moment is not None and moment.sizes is not None else empty
        for name, moment in zip(events, moments, strict=True)
    }
    return Side(whole, rows, sizes)


def _names(trace: "Trace", whole_stacks: bool) -> Callable[[int], Key]:
    """What names a site: the functions of its stack, outermost first, or its own alone."""
    labels = trace.sites()

    def named(site: int) -> Key:
        if site < 0:
            return (UNKNOWN,)
        frames = trace.stack(site) if whole_stacks else labels[site : site + 1]
        return tuple(map(function, frames))

    return named


def difference(before: Side, after: Side, names: Sequence[str]) -> Difference:
    """What changed from `before` to `after`; `names` are what the two are called."""
    whole: list[dict[str, Any]] = [
        {"what": what.replace("_", " ").removesuffix(" bytes"), "key": what}
        | _change(before.whole[what], after.whole[what])
        for what in before.whole
    ]
    known = before.rows.keys() | after.rows.keys()
    nothing = np.zeros(4, np.int64)
    stacks: list[dict[str, Any]] = []
    for key in known:
        old, new = before.rows.get(key, nothing).tolist(), after.rows.get(key, nothing).tolist()
        if old == new:
            continue
        asked = max((n for n, name in enumerate(key) if not hands_on(name)), default=len(key) - 1)
        state = "" if key in before.rows and key in after.rows else "new"
        stacks.append(
            {
                "function": key[asked],
                "asked": asked,  # its row of the frames: wrappers such as malloc are passed over
                "frames": list(key),
                "state": "gone" if key not in after.rows else state,
                "end": _change(old[0], new[0]),
                "peak": _change(old[1], new[1]),
                "end_blocks": _change(old[2], new[2]),
            }
        )
    stacks.sort(key=_most_first)
    return Difference(
        _sentence(whole, stacks, names),
        whole,
        stacks[:STACKS],
        _sizes(before.sizes, after.sizes),
        {name: whole[n]["change"] or 0.0 for n, name in enumerate(("end", "peak"))},
    )


def _most_first(row: Mapping[str, Any]) -> tuple[int, int, list[str]]:
    """What rows are sorted by: those that changed most come first."""
    return -abs(row["end"]["change_bytes"]), -abs(row["peak"]["change_bytes"]), row["frames"]


def _change(old: int, new: int) -> dict[str, Any]:
    """Both, and the change in bytes and as a share of what was before (null of nothing)."""
    share = (new - old) / old if old else None
    return {"before": old, "after": new, "change_bytes": new - old, "change": share}


def _sizes(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """A row for each power of two of which the live bytes changed."""
    rows = []
    longest = max(len(each) for sizes in (before, after) for each in sizes.values())

    def padded(sizes: np.ndarray) -> np.ndarray:
        return np.vstack([sizes, np.zeros((longest - len(sizes), 2), np.int64)])

    end, peak = ((padded(before[name]), padded(after[name])) for name in ("end", "peak"))
    for bucket in range(longest):
        changes = [
            _change(int(old[bucket, column]), int(new[bucket, column]))
            for (old, new), column in ((end, 1), (peak, 1), (end, 0))
        ]
        if any(change["change_bytes"] for change in changes):
            told = dict(zip(("end", "peak", "end_blocks"), changes, strict=True))
            rows.append({"to_bytes": 1 << bucket, **told})
    return rows


def _sentence(
    whole: Sequence[Mapping[str, Any]], stacks: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> str:
    """What changed, in a sentence."""
    end, peak, live = whole[:3]
    told = []
    for row, when in ((end, "at the end"), (peak, "at the peak")):
        if abs(row["change"] or 0) >= SMALL_SHARE:
            sizes = f"{bytes_text(row['after'])} instead of {bytes_text(row['before'])}"
            told.append(f"{sizes} resident {when} ({change_text(row['change'])})")
    if not told:
        return (
            f"{names[1]} holds as much as {names[0]}: {bytes_text(end['after'])} at the end, "
            f"{bytes_text(peak['after'])} at the peak."
        )
    said = f"{names[1]} holds {' and '.join(told)}"
    grown = [row for row in stacks if row["end"]["change_bytes"] * live["change_bytes"] > 0]
    if grown and abs(live["change_bytes"]) >= SMALL_SHARE * max(1, live["before"]):
        first = grown[0]
        change = first["end"]["change_bytes"]
        what = "more" if change > 0 else "less"
        return f"{said}; most of it is {bytes_text(abs(change))} {what} for {first['function']}."
    return f"{said}; what is live at the end is as before." if not grown else f"{said}."
