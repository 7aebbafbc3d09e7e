"""memblock's twin beside the real mm/memblock.c: random programs, and a kernel's boot log.

    program(seed) ─► operations ─► Real, the kernel's file as a shared library ─► answers, ranges
                                ─► the twin                                    ─► answers, ranges

How the library is made: docs/agreement-linux.md.
"""

import ctypes
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from heapwright.linux.memblock import (
    ANYWHERE,
    NOMAP,
    Memblock,
    add,
    alloc,
    find,
    handed_over,
    mark,
    memblock,
    remove,
    rows,
)

ADD, RESERVE, FREE, REMOVE, SET_NOMAP, CLEAR_NOMAP, LIMIT, ALLOC = range(8)
U64 = (1 << 64) - 1
MOST_ROWS = 1000  # of a list that the library tells
Operation = tuple[int, int, int, int, int]  # kind, and up to four numbers


def program(seed: int) -> tuple[bool, list[Operation]]:
    """Whether bottom-up, and the operations of one random boot."""
    draw = random.Random(seed)
    bottom_up, shift = draw.random() < 0.4, draw.choice([0, 6, 12, 12, 12, 21])

    def place(limit: int) -> int:
        return draw.randrange(max(1, limit >> shift)) << shift

    told: list[Operation] = [
        (ADD, place(1 << 30), place(1 << 28) + (1 << shift), 0, 0)
        for _ in range(draw.randrange(1, 6))
    ]
    kinds = ([RESERVE] * 20, [FREE] * 10, [REMOVE] * 3, [SET_NOMAP] * 3, [CLEAR_NOMAP] * 2)
    choices = [kind for group in kinds for kind in group] + [LIMIT] * 2 + [ADD] * 5 + [ALLOC] * 55
    for _ in range(70):
        kind = draw.choice(choices)
        base, size = place(1 << 30), place(1 << draw.choice([14, 20, 26, 27])) + (1 << shift)
        if kind == LIMIT:
            told.append((LIMIT, draw.choice([ANYWHERE, place(1 << 30)]), 0, 0, 0))
        elif kind == ALLOC:
            wanted = draw.randrange(1, 1 << draw.choice([6, 12, 16, 22, 26]))
            align = 1 << draw.randrange(22)
            end = draw.choice([0, ANYWHERE, place(1 << 30)])
            told.append((ALLOC, wanted, align, draw.choice([0, place(1 << 30)]), end))
        else:
            told.append((kind, base, size, 0, 0))
    return bottom_up, told


def apply(block: Memblock, operation: Operation) -> int:
    """One operation on the twin; an allocation's place, else 0."""
    kind, first, second, start, end = operation
    if kind == ALLOC:
        return int(alloc(block, first, second, (start, end)))
    if kind == LIMIT:
        block.fields[0] = first
    elif kind in (SET_NOMAP, CLEAR_NOMAP):
        mark(block.memory, first, second, NOMAP, kind == SET_NOMAP)
    elif kind in (FREE, REMOVE):
        remove(block.reserved if kind == FREE else block.memory, first, second)
    else:
        add(block.reserved if kind == RESERVE else block.memory, first, second, 0)
    return 0


def ranges_of(block: Memblock) -> list[list[tuple[int, int, int]]]:
    """Both lists."""
    return [rows(block.memory), rows(block.reserved)]


class Real:
    """The real memblock, in this process."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library.resolve()))
        self.library.memblock_phys_alloc_range.restype = ctypes.c_uint64
        ctypes.c_ulong.in_dll(self.library, "max_low_pfn").value = 1 << 40
        self._rows = (ctypes.c_ulong * (3 * MOST_ROWS))()

    def reset(self, *, bottom_up: bool) -> None:
        """No memory."""
        self.library.twin_reset(int(bottom_up))

    def apply(self, operation: Operation) -> int:
        """One operation; an allocation's place, else 0."""
        names = {ADD: "add", RESERVE: "reserve", FREE: "phys_free", REMOVE: "remove"}
        names |= {SET_NOMAP: "mark_nomap", CLEAR_NOMAP: "clear_nomap"}
        kind, *numbers = operation
        given = [ctypes.c_uint64(U64 if each == ANYWHERE else each) for each in numbers]
        if kind == ALLOC:
            return int(self.library.memblock_phys_alloc_range(*given))
        if kind == LIMIT:
            self.library.memblock_set_current_limit(given[0])
        else:
            getattr(self.library, f"memblock_{names[kind]}")(*given[:2])
        return 0

    def ranges(self) -> list[list[tuple[int, int, int]]]:
        """Both lists."""
        told = []
        for which in range(2):
            count = self.library.twin_dump(which, self._rows, MOST_ROWS)
            cells = np.frombuffer(self._rows, np.uint64)[: 3 * count].reshape(-1, 3).tolist()
            told.append([(base, base + size, flags) for base, size, flags in cells if size])
        return told

    def handed_over(self) -> list[tuple[int, int]]:
        """What the page allocator is given."""
        told: list[tuple[int, int]] = []
        kind = ctypes.CFUNCTYPE(None, ctypes.c_ulong, ctypes.c_uint)
        called = kind(lambda frame, order: told.append((frame, order)))
        hook = ctypes.c_void_p.in_dll(self.library, "twin_free_pages")
        hook.value = ctypes.cast(called, ctypes.c_void_p).value
        self.library.memblock_free_all()
        hook.value = None
        return told


