"""The tables of a comparison, as rows: memory, what collectors did, time against space.

Rows are those of `comparison_document`; the order and the flags are of `insight.verdict`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from heapwright.insight.verdict import present, ranked, verdict
from heapwright.managers.grounds import OVER
from heapwright.managers.registry import system_malloc
from heapwright.report.rows import (
    BYTES,
    BYTES_RANGE,
    CHANGE,
    COUNT,
    COUNT_BY_KIND,
    COUNT_RANGE,
    DURATION,
    EXACT,
    RATE,
    RATIO,
    SHARE,
    SHARE_BY_KIND,
    Column,
    Row,
    Sheet,
    bytes_unit,
)
from heapwright.result import Result
from heapwright.sections import ComparedSection
from heapwright.words import PART_MEANINGS, duration_text, knobs_text, setting_text

# Of the parts of memory: how soon a narrow terminal leaves one out, and where a heading may break.
_PART_COLUMNS = {
    "rounding": (6, "round\u00ading"),
    "header": (8, "head\u00aders"),
    "cached": (7, "cached"),
    "partial": (3, "partial"),
    "retained": (4, "re\u00adtained"),
    "garbage": (2, "gar\u00adbage"),
}
_LATE = 2  # rank of a part that is large

COMPARISON = (
    Column("held_bytes", "peak", BYTES, "most resident memory, within events too"),
    Column(
        "spread.held_bytes",
        "as time decides",
        BYTES_RANGE,
        "the peak over replays that differ only in what time decides in the real system",
        sparse=True,
    ),
    Column(
        "mean_resident_bytes",
        "mean",
        BYTES,
        "resident on average: over the recorded time, or over events where none is known",
        rank=4,
    ),
    Column(
        "end_resident_bytes",
        "end",
        BYTES,
        "what stays: resident once the program has settled, before it frees all at its exit",
    ),
    Column("exit_resident_bytes", "at exit", BYTES, "resident after the last event", rank=10),
    Column("change_to_present", "vs now", CHANGE, "against what the program runs on now", rank=1),
    Column("live_share", "live", SHARE, f"share of the peak that is {PART_MEANINGS['live']}"),
    *(
        Column(
            f"peak.{part}_bytes",
            heading,
            BYTES,
            PART_MEANINGS[part],
            rank=rank,
            sparse=part == "garbage",
        )
        for part, (rank, heading) in _PART_COLUMNS.items()
    ),
    Column(
        "within_event_bytes",
        "in one event",
        BYTES,
        "held beyond that only within one event, as while objects are copied",
        rank=2,
        sparse=True,
    ),
    Column("mapped_bytes_peak", "mapped peak", BYTES, "most address space mapped", rank=9),
    Column("page_faults", "faults", COUNT, "page faults, of 4 KiB each", rank=6),
    Column("events_per_second", "events", RATE, "rate of the replay loop alone", rank=5),
)

# What the program is assumed to have written of its memory, by the condition `touch`.
_WRITTEN = {
    "recorded": " Written as recorded: of blocks of 64 KiB and more the pages seen to be written.",
    "all": " Assumes that all that is allocated is written, but for fresh calloc pages.",
    "none": " Assumes that the program writes nothing.",
}

_TOTALS = "collector.totals."
COLLECTORS = (
    Column("collector.collections", "col\u00adlections", COUNT_BY_KIND, "how many, by kind"),
    Column(
        "spread.collections",
        "as time decides",
        COUNT_RANGE,
        "how many over replays that differ only in what time decides in the real system",
        sparse=True,
    ),
    Column("collector.pauses", "pauses", COUNT, "times the program was stopped", rank=6),
    Column("collector.pause_ns.median", "median pause", DURATION, rank=3),
    Column("collector.pause_ns.p99", "99 %", DURATION, "99 of 100 pauses are shorter", rank=4),
    Column("collector.pause_ns.longest", "longest pause", DURATION),
    Column("collector.stopped_share", "of the time", SHARE, "share of the replay it was stopped"),
    Column(_TOTALS + "marked_bytes", "marked", BYTES, "found alive in place", rank=7, sparse=True),
    Column(_TOTALS + "copied_bytes", "copied", BYTES, "found alive and moved", rank=7, sparse=True),
    Column(
        _TOTALS + "promoted_bytes", "pro\u00admoted", BYTES, "moved to the old", rank=9, sparse=True
    ),
    Column(_TOTALS + "swept_bytes", "swept", BYTES, "found dead and freed", rank=8, sparse=True),
    Column("collector.survival", "sur\u00advived", SHARE_BY_KIND, "of the bytes looked at", rank=2),
    Column(
        _TOTALS + "barriers", "barriers", COUNT, "writes that barriers took", rank=9, sparse=True
    ),
)

SPACE_TIME = (
    Column("heap", "heap", RATIO, "over the most bytes ever live"),
    Column("time", "time", RATIO, "of the replay, over that of explicit freeing"),
    Column("space", "memory", RATIO, "most resident, over that of explicit freeing"),
    Column("collections", "col\u00adlections", COUNT),
    Column("traced", "mark/cons", RATIO, "bytes marked and copied over bytes allocated", rank=1),
)

PATHS = (Column("times", "times", EXACT),)


def comparison_rows(results: Sequence[Result]) -> list[ComparedSection]:
    """`Result.to_json` of each, and how it compares with the present state."""
    now = present(results)
    return [
        cast(
            ComparedSection,
            result.to_json()
            | {
                "present": result is now,
                "change_to_present": (
                    result.room_bytes / now.room_bytes - 1 if now and now.room_bytes else None
                ),
            },
        )
        for result in results
    ]


def comparison_sheet(results: Sequence[Result]) -> Sheet:
    """A row per result, least memory first; the winner and the present state are flagged."""
    order = ranked(results)
    winner = verdict(results).winner if len(results) > 1 else None
    columns = COMPARISON
    if present(results) is None or len(results) == 1:
        columns = tuple(column for column in COMPARISON if column.key != "change_to_present")
    rows = [
        Row(
            values,
            result.manager,
            _knobs(result),
            _flags(result, winner, order[0], now=values["present"] and len(results) > 1),
            {"manager": result.manager, "kind": result.kind},
        )
        for result, values in zip(order, comparison_rows(order), strict=True)
    ]
    return Sheet(
        "manager",
        tuple(_kept_if_large(column, rows) for column in columns),
        rows,
        caption=_caption(results),
        starred=True,
        unit=bytes_unit([result.held_bytes for result in results]),
    )


def _kept_if_large(column: Column, rows: Sequence[Row]) -> Column:
    """A part that is a tenth of a row's peak and more goes late where it is narrow: without it the
    row would not tell where its memory is."""
    if column.key.removeprefix("peak.").removesuffix("_bytes") not in _PART_COLUMNS:
        return column
    large = any(
        10 * (column.value(row.values) or 0) >= (row.values["held_bytes"] or 1) for row in rows
    )
    return replace(column, rank=min(column.rank, _LATE)) if large else column


def _knobs(result: Result) -> tuple[str, ...]:
    """What was set: by the recorded program's environment, then for this row."""
    recorded = {k: v for k, v in result.recorded.items() if k not in result.settings}
    return (
        *(f"{knob}={setting_text(knob, value)} as recorded" for knob, value in recorded.items()),
        *(f"{knob}={setting_text(knob, value)}" for knob, value in result.settings.items()),
    )


