"""What an address space holds by kind of area, as a table."""

from collections.abc import Mapping, Sequence

from heapwright.report.rows import BYTES, COUNT, TEXT, Column, Row, Sheet

COLUMNS = (
    Column("kind", "kind", TEXT, "whose memory it is"),
    Column("areas", "areas", COUNT, "ranges of pages that are alike"),
    Column("bytes", "mapped", BYTES, "of address space"),
    Column("resident_bytes", "resident", BYTES, "in memory"),
    Column("dirty_bytes", "dirty", BYTES, "written, and nowhere else", rank=1),
)


def totals_sheet(spaces: Sequence[tuple[str, Mapping[str, Mapping[str, int]]]]) -> Sheet:
    """A row for each kind of each space."""
    rows = [
        Row({"kind": kind, **figures}, of)
        for of, totals in spaces
        for kind, figures in totals.items()
    ]
    return Sheet("space", COLUMNS, rows)
