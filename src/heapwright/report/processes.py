"""What the processes of a flight held when they ended, as rows of a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heapwright.report.rows import BYTES, EXACT, FIGURE, Column, Row, Sheet, bytes_unit
from heapwright.words import PART_MEANINGS

if TYPE_CHECKING:
    from heapwright.flight.statistics import ProcessStatistics

PROCESSES = (
    Column("process", "process", FIGURE),
    Column("objects", "objects", EXACT, "alive at the end", rank=2),
    Column("resident_bytes", "resi\u00addent", BYTES, "of the manager"),
    *(
        Column(f"parts.{part}_bytes", heading, BYTES, PART_MEANINGS[part], rank=rank)
        for part, heading, rank in (
            ("live", "live", 1),
            ("rounding", "round\u00ading", 5),
            ("header", "head\u00aders", 7),
            ("cached", "cached", 6),
            ("partial", "partial", 3),
            ("retained", "re\u00adtained", 4),
        )
    ),
    Column("mapped_bytes_peak", "mapped peak", BYTES, "most address space mapped", rank=8),
)


def process_row(process: "ProcessStatistics") -> dict[str, Any]:
    """A process in JSON; what it had too many caches to tell is null."""
    known = vars(process)
    return known if process.parts else known | {"resident_bytes": None}


def processes_sheet(processes: Sequence["ProcessStatistics"]) -> Sheet:
    """A row per process."""
    rows = [Row(process_row(each), Path(each.program).name) for each in processes]
    return Sheet(
        "program",
        PROCESSES,
        rows,
        caption="Memory of the manager at the end of the process; the parts add up to resident.",
        unit=bytes_unit([each.resident_bytes for each in processes]),
    )
