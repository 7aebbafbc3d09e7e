"""What `compare --json` prints and the page embeds: one document, so the two never differ."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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


def trace_facts(trace: "Trace") -> dict[str, Any]:
    """Where the trace is, what it records, its counts."""
    return {"path": str(trace.path)} | {name: getattr(trace, name) for name in FACTS}


def comparison_document(trace: "Trace", results: Sequence[Result]) -> dict[str, Any]:
    """`{"trace": facts, "results": [Result.to_json()]}`."""
    return {"trace": trace_facts(trace), "results": [result.to_json() for result in results]}