def _runs_now(result: Result) -> bool:
    """Whether the program runs on it: one manager's plain variant alone need not be that."""
    names = result.runs_on or system_malloc()
    return result.manager in (names, names.removesuffix(f"{OVER}{system_malloc()}"))


def _flags(
    result: Result, winner: Result | None, least: Result, *, now: bool
) -> tuple[tuple[str, str], ...]:
    flags = {
        ("best", "least" if winner is least else "best to deploy"): result is winner,
        ("now", "now" if _runs_now(result) else "plain"): now,
        ("", "measured"): result.kind == "measured",
        ("bad", "ran out of memory"): result.refused > 0,
    }
    return tuple(flag for flag, raised in flags.items() if raised)


def _caption(results: Sequence[Result]) -> str:
    text = "Memory at each manager's own peak." + "".join(
        _WRITTEN[touch]
        for touch in sorted({result.conditions.get("touch", "") for result in results})
        if touch in _WRITTEN
    )
    if any(result.end for result in results):
        text += " End: what stays once the program has settled."
    took = next((r.program_seconds for r in results if r.program_seconds), None)
    if took:
        text += f" The recorded program took {duration_text(1e9 * took)}."
    if any(result.within_event_bytes for result in results):
        text += (
            " The peak counts what is held within one event too; the parts are those after the "
            'event that leaves most, and what was held beyond them stands under "in one event".'
        )
    if any(result.spread for result in results):
        text += (
            ' Where time decides, the peak is of one course of many: "as time decides" is the '
            "range over replays that differ in nothing else; rows are ranked by its most."
        )
    if any(result.kind == "measured" for result in results):
        text += " Of a measured system the rest beyond live and rounding stands under partial."
    return text


def collectors_sheet(results: Sequence[Result]) -> Sheet:
    """A row per manager with a collector, by name and settings: what it did."""
    collected = [result for result in results if result.collecting]
    collected.sort(key=lambda result: (result.manager, list(result.settings.values())))
    return Sheet(
        "collector",
        COLLECTORS,
        [
            Row(
                result.to_json(),
                result.manager,
                _knobs(result),
                attributes={"collector": knobs_text(result.manager, result.settings)},
            )
            for result in collected
        ],
        caption="Pauses in time of the replay, in which the program itself takes none; survived: "
        "of the bytes that collections looked at.",
    )


def space_time_sheet(curve: Mapping[str, Any]) -> Sheet:
    """A row per collector and heap size, from `SpaceTime.to_json`."""
    against = f"explicit freeing by {curve['baseline']}" if curve["baseline"] else "nothing"
    rows = [
        Row(
            row,
            row["collector"],
            flags=() if row["fits"] else (("", "no room"),),
            attributes={"heap": f"{row['heap']:g}"},
        )
        for row in curve["rows"]
    ]
    return Sheet(
        "collector",
        SPACE_TIME,
        rows,
        caption="Heaps as multiples of the most bytes ever live; time of the replay and most "
        f"resident memory over those of {against}.",
    )


def paths_sheet(paths: Mapping[str, int]) -> Sheet:
    """How often each path of a manager was taken."""
    return Sheet("path", PATHS, [Row({"times": times}, name) for name, times in paths.items()])
