"""What a twin and the real system agree on, as rows of a table."""

from typing import TYPE_CHECKING

from heapwright.report.rows import FIGURE, Column, Row, Sheet

if TYPE_CHECKING:
    from heapwright.references import Agreement

AGREEMENT = (
    Column("twin", "twin", FIGURE),
    Column("real", "real", FIGURE),
    Column("agreement", "agreement", FIGURE),
)


def agreement_sheet(found: "Agreement") -> Sheet:
    """A row for each thing compared."""
    rows = [
        Row({"twin": twin, "real": real, "agreement": agreement}, what)
        for what, twin, real, agreement in found.rows()
    ]
    return Sheet("compared", AGREEMENT, rows, found.title)
