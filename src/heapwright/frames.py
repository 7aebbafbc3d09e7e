"""Results as tables of other libraries: Arrow, and pandas where it is installed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from heapwright.errors import HeapwrightError
from heapwright.result import PARTS, TIMELINE, Result

if TYPE_CHECKING:
    import pandas
    import pyarrow


def results_table(results: Sequence[Result], traces: Sequence[str] = ()) -> pyarrow.Table:
    """A row per result: manager, kind, settings (JSON), bytes at the peak by part, what is held
    on average, at the end and at exit, faults, seconds. What is not known is null.

    With `traces`, one name a result, a first column tells them apart.
    """
    import pyarrow

    columns: dict[str, list[Any]] = {"trace": list(traces)} if traces else {}
    columns |= {
        "manager": [one.manager for one in results],
        "kind": [one.kind for one in results],
        "settings": [json.dumps(one.settings, sort_keys=True) for one in results],
        "events": [one.events for one in results],
        "seconds": [one.seconds for one in results],
        "resident_bytes": [one.peak.get("resident_bytes", 0) for one in results],
    }
    for part in PARTS:
        columns[f"{part}_bytes"] = [one.peak.get(f"{part}_bytes", 0) for one in results]
    columns |= {
        "mapped_bytes_peak": [one.mapped_bytes_peak for one in results],
        "high_water_bytes": [one.high_water_bytes for one in results],
        "held_bytes": [one.held_bytes for one in results],
        "room_bytes": [one.room_bytes for one in results],
        "peak_resident_bytes": [one.held_bytes for one in results],
        **{
            name: pyarrow.array([getattr(one, name) for one in results], pyarrow.int64())
            for name in ("mean_resident_bytes", "end_resident_bytes", "exit_resident_bytes")
        },
        "program_seconds": pyarrow.array(
            [one.program_seconds for one in results], pyarrow.float64()
        ),
        "page_faults": [one.page_faults for one in results],
        "refused": [one.refused for one in results],
    }
    return pyarrow.table(columns)


def timeline_table(result: Result) -> pyarrow.Table:
    """A result's timeline: a row per sample: event, bytes, nanoseconds since the first event, which
    are null where the recording has no time."""
    import pyarrow

    if result.timeline is None:
        return pyarrow.table(
            {name: pyarrow.array([], pyarrow.int64()) for name in (*TIMELINE, "time_ns")}
        )
    columns = {name: result.timeline[:, n] for n, name in enumerate(TIMELINE)}
    clock = result.clock_ns
    if clock is None:
        clock = pyarrow.nulls(len(result.timeline), pyarrow.int64())
    return pyarrow.table({**columns, "time_ns": clock})


def in_pandas(table: pyarrow.Table) -> pandas.DataFrame:
    """The same as a frame; HeapwrightError where pandas is not installed."""
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise HeapwrightError(
            "pandas is not installed: `pip install pandas`, or use to_arrow()."
        ) from None
    return table.to_pandas()
