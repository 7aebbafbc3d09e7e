"""Random calls on the twin of an address space and on a real one, compared after each.

    Script ─► call ─► address_space.c, a process of its own ─► answer, faults, smaps ─┐
               └────► linux/process.py ─────────────────────► answer, faults, areas ──┴► equal?

Compared are what a call answers (an address, or the number of an error), the minor faults of an
access, the bytes of page tables, and of every area that the calls made: bounds, permissions,
resident, anonymous, dirty and huge bytes, and the flags that calls set.
"""

import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import pack
from types import TracebackType

from heapwright.errors import HeapwrightError
from heapwright.linux import calls as linux
from heapwright.linux.areas import EXECUTE, PAGE_BYTES, PAGE_SHIFT, READ, WRITE, Area, File, Root
from heapwright.linux.calls import CallError, SegmentationFault
from heapwright.linux.page_table import Cache, Frame
from heapwright.linux.process import Process
from heapwright.linux.smaps import Row, read_smaps, rows_of
from heapwright.references.c_program import executable

SOURCE = Path(__file__).with_name("address_space.c")
# What address_space.c takes
SMAPS, MMAP, MUNMAP, MPROTECT, MREMAP, MADVISE, BRK, LOAD, STORE, FAULTS, FORK, STATUS = range(12)
NAMES = ("smaps", "mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "read", "write")
FILE_PAGES = 64
ANONYMOUS, FAULT = 0x20, -14  # MAP_ANONYMOUS; an access that faults
TOLD_FLAGS = frozenset(("ac", "nr", "hg", "nh", "dc", "dd"))
USER_PAST = 1 << 47
_KINDS = {"anonymous": 0x22, "shared": 0x21, "file": 2, "shared file": 1, "unreserved": 0x4022}


class Real:
    """A process that does as it is told."""

    def __init__(self, huge: bool = False) -> None:
        """`huge`: with huge pages as the system has them, else without."""
        program = executable("an address space", "address-space", [SOURCE], [], ["-O1"])
        self._process = subprocess.Popen(
            [program, *["huge"] * huge], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.first_break = self._number("A")
        self.maps = self._text()

    def __enter__(self) -> "Real":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def call(self, *words: int) -> int:
        """What it answers; faults for FAULTS."""
        self._tell(words)
        return self._number("F" if words[0] == FAULTS else "A")

    def smaps(self) -> str:
        """Its /proc/self/smaps."""
        self._tell((SMAPS,))
        return self._text()

    def table_bytes(self) -> int:
        """VmPTE: of its page tables of all levels."""
        self._tell((STATUS,))
        return int(self._text().partition("VmPTE:")[2].split()[0]) << 10

    def present(self, start: int, end: int) -> list[int]:
        """The pages of a range that are in memory, by its /proc/self/pagemap."""
        self._tell((STATUS,))
        number = int(self._text().partition("\nPid:")[2].split()[0])
        with Path(f"/proc/{number}/pagemap").open("rb", buffering=0) as file:
            file.seek((start >> PAGE_SHIFT) * 8)
            told = file.read(((end - start) >> PAGE_SHIFT) * 8)
        return [
            page
            for page, told in enumerate(memoryview(told).cast("Q"), start >> PAGE_SHIFT)
            if told >> 63
        ]

    def _tell(self, words: tuple[int, ...]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(pack("7q", *words, *[0] * (7 - len(words))))

    def _read(self, wanted: int) -> bytes:
        assert self._process.stdout is not None
        found = b""
        while len(found) < wanted:
            part = self._process.stdout.read(wanted - len(found))
            if not part:
                raise HeapwrightError("the process with a real address space has ended early")
            found += part
        return found

    def _number(self, kind: str) -> int:
        told = b""
        while not told.endswith(b"\n"):
            told += self._read(1)
        assert told[:1] == kind.encode(), told
        return int(told[2:])

    def _text(self) -> str:
        return self._read(self._number("S")).decode(errors="replace")


@dataclass
class Twin:
    """The twin, and what it began with."""

    process: Process
    file: File
    initial: list[tuple[int, int]]  # bounds of areas that the calls keep away from
    spare: int  # address of a page of the real process's own, for a first access
    unseen: int = 0  # bytes of page tables that none of the pages in memory is reached by

    @classmethod
    def of(cls, real: Real) -> "Twin":
        """A twin of the process as it is before the first call."""
        rows: list[tuple[int, int, str, int, str, str]] = []
        for line in real.maps.splitlines():
            bounds, letters, offset, _, inode, *names = line.split(maxsplit=5)
            start, end = (int(part, 16) for part in bounds.split("-"))
            if end <= USER_PAST:
                rows.append((start, end, letters, int(offset, 16), inode, "".join(names)))
        stack = next((row[0], row[1]) for row in rows if row[5] == "[stack]")
        top = max(row[1] for row in rows if row[1] < stack[0])
        twin = Process(top, stack, real.first_break)
        for start, end, permissions, first, inode, name in rows:
            if name == "[stack]":
                continue
            bits = {"r": READ, "w": WRITE, "x": EXECUTE}
            protection = sum(bit for letter, bit in bits.items() if letter in permissions)
            own = inode == "0" and not name
            area = Area(
                start,
                end,
                protection,
                (start if own else first) >> PAGE_SHIFT,
                None if own else File(name + inode),
                accounted=bool(protection & WRITE),
                root=Root() if own else None,
            )
            twin.areas.add(area)
            if area.file:
                twin.caches.setdefault(area.file.name, Cache())
        file = File("/memfd:heapwright (deleted)", FILE_PAGES)
        twin.caches[file.name] = Cache(
            {page: Frame(False, dirty=True) for page in range(FILE_PAGES)}
        )
        spare = next(row[1] for row in rows if row[4] == "0" and row[1] - row[0] > 1 << 20)
        return cls(twin, file, [row[:2] for row in rows], spare - PAGE_BYTES)

    def fork(self) -> "Twin":
        """Of the child."""
        return Twin(self.process.fork(), self.file, self.initial, self.spare)

    def see_tables(self, real: Real) -> None:
        """Have the page tables that the process's own pages need, and count those unseen."""
        tables = self.process.table.tables
        for start, end in self.initial:
            for page in real.present(start, end):
                tables.make(page << PAGE_SHIFT)
        self.unseen = real.table_bytes() - tables.bytes


@dataclass(frozen=True)
class Call:
    """One call, as text and as the words that address_space.c takes."""

    words: tuple[int, ...]
    file: File | None = None

    def __str__(self) -> str:
        return f"{NAMES[self.words[0]]}({', '.join(f'{word:#x}' for word in self.words[1:])})"

    def on(self, twin: Twin) -> int:
        """What the twin answers, as the real one tells it."""
        process, (what, *rest) = twin.process, self.words
        does: dict[int, Callable[..., int | None]] = {
            MMAP: lambda hint, length, protection, flags, _, offset: process.mmap(
                hint, length, protection, flags & ~ANONYMOUS, self.file, offset
            ),
            MUNMAP: process.munmap,
            MPROTECT: process.mprotect,
            MREMAP: process.mremap,
            MADVISE: process.madvise,
            BRK: process.brk,
            LOAD: process.read,
            STORE: process.write,
        }
        try:
            return does[what](*rest) or 0
        except CallError as error:
            return -error.number
        except SegmentationFault:
            return FAULT


class Script:
    """Random calls on what earlier ones made; the same for the same seed and answers."""

    weights = (6, 3, 5, 3, 4, 2, 4, 6)  # as `next` has the calls
    huge_pages = "never"  # as huge.py's POLICIES; of the real process "never" by prctl

    def __init__(self, seed: int, twin: Twin) -> None:
        self._random, self._twin = random.Random(seed), twin
        self._made: list[tuple[int, int]] = []  # address, pages

    def next(self) -> Call:
        """The next call."""
        calls = [self._map, self._unmap, self._protect, self._resize]
        calls += [self._advise, self._break, self._load, self._store]
        (made,) = self._random.choices(calls, self.weights)
        return made()

    def answered(self, call: Call, answer: int) -> None:
        """What a call made can be a later one's place."""
        if call.words[0] == MMAP and answer > 0:
            self._made.append((answer, call.words[2] // PAGE_BYTES))
        if call.words[0] == MREMAP and answer > 0:
            self._made.append((answer, call.words[3] // PAGE_BYTES))

    def _place(self) -> tuple[int, int]:
        """An address and a number of pages, most often of something that was made."""
        for _ in range(20):
            if not self._made or self._random.random() < 0.1:
                break
            address, pages = self._random.choice(self._made)
            skip = self._random.randrange(pages)
            some = min(pages - skip, self._random.randint(1, pages))
            if self._free(address + skip * PAGE_BYTES, some, 8):
                return address + skip * PAGE_BYTES, some
        return (1 << 40) + self._random.randrange(4096) * PAGE_BYTES, self._random.randint(1, 8)

    def _free(self, address: int, pages: int, beside: int) -> bool:
        """Whether nothing of the process's own lies there, or so many pages beside it."""
        low, high = address - beside * PAGE_BYTES, address + (pages + beside) * PAGE_BYTES
        return not any(start < high and end > low for start, end in self._twin.initial)

    def _map(self) -> Call:
        pages = self._random.choice([1, 2, 3, 5, 16, 33, 512, 1024])
        protection = self._random.choice([0, READ, *[READ | WRITE] * 4])
        kind = self._random.choice(["anonymous"] * 6 + list(_KINDS)[1:])
        hint, flags, offset, file = 0, _KINDS[kind], 0, None
        if self._random.random() < 0.3:
            hint, _ = self._place()
            over = any(start <= hint < start + n * PAGE_BYTES for start, n in self._made)
            if over and self._free(hint, pages, 0) and self._random.random() < 0.5:
                flags |= linux.FIXED
        if "file" in kind:
            pages, offset, file = min(pages, 32), self._random.randrange(16), self._twin.file
        words = (hint, pages * PAGE_BYTES, protection, flags, int(file is not None))
        return Call((MMAP, *words, offset * PAGE_BYTES), file)

    def _unmap(self) -> Call:
        address, pages = self._place()
        return Call((MUNMAP, address, pages * PAGE_BYTES))

    def _protect(self) -> Call:
        address, pages = self._place()
        protection = self._random.choice([0, READ, READ | WRITE, READ | WRITE])
        return Call((MPROTECT, address, pages * PAGE_BYTES, protection))

    def _resize(self) -> Call:
        address, pages = self._place()
        new = self._random.choice([1, 2, pages, pages + 1, 2 * pages, pages + 16, 512])
        may_move = self._random.choice([0, 1, 1])
        return Call((MREMAP, address, pages * PAGE_BYTES, new * PAGE_BYTES, may_move))

    def _advise(self) -> Call:
        address, pages = self._place()
        advice = self._random.choice([4, 4, 8, 8, 10, 11, 14, 15, 16, 17])
        return Call((MADVISE, address, pages * PAGE_BYTES, advice))

    def _break(self) -> Call:
        pages, bytes_more = self._random.randrange(64), self._random.choice([0, 8, 100])
        return Call((BRK, self._twin.process.first_break + pages * PAGE_BYTES + bytes_more))

    def _load(self) -> Call:
        address, pages = self._place()
        return Call((LOAD, address, pages * PAGE_BYTES))

    def _store(self) -> Call:
        address, pages = self._place()
        return Call((STORE, address, pages * PAGE_BYTES))


def differences(
    seed: int, calls: int = 120, forks: int = 0, kind: type[Script] = Script
) -> Iterator[str]:
    """Do a script on both; a sentence for the first difference, and no more after it. With forks
    the child goes on after each."""
    with Real(kind.huge_pages != "never") as real:
        twin = Twin.of(real)
        twin.process.huge_pages = kind.huge_pages
        twin.see_tables(real)
        script = kind(seed, twin)
        forked = set(random.Random(~seed).sample(range(calls), forks))
        for number in range(calls):
            if number in forked:
                real.call(FORK)
                for _ in range(3):  # its own first accesses copy pages
                    real.call(STORE, twin.spare, 1), real.call(STORE, 16, 1), real.call(FAULTS)
                twin = twin.fork()
                twin.see_tables(real)
                script._twin = twin
            call = script.next()
            before = real.call(FAULTS), twin.process.minor_faults
            answer = real.call(*call.words)
            faults = real.call(FAULTS) - before[0]
            mine = call.on(twin)
            script.answered(call, answer)
            said = ""
            if mine != answer:
                said = f"answered {mine:#x}, really {answer:#x}"
            elif call.words[0] in (LOAD, STORE) and answer == 0:
                mine = twin.process.minor_faults - before[1]
                said = f"{mine} faults, really {faults}" if mine != faults else ""
            said = said or unlike(twin, real.smaps()) or twin.process.check()
            took = real.table_bytes() - twin.unseen
            if not said and took != twin.process.table.tables.bytes:
                said = f"page tables of {twin.process.table.tables.bytes} bytes, really {took}"
            if said:
                yield f"script {seed}, call {number}, {call}: {said}"
                return


def unlike(twin: Twin, smaps: str) -> str:
    """How the areas of a twin differ from a real process's; "" if they do not."""
    real = [row for row in read_smaps(smaps, "smaps") if row.end <= USER_PAST]
    mine = rows_of(twin.process)
    bounds = [[(row.start, row.end, row.permissions) for row in rows] for rows in (mine, real)]
    if bounds[0] != bounds[1]:
        only = [sorted(set(some) - set(others)) for some, others in (bounds, bounds[::-1])]
        told = ["; ".join(f"{s:x}-{e:x} {p}" for s, e, p in rows) or "none" for rows in only]
        return f"areas {told[0]}, really {told[1]}"
    flags = _flags(smaps)
    for row, its, area in zip(mine, real, twin.process.areas, strict=True):
        if any(start < row.end and end > row.start for start, end in twin.initial):
            continue
        figures = [_figures(row), _figures(its)]
        if figures[0] != figures[1]:
            return f"{row.start:x}-{row.end:x} holds {figures[0]}, really {figures[1]}"
        own = set(area.flags) | ({"ac"} if area.accounted else set())
        if own != flags[row.start]:
            return f"{row.start:x}-{row.end:x} has flags {own}, really {flags[row.start]}"
    return ""


def _figures(row: Row) -> tuple[int, int, int, int]:
    return row.resident_bytes, row.anonymous_bytes, row.dirty_bytes, row.huge_bytes


def _flags(smaps: str) -> dict[int, frozenset[str]]:
    """By where an area begins, those of TOLD_FLAGS that it has."""
    found: dict[int, frozenset[str]] = {}
    start = 0
    for line in smaps.splitlines():
        head, _, rest = line.partition(" ")
        if "-" in head:
            start = int(head.partition("-")[0], 16)
        elif head == "VmFlags:":
            found[start] = TOLD_FLAGS & set(rest.split())
    return found
