"""What the pages of a process show: frames of memory, and of some the page of zeros.

    page ─► frame        one entry each; 512 of them are one entry where they are a huge page
    tables ─► 4 KiB each for every 2 MiB, 1 GiB and 512 GiB that have an entry

Terms      frame: a page of memory; mapped: by so many pages of processes; lazy: given up by
           MADV_FREE, and kept until it is wanted elsewhere; written: told by the page table's
           entry; huge page: 512 pages under one entry, its table kept for the day that it is split;
           whole: frames that were had as one, which they stay when the entry is split; blank:
           never written by the program
Invariant  a huge page's pages are all shown, and written or not together; it has a table
Source     Linux mm/memory.c, mm/madvise.c, mm/huge_memory.c; struct page's mapcount
Omits      that a whole counts who maps it over all its frames: each frame is asked for itself
"""

from dataclasses import dataclass, field

from heapwright.linux.areas import PAGE_BYTES, PAGE_SHIFT, Areas

HUGE_SHIFT = 21
HUGE_BYTES = 1 << HUGE_SHIFT
PAGES = HUGE_BYTES >> PAGE_SHIFT  # of a huge page, and that a table has entries for
LEVELS = (21, 30, 39)  # what a table of each level spans


@dataclass
class Frame:
    """A page of memory."""

    anonymous: bool
    mapped: int = 0
    dirty: bool = False
    lazy: bool = False
    blank: bool = False
    whole: list["Frame"] | None = field(default=None, repr=False, compare=False)

    def is_shared(self) -> bool:
        """Whether another process shows it, or one of those that it is whole with."""
        return any(frame.mapped > 1 for frame in self.whole or (self,))


ZEROS = Frame(False)  # the system's own page of zeros: shown, and no memory of anyone's


@dataclass
class Cache:
    """The pages of a file, or of shared memory, that are in memory."""

    frames: dict[int, Frame] = field(default_factory=dict)

    def frame(self, page: int) -> Frame:
        """The frame of a page, read into memory if need be."""
        return self.frames.setdefault(page, Frame(False))


class Tables:
    """The page tables themselves: by level, the numbers of what they span."""

    def __init__(self) -> None:
        self.levels: tuple[set[int], ...] = tuple(set() for _ in LEVELS)

    @property
    def lowest(self) -> set[int]:
        """Numbers of the 2 MiB that have a table."""
        return self.levels[0]

    @property
    def bytes(self) -> int:
        """What they take: VmPTE of /proc/PID/status."""
        return PAGE_BYTES * sum(map(len, self.levels))

    def make(self, address: int, below: int = LEVELS[0]) -> None:
        """Have those that an entry at an address needs, from the level that spans `below` up."""
        for numbers, shift in zip(self.levels, LEVELS, strict=True):
            if shift >= below:
                numbers.add(address >> shift)

    def free(self, areas: Areas, start: int, end: int) -> None:
        """Free those of an emptied range that span no area any more."""
        for numbers, shift in zip(self.levels, LEVELS, strict=True):
            for number in numbers_of(numbers, start, end, shift):
                if not areas.within(number << shift, (number + 1) << shift):
                    numbers.remove(number)

    def copy(self, other: "Tables", start: int, end: int) -> None:
        """Have what another process has for a range."""
        for mine, its, shift in zip(self.levels, other.levels, LEVELS, strict=True):
            mine.update(numbers_of(its, start, end, shift))

    def move(self, start: int, end: int, to: int) -> None:
        """Have from `to` on what entries of a range need that move there; a table whose
        entries all move does too."""
        at = start
        while at < end:
            there = at - start + to
            step = min(-at % HUGE_BYTES or HUGE_BYTES, -there % HUGE_BYTES or HUGE_BYTES, end - at)
            if at >> LEVELS[1] in self.levels[1]:
                self.make(there, LEVELS[2])
            if at >> HUGE_SHIFT in self.lowest:
                self.make(there)
                if step == HUGE_BYTES:
                    self.lowest.remove(at >> HUGE_SHIFT)
            at += step


def numbers_of(numbers: set[int], start: int, end: int, shift: int) -> list[int]:
    """Those whose 2^shift bytes reach into a range, ascending."""
    first, past = start >> shift, ((end - 1) >> shift) + 1
    if past - first < len(numbers):
        return [number for number in range(first, past) if number in numbers]
    return sorted(number for number in numbers if first <= number < past)


