"""What `compare --json` prints and the page embeds: one document, so the two never differ."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from heapwright.insight.lower_bound import distance
from heapwright.insight.space_time import Asked, space_time
from heapwright.result import Result

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

# The facts of a trace that need no pass over its events, under the names of `heapwright info`.
FACTS = (
    "program",
    "kind",
    "notes",
    "size_bytes_on_disk",
    "events",
    "allocations",
    "reallocations",
    "frees",
    "unmatched_frees",
    "threads",
    "has_addresses",
    "peak_live_bytes",
    "peak_live_objects",
)


class Compared(NamedTuple):
    """One trace and what became of it."""

    trace: "Trace"
    results: Sequence[Result]
    failures: Sequence[str] = ()
    points: Sequence[Asked] = ()  # of the space-time curve, when one was asked for


def trace_facts(trace: "Trace") -> dict[str, Any]:
    """Where the trace is, what it records, its counts."""
    return {"path": str(trace.path)} | {name: getattr(trace, name) for name in FACTS}


def comparison_document(
    trace: "Trace", results: Sequence[Result], points: Sequence[Asked] = ()
) -> dict[str, Any]:
    """`{"trace": facts, "results": [Result.to_json() and its distance to the optimum]}`.

    A result that was filmed also has `stranded`: see `insight.stranded`, with call sites in words.
    With points of a space-time curve there is `space_time` too: see `insight.space_time`.
    """
    labels = trace.sites() if any(result.heap_map for result in results) else []
    return {
        "trace": trace_facts(trace),
        "results": [
            result.to_json()
            | {"distance_to_optimum": distance(result, trace.peak_live_bytes)}
            | _stranded(result, labels)
            for result in results
        ],
        **({"space_time": space_time(points, results).to_json()} if points else {}),
    }


def document(flown: Sequence[Compared]) -> dict[str, Any]:
    """The document of one trace, or `{"comparisons": [...]}` of several side by side."""
    documents = [comparison_document(one.trace, one.results, one.points) for one in flown]
    return documents[0] if len(documents) == 1 else {"comparisons": documents}


def _stranded(result: Result, labels: Sequence[str]) -> dict[str, Any]:
    if result.heap_map is None:
        return {}

    def in_words(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"site": site_label(row["site"], labels)} for row in rows]

    found = result.heap_map.stranded
    lists = {name: in_words(found[name]) for name in ("by_bytes", "by_pages")}
    return {"stranded": found | lists}


def site_label(site: int, labels: Sequence[str]) -> str:
    """The label of a row of the site table; `unknown` of one that is not there."""
    return labels[site] if 0 <= site < len(labels) else "unknown"
