"""What a module in a real kernel wrote down of its allocators, read as snapshots and requests.

    SNAP label ... ENDSNAP  Z zone, M movable, B block kinds, F free list, C, L processor's lists
    A order kind frame      a request and its answer, -1 refused        R frame order   a free

Source     the recording module's own format; lists are in the kernel's order, first one first
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from heapwright.linux import frames as words
from heapwright.linux.buddy import put_last
from heapwright.linux.frames import KINDS, ORDERS, ZONE_WORDS, Pages, cpu_list_of, link_last
from heapwright.linux.zones import ZONES_WORD, add_zone, empty
from heapwright.machine import Machine, machine

_ZONE = {"managed": words.MANAGED, "boost": words.BOOST, "free": words.FREE}
_ZONE |= {"diff": words.DRIFT, "thr": words.THRESHOLD, "highatomic": words.HIGHATOMIC_FRAMES}
_CPU = {"count": words.CPU_COUNT, "high": words.CPU_HIGH, "batch": words.CPU_BATCH}
_CPU |= {"factor": words.CPU_FACTOR}


@dataclass
class Snapshot:
    """All lists of a node's frames at one moment."""

    label: str
    head: dict[str, int]  # pbo, npcp, normal, ...
    zones: dict[int, list[str]] = field(default_factory=dict)  # index: words of its line
    movable: list[tuple[int, int]] = field(default_factory=list)  # (frame, frames)
    blocks: dict[int, list[int]] = field(default_factory=dict)
    free: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)  # zone, order, kind
    cpu: dict[int, dict[str, int]] = field(default_factory=dict)
    lists: dict[tuple[int, int], list[tuple[int, int]]] = field(default_factory=dict)

    def add(self, row: list[str]) -> None:
        """One more line of it."""
        kind, zone = row[0], int(row[1])
        if kind == "Z":
            self.zones[zone] = row
        elif kind == "M":
            runs = (run.split("+") for run in row[2:])
            self.movable += [(int(start), int(length)) for start, length in runs]
        elif kind == "B":
            self.blocks[zone] = [int(each) for each in row[2:]]
        elif kind == "F":
            self.free[zone, int(row[2]), int(row[3])] = [int(each) for each in row[4:]]
        elif kind == "C":
            self.cpu[zone] = _pairs(row[2:])
        elif kind == "L":
            both = (each.split(":") for each in row[3:])
            self.lists[zone, int(row[2])] = [(int(frame), int(kind)) for frame, kind in both]


def _pairs(row: list[str]) -> dict[str, int]:
    """Words that are name and number by turns."""
    return {row[i]: int(row[i + 1]) for i in range(0, len(row) - 1, 2)}


def _numbers(row: list[str], name: str, count: int = 1) -> list[int]:
    """The numbers behind a name, none where it is not there."""
    if name not in row:
        return [0] * count
    at = row.index(name) + 1
    return [int(each) for each in row[at : at + count]]


def read(lines: Iterable[str]) -> Iterator[Snapshot | list[str]]:
    """The snapshots of a dump, and what stands between them as words."""
    open_: Snapshot | None = None
    for line in lines:
        row = line.split()
        if not row:
            continue
        if row[0] == "SNAP":
            open_ = Snapshot(row[1], _pairs(row[2:]))
        elif row[0] == "ENDSNAP" and open_ is not None:
            yield open_
            open_ = None
        elif open_ is None:
            yield row
        else:
            open_.add(row)


def pages_of(snapshot: Snapshot, space: Machine | None = None) -> Pages:
    """The twin's state at that moment."""
    zones = {
        index: _numbers(row, "start") + _numbers(row, "spanned")
        for index, row in snapshot.zones.items()
    }
    order = snapshot.head["pbo"]
    last = max(start + spanned for start, spanned in zones.values())
    pages = empty(
        machine() if space is None else space,
        last,
        block_order=order,
        huge_lists=snapshot.head["npcp"] > words.LOW_LISTS,
    )
    pages.fields[Pages.WORDS.index("normal")] = snapshot.head["normal"]  # type: ignore[attr-defined]
    rows = {}
    for index, (start, spanned) in sorted(zones.items()):
        z = rows[index] = add_zone(pages, index, start, start + spanned)
        text = snapshot.zones[index]
        for name, word in _ZONE.items():
            pages.zone[z + word] = _numbers(text, name)[0]
        pages.zone[z + words.MIN : z + words.HIGH + 1] = _numbers(text, "wm", 3)
        reserve = text[text.index("reserve") + 1 : text.index("highatomic")]
        pages.zone[z + words.RESERVE : z + words.RESERVE + len(reserve)] = [*map(int, reserve)]
        kinds = snapshot.blocks[index]
        pages.block[start >> order : (start >> order) + len(kinds)] = kinds
        for name, word in _CPU.items():
            pages.zone[z + word] = snapshot.cpu[index][name]
    for start, length in snapshot.movable:
        pages.on_lru[start : start + length] = 1
    for (index, size, kind), held in snapshot.free.items():
        for frame in held:
            put_last(pages, rows[index], frame, size, kind)
    for (index, number), kept in snapshot.lists.items():
        for frame, kind in kept:
            link_last(pages, cpu_list_of(pages, rows[index], number), frame)
            pages.kind[frame] = kind
    return pages


def _listed(pages: Pages, head: int) -> list[int]:
    """The nodes of a list in its order."""
    found, node = [], int(pages.next[head])
    while node != head:
        found.append(node)
        node = int(pages.next[node])
    return found


def state_of(pages: Pages) -> dict[str, object]:
    """Everything that a snapshot tells, as the twin has it."""
    told: dict[str, object] = {}
    for number in range(int(pages.fields[ZONES_WORD])):
        z = number * ZONE_WORDS
        index, start = int(pages.zone[z + words.INDEX]), int(pages.zone[z + words.START])
        for order in range(ORDERS):
            for kind in range(KINDS):
                head = words.list_of(pages, z, order, kind)
                if held := _listed(pages, head):
                    told[f"zone {index} order {order} kind {kind}"] = held
        for each in range(words.CPU_LISTS):
            if kept := _listed(pages, cpu_list_of(pages, z, each)):
                told[f"zone {index} list {each}"] = kept
        order = int(pages.fields[Pages.WORDS.index("block_order")])  # type: ignore[attr-defined]
        end = int(pages.zone[z + words.END])
        told[f"zone {index} blocks"] = pages.block[start >> order : (end - 1 >> order) + 1].tolist()
        told[f"zone {index} counters"] = pages.zone[
            [
                z + word
                for word in (
                    words.FREE,
                    words.DRIFT,
                    words.BOOST,
                    words.CPU_COUNT,
                    words.CPU_FACTOR,
                )
            ]
        ].tolist()
    return told


def different(pages: Pages, snapshot: Snapshot) -> list[str]:
    """The lists and counters in which the twin is not as the kernel was."""
    mine, real = state_of(pages), state_of(pages_of(snapshot))
    return sorted(name for name in {*mine, *real} if mine.get(name) != real.get(name))


def requests_of(rows: Iterable[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Of lines A and R: int64[n, 3] for `page_alloc.serve`, and int64[n] answers of the kernel."""
    asked, answers = [], []
    for row in rows:
        if row[0] == "A":
            asked.append((int(row[1]), 0x800 | int(row[2]) << 3, -1))
            answers.append(int(row[3]))
        elif row[0] == "R":
            asked.append((int(row[2]), 0, int(row[1])))
            answers.append(int(row[1]))
    return np.array(asked, np.int64).reshape(-1, 3), np.array(answers, np.int64)
