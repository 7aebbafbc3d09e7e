"""Two traces beside each other, as a terminal shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from heapwright.report.notes import Note
from heapwright.report.rows import BYTES, CHANGE, COUNT, Column, Quantity, Row, Sheet
from heapwright.report.summary import print_notes
from heapwright.report.terminal import print_sheet, printable
from heapwright.report.traces import power_text
from heapwright.words import bytes_text

if TYPE_CHECKING:
    from rich.console import Console

    from heapwright.report.answers import Diff


def _signed(value: int) -> str:
    """A change in bytes with its sign."""
    return f"{'+' if value > 0 else '−'}{bytes_text(abs(value))}" if value else "0"


SIGNED = Quantity(_signed)
WHOLE = (
    Column("before", "before", BYTES),
    Column("after", "after", BYTES),
    Column("change_bytes", "change", SIGNED),
    Column("change", "", CHANGE),
)
COUNTS = (
    Column("before", "before", COUNT),
    Column("after", "after", COUNT),
    Column("change", "change", CHANGE),
)
CHANGED = (
    Column("end.change_bytes", "at the end", SIGNED),
    Column("peak.change_bytes", "at the peak", SIGNED),
    Column("end.after", "now", BYTES, rank=1),
    Column(
        "end_blocks.change_bytes",
        "blocks",
        Quantity(lambda n: f"{n:+,}".replace("-", "−") if n else "0"),
        rank=2,
    ),
)


def whole_sheet(found: Diff) -> Sheet:
    """What the two hold in all, in bytes."""
    rows = [Row(row, row["what"]) for row in found.difference.whole if row["key"] != "requests"]
    return Sheet("bytes", WHOLE, rows)


def stacks_sheet(found: Diff, top: int) -> Sheet:
    """The call stacks that changed most."""
    rows = []
    for row in found.difference.stacks[:top]:
        callers = " ".join(f"< {name}" for name in row["frames"][: row["asked"]][::-1])
        details = ", ".join(filter(None, (row["state"], callers)))
        rows.append(Row(row, row["function"], (details,) if details else ()))
    left = len(found.difference.stacks) - len(rows)
    caption = f"{left:,} more changed: --top shows them, --json has all." if left > 0 else ""
    return Sheet(
        "call stack", CHANGED, rows, "what changed, by call stack", caption, names_last=True
    )


def sizes_sheet(found: Diff) -> Sheet:
    """The sizes of which the live bytes changed."""
    rows = [Row(row, power_text(row["to_bytes"])) for row in found.difference.sizes]
    return Sheet("up to", CHANGED, rows, "what changed, by size of block")


def print_diff(console: Console, found: Diff, top: int) -> None:
    """Print the sentence and the tables."""
    console.print(Text(printable(found.sentence), "bold"), soft_wrap=True)
    console.print()
    print_sheet(console, whole_sheet(found))
    for sheet in (stacks_sheet(found, top), sizes_sheet(found)):
        if sheet.rows:
            console.print()
            print_sheet(console, sheet)
    shared = [note for note in found.notes["before"] if note in found.notes["after"]]
    told = [Note("Both", note) for note in shared]
    for which in ("before", "after"):
        told += [Note(which.title(), note) for note in found.notes[which] if note not in shared]
    print_notes(console, told)
