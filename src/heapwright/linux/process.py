"""A process's address space: the calls that shape it, and the faults that fill it.

    mmap munmap mprotect mremap brk madvise fork ─► areas.py
    read, write ─► a fault ─► the page of zeros, a frame, a copy of one, more of the stack

Terms      frame: a page of memory; mapped: by so many processes; lazy: given up by MADV_FREE, and
           kept until it is wanted elsewhere
Invariant  a page that shows a frame lies in an area; a frame is mapped as often as pages show it
                                                                                        (check)
Source     Linux 6.18 mm/mmap.c, mm/vma.c, mm/mprotect.c, mm/mremap.c, mm/madvise.c, mm/memory.c;
           include/linux/mm.h: stack_guard_gap; placement from the top, at a multiple of 2 MiB
           where a length of private memory is one (6.7 and later)
Omits      swap, what huge.py omits, limits of locked memory, the readahead of files that lie on a
           disk: a file's pages are in memory
"""

import errno
from dataclasses import replace

from heapwright.linux.areas import (
    PAGE_BYTES,
    PAGE_SHIFT,
    READ,
    WRITE,
    Area,
    Areas,
    File,
    Root,
    follows,
)
from heapwright.linux.calls import (
    COLLAPSE,
    DONTNEED,
    FIXED,
    FIXED_NOREPLACE,
    FREE,
    MARKS,
    MAYMOVE,
    NORESERVE,
    SHARED,
    CallError,
    SegmentationFault,
)
from heapwright.linux.huge import collapse, is_due
from heapwright.linux.page_table import LEVELS, PAGES, ZEROS, Cache, Frame, PageTable

GUARD_BYTES = 256 * PAGE_BYTES  # below what grows down
ALIGNED_BYTES = 2 << 20
AROUND_PAGES = 16  # of a file that a read fault maps at once: fault_around_bytes
LOWEST = 1 << 16  # vm.mmap_min_addr


