"""What `compare --json` prints and the page embeds: one document, so the two never differ."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from heapwright.insight.lower_bound import distance, distance_line, least_bytes
from heapwright.insight.space_time import Asked, space_time
from heapwright.insight.verdict import present, verdict
from heapwright.managers.registry import managers
from heapwright.report.comparison import comparison_rows
from heapwright.result import SCHEMA_VERSION, Result
from heapwright.sections import ComparedSection, ComparisonDocument, Comparisons, TraceSection
from heapwright.trace.process import COLUMNS
from heapwright.trace.reconciled import reconciled
from heapwright.words import full_title

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

# The facts of a trace that need no pass over its events, under the names of `heapwright info`.
FACTS = (
    "program",
    "kind",
    "notes",
    "origin",
    "settings",
    "inherited_events",
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
    named: bool = False  # whether the managers were named, and so what is told of them asked for


def trace_facts(trace: "Trace") -> TraceSection:
    """Where the trace is, what it records, its counts."""
    known = {"path": str(trace.path)} | {name: getattr(trace, name) for name in FACTS}
    return cast(TraceSection, known | {"process": process_facts(trace)})


def process_facts(trace: "Trace") -> dict[str, Any]:
    """What the process had in memory: at its peak and when last seen, with what the recording
    explains of it, and the samples, rows of `columns`. Empty where it is not known."""
    process = trace.process()
    if not len(process.samples):
        return {}
    told = {one.moment: one.to_json() for one in reconciled(process, trace.origin)}
    return told | {"columns": list(COLUMNS), "samples": process.samples.tolist()}


def comparison_document(one: Compared) -> ComparisonDocument:
    """What is known of one trace and its results; `sections` says what the keys mean.

    Of a row whose heap was mapped also `stranded`: see `insight.stranded`, and of one that trims
    from the top `tops`: see `insight.tops`; call sites in words.
    """
    trace, results = one.trace, one.results
    labels = trace.sites() if any(result.heap_map for result in results) else []
    judged, now = verdict(results), present(results)
    least = least_bytes(trace, results)
    told: ComparisonDocument = {
        "schema_version": SCHEMA_VERSION,
        "trace": trace_facts(trace),
        "results": [
            cast(
                ComparedSection,
                row
                | {"distance_to_optimum": distance(result, least)}
                | _stranded(result, labels, trace),
            )
            for row, result in zip(comparison_rows(results), results, strict=True)
        ],
        "verdict": {
            "winner": full_title(judged.winner) if judged.winner else None,
            "present": full_title(now) if now else None,
            "headline": judged.headline,
            "reasons": [*judged.reasons, distance_line(results, least)],
        },
        "failures": list(one.failures),
    }
    if one.points:
        told["space_time"] = space_time(one.points, results).to_json()
    return told


def document(compared: Sequence[Compared]) -> ComparisonDocument | Comparisons:
    """The document of one trace, or `{"comparisons": [...]}` of several side by side."""
    told = [comparison_document(one) for one in compared]
    if len(told) == 1:
        return told[0]
    return {"schema_version": SCHEMA_VERSION, "comparisons": told}


def documents(told: ComparisonDocument | Comparisons) -> list[ComparisonDocument]:
    """The documents of all traces that one told of."""
    return cast("dict[str, Any]", told).get("comparisons", [told])


def _stranded(result: Result, labels: Sequence[str], trace: "Trace") -> dict[str, Any]:
    if result.heap_map is None:
        return {}

    def in_words(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"site": site_label(row["site"], labels)} for row in rows]

    found = result.heap_map.stranded
    lists = {name: in_words(found[name]) for name in ("by_bytes", "by_pages")}
    told = {"stranded": found | lists}
    if _trims_from_the_top(result):
        known = result.heap_map.tops
        heaps = [
            row | {"stack": trace.stack(old["site"])}
            for row, old in zip(in_words(known), known, strict=True)
        ]
        told["tops"] = {"event": result.heap_map.tops_event, "heaps": heaps}
    return told


def _trims_from_the_top(result: Result) -> bool:
    """Whether the manager gives memory back from a heap's end only, so that a block keeps a top."""
    known = managers().get(result.manager)
    fields = known.module.Config._fields if known else ()
    return bool({"trim_threshold", "trim_bytes"} & set(fields))


def site_label(site: int, labels: Sequence[str]) -> str:
    """The label of a row of the site table; `unknown` of one that is not there."""
    return labels[site] if 0 <= site < len(labels) else "unknown"
