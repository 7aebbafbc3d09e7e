"""A process's areas, and when two of them become one.

    map: ... | text r-x | data rw- |  heap rw-  |      gap      | rw- | file r-- | guard | stack |
             each an Area; what is next to each other and alike is one

Terms      area: a range of pages that are alike (vm_area_struct); accounted: its pages are charged
           against the commit limit, which private memory is from the moment it may be written;
           root: what an area's anonymous pages hang on (anon_vma), given at the first one; offset:
           the page of the file, or of the place where private memory was when its root was given
Invariant  areas ascend, do not overlap, and no two neighbours could be merged unless a call that
           left them apart made it so                                        (check: the first two)
Source     Linux mm/vma.c: can_vma_merge_before and _after, is_mergeable_anon_vma; mm/rmap.c:
           reusable_anon_vma
Omits      policies of NUMA, userfaultfd, protection keys, hugetlbfs, locked memory
"""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count, pairwise

PAGE_SHIFT = 12
PAGE_BYTES = 1 << PAGE_SHIFT

READ, WRITE, EXECUTE = 1, 2, 4  # PROT_*


@dataclass(frozen=True)
class File:
    """What an area shows: a file, or memory that is shared without a name."""

    name: str
    pages: int = 0


@dataclass
class Root:
    """What the anonymous pages of areas hang on; `forked`: those of another process do too."""

    number: int = field(default_factory=count().__next__)
    forked: bool = False


@dataclass
class Area:
    """A range of pages that are alike."""

    start: int  # address
    end: int  # address past it
    protection: int  # READ | WRITE | EXECUTE
    offset: int  # page, of the file or of where its private memory was
    file: File | None = None
    shared: bool = False
    accounted: bool = False
    grows_down: bool = False
    flags: frozenset[str] = frozenset()  # VmFlags that calls set: nr hg nh dc dd
    root: Root | None = None
    name: str = ""  # [heap], [stack]

    @property
    def anonymous(self) -> bool:
        """Private memory of no file."""
        return self.file is None

    def offset_at(self, address: int) -> int:
        """The page that lies at an address of it."""
        return self.offset + ((address - self.start) >> PAGE_SHIFT)

    def like(self, other: "Area") -> bool:
        """Whether pages of both are alike, wherever they lie."""
        return (self.protection, self.file, self.shared, self.accounted) == (
            other.protection,
            other.file,
            other.shared,
            other.accounted,
        ) and (self.flags, self.grows_down, self.name == "[stack]") == (
            other.flags,
            other.grows_down,
            other.name == "[stack]",
        )

    def permissions(self) -> str:
        """As /proc/PID/maps tells them."""
        letters = zip("rwx", (READ, WRITE, EXECUTE), strict=True)
        told = "".join(letter if self.protection & bit else "-" for letter, bit in letters)
        return told + ("s" if self.shared else "p")


def follows(below: Area, above: Area) -> bool:
    """Whether `above` begins where `below` ends, and its pages too."""
    return below.end == above.start and below.offset_at(below.end) == above.offset


def joinable(below: Area, above: Area) -> bool:
    """Whether two neighbours can be one area."""
    if not (follows(below, above) and below.like(above)):
        return False
    if below.root is None or above.root is None:
        root = below.root or above.root
        return root is None or not root.forked
    return below.root is above.root


class Areas:
    """The areas of a process in ascending order."""

    def __init__(self) -> None:
        self._areas: list[Area] = []

    def __iter__(self) -> Iterator[Area]:
        return iter(self._areas)

    def __len__(self) -> int:
        return len(self._areas)

    def _row(self, address: int) -> int:
        """Of the first area that ends above an address."""
        return bisect.bisect_right(self._areas, address, key=lambda area: area.end)

    def at(self, address: int) -> Area | None:
        """The area that an address lies in."""
        row = self._row(address)
        found = self._areas[row] if row < len(self._areas) else None
        return found if found and found.start <= address else None

    def within(self, start: int, end: int) -> list[Area]:
        """The areas that have a byte of a range."""
        found = []
        for row in range(self._row(start), len(self._areas)):
            if self._areas[row].start >= end:
                break
            found.append(self._areas[row])
        return found

    def below(self, address: int) -> Area | None:
        """The last area that ends at an address or below it."""
        row = bisect.bisect_right(self._areas, address, key=lambda area: area.end) - 1
        return self._areas[row] if row >= 0 else None

    def above(self, address: int) -> Area | None:
        """The first area that begins at an address or above it."""
        row = bisect.bisect_left(self._areas, address, key=lambda area: area.start)
        return self._areas[row] if row < len(self._areas) else None

    def add(self, area: Area) -> None:
        """Enter an area where nothing lies."""
        bisect.insort(self._areas, area, key=lambda other: other.start)

    def remove(self, area: Area) -> None:
        """Take an area out."""
        row = bisect.bisect_left(self._areas, area.start, key=lambda other: other.start)
        del self._areas[row]

    def split(self, address: int) -> None:
        """Cut the area that an address lies within, if one does, in two."""
        area = self.at(address)
        if area and area.start < address:
            upper = replace(area, start=address, offset=area.offset_at(address))
            area.end = address
            self.add(upper)

    def join(self, start: int, end: int) -> None:
        """Make one of neighbours that can be, among the areas of a range and those beside it."""
        row = max(0, bisect.bisect_left(self._areas, start, key=lambda area: area.end))
        while row + 1 < len(self._areas) and self._areas[row].start <= end:
            below, above = self._areas[row], self._areas[row + 1]
            if above.start <= end and joinable(below, above):
                below.end, below.root = above.end, below.root or above.root
                below.name = below.name or above.name
                del self._areas[row + 1]
            else:
                row += 1

    def give_root(self, area: Area) -> Root:
        """The root of an area that has its first anonymous page: a neighbour's where they differ in
        protection alone, so that they may be one later."""
        if area.root is None:
            above, below = self.above(area.end), self.below(area.start)
            area.root = (
                _shared_root(area, above, follows(area, above) if above else False)
                or _shared_root(area, below, follows(below, area) if below else False)
                or Root()
            )
        return area.root

    def check(self) -> str:
        """What is wrong; "" if nothing is."""
        for area in self._areas:
            if not 0 <= area.start < area.end or (area.start | area.end) & (PAGE_BYTES - 1):
                return f"an area from {area.start:#x} to {area.end:#x}"
        for below, above in pairwise(self._areas):
            if below.end > above.start:
                return f"areas overlap at {above.start:#x}"
        return ""


def _shared_root(area: Area, beside: Area | None, adjacent: bool) -> Root | None:
    if beside is None or not adjacent or beside.root is None or beside.root.forked:
        return None
    alike = replace(beside, protection=area.protection).like(area)
    return beside.root if alike else None
