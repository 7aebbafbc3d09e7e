"""The kernel's range of virtual addresses: areas in the lowest hole that fits, freed late.

    hole  │ area │ guard │ area │ guard │ late │ guard │ hole ...
    alloc  lowest hole of the area and its guard page         free  late: a hole at the next purge

Terms      page: of the range, from 0; late: an area that is freed but whose addresses are not used
           again until every processor has forgotten them (a purge)
Invariant  holes are apart from each other; holes, areas and late areas make up the range (check: 1)
Source     Linux 6.1, mm/vmalloc.c: __alloc_vmap_area, find_vmap_lowest_match,
           free_vmap_area_noflush
Omits      per-processor blocks of vm_map_ram; other processors
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.structures.ranked_tree import RankedTree, first_at_least, put, ranked_tree, size_at

GUARD_PAGES = 1
LATE_PAGES = (32 << 20) // 4096  # of one processor: from so many on there is a purge
NONE = -1


@record(
    "pages",  # of the range
    "late",  # first page of the area freed last; NONE
    "late_pages",
    "purges",
)
class Range(NamedTuple):
    """The range's pages."""

    holes: RankedTree  # by page: pages of the hole that starts there
    hole_of: np.ndarray  # int32[page]  where the hole that ends before this page starts, plus 1; 0
    area: np.ndarray  # int32[page]  pages of the area that starts there, its guard included; 0
    next: np.ndarray  # int32[page]  the area freed before this late one
    fields: np.ndarray  # int64[word]


def range_of(pages: int) -> Range:
    """A range that is one hole."""
    made = Range(
        ranked_tree(pages),
        reserve(pages + 1, np.int32),
        reserve(pages, np.int32),
        reserve(pages, np.int32),
        words(Range, pages=pages, late=NONE),
    )
    add_hole(made, 0, pages)
    return made


@kernel
def add_hole(range_, first, pages):
    """Pages that nothing is at, next to other holes or not."""
    after = first + pages
    if after < range_.pages and size_at(range_.holes, after):
        pages += size_at(range_.holes, after)
        put(range_.holes, after, 0)
    before = np.int64(range_.hole_of[unsigned(first)]) - 1
    if before >= 0 and size_at(range_.holes, before) == first - before:
        first, pages = before, pages + first - before
    put(range_.holes, first, pages)
    range_.hole_of[unsigned(first + pages)] = first + 1


@kernel
def take_at(range_, hole, first, pages):
    """Cut an area out of a hole."""
    length = size_at(range_.holes, hole)
    put(range_.holes, hole, 0)
    range_.hole_of[unsigned(hole + length)] = 0
    if first > hole:
        put(range_.holes, hole, first - hole)
        range_.hole_of[unsigned(first)] = hole + 1
    rest = hole + length - first - pages
    if rest:
        put(range_.holes, first + pages, rest)
        range_.hole_of[unsigned(first + pages + rest)] = first + pages + 1
    range_.area[unsigned(first)] = pages


@kernel
def _find(range_, pages, align):
    """The lowest hole of so many pages, and as many more as the alignment may cost; NONE."""
    need = pages + (align - 1 if align > 1 else 0)
    if need > range_.pages:
        return NONE
    return first_at_least(range_.holes, 0, need)


@kernel
def alloc(range_, pages, align):
    """The first page of an area of `pages` and its guard, at a multiple of `align` pages of the
    range; NONE where no hole fits even after a purge."""
    pages += GUARD_PAGES
    hole = _find(range_, pages, align)
    if hole < 0:
        purge(range_)
        hole = _find(range_, pages, align)
        if hole < 0:
            return NONE
    first = (hole + align - 1) // align * align
    take_at(range_, hole, first, pages)
    return first


@kernel
def free(range_, first):
    """An area's addresses wait for the next purge."""
    range_.next[unsigned(first)] = range_.late
    range_.late = first
    range_.late_pages += np.int64(range_.area[unsigned(first)])
    if range_.late_pages > LATE_PAGES:
        purge(range_)


@kernel
def purge(range_):
    """Every late area becomes a hole."""
    first = range_.late
    range_.purges += first != NONE
    while first != NONE:
        pages = np.int64(range_.area[unsigned(first)])
        range_.area[unsigned(first)] = 0
        add_hole(range_, first, pages)
        first = np.int64(range_.next[unsigned(first)])
    range_.late, range_.late_pages = NONE, 0


@kernel
def serve(range_, requests, answers):
    """Serve int64[n, 2] `requests`: (0, pages) asks, (1, first page) frees, (2, 0) purges; each
    area's first page into `answers`. For recorded sequences."""
    for row in range(len(requests)):
        kind, value = requests[row, 0], requests[row, 1]
        if kind == 0:
            answers[row] = alloc(range_, value, 1)
        elif kind == 1:
            free(range_, value)
        else:
            purge(range_)


@kernel
def check(range_):
    """Number of the broken invariant, 0 if none; what was never an area is not walked."""
    page, hole_before = 0, False
    while page < range_.pages:
        pages = size_at(range_.holes, page)
        if pages:
            if hole_before or np.int64(range_.hole_of[unsigned(page + pages)]) != page + 1:
                return 1
        elif not range_.area[unsigned(page)]:
            return 1
        else:
            pages = 0
        hole_before = pages > 0
        page += pages if pages else np.int64(range_.area[unsigned(page)])
    return 0 if page == range_.pages else 1
