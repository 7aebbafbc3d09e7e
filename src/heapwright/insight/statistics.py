"""What a trace holds: `statistics(trace)` streams it once and returns a dictionary for JSON.

events, allocations, reallocations, frees, unmatched_frees, requests_refused, threads
peak_live_bytes, peak_live_objects, requested_bytes, live_at_end
by_operation     events of each operation
size_histogram   requests and bytes by size, powers of two
lifetimes        objects and bytes by lifetime in events, powers of two; the immortal apart
lifetimes_by_size  objects by last size and lifetime, powers of two; null: never freed
realloc_chains   how many objects, how often, how much a moving realloc would copy
top_sites        who asks for most bytes, who asks most often
domains          of a Python program's trace requests and bytes by domain, else empty
graph            of a graph trace its reference fields, writes, roots and frames; else null
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.insight import census as c
from heapwright.trace.reconciled import reconciled
from heapwright.trace.schema import CALLOC, DOMAINS, MALLOC, MEMALIGN, OPERATIONS, REALLOC, Events
from heapwright.trace.store import Trace

TOP_SITES = 10
COLUMNS = ("op", "slot", "size", "thread", "site")
GRAPH_COLUMNS = (*COLUMNS, "field", "target")


def statistics(
    trace: Trace, top: int = TOP_SITES, advance: Callable[[int], None] = lambda events: None
) -> dict[str, Any]:
    """The figures above; `advance` hears of each batch. One pass, memory of the live objects."""
    labels = trace.sites()
    tally = c.census(trace.slots, len(labels))
    first = 0
    asked = np.zeros((len(DOMAINS), 2), np.int64)
    columns = GRAPH_COLUMNS if trace.graph else (*COLUMNS, "domain")
    for events in trace.batches(columns):
        if len(events.site) and int(events.site.max()) >= len(labels):
            row = first + int((events.site >= len(labels)).argmax())
            raise HeapwrightError(
                f"{trace.path} is damaged: event {row} names call site {events.site[row - first]} "
                f"of {len(labels)}; copy or record it again"
            )
        c.count(tally, events)
        _ask(asked, events)
        first += len(events.op)
        advance(len(events.op))
    return {
        "path": str(trace.path),
        "program": trace.program,
        "kind": trace.kind,
        "notes": trace.notes,
        "origin": trace.origin,
        "settings": trace.settings,
        "process": {one.moment: one.to_json() for one in reconciled(trace.process(), trace.origin)},
        "inherited_events": trace.inherited_events,
        "python": trace.python,
        "domains": _domains(asked) if trace.by_domain else {},
        "size_bytes_on_disk": trace.size_bytes_on_disk,
        "events": trace.events,
        "allocations": trace.allocations,
        "reallocations": trace.reallocations,
        "frees": trace.frees,
        "unmatched_frees": trace.unmatched_frees,
        "requests_refused": int(tally.totals[c.REFUSED]),
        "threads": trace.threads,
        "frees_by_another_thread": int(tally.totals[c.FREED_ELSEWHERE]),
        "has_addresses": trace.has_addresses,
        "peak_live_bytes": trace.peak_live_bytes,
        "peak_live_objects": trace.peak_live_objects,
        "requested_bytes": int(tally.totals[c.REQUESTED_BYTES]),
        "live_at_end": _live_at_end(tally),
        "by_operation": dict(zip(OPERATIONS, tally.operations.tolist(), strict=True)),
        "size_histogram": _histogram(tally.sizes, "bytes"),
        "lifetimes": _lifetimes(tally),
        "lifetimes_by_size": _lifetimes_by_size(tally),
        "realloc_chains": _realloc_chains(tally),
        "graph": _graph(trace, tally) if trace.graph else None,
        "top_sites": {
            "by_bytes": _top(tally, labels, c.BYTES, top),
            "by_count": _top(tally, labels, c.COUNT, top),
        },
    }


def _ask(asked: np.ndarray, events: Events) -> None:
    """Enter requests and their bytes by domain in int64[domain, 2]."""
    if len(events.domain):
        asking = np.isin(events.op, (MALLOC, CALLOC, REALLOC, MEMALIGN))
        domain, size = events.domain[asking], events.size[asking]
        asked[:, 0] += np.bincount(domain, minlength=len(asked))
        asked[:, 1] += np.bincount(domain, size, len(asked)).astype(np.int64)


def _domains(asked: np.ndarray) -> dict[str, dict[str, int]]:
    rows = zip(DOMAINS, asked.tolist(), strict=True)
    return {name: {"requests": count, "bytes": size} for name, (count, size) in rows}


def _range(bucket: int) -> tuple[int, int]:
    return (0, 1) if bucket == 0 else ((1 << (bucket - 1)) + 1, 1 << bucket)


def _histogram(counted: np.ndarray, unit: str) -> list[dict[str, int]]:
    """Rows from the first to the last bucket that holds anything, with empty ones between."""
    used = np.flatnonzero(counted[:, c.COUNT])
    rows = []
    for bucket in range(used[0], used[-1] + 1) if len(used) else ():
        lowest, highest = _range(bucket)
        rows.append(
            {
                f"from_{unit}": lowest,
                f"to_{unit}": highest,
                "count": int(counted[bucket, c.COUNT]),
                "bytes": int(counted[bucket, c.BYTES]),
            }
        )
    return rows


def _live_at_end(tally: c.Census) -> dict[str, int]:
    alive = tally.objects.size[tally.objects.size >= 0]
    return {"objects": len(alive), "bytes": int(alive.sum())}


def _lifetimes(tally: c.Census) -> dict[str, Any]:
    """The histogram of those that died, and the share of all that did not."""
    immortal = _live_at_end(tally)["objects"]
    born = immortal + int(tally.lifetimes[:, c.COUNT].sum())
    return {
        "histogram": _histogram(tally.lifetimes, "events"),
        "median_events_at_most": _median_bound(tally.lifetimes[:, c.COUNT], born),
        "immortal": immortal,
        "immortal_share": immortal / born if born else 0.0,
    }


def _lifetimes_by_size(tally: c.Census) -> list[dict[str, int | None]]:
    """Rows of `to_bytes`, `to_events` and `count`, for buckets that hold anything."""
    rows: list[dict[str, int | None]] = []
    for size, lifetime in np.argwhere(tally.both).tolist():
        count = int(tally.both[size, lifetime])
        rows.append({"to_bytes": _range(size)[1], "to_events": _range(lifetime)[1], "count": count})
    alive = tally.objects.size[tally.objects.size >= 0]
    bounds = 1 << np.arange(c.BUCKETS - 2, dtype=np.int64)  # of the buckets; sizes end far below
    never = np.bincount(np.searchsorted(bounds, alive))
    for size in np.flatnonzero(never).tolist():
        rows.append({"to_bytes": int(bounds[size]), "to_events": None, "count": int(never[size])})
    return rows


def _median_bound(dead: np.ndarray, born: int) -> int | None:
    """The bound by which half of all objects born have died; None if they never do."""
    enough = np.flatnonzero(2 * dead.cumsum() >= max(born, 1))
    return _range(int(enough[0]))[1] if len(enough) else None


def _realloc_chains(tally: c.Census) -> dict[str, int]:
    totals = tally.totals.tolist()
    return {
        "objects": totals[c.CHAINS],
        "longest": totals[c.LONGEST_CHAIN],
        "grew": totals[c.REALLOC_GREW],
        "shrank": totals[c.REALLOC_SHRANK],
        "bytes_copied_at_worst": totals[c.COPIED_BYTES],
    }


def _graph(trace: Trace, tally: c.Census) -> dict[str, int]:
    counted = dict(zip(OPERATIONS, tally.operations.tolist(), strict=True))
    return {
        "reference_fields": int(tally.totals[c.REFERENCE_FIELDS]),
        "objects_without_fields": int(tally.totals[c.WITHOUT_FIELDS]),
        "references_written": counted["write"] - int(tally.totals[c.CLEARED]),
        "references_cleared": int(tally.totals[c.CLEARED]),
        "frames_entered": counted["push"],
        "global_roots_made": counted["root"],
        "peak_roots": trace.peak_roots,
    }


def _top(tally: c.Census, labels: list[str], column: int, top: int) -> list[dict[str, Any]]:
    """The `top` sites by requests or by bytes; ties in the order of the table. Sites whose labels
    read the same are one: a person cannot tell them apart."""
    first: dict[str, int] = {}
    alike = [first.setdefault(label, row) for row, label in enumerate(["unknown", *labels])]
    sites = np.zeros_like(tally.sites)
    np.add.at(sites, alike, tally.sites)
    order = np.argsort(-sites[:, column], kind="stable")[:top]
    return [
        {
            "site": labels[row - 1] if row else "unknown",
            "count": int(sites[row, c.COUNT]),
            "bytes": int(sites[row, c.BYTES]),
        }
        for row in order.tolist()
        if sites[row, c.COUNT]
    ]
