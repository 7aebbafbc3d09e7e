"""What size classes lose on a trace, as a table."""

from heapwright.insight.size_classes import BEST, SizeClasses
from heapwright.report.rows import BYTES, COUNT, SHARE, Column, Row, Sheet

COLUMNS = (
    Column("classes", "classes", COUNT, "up to the largest request"),
    Column("lost_bytes.peak", "at the peak", BYTES, "lost to rounding when most bytes are alive"),
    Column("lost_share.peak", "of live", SHARE, "of the bytes asked for and alive then"),
    Column("lost_bytes.mean", "on average", BYTES, "lost to rounding, as an average", rank=1),
    Column("lost_share.mean", "of live", SHARE, "of the bytes alive on average", rank=1),
    Column("lost_bytes.requests", "all requests", BYTES, "each counted once", rank=2),
    Column("lost_share.requests", "of asked", SHARE, "of the bytes that they ask for", rank=2),
)
MEASURED = {
    "peak": "at the peak of live bytes",
    "mean": "on average over events",
    "requests": "over all requests, each once",
}


def size_classes_sheet(found: SizeClasses) -> Sheet:
    """A row per table, the best first, the others as they lose."""
    best, *others = found.tables
    others.sort(key=lambda table: table.lost_bytes[found.by])
    rows = [
        Row(table.to_json(), table.name, flags=(("best", "least"),) if table.name == BEST else ())
        for table in (best, *others)
    ]
    return Sheet(
        "table",
        COLUMNS,
        rows,
        starred=True,
        caption=f"Bytes lost to rounding by {found.requests:,} requests of up to "
        f"{found.largest:,} bytes. The best table of at most {found.most} classes, multiples of "
        f"{found.granule}, loses the fewest {MEASURED[found.by]}. Headers and what is left at a "
        "span's end are not counted.",
    )
