"""What the pages of a process show: frames of memory, and of some the page of zeros.

Terms      frame: a page of memory; mapped: by so many pages of processes; lazy: given up by
           MADV_FREE, and kept until it is wanted elsewhere; written: told by the page table's entry
Source     Linux mm/memory.c, mm/madvise.c; struct page's mapcount
"""

from dataclasses import dataclass, field

from heapwright.linux.areas import PAGE_SHIFT


@dataclass
class Frame:
    """A page of memory."""

    anonymous: bool
    mapped: int = 0
    dirty: bool = False
    lazy: bool = False


ZEROS = Frame(False)  # the system's own page of zeros: shown, and no memory of anyone's


@dataclass
class Cache:
    """The pages of a file, or of shared memory, that are in memory."""

    frames: dict[int, Frame] = field(default_factory=dict)

    def frame(self, page: int) -> Frame:
        """The frame of a page, read into memory if need be."""
        return self.frames.setdefault(page, Frame(False))


@dataclass
class PageTable:
    """By page, what it shows."""

    frames: dict[int, Frame] = field(default_factory=dict)
    written: set[int] = field(default_factory=set)

    def show(self, page: int, frame: Frame) -> None:
        """Let a page that shows nothing show a frame."""
        frame.mapped += 1
        self.frames[page] = frame

    def is_dirty(self, page: int) -> bool:
        """Whether what it shows was written since it was last put away."""
        return page in self.written or (page in self.frames and self.frames[page].dirty)

    def drop(self, start: int, end: int) -> None:
        """Take what pages of a range of addresses show."""
        for page in self._within(start, end):
            frame = self.frames.pop(page)
            frame.mapped -= 1
            frame.dirty |= page in self.written and not frame.anonymous
            self.written.discard(page)

    def give_up(self, start: int, end: int) -> None:
        """MADV_FREE: keep them until they are wanted elsewhere."""
        for page in self._within(start, end):
            frame = self.frames[page]
            if frame.anonymous:
                frame.lazy = frame.mapped == 1
                self.written.discard(page)

    def move(self, start: int, end: int, to: int) -> None:
        """Let pages from `to` on show what those of a range do, which then show nothing."""
        by = (to - start) >> PAGE_SHIFT
        for page in self._within(start, end):
            self.frames[page + by] = self.frames.pop(page)
            if page in self.written:
                self.written.remove(page)
                self.written.add(page + by)

    def _within(self, start: int, end: int) -> list[int]:
        """The pages of a range that show something."""
        first, past = start >> PAGE_SHIFT, end >> PAGE_SHIFT
        if past - first < len(self.frames):
            return [page for page in range(first, past) if page in self.frames]
        return [page for page in self.frames if first <= page < past]
