"""What the processes of a flight held when they ended, as a table."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from heapwright.flight.statistics import ProcessStatistics
from heapwright.insight.words import bytes_text

_PARTS = ("live", "rounding", "header", "cached", "partial", "retained")


def processes_table(processes: Sequence[ProcessStatistics]) -> Table:
    """A row per process."""
    table = Table(
        box=None,
        padding=(0, 1, 0, 0),
        caption="Memory of the manager when the process ended; the parts add up to resident.",
        caption_justify="left",
    )
    table.add_column("program", overflow="fold")
    for heading in ("process", "objects", "resident", *_PARTS, "mapped peak", "system calls"):
        table.add_column(heading, justify="right")
    for process in processes:
        table.add_row(
            Path(process.program).name,
            str(process.process),
            f"{process.objects:,}",
            bytes_text(process.resident_bytes) if process.parts else "?",
            *(
                bytes_text(process.parts[f"{part}_bytes"]) if process.parts else "?"
                for part in _PARTS
            ),
            bytes_text(process.mapped_bytes_peak),
            f"{process.system_calls:,}",
        )
    return table
