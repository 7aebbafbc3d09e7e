"""Cells: pages of equal blocks, one size class each, cut from a heap of holes.

    page   │ PAGE │ granules │ cell bytes │ filled │ pad │ cell │ cell │ ... │ cell │  PAGE_BYTES
                                              └─ cells from there on were never used

    alloc ─► first free cell of the class ─none─► next cell of the class's newest page ─none─►
             a new page from the holes ─none─► 0

Terms      class: row of the size table; cell: a block of a page, laid out as any block of the
           heap is (see holes.py): a free one is a hole in its class's list
Invariant  a cell in a class's list is a hole of the class's size (check: 1); a class's newest page
           is filled up to its bump address, all others to their end (2)
Source     Wilson et al. 1995, section 3.6 (simple segregated storage); Boehm and Weiser, "Garbage
           collection in an uncooperative environment", Software: Practice and Experience 1988
Omits      objects above MOST_BYTES: they are blocks of the heap

Nothing of a free cell is wasted on its neighbours and no search is made; what is lost is the rest
of pages whose other cells are in use, and the difference to the class's size.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import holes as heap_of_holes
from heapwright.allocators.frame import write_row
from heapwright.allocators.holes import (
    after,
    first_block,
    granules_of,
    is_hole,
    next_block,
    vacate,
)
from heapwright.allocators.size_classes import SizeClasses, class_of, size_classes
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store, touch

PAGE_BYTES = 16384  # of cells, not of the machine
PAGE = (1 << 63) - 1  # word 0 of a page; no object has such a header
HEAD_BYTES = 32
MOST_BYTES = 2048  # largest cell
STEPS = 8  # classes a doubling above 1 KiB
CLASSES = len(size_classes(MOST_BYTES, STEPS).bytes_of)


class Cells(NamedTuple):
    """Free cells by class."""

    classes: SizeClasses
    first: np.ndarray  # int64[class]  a free cell, 0: none
    bump: np.ndarray  # int64[class]  next cell of the newest page that was never used; 0: none
    limit: np.ndarray  # int64[class]  end of that page
    pages: np.ndarray  # int64[1]  pages in the heap


def cells():
    """No pages yet."""
    first, bump, limit = np.zeros((3, CLASSES), np.int64)
    return Cells(size_classes(MOST_BYTES, STEPS), first, bump, limit, np.zeros(1, np.int64))


@kernel(inline=True)
def alloc(machine, cells, number):
    """A cell of class `number`, its header to be written; 0 if its pages are full."""
    cell = cells.first[unsigned(number)]
    if cell:
        cells.first[unsigned(number)] = after(machine, cell)
        return cell
    cell = cells.bump[unsigned(number)]
    if cell != cells.limit[unsigned(number)]:
        cells.bump[unsigned(number)] = cell + cells.classes.bytes_of[unsigned(number)]
        return cell
    return 0


@kernel(inline=True)
def free(machine, cells, number, cell):
    """Put a cell of class `number` first in its list; its header must be resident."""
    size = cells.classes.bytes_of[unsigned(number)]
    vacate(machine, cell, size, cells.first[unsigned(number)])
    cells.first[unsigned(number)] = cell


@kernel
def add_page(machine, cells, holes, number):
    """Give class `number`, whose pages are full, another one; False if no hole can hold it."""
    page = heap_of_holes.alloc(machine, holes, PAGE_BYTES)
    if not page:
        return False
    _close(machine, cells, number)
    size = cells.classes.bytes_of[unsigned(number)]
    touch(machine, page, HEAD_BYTES)
    store(machine, page, PAGE)
    store(machine, page + 8, PAGE_BYTES >> 4)
    store(machine, page + 16, size)
    store(machine, page + 24, 0)
    cells.bump[unsigned(number)] = first_cell(page, size)
    cells.limit[unsigned(number)] = page + PAGE_BYTES
    cells.pages[0] += 1
    return True


@kernel(inline=True)
def first_cell(page, size):
    """Address of the first cell of a page of cells of `size` bytes: they end where it ends."""
    return page + PAGE_BYTES - (PAGE_BYTES - HEAD_BYTES) // max(size, 1) * size


@kernel
def filled(machine, cells, page):
    """Where the cells of `page` end that have been used."""
    number = class_of(cells.classes, load(machine, page + 16))
    if cells.limit[unsigned(number)] == page + PAGE_BYTES:
        return cells.bump[unsigned(number)]
    return load(machine, page + 24)


@kernel
def _close(machine, cells, number):
    """Write into a class's newest page how far it is filled; it has none then."""
    limit = cells.limit[unsigned(number)]
    if limit:
        store(machine, limit - PAGE_BYTES + 24, cells.bump[unsigned(number)])
    cells.bump[unsigned(number)] = cells.limit[unsigned(number)] = 0


@kernel
def forget(machine, cells):
    """Empty all lists, before a sweep frees every cell anew; no page is any class's newest."""
    for number in range(CLASSES):
        cells.first[unsigned(number)] = 0
        _close(machine, cells, number)


@kernel
def reopen(machine, cells, page):
    """A page that was swept, and was filled only in part, is its class's newest again."""
    past = load(machine, page + 24)
    number = class_of(cells.classes, load(machine, page + 16))
    if past < page + PAGE_BYTES and not cells.limit[unsigned(number)]:
        cells.bump[unsigned(number)], cells.limit[unsigned(number)] = past, page + PAGE_BYTES


@kernel
def list_free(machine, cells, holes, blocks):
    """Every free cell and the unused ends of pages, as rows of `blocks` (start, bytes) as far as
    they fit; how many there are."""
    rows = 0
    for number in range(CLASSES):
        cell = cells.first[unsigned(number)]
        while cell:
            rows = write_row(blocks, rows, cell, granules_of(machine, cell) << 4)
            cell = after(machine, cell)
    page = next_page(machine, cells, holes, 0)
    while page:
        past = filled(machine, cells, page)
        if past < page + PAGE_BYTES:
            rows = write_row(blocks, rows, past, page + PAGE_BYTES - past)
        page = next_page(machine, cells, holes, page)
    return rows


@kernel
def list_heads(machine, cells, holes, blocks):
    """What pages keep for themselves, likewise."""
    rows = 0
    page = next_page(machine, cells, holes, 0)
    while page:
        length = first_cell(page, load(machine, page + 16)) - page
        rows = write_row(blocks, rows, page, length)
        page = next_page(machine, cells, holes, page)
    return rows


@kernel
def next_page(machine, cells, holes, page):
    """The page after `page` in the heap, the first one after 0; 0 when there is none."""
    if not cells.pages[0]:
        return 0
    block = next_block(machine, holes, page) if page else first_block(holes)
    while block < holes.end:
        if load(machine, block) == PAGE:
            return block
        block = next_block(machine, holes, block)
    return 0


@kernel
def check(machine, cells, holes):
    """Number of the broken invariant, 0 if none."""
    for number in range(CLASSES):
        cell = cells.first[unsigned(number)]
        while cell:
            size = granules_of(machine, cell) << 4
            if not is_hole(machine, cell) or size != cells.classes.bytes_of[unsigned(number)]:
                return 1
            cell = after(machine, cell)
    page = next_page(machine, cells, holes, 0)
    while page:
        size = load(machine, page + 16)
        past = filled(machine, cells, page)
        if (past - first_cell(page, size)) % max(size, 1):
            return 2
        page = next_page(machine, cells, holes, page)
    return 0
