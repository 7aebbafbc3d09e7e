"""A comparison under a memory limit: who would be killed, and what would be swapped."""

from collections.abc import Sequence
from typing import Any

from heapwright.report.rows import BYTES, COUNT, DURATION, TEXT, Column, Row, Sheet
from heapwright.result import Result, UnderLimit
from heapwright.words import bytes_text, duration_text, setting_text

LIMITS = (
    Column("outcome", "outcome", TEXT, "whether the program would be killed, and when"),
    Column("held_bytes", "peak", BYTES, "most resident memory without a limit", rank=3),
    Column("under_limit.tables_bytes", "tables", BYTES, "page tables, which count too", rank=8),
    Column(
        "under_limit.major_faults",
        "major faults",
        COUNT,
        "pages that were wanted again after they had been put out: refaults",
        sparse=True,
    ),
    Column(
        "under_limit.activated",
        "work\u00ading set",
        COUNT,
        "of those, wanted so soon that a little more memory would have kept them",
        rank=5,
        sparse=True,
    ),
    Column("under_limit.swapped_out_bytes", "out", BYTES, "written to swap", rank=1, sparse=True),
    Column("under_limit.swapped_in_bytes", "in", BYTES, "read from swap", rank=2, sparse=True),
    Column(
        "under_limit.most_swapped_bytes", "in swap", BYTES, "most at one time", rank=4, sparse=True
    ),
    Column("wait_ns", "wait", DURATION, "for reads from swap, 100 µs each", sparse=True),
)


def outcome(told: UnderLimit) -> str:
    """What became of the program, in a few words."""
    if not told.killed:
        return "swaps" if told.swapped_out_bytes else "fits"
    at = f"killed at event {told.killed_event:,}"
    if told.killed_seconds is None:
        return at
    return f"{at}, {duration_text(1e9 * told.killed_seconds)}"


def limit_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """`Result.to_json` of those with a limit, and the outcome in words."""
    return [
        result.to_json()
        | {
            "outcome": outcome(result.under_limit),
            "wait_ns": round(1e9 * result.under_limit.wait_seconds),
        }
        for result in results
        if result.under_limit
    ]


def limits_sheet(results: Sequence[Result]) -> Sheet:
    """A row per result with a limit: those that run first, by what they wait, then by their peak;
    of those that are killed the one that lasts longest."""
    limited = [result for result in results if result.under_limit]

    def standing(result: Result) -> tuple[bool, float, int]:
        told = result.under_limit
        assert told is not None
        last = -told.killed_event if told.killed else told.wait_seconds
        return told.killed, last, result.held_bytes

    limited.sort(key=standing)
    rows = [
        Row(
            values,
            result.manager,
            tuple(f"{knob}={setting_text(knob, v)}" for knob, v in result.settings.items()),
            attributes={"limited": result.manager},
        )
        for result, values in zip(limited, limit_rows(limited), strict=True)
    ]
    title = ""
    if limited and (told := limited[0].under_limit):
        title = f"Under a limit of {bytes_text(told.limit_bytes)}"
        title += f" and {bytes_text(told.swap_bytes)} of swap" if told.swap_bytes else ", no swap"
    return Sheet("manager", LIMITS, rows, title=title)
