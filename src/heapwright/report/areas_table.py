"""Run-time data areas as a table: how large each is and when it is full; and how each ends."""

from collections.abc import Mapping, Sequence
from typing import Any

from heapwright.report.rows import FIGURE, TEXT, Column, Row, Sheet
from heapwright.words import bytes_text

COLUMNS = (
    Column("room", "room", FIGURE, "bytes it may take"),
    Column("after", "full after", FIGURE, "so many pieces"),
    Column("measured_after", "measured", FIGURE, "in a real JVM"),
    Column("option", "set by", TEXT, "the option of java, or the limit of the system"),
)


def areas_sheet(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    """A row an area."""
    measured = any(row["measured"] for row in rows)
    columns = tuple(one for one in COLUMNS if measured or one.key != "measured_after")
    shown = [
        Row(
            {
                "room": "no limit" if row["room_bytes"] is None else bytes_text(row["room_bytes"]),
                "after": _after(row["after"]),
                "measured_after": f"{row['measured']['after']:,}" if row["measured"] else "",
                "option": row["option"],
            },
            row["area"],
        )
        for row in rows
    ]
    return Sheet("area", columns, shown)


def endings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line an area: what fills it, of what its count counts, and what the program then sees, in
    the real one's words where it was measured."""
    lines = []
    for row in rows:
        if row["fills"]:
            error = row["measured"]["error"] if row["measured"] else row["error"]
            counted = f", here {row['piece']}" if row["piece"] else ""
            then = f" ─► {error}" if error else ""
            lines.append(f"{row['area']}: {row['fills']}{counted}{then}")
    return lines


def _after(after: Mapping[str, int] | None) -> str:
    if after is None:
        return ""
    least, most = f"{after['least']:,}", f"{after['most']:,}"
    return least if least == most else f"{least} to {most}" if after["least"] else f"up to {most}"
