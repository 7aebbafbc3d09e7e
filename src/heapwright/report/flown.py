"""What the processes of a flight held when they ended, as a table."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from heapwright.flight.statistics import ProcessStatistics

_PARTS = ("live", "rounding", "header", "cached", "partial", "retained")
_HEADINGS = ("live", "round-\ning", "head-\ners", "cached", "partial", "re-\ntained")


def processes_table(processes: Sequence[ProcessStatistics]) -> Table:
    """A row per process; a question mark where a process had too many caches to tell."""
    table = Table(
        box=None,
        padding=(0, 1, 0, 0),
        caption="KiB of the manager at the end of the process; the parts add up to resident.",
        caption_justify="left",
    )
    table.add_column("program", vertical="bottom", min_width=8, max_width=20, overflow="fold")
    for heading in ("process", "objects", "resi-\ndent", *_HEADINGS, "mapped\npeak"):
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for process in processes:
        known = [process.resident_bytes, *(process.parts.get(f"{p}_bytes", 0) for p in _PARTS)]
        table.add_row(
            Path(process.program).name,
            str(process.process),
            f"{process.objects:,}",
            *(_kibibytes(value) if process.parts else "?" for value in known),
            _kibibytes(process.mapped_bytes_peak),
        )
    return table


def _kibibytes(value: int) -> str:
    return f"{value / 1024:,.0f}" if value >= 10 << 10 or not value else f"{value / 1024:.1f}"
