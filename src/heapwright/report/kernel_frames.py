"""Who holds a kernel's frames, as tables."""

from heapwright.insight.kernel_frames import PART_NAMES, KernelFrames
from heapwright.machine import PAGE_BYTES
from heapwright.report.rows import BYTES, EXACT, FIGURE, SHARE, Column, Row, Sheet

MOST_CACHES = 12
OWNERS = (
    Column("peak_bytes", "at the peak", BYTES, "when most frames were taken"),
    Column("peak_share", "of memory", SHARE, "of the frames that the zones manage"),
    Column("end_bytes", "at the end", BYTES, "after the last event"),
    Column("end_share", "of memory", SHARE, "of the frames that the zones manage", rank=1),
)
ORDERS = (
    Column("free_bytes", "free", BYTES, "frames in the buddies' lists"),
    *(
        Column(
            f"order_{order}",
            f"{order}",
            EXACT,
            f"free blocks of {1 << order} frames",
            rank=order % 3,
        )
        for order in range(11)
    ),
    Column("index_3", "index, 3", FIGURE, "why 8 frames in a row would be refused"),
    Column("index_9", "index, 9", FIGURE, "why a huge page would be refused"),
)
CACHES = (
    Column("beyond_bytes", "beyond objects", BYTES, "what its frames hold besides objects in use"),
    Column("held_bytes", "held", BYTES, "its frames"),
    Column("object_bytes", "objects", BYTES, "in use"),
    Column("objects", "count", EXACT, "objects in use", rank=1),
    Column("slabs", "slabs", EXACT, "that it has", rank=1),
)


def owners_sheet(found: KernelFrames) -> Sheet:
    """A row for each use of a frame."""
    total = found.peak["frames"] * PAGE_BYTES
    rows = []

    def row(name: str, peak: int, end: int) -> None:
        told = {"peak_bytes": peak, "peak_share": peak / total}
        rows.append(Row(told | {"end_bytes": end, "end_share": end / total}, name))

    for part, name in PART_NAMES.items():
        row(name, found.peak["parts"][part], found.end["parts"][part])
    row(
        "free in the buddies",
        found.peak["free_frames"] * PAGE_BYTES,
        found.end["free_frames"] * PAGE_BYTES,
    )
    caption = f"{found.manager}, {found.peak['frames']:,} frames; the peak is at event "
    return Sheet("frames", OWNERS, rows, caption=f"{caption}{found.peak['event']:,}.")


def orders_sheet(found: KernelFrames) -> Sheet:
    """Free blocks by order as the replay went on."""
    rows = []
    for moment in found.moments:
        told = {f"order_{order}": count for order, count in enumerate(moment["free_by_order"])}
        index = moment["fragmentation_index"]
        told |= {"free_bytes": moment["free_frames"] * PAGE_BYTES}
        cells = {f"index_{order}": f"{index[order]:.3f}" for order in (3, 9)}
        rows.append(Row({**told, **cells}, f"{moment['event']:,}"))
    caption = (
        "Free blocks by order. Index: as /sys/kernel/debug/extfrag; -1 a request of this order "
        "would be served, near 1 it would fail since what is free is in pieces."
    )
    return Sheet("event", ORDERS, rows, caption=caption)


def caches_sheet(found: KernelFrames) -> Sheet:
    """The caches that hold most beyond their objects."""
    rows = [Row(each, each["cache"]) for each in found.caches[:MOST_CACHES] if each["slabs"]]
    return Sheet("cache", CACHES, rows, caption="At the peak, what most lies idle in.")
