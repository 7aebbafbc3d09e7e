"""vmalloc's twin beside a real kernel's record, address by address.

W ... ENDW  /proc/vmallocinfo before      V bytes address      U address  a vfree      PURGE
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from heapwright.linux.vmalloc import range_of, serve, take_at
from heapwright.machine.address_space import PAGE_SHIFT

RANGES = ((0xFFFFC90000000000, 0xFFFFE8FFFFFFFFFF), (0x64800000, 0x80000000))  # of the two kernels
MODELLED = 1 << 22  # pages from the start of a range
_AREA = re.compile(r"0x([0-9a-f]+)-0x([0-9a-f]+) +\d+")


@dataclass
class Areas:
    """How a sequence went."""

    allocations: int = 0
    exact: int = 0
    first: str = ""


def scripted(lines: Iterable[str]) -> Areas | None:
    """Replay the sequence of a dump on the twin; None of a dump without one."""
    busy: list[tuple[int, int]] = []
    asked: list[tuple[int, int]] = []
    answers: list[int] = []
    inside = False
    start = 0
    for line in lines:
        row = line.strip("\0 \n").split()
        if row == ["W"]:
            inside = True
        elif row and row[0] == "ENDW":
            inside = False
            start = next(low for low, high in RANGES if any(low <= a < high for a, _ in busy))
        elif inside and (found := _AREA.match(line.strip("\0"))):
            busy.append((int(found[1], 16), int(found[2], 16)))
        elif row and row[0] == "V" and len(row) == 3:
            asked.append((0, -(-int(row[1]) // 4096)))
            answers.append((int(row[2], 16) - start) >> PAGE_SHIFT)
        elif row and row[0] == "U" and start:
            asked.append((1, (int(row[1], 16) - start) >> PAGE_SHIFT))
            answers.append(0)
        elif row == ["PURGE"]:
            asked.append((2, 0))
            answers.append(0)
    return _replayed(busy, start, asked, answers) if asked else None


def _replayed(
    busy: list[tuple[int, int]], start: int, asked: list[tuple[int, int]], answers: list[int]
) -> Areas:
    """The sequence on a range with these areas."""
    pages = next(high - low for low, high in RANGES if low == start) + 1 >> PAGE_SHIFT
    made = range_of(min(pages, MODELLED))
    for low, high in busy:
        first, past = low - start >> PAGE_SHIFT, high - start >> PAGE_SHIFT
        if first >= 0 and past <= min(pages, MODELLED):
            _occupy(made, first, past - first)
    requests, mine = np.array(asked, np.int64), np.zeros(len(asked), np.int64)
    serve(made, requests, mine)
    real, asking = np.array(answers), requests[:, 0] == 0
    told = Areas(int(asking.sum()), int((mine == real)[asking].sum()))
    wrong = np.flatnonzero((mine != real) & asking)
    if len(wrong):
        row = int(wrong[0])
        told.first = f"request {row}: page {mine[row]}, not {real[row]}"
    return told


def _occupy(range_, first, pages) -> None:  # type: ignore[no-untyped-def]
    """An area that was there before."""
    hole = max((h for h in np.flatnonzero(range_.holes.largest[: first + 1]).tolist()), default=-1)
    take_at(range_, hole, first, pages)