@dataclass
class Fuzzed:
    """How random boots went."""

    operations: int = 0
    programs: int = 0
    handed_over: int = 0  # programs whose hand-over was compared
    different: list[str] = field(default_factory=list)


def fuzz(library: Path, programs: int) -> Fuzzed:
    """Random programs on both; after each operation both lists are compared."""
    real, told = Real(library), Fuzzed()
    for seed in range(programs):
        bottom_up, operations = program(seed)
        real.reset(bottom_up=bottom_up)
        block = memblock(bottom_up=bottom_up)
        told.programs += 1
        for number, operation in enumerate(operations):
            told.operations += 1
            mine, theirs = apply(block, operation), real.apply(operation)
            if mine != theirs or ranges_of(block) != real.ranges():
                told.different.append(f"program {seed}, operation {number}: {mine} and {theirs}")
                break
        else:
            if seed % 4 == 0:
                told.handed_over += 1
                if list(handed_over(block)) != real.handed_over():
                    told.different.append(f"program {seed}: the hand-over")
    return told


@dataclass
class Booted:
    """How a kernel's boot log went."""

    allocations: int = 0
    exact: int = 0
    first: str = ""


_LIST = re.compile(
    r"(memory|reserved)\[0x[0-9a-f]+\]\s*\[0x([0-9a-f]+)-0x([0-9a-f]+)\].* flags: 0x([0-9a-f]+)"
)
_CHANGE = re.compile(
    r"memblock_(add|reserve|phys_free|remove): \[0x([0-9a-f]+)-0x([0-9a-f]+)\] (\S+)"
)
_REQUEST = re.compile(
    r"memblock_(alloc|phys_alloc)\w*: (\d+) bytes align=0x([0-9a-f]+)(?: nid=-?\d+)? "
    r"from=0x([0-9a-f]+) max_addr=0x([0-9a-f]+)"
)


def booted(lines: Iterable[str]) -> Booted:
    """A boot log with `memblock=debug`: each allocation on the twin."""
    block, told = memblock(), Booted()
    started, wanted = False, None
    kinds = {"add": ADD, "reserve": RESERVE, "phys_free": FREE, "remove": REMOVE}
    for raw in lines:
        line = re.sub(r"^\[[ 0-9.]+\] ", "", raw.strip()).strip()
        if line.startswith("MEMBLOCK configuration"):
            block, started = memblock(), True
        elif found := _LIST.match(line):
            ranges = block.memory if found[1] == "memory" else block.reserved
            low, high = int(found[2], 16), int(found[3], 16) + 1
            add(ranges, low, high - low, int(found[4], 16))
        elif found := _REQUEST.match(line):
            numbers = (int(found[2]), *(int(found[i], 16) for i in (3, 4, 5)))
            wanted = (*numbers, found[1] == "alloc")
        elif started and (found := _CHANGE.match(line)):
            low, high = int(found[2], 16), int(found[3], 16) + 1
            if found[1] == "reserve" and wanted and found[4].startswith("memblock_alloc_range_nid"):
                _compare(block, wanted, low, told)
                wanted = None
            apply(block, (kinds[found[1]], low, high - low, 0, 0))
    return told


def _compare(block: Memblock, wanted: Sequence[int], place: int, told: Booted) -> None:
    """One allocation of the log."""
    size, align, start, end, again = wanted
    mine = int(find(block, size, align, (start, end)))
    if not mine and start and again:
        mine = int(find(block, size, align, (0, end)))
    told.allocations += 1
    told.exact += mine == place
    if mine != place and not told.first:
        told.first = f"{size} bytes: {mine:#x}, not {place:#x}"