class Process:
    """An address space. Addresses and lengths in bytes."""

    def __init__(self, top: int, stack: tuple[int, int] | None = None, heap: int = 0) -> None:
        """`top`: mappings lie below; `stack`: its bounds; `heap`: where brk begins."""
        self.areas, self.top = Areas(), top
        self.table = PageTable()
        self.caches: dict[str, Cache] = {}
        self.first_break = self.break_ = heap
        self.minor_faults = 0
        self.huge_pages = "never"  # one of huge.py's POLICIES
        self.stack_limit = 8 << 20
        if stack:
            self.areas.add(
                Area(
                    *stack,
                    READ | WRITE,
                    stack[0] >> PAGE_SHIFT,
                    accounted=True,
                    grows_down=True,
                    name="[stack]",
                )
            )

    def mmap(
        self,
        hint: int,
        length: int,
        protection: int,
        flags: int,
        file: File | None = None,
        offset: int = 0,
    ) -> int:
        """The address of fresh pages; CallError."""
        length = _whole(length)
        if not length:
            raise CallError(errno.EINVAL)
        if flags & (FIXED | FIXED_NOREPLACE):
            if hint & (PAGE_BYTES - 1):
                raise CallError(errno.EINVAL)
            if flags & FIXED_NOREPLACE and self.areas.within(hint, hint + length):
                raise CallError(errno.EEXIST)
            if hint < LOWEST:
                raise CallError(errno.EPERM)
            address = hint
            self._clear(hint, hint + length)
        else:
            address = self._placed(hint, length, file is None and not flags & SHARED)
        shared = bool(flags & SHARED)
        if shared and file is None:
            file = File(f"/dev/zero#{len(self.caches)}", length >> PAGE_SHIFT)
            offset = 0
        kept = frozenset({"nr"} if flags & NORESERVE else ())
        page = address >> PAGE_SHIFT if file is None else offset >> PAGE_SHIFT
        accounted = not shared and bool(protection & WRITE) and "nr" not in kept
        self.areas.add(
            Area(address, address + length, protection, page, file, shared, accounted, flags=kept)
        )
        if file is not None:
            self.caches.setdefault(file.name, Cache())
        self.areas.join(address, address + length)
        return address

    def _placed(self, hint: int, length: int, private: bool) -> int:
        if hint:
            address = _whole(hint)
            beyond = self.areas.above(address)
            room = self.areas.at(address) is None and (
                beyond is None or address + length <= _low(beyond)
            )
            if room and address >= LOWEST and address + length <= self.top_of_all():
                return address
        if private and not hint and length % ALIGNED_BYTES == 0:
            found = self._highest(length + ALIGNED_BYTES)
            if found:
                return (found + ALIGNED_BYTES) & -ALIGNED_BYTES
        found = self._highest(length)
        if not found:
            raise CallError(errno.ENOMEM)
        return found

    def top_of_all(self) -> int:
        """Past the highest address that a mapping may have."""
        return (1 << 47) - PAGE_BYTES

    def _highest(self, length: int) -> int:
        """The top of the highest gap below `top` that holds so many bytes; 0 if none does."""
        past = self.top
        for area in reversed(list(self.areas)):
            if area.end <= past:
                if past - area.end >= length:
                    return past - length
            past = min(past, _low(area))
        return past - length if past - length >= LOWEST else 0

    def munmap(self, address: int, length: int) -> None:
        """Give pages back, holes allowed; CallError."""
        if address & (PAGE_BYTES - 1) or not _whole(length):
            raise CallError(errno.EINVAL)
        self._clear(address, address + _whole(length))

    def _clear(self, start: int, end: int) -> None:
        self._split(start, end)
        for area in self.areas.within(start, end):
            self.table.drop(area.start, area.end)
            self.areas.remove(area)
        self.table.tables.free(self.areas, start, end)

    def _split(self, start: int, end: int) -> None:
        """Cut the areas and huge pages that the bounds of a range lie within."""
        self.areas.split(start)
        self.areas.split(end)
        self.table.cut(start, end)

    def mprotect(self, address: int, length: int, protection: int) -> None:
        """Change what may be done with pages; CallError, and those before a hole are changed."""
        if address & (PAGE_BYTES - 1):
            raise CallError(errno.EINVAL)
        end = address + _whole(length)
        at = address
        if at == end:
            return
        while at < end:
            area = self.areas.at(at)
            if area is None:
                raise CallError(errno.ENOMEM)
            past = min(area.end, end)
            if area.protection != protection:
                area = self._part(at, past)
                if protection & WRITE:
                    area.accounted |= not area.shared and "nr" not in area.flags
                elif area.accounted and area.anonymous and area.root is None:
                    area.accounted = False
                area.protection = protection
                self.areas.join(at, past)
            at = past

    def _part(self, start: int, end: int) -> Area:
        """The area of exactly this range, cut out of the one that it lies in."""
        self._split(start, end)
        found = self.areas.at(start)
        assert found is not None
        return found

    def madvise(self, address: int, length: int, advice: int) -> None:
        """DONTNEED, FREE, COLLAPSE, or one that marks an area; CallError behind what was done."""
        if address & (PAGE_BYTES - 1):
            raise CallError(errno.EINVAL)
        end, hole, at = address + _whole(length), False, address
        for area in self.areas.within(address, end):
            hole |= area.start > at
            start, past = max(area.start, address), min(area.end, end)
            at = past
            if advice == DONTNEED:
                self.table.drop(start, past, reclaim=True)
            elif advice == COLLAPSE:
                collapse(self.table, area, start, past)
            elif advice == FREE:
                if not area.anonymous:
                    raise CallError(errno.EINVAL)
                self.table.give_up(start, past)
            else:
                on, off = MARKS[advice]
                flags = frozenset((area.flags - {off}) | ({on} if on else set()))
                if flags != area.flags:
                    self._part(start, past).flags = flags
                    self.areas.join(start, past)
        if hole or at < end:
            raise CallError(errno.ENOMEM)

    def mremap(self, address: int, old: int, new: int, flags: int = MAYMOVE) -> int:
        """Resize an area, moving it if it must and may; its address; CallError."""
        old, new = _whole(old), _whole(new)
        if address & (PAGE_BYTES - 1) or not new or not old:
            raise CallError(errno.EINVAL)
        area = self.areas.at(address)
        if area is None:
            raise CallError(errno.EFAULT)
        if new <= old:
            if new < old:
                self._clear(address + new, address + old)
            return address
        if address + old > area.end:
            raise CallError(errno.EFAULT)
        beyond = self.areas.above(area.end)
        fits = address + old == area.end and (
            address + new <= (_low(beyond) if beyond else self.top_of_all())
        )
        if fits:
            area.end = address + new
            if beyond and beyond.root is None and follows(area, beyond) and area.like(beyond):
                beyond.root = area.root  # joins what has none, even by fork
            self.areas.join(address, address + new)
            return address
        if not flags & MAYMOVE:
            raise CallError(errno.ENOMEM)
        return self._moved(self._part(address, address + old), new)

    def _moved(self, area: Area, length: int) -> int:
        start, end = area.start, area.end
        to = self._placed(0, length, area.anonymous)
        offset = area.offset
        if area.anonymous and area.root is None:
            offset = to >> PAGE_SHIFT
        moved = replace(area, start=to, end=to + length, offset=offset, name="")
        self.areas.remove(area)
        self.areas.add(moved)
        self.table.move(start, end, to)
        self.table.tables.free(self.areas, start, end)
        self.areas.join(to, to + length)
        return to

    def brk(self, end: int) -> int:
        """Move the end of the heap, any byte; where it is then."""
        if end < self.first_break:
            return self.break_
        old, new = _whole(self.break_), _whole(end)
        if new > old:
            beyond = self.areas.above(old)
            if beyond and new + PAGE_BYTES > _low(beyond):
                return self.break_
            self.areas.add(
                Area(old, new, READ | WRITE, old >> PAGE_SHIFT, accounted=True, name="[heap]")
            )
            self.areas.join(old, new)
        elif new < old:
            self._clear(new, old)
        self.break_ = end
        return end

    def read(self, address: int, length: int = 1) -> None:
        """Read a byte of each page of a range; SegmentationFault."""
        self._access(address, length, READ)

    def write(self, address: int, length: int = 1) -> None:
        """Write to each page of a range; SegmentationFault."""
        self._access(address, length, WRITE)

    def _access(self, address: int, length: int, how: int) -> None:
        for page in range(address >> PAGE_SHIFT, ((address + length - 1) >> PAGE_SHIFT) + 1):
            area = self.areas.at(page << PAGE_SHIFT) or self._grown(page << PAGE_SHIFT)
            if area is None or not area.protection & how:
                raise SegmentationFault(f"at {page << PAGE_SHIFT:#x}")
            if area.file and 0 < area.file.pages <= area.offset_at(page << PAGE_SHIFT):
                self.table.tables.make(page << PAGE_SHIFT, LEVELS[1])
                if how == WRITE and not area.shared:
                    self.areas.give_root(area)  # for the copy that it was to be
                raise SegmentationFault(f"at {page << PAGE_SHIFT:#x}, beyond the file's end")
            frame = self.table.frames.get(page)
            if how == WRITE:
                self._written(area, page, frame)
            elif frame is None:
                self._fault_to_read(area, page)

    def _grown(self, address: int) -> Area | None:
        """The area above that grows down to an address."""
        area = self.areas.above(address)
        if area is None or not area.grows_down or area.end - address > self.stack_limit:
            return None
        below = self.areas.below(address + PAGE_BYTES)
        if below and address - below.end < GUARD_BYTES and below.protection:
            return None
        area.offset -= (area.start - address) >> PAGE_SHIFT
        area.start = address
        return area

    def _written(self, area: Area, page: int, frame: Frame | None) -> None:
        if frame and frame is not ZEROS and (area.shared or frame.anonymous):
            if area.shared or frame.mapped == 1:
                self.table.write(page)
                return
        self.minor_faults += 1
        if area.file is not None and area.shared:
            frame = self._cache(area).frame(area.offset_at(page << PAGE_SHIFT))
            frame.dirty = True
        else:
            self.areas.give_root(area)
            number = page // PAGES
            if is_due(self.huge_pages, self.table, area, page) or (
                frame is ZEROS and number in self.table.huge
            ):
                self.table.show_huge(number, [True] * PAGES)
                self.table.write(page)
                return
            self.table.split(page << PAGE_SHIFT)
            if frame:
                frame.mapped -= 1
            frame = Frame(True)
        self.table.show(page, frame)
        self.table.written.add(page)

    def _fault_to_read(self, area: Area, page: int) -> None:
        self.minor_faults += 1
        if is_due(self.huge_pages, self.table, area, page):
            self.areas.give_root(area)
            self.table.show_huge(page // PAGES, None)
            return
        if area.file is None:
            self.table.show(page, ZEROS)
            return
        cache = self._cache(area)
        self.table.show(page, cache.frame(area.offset_at(page << PAGE_SHIFT)))
        first = max(page & -AROUND_PAGES, area.start >> PAGE_SHIFT)
        table = (page | (PAGES - 1)) + 1  # not beyond the page table
        for near in range(first, min(first + AROUND_PAGES, table, area.end >> PAGE_SHIFT)):
            frame = cache.frames.get(area.offset_at(near << PAGE_SHIFT))
            if near not in self.table.frames and frame:
                self.table.show(near, frame)

    def _cache(self, area: Area) -> Cache:
        assert area.file is not None
        return self.caches[area.file.name]

    def fork(self) -> "Process":
        """A child: the same areas, its private pages shared until one of the two writes."""
        child = Process(self.top)
        child.caches, child.first_break, child.break_ = self.caches, self.first_break, self.break_
        child.stack_limit, child.huge_pages = self.stack_limit, self.huge_pages
        for area in self.areas:
            if "dc" in area.flags:
                continue
            root = None
            if area.root is not None:
                root, area.root.forked = Root(forked=True), True
            child.areas.add(replace(area, root=root))
            if area.root is None:
                continue  # its pages are faulted in again
            child.table.copy(self.table, area.start, area.end)
        return child

    def check(self) -> str:
        """What is wrong; "" if nothing is."""
        for page, frame in self.table.frames.items():
            if self.areas.at(page << PAGE_SHIFT) is None:
                return f"page {page:#x} shows a frame outside all areas"
            if frame is not ZEROS and frame.mapped < 1:
                return f"page {page:#x} shows a frame that nobody maps"
        return self.areas.check()


def _whole(length: int) -> int:
    return (length + PAGE_BYTES - 1) & -PAGE_BYTES


def _low(area: Area) -> int:
    """Where an area's room begins: below what grows down lies its guard."""
    return area.start - GUARD_BYTES if area.grows_down else area.start