@dataclass
class PageTable:
    """By page, what it shows."""

    frames: dict[int, Frame] = field(default_factory=dict)
    written: set[int] = field(default_factory=set)
    huge: set[int] = field(default_factory=set)  # numbers of 2 MiB under one entry
    tables: Tables = field(default_factory=Tables)

    def show(self, page: int, frame: Frame) -> None:
        """Let a page that shows nothing show a frame."""
        frame.mapped += 1
        self.frames[page] = frame
        self.tables.make(page << PAGE_SHIFT)

    def show_huge(self, number: int, blank: list[bool] | None) -> None:
        """Let 2 MiB show a huge page of fresh frames, written at once, `blank` or not; None: the
        huge page of zeros, to be read."""
        first = number * PAGES
        self.drop(number << HUGE_SHIFT, (number + 1) << HUGE_SHIFT)
        whole = [ZEROS] * PAGES if blank is None else [Frame(True, blank=one) for one in blank]
        for page, frame in enumerate(whole, first):
            self.frames[page] = frame
            frame.mapped += 1
            if blank is not None:
                frame.whole = whole
                self.written.add(page)
        self.huge.add(number)
        self.tables.make(number << HUGE_SHIFT)

    def split(self, address: int) -> None:
        """Give each page of the huge page that an address lies in an entry of its own."""
        number = address >> HUGE_SHIFT
        if number in self.huge:
            self.huge.remove(number)
            for page in range(number * PAGES, (number + 1) * PAGES):
                self.frames[page].dirty |= page in self.written

    def cut(self, *bounds: int) -> None:
        """Split the huge pages that bounds lie within."""
        for address in bounds:
            if address % HUGE_BYTES:
                self.split(address)

    def write(self, page: int) -> None:
        """Write to a page's own frame."""
        frame = self.frames[page]
        frame.blank = frame.lazy = False
        if page not in self.written:
            number = page // PAGES
            if number not in self.huge:
                self.written.add(page)
                return
            for one in range(number * PAGES, (number + 1) * PAGES):
                self.written.add(one)
                self.frames[one].lazy = False

    def is_dirty(self, page: int) -> bool:
        """Whether what it shows was written since it was last put away."""
        return page in self.written or (page in self.frames and self.frames[page].dirty)

    def drop(self, start: int, end: int, reclaim: bool = False) -> None:
        """Take what pages of a range of addresses show; `reclaim`: and its tables."""
        self.cut(start, end)
        for page in self._within(start, end):
            frame = self.frames.pop(page)
            frame.mapped -= 1
            frame.dirty |= page in self.written and not frame.anonymous
            self.written.discard(page)
        for number in self._whole_within(self.tables.lowest, start, end):
            if reclaim or number in self.huge:
                self.tables.lowest.remove(number)
                self.huge.discard(number)

    def give_up(self, start: int, end: int) -> None:
        """MADV_FREE: keep them until they are wanted elsewhere."""
        for bound in (start, end):
            frame = self.frames.get(bound >> PAGE_SHIFT)
            if bound % HUGE_BYTES and frame and frame.anonymous and not frame.is_shared():
                self.split(bound)
        for page in self._within(start, end):
            frame = self.frames[page]
            if frame.whole is not None and not frame.is_shared():
                self._break_up(frame.whole, page, start, end)
                frame = self.frames[page]
            if not frame.anonymous or ((frame.whole or frame.dirty) and frame.is_shared()):
                continue
            frame.lazy, frame.dirty = frame.mapped == 1, False
            self.written.discard(page)

    def _break_up(self, whole: list[Frame], page: int, start: int, end: int) -> None:
        """Let a whole that is not given up as one be single frames; blank ones are given back."""
        first = page & -PAGES
        within = start <= first << PAGE_SHIFT and (first + PAGES) << PAGE_SHIFT <= end
        if within and all(self.frames.get(first + i) is frame for i, frame in enumerate(whole)):
            return
        for at, frame in list(self.frames.items()):
            if frame.whole is whole:
                frame.whole = None
                if frame.blank:
                    frame.mapped -= 1
                    self.written.discard(at)
                    self.frames[at] = ZEROS

    def move(self, start: int, end: int, to: int) -> None:
        """Let pages from `to` on show what those of a range do, which then show nothing."""
        self.cut(start, end)
        by = (to - start) >> PAGE_SHIFT
        for number in numbers_of(self.huge, start, end, HUGE_SHIFT):
            if by % PAGES:
                self.split(number << HUGE_SHIFT)
            else:
                self.huge.remove(number)
                self.huge.add(number + by // PAGES)
        for page in self._within(start, end):
            self.frames[page + by] = self.frames.pop(page)
            if page in self.written:
                self.written.remove(page)
                self.written.add(page + by)
        self.tables.move(start, end, to)

    def copy(self, other: "PageTable", start: int, end: int) -> None:
        """Fork: show what another process does in a range."""
        for page in other._within(start, end):
            frame = other.frames[page]
            frame.mapped += 1
            self.frames[page] = frame
            if page in other.written:
                self.written.add(page)
        self.huge.update(self._whole_within(other.huge, start, end))
        self.tables.copy(other.tables, start, end)

    def _whole_within(self, numbers: set[int], start: int, end: int) -> list[int]:
        found = numbers_of(numbers, start, end, HUGE_SHIFT)
        return [
            one for one in found if start <= one << HUGE_SHIFT and (one + 1) << HUGE_SHIFT <= end
        ]

    def _within(self, start: int, end: int) -> list[int]:
        """The pages of a range that show something."""
        first, past = start >> PAGE_SHIFT, end >> PAGE_SHIFT
        if past - first < len(self.frames):
            return [page for page in range(first, past) if page in self.frames]
        return [page for page in self.frames if first <= page < past]
