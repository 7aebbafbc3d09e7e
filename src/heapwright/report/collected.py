"""The parts of the page about collectors: a table of what they did, data for their charts, and the
space-time curve."""

from collections.abc import Sequence
from html import escape
from typing import Any

from heapwright.insight.space_time import SpaceTime, collections
from heapwright.result import CYCLE, Collecting, Result
from heapwright.words import (
    bytes_text,
    count_text,
    digits,
    duration_text,
    percent_text,
    title,
)

WORK = ("marked", "copied", "promoted", "swept")


def collected(order: Sequence[Result]) -> list[tuple[Result, Collecting]]:
    """Those with a collector, by name and settings."""
    found = [(result, result.collecting) for result in order if result.collecting]
    return sorted(found, key=lambda pair: (pair[0].manager, list(pair[0].settings.values())))


def collecting_table(order: Sequence[Result]) -> str:
    """A row per manager with a collector; nothing when there is none."""
    rows = collected(order)
    if not rows:
        return ""
    works = [w for w in WORK if any(did.totals[f"{w}_bytes"] for _, did in rows)]
    with_barriers = any(did.totals["barriers"] for _, did in rows)
    headings = ["collections", "pauses", "median pause", "99 %", "longest", "time stopped", *works]
    headings += ["survived", *(["barriers"] if with_barriers else [])]
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join(
        f'<tr data-collector="{escape(title(result))}"><th scope="row">{escape(title(result))}</th>'
        + "".join(f"<td>{cell}</td>" for cell in _cells(did, works, with_barriers=with_barriers))
        + "</tr>"
        for result, did in rows
    )
    return (
        "<div class='scroll'><table class='figures'><thead><tr><th scope='col'>collector</th>"
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(did: Collecting, works: Sequence[str], *, with_barriers: bool) -> list[str]:
    kinds = {kind: count for kind, count in did.collections.items() if count}
    named = set(kinds) != {"full"}
    counts = ", ".join(
        f"{count:,}" + (f" {kind}" if named else "") for kind, count in kinds.items()
    )
    survived = ", ".join(
        percent_text(share) + (f" {kind}" if len(did.survival) > 1 else "")
        for kind, share in did.survival.items()
    )
    return [
        counts or "0",
        f"{did.pauses:,}",
        *(duration_text(did.pause_ns[key]) for key in ("median", "p99", "longest")),
        percent_text(1 - did.utilisation),
        *(bytes_text(did.totals[f"{work}_bytes"]) for work in works),
        survived or "-",
        *([count_text(did.totals["barriers"])] if with_barriers else []),
    ]


def chart_data(name: str, did: Collecting) -> dict[str, Any]:
    """What the charts of one collector draw; columns of `cycles` under the names of CYCLE."""
    return {
        "title": name,
        "kinds": list(did.collections),
        "cycles": {column: did.cycles[:, n].tolist() for n, column in enumerate(CYCLE)},
        "collections": sum(did.collections.values()),
        "pauses": did.pause_histogram,
        "utilisation": did.minimum_utilisation,
        "survival": did.survival,
    }


def space_time_table(found: SpaceTime) -> str:
    """A row per collector, a column per heap size."""
    head = "".join(f'<th scope="col">{multiple:g}×</th>' for multiple in found.multiples)
    body = ""
    for name, results in found.curves.items():
        cells = ""
        for result in results:
            if result is None:
                cells += '<td class="none">no room</td>'
                continue
            ratios = f"{digits(found.time(result))}<small>{digits(found.space(result))} memory"
            cells += f"<td>{ratios}<br>{collections(result):,} collections</small></td>"
        body += f"<tr><th scope='row'>{escape(name)}</th>{cells}</tr>"
    return (
        "<div class='scroll'><table class='figures'><thead><tr><th scope='col'>collector</th>"
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
