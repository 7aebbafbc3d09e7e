"""The slab allocator's twin beside a real kernel's record, object by object; caches' layouts too.

    K name size ... cache        a address  an object      f address  a free
    G size align ...  the layout of a cache that the kernel made       S size ksize  kmalloc's room

Addresses in a record are offsets into the kernel's direct map: frame 0 has address 0.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from heapwright.linux.caches import Cache, slub_of
from heapwright.linux.geometry import (
    KMALLOC_MOST,
    KMALLOC_SIZES,
    Layout,
    Settings,
    kmalloc_class,
    layout,
    order_of,
)
from heapwright.linux.recorded.dump import Snapshot, different, pages_of, read
from heapwright.linux.slub_lists import serve
from heapwright.machine import PAGE_BYTES


@dataclass
class Objects:
    """How one cache's sequence went."""

    cache: str
    allocations: int = 0
    exact: int = 0  # whose object is the kernel's
    new_slabs: int = 0
    random: bool = False  # each new slab's first object was looked up; the others follow from it
    first: str = ""  # the first that differs
    different: list[str] = field(default_factory=list)  # frames' lists and counters at the end


@dataclass
class Layouts:
    """How many caches have the layout that the kernel gave them."""

    caches: int = 0
    wrong: list[str] = field(default_factory=list)
    sizes: int = 0  # kmalloc sizes at which the room changes
    wrong_sizes: list[str] = field(default_factory=list)


def cache_of(row: list[str]) -> Cache:
    """The cache that a line K tells of."""
    told = {row[i]: row[i + 1] for i in range(1, len(row) - 1, 2) if row[i] != "seq"}
    sequence = None
    if "seq" in row:
        sequence = tuple(int(each) for each in row[row.index("seq") + 1 :])
    number = {name: int(told[name]) for name in ("size", "object_size", "inuse", "offset", "align")}
    number |= {name: int(told[name]) for name in ("order", "objs", "minorder", "min_partial")}
    made = Layout(
        number["object_size"],
        number["size"],
        number["inuse"],
        number["offset"],
        number["align"],
        number["order"],
        number["objs"],
        number["minorder"],
        number["min_partial"],
        int(told.get("cpu_partial", 0)),
        int(told.get("cpu_partial_slabs", -1)),
    )
    return Cache(told["name"], made, 0, sequence)


def scripted(lines: Iterable[str]) -> Iterator[Objects | Layouts]:
    """Replay every cache's sequence in a dump, and compare the layouts that it lists."""
    cache = pages = None
    layouts, rows = Layouts(), []
    for item in read(lines):
        if isinstance(item, Snapshot):
            if item.label == "slab-before":
                pages, rows = pages_of(item), []
            elif item.label == "slab-after" and pages is not None and cache is not None:
                told = _replayed(pages, cache, rows)
                told.different = different(pages, item)
                yield told
                pages = None
        elif item[0] == "K" and item[1] == "name":
            cache = cache_of(item)
        elif item[0] in ("a", "f") and pages is not None:
            rows.append((int(item[0] == "f"), int(item[1], 16)))
        elif item[0] == "G":
            _compare_layout(layouts, item)
        elif item[0] == "S":
            _compare_size(layouts, item)
    if layouts.caches:
        yield layouts


def _replayed(pages, cache, rows) -> Objects:  # type: ignore[no-untyped-def]
    """One cache's sequence on the twin."""
    slub = slub_of(pages, [cache])
    base = int(pages.fields[0])
    asked = np.array(rows, np.int64).reshape(-1, 2)
    asked[:, 1] += base
    answers = np.zeros((len(asked), 2), np.int64)
    serve(slub, 0, asked, answers)
    asking = asked[:, 0] == 0
    wrong = np.flatnonzero(answers[:, 0] != asked[:, 1])
    told = Objects(cache.name, int(asking.sum()), random=cache.sequence is not None)
    told.exact = int((answers[:, 0] == asked[:, 1])[asking].sum())
    told.new_slabs = int(answers[asking, 1].sum())
    if len(wrong):
        row = wrong[0]
        told.first = f"request {row}: {answers[row, 0] - base:#x}, not {asked[row, 1] - base:#x}"
    return told


def _compare_layout(layouts: Layouts, row: list[str]) -> None:
    """One line G."""
    size, align = int(row[1]), int(row[2])
    told = {row[i]: int(row[i + 1]) for i in range(3, len(row) - 1, 2)}
    made = layout(size, align, Settings(cpu_partial="cp" in told))
    mine = {"size": made.size, "inuse": made.inuse, "offset": made.offset, "align": made.align}
    mine |= {"order": made.order, "objs": made.objects, "minpart": made.min_partial}
    if "cp" in told:
        mine |= {"cp": made.cpu_partial, "cps": made.cpu_slabs}
    layouts.caches += 1
    if mine != told:
        layouts.wrong.append(f"{size} aligned to {align}: {mine}, not {told}")


def _compare_size(layouts: Layouts, row: list[str]) -> None:
    """One line S: from this size on kmalloc gives so much."""
    size, room = int(row[1]), int(row[3])
    if size <= KMALLOC_MOST:
        mine = KMALLOC_SIZES[kmalloc_class(size)]
    else:
        mine = PAGE_BYTES << (-(-size // PAGE_BYTES) - 1).bit_length()
    layouts.sizes += 1
    if mine != room:
        layouts.wrong_sizes.append(f"{size}: {mine}, not {room}")


def slabinfo(lines: Iterable[str]) -> Layouts:
    """The caches that /proc/slabinfo lists: from the size of an object the order and the count."""
    told = Layouts()
    for line in lines:
        row = line.split()
        if len(row) > 6 and row[1].isdigit():
            size, objects, frames = int(row[3]), int(row[4]), int(row[5])
            order = order_of(size)
            told.caches += 1
            if (1 << order, (PAGE_BYTES << order) // size) != (frames, objects):
                told.wrong.append(f"{row[0]}: {1 << order} frames, not {frames}")
    return told
