"""The best rows of a sweep, as a table."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from heapwright.report.rows import BYTES, COUNT, RATE, Column, Row, Sheet, bytes_unit
from heapwright.words import setting_text

BEST = (
    Column("peak_resident_bytes", "peak", BYTES, "most resident memory, within events too"),
    Column("mean_resident_bytes", "mean", BYTES, "resident on average", rank=2),
    Column("end_resident_bytes", "end", BYTES, "what stays once the program has settled"),
    Column("exit_resident_bytes", "at exit", BYTES, "resident after the last event", rank=5),
    Column("page_faults", "faults", COUNT, "page faults, of 4 KiB each", rank=3),
    Column("events_per_second", "events", RATE, "rate of the replay loop alone", rank=4),
)


def best_sheet(trace: str, rows: Sequence[Mapping[str, Any]], by: str) -> Sheet:
    """The chosen rows of one trace, the least first."""
    several = len({(row["touch"], row["huge_pages"]) for row in rows}) > 1
    rates = [row["events"] / row["seconds"] if row["seconds"] else None for row in rows]
    shown = [
        Row(
            {**row, "events_per_second": rate},
            row["manager"],
            tuple(
                f"{knob}={setting_text(knob, value)}"
                for knob, value in json.loads(row["settings"]).items()
            )
            + ((f"touch={row['touch']} huge_pages={row['huge_pages']}",) if several else ()),
            (("", "measured"),) if row["kind"] == "measured" else (),
        )
        for row, rate in zip(rows, rates, strict=True)
    ]
    sizes = [row["peak_resident_bytes"] for row in rows]
    return Sheet(
        "manager",
        BEST,
        shown,
        title=trace,
        caption=f"The {f'{len(rows)} rows' if len(rows) > 1 else 'row'} with the least {by}.",
        unit=bytes_unit(sizes),
    )
