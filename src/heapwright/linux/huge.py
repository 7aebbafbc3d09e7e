"""Huge pages of a process: where a fault gives one, and what MADV_COLLAPSE makes one.

    first touch of 2 MiB, whole in an area and without a table ─► a huge page, or that of zeros
    a write to the huge page of zeros ─► a huge page
    MADV_COLLAPSE of 2 MiB that have a table ─► what they show, copied into a huge page

Terms      as in page_table.py; policy: /sys/kernel/mm/transparent_hugepage/enabled
Source     Linux 6.18 mm/huge_memory.c: __thp_vma_allowable_orders, do_huge_pmd_anonymous_page;
           mm/khugepaged.c: madvise_collapse
Omits      khugepaged, which collapses behind a program's back as time goes by; memory too broken up
           for a huge page, where a fault gives single pages and MADV_COLLAPSE says ENOMEM; huge
           pages of shared memory and files; sizes between a page and 2 MiB
"""

import errno

from heapwright.linux.areas import Area
from heapwright.linux.calls import CallError
from heapwright.linux.page_table import HUGE_BYTES, HUGE_SHIFT, PAGES, ZEROS, PageTable

POLICIES = ("never", "madvise", "always")


def is_due(policy: str, table: PageTable, area: Area, page: int) -> bool:
    """Whether the first touch of a page gives a huge one."""
    number = page // PAGES
    allowed = policy == "always" or (policy == "madvise" and "hg" in area.flags)
    return (
        allowed
        and area.anonymous
        and "nh" not in area.flags
        and number not in table.tables.lowest
        and area.start <= number << HUGE_SHIFT
        and (number + 1) << HUGE_SHIFT <= area.end
    )


def collapse(table: PageTable, area: Area, start: int, end: int) -> None:
    """MADV_COLLAPSE of a range of an area; CallError, and what lies before is collapsed."""
    first, past = -(-start // HUGE_BYTES), end // HUGE_BYTES
    last = (area.end - HUGE_BYTES) & -HUGE_BYTES  # the highest place for one
    if not area.anonymous or area.root is None or "nh" in area.flags or last < area.start:
        raise CallError(errno.EINVAL)
    if past < first:
        raise CallError(errno.EINVAL)
    for number in range(first, past):
        if number not in table.tables.lowest:
            raise CallError(errno.EINVAL)
        if number not in table.huge:
            shown = [table.frames.get(number * PAGES + i, ZEROS) for i in range(PAGES)]
            table.show_huge(number, [frame is ZEROS or frame.blank for frame in shown])
