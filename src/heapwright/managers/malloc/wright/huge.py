"""Huge pages where they cost no memory: under spans of small blocks, in a heap that grows.

Such a span is written in full before long, so a huge page under many of them holds nothing that
small pages would not; a block of many pages may never be. Where pages were given back of late the
heap is full of holes, and Linux would fill in what a huge page has of them: there none is asked for
any more, and none around what is given back.

Source     Linux, Documentation/admin-guide/mm/transhuge.rst; mimalloc 3 asks for them everywhere
Omits      MADV_NOHUGEPAGE in the model of Linux: there what was given back may come back as one
"""

from heapwright.compiler import kernel
from heapwright.machine import ADVISE_HUGEPAGE, HUGE_PAGE_BYTES, madvise
from heapwright.managers.malloc.wright.classes import PAGE_SHIFT, SPAN_BYTES
from heapwright.managers.malloc.wright.state import (
    FIRST,
    HUGE_ASKED,
    HUGE_FROM_PAGES,
    PURGED_PAGES,
    TOP,
    USED_PAGES,
    WANTED_PAGES,
)

DENSE_PAGES = SPAN_BYTES >> PAGE_SHIFT
ADVISE_NOHUGEPAGE = 15  # Linux's MADV_NOHUGEPAGE


@kernel
def is_dense(heap, pages):
    """Whether the heap, which grows for a span of so many pages, should do so by huge pages: it is
    large, the span is of small blocks, so that all of it will be written, and nothing was given
    back of late."""
    fields = heap.fields
    if fields[HUGE_FROM_PAGES] == 0 or fields[USED_PAGES] < fields[HUGE_FROM_PAGES]:
        return False
    return pages <= DENSE_PAGES and fields[PURGED_PAGES] + fields[WANTED_PAGES] == 0


@kernel
def advise_huge(heap, start, end):
    """Ask for huge pages where the heap has grown."""
    first, past = (start + HUGE_PAGE_BYTES - 1) & -HUGE_PAGE_BYTES, end & -HUGE_PAGE_BYTES
    if first < past:
        heap.fields[HUGE_ASKED] += 1
        madvise(heap.machine, first, past - first, ADVISE_HUGEPAGE)


@kernel(cold=True)
def advise_small(heap, start, end):
    """Ask for no huge pages around what was given back: Linux would fill it in again."""
    first, past = start & -HUGE_PAGE_BYTES, (end + HUGE_PAGE_BYTES - 1) & -HUGE_PAGE_BYTES
    first, past = max(first, heap.fields[FIRST]), min(past, heap.fields[TOP])
    madvise(heap.machine, first, past - first, ADVISE_NOHUGEPAGE)
