"""An address space as it is told: /proc/PID/smaps read, and written as smaps and pmap write it.

    text of smaps ─► Row per area ◄─ linux/process.py, or a replayed manager's machine
                       └─► pmap -x, smaps

Source     Documentation/filesystems/proc.rst; pmap(1) of procps
Omits      the fields beside FIELDS, which are read over
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from heapwright.errors import HeapwrightError
from heapwright.linux.areas import PAGE_BYTES, PAGE_SHIFT, Area
from heapwright.linux.page_table import PAGES, ZEROS
from heapwright.linux.process import Process

FIELDS = {
    "Rss": "resident_bytes",
    "Anonymous": "anonymous_bytes",
    "AnonHugePages": "huge_bytes",
    "Swap": "swapped_bytes",
}
DIRTY = ("Private_Dirty", "Shared_Dirty")
MOST_BYTES = 64 << 20  # of a text that is read
_HEAD = re.compile(
    r"([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([r-][w-][x-][ps]) ([0-9a-f]+) \S+ \d+ *(.*)"
)
_FIGURE = re.compile(r"(\w+): +(\d{1,15}) kB")
KINDS = ("heap", "stack", "mapped", "file", "shared")


@dataclass
class Row:
    """One area."""

    start: int
    end: int
    permissions: str  # rwxp, as /proc/PID/maps
    name: str = ""
    resident_bytes: int = 0
    dirty_bytes: int = 0
    anonymous_bytes: int = 0
    huge_bytes: int = 0
    swapped_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Its length."""
        return self.end - self.start

    @property
    def kind(self) -> str:
        """One of KINDS: whose memory it is."""
        if self.name in ("[heap]", "[stack]"):
            return self.name[1:-1]
        if self.permissions.endswith("s"):
            return "shared"
        return "file" if self.name and not self.name.startswith("[anon") else "mapped"

    def to_json(self) -> dict[str, int | str]:
        """As `heapwright maps --json` prints it."""
        return {
            "address": self.start,
            "bytes": self.bytes,
            "permissions": self.permissions,
            "kind": self.kind,
            "name": self.name,
            **{key: getattr(self, key) for key in (*FIELDS.values(), "dirty_bytes")},
        }


def read_smaps(text: str, where: str) -> list[Row]:
    """The areas of a text of smaps; HeapwrightError, naming `where`, when it is none."""
    rows: list[Row] = []
    for number, line in enumerate(text.splitlines(), 1):
        if head := _HEAD.fullmatch(line):
            start, end = int(head[1], 16), int(head[2], 16)
            if start >= end or (rows and start < rows[-1].end):
                raise HeapwrightError(f"{where}, line {number}: areas do not ascend.")
            rows.append(Row(start, end, head[3], head[5]))
        elif rows and (figure := _FIGURE.fullmatch(line)):
            size = int(figure[2]) << 10
            if figure[1] in FIELDS:
                setattr(rows[-1], FIELDS[figure[1]], size)
            elif figure[1] in DIRTY:
                rows[-1].dirty_bytes += size
        elif not rows:
            raise HeapwrightError(f"{where}, line {number}: this is no smaps: {line[:60]!r}.")
    return rows


def rows_of(process: Process) -> list[Row]:
    """The areas of the twin of a process."""
    return [_row(process, area) for area in process.areas]


def _row(process: Process, area: Area) -> Row:
    name = area.name or (area.file.name if area.file else "")
    row = Row(area.start, area.end, area.permissions(), name)
    for page in range(area.start >> PAGE_SHIFT, area.end >> PAGE_SHIFT):
        frame = process.table.frames.get(page, ZEROS)
        if frame is not ZEROS:
            row.resident_bytes += PAGE_BYTES
            row.anonymous_bytes += PAGE_BYTES * frame.anonymous
            row.huge_bytes += PAGE_BYTES * (page // PAGES in process.table.huge)
            row.dirty_bytes += PAGE_BYTES * process.table.is_dirty(page)
    return row


def as_pmap(rows: Iterable[Row]) -> str:
    """The lines of `pmap -x`, in KiB."""
    lines = ["Address           Kbytes     RSS   Dirty Mode  Mapping"]
    totals = [0, 0, 0]
    for row in rows:
        figures = [row.bytes >> 10, row.resident_bytes >> 10, row.dirty_bytes >> 10]
        totals = [total + figure for total, figure in zip(totals, figures, strict=True)]
        mode = row.permissions[:3] + ("s" if row.permissions[3] == "s" else "-") + "-"
        name = row.name.rpartition("/")[2] if row.name.startswith("/") else row.name
        name = f"  [ {row.name[1:-1]} ]" if name.startswith("[") else name or "  [ anon ]"
        sizes = " ".join(f"{figure:7d}" for figure in figures)
        lines.append(f"{row.start:016x} {sizes} {mode} {name}")
    lines.append("---------------- ------- ------- ------- ")
    lines.append("total kB         " + " ".join(f"{total:7d}" for total in totals))
    return "\n".join(lines)


def as_smaps(rows: Iterable[Row]) -> str:
    """The lines of /proc/PID/smaps, of what is known."""
    lines = []
    for row in rows:
        lines.append(
            f"{row.start:08x}-{row.end:08x} {row.permissions} 00000000 00:00 0 {row.name}".rstrip()
        )
        figures = {
            "Size": row.bytes,
            "KernelPageSize": PAGE_BYTES,
            "Rss": row.resident_bytes,
            "Private_Dirty": row.dirty_bytes,
            "Anonymous": row.anonymous_bytes,
            "AnonHugePages": row.huge_bytes,
            "Swap": row.swapped_bytes,
        }
        lines += [f"{name + ':':<16}{figure >> 10:8d} kB" for name, figure in figures.items()]
    return "\n".join(lines)
