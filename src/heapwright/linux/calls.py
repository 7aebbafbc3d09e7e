"""What the calls that shape an address space take, and how Linux refuses them.

Source     Linux include/uapi/asm-generic/mman-common.h, mman.h; mm/mremap.c
"""

import errno

PRIVATE, SHARED, FIXED, NORESERVE, FIXED_NOREPLACE = 2, 1, 0x10, 0x4000, 0x100000  # MAP_*
DONTNEED, FREE, DONTFORK, DOFORK = 4, 8, 10, 11  # MADV_*
HUGEPAGE, NOHUGEPAGE, DONTDUMP, DODUMP, COLLAPSE = 14, 15, 16, 17, 25
MAYMOVE = 1  # MREMAP_*
# What an advice marks an area with, and the mark that it takes
MARKS = {DONTFORK: ("dc", ""), DOFORK: ("", "dc"), HUGEPAGE: ("hg", "nh"), NOHUGEPAGE: ("nh", "hg")}
MARKS |= {DONTDUMP: ("dd", ""), DODUMP: ("", "dd")}


class CallError(Exception):
    """A call that Linux refuses, by the number of its error."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.number = number


class SegmentationFault(Exception):
    """An access to where nothing lies, or that is not allowed."""
