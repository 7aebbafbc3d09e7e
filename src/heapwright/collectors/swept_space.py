"""A space whose objects never move: blocks from cells or holes, freed by a sweep or one by one.

    alloc ─► small, by size class ─► cells            sweep, from block to block:
             otherwise            ─► holes            │ marked │ white │ hole │ white │ marked │
                                                               └──── one hole ────┘

Terms      layout: SIZE_CLASSES or FREE_LIST, in which nothing is a cell; occupied: bytes of the
           blocks of objects, dead or alive; pending: those of objects that were found dead and that
           the sweep has not reached; cursor: where the sweep goes on, 0 when it is over
Invariant  the holes' (check: 1-3) and the cells' (11-12); the blocks of objects sum to occupied
           (21); no object below the cursor is marked, and none at all when the sweep is over (22)
Source     McCarthy, "Recursive functions of symbolic expressions", CACM 1960; Hughes, "A
           semi-incremental garbage collection algorithm", Software: Practice and Experience 1982
           (lazy sweeping); Jones, Hosking and Moss, 2nd edition, chapters 2 and 7
Omits      mark bits beside the heap; returning memory to the system

A free run is merged when it is swept and at no other time. A sweep costs in proportion to the heap,
a block being one step; lazily, each allocation pays for the part that serves it.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import cells as cells_
from heapwright.allocators import holes as holes_
from heapwright.allocators.cells import PAGE, PAGE_BYTES, Cells, first_cell
from heapwright.allocators.holes import GRANULES_MASK, Holes, first_block, give, next_block
from heapwright.allocators.size_classes import class_of
from heapwright.collectors.log import SWEPT_BYTES, SWEPT_OBJECTS
from heapwright.collectors.mutator import reclaimed
from heapwright.collectors.objects import HEADER_BYTES, MARK, SLOT_MASK
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.machine import load, store

FREE_LIST, SIZE_CLASSES = range(2)  # layouts
LEAST_PAGES = 64  # a heap that could not hold so many is too small for size classes
GROWTH_BYTES = 1 << 20  # by which the heap grows at a time, as far as its limit allows


@record(
    "layout",
    "occupied",  # bytes
    "pending",  # bytes
    "cursor",  # address
    "until",  # address at which the sweep ends
    "limit",  # most bytes of the space, 0: none
)
class Space(NamedTuple):
    """Objects and free memory."""

    holes: Holes
    cells: Cells
    fields: np.ndarray  # int64[word]


def swept_space(layout, limit_bytes):
    """An empty space at the break, of at most `limit_bytes`, 0: any."""
    if 0 < limit_bytes < LEAST_PAGES * PAGE_BYTES:
        layout = FREE_LIST
    fields = words(Space, layout=layout, limit=limit_bytes)
    return Space(holes_.holes(), cells_.cells(), fields)


@kernel(inline=True)
def alloc(machine, space, need):
    """(block, bytes) for an object of `need` bytes, header included; (0, 0) if nothing free fits.

    A cell is often larger than what it is needed for. Counts nothing: see `entered`.
    """
    if space.layout == SIZE_CLASSES and need <= cells_.MOST_BYTES:
        number = class_of(space.cells.classes, need)
        block = cells_.alloc(machine, space.cells, number)
        if block:
            return block, space.cells.classes.bytes_of[unsigned(number)]
        return _alloc_in_page(machine, space, number)
    block = holes_.alloc(machine, space.holes, need)
    return block, need if block else 0


@kernel
def _alloc_in_page(machine, space, number):
    """A cell of a new page; where there is no room for a page, a block of the class's size."""
    size = space.cells.classes.bytes_of[unsigned(number)]
    if cells_.add_page(machine, space.cells, space.holes, number):
        return cells_.alloc(machine, space.cells, number), size
    if space.cursor:  # a sweep may find cells
        return 0, 0
    block = holes_.alloc(machine, space.holes, size)
    return block, size if block else 0


@kernel
def free(machine, space, block, size_bytes):
    """Free the block of one object, unmerged."""
    space.occupied -= size_bytes
    if space.layout == SIZE_CLASSES and size_bytes <= cells_.MOST_BYTES:
        cells_.free(machine, space.cells, class_of(space.cells.classes, size_bytes), block)
    else:
        give(machine, space.holes, block, size_bytes)


@kernel
def grow(machine, space, need):
    """Make the heap larger so that `need` bytes fit; whether the limit and the system allow it."""
    limit = space.limit
    if space.layout == SIZE_CLASSES and need < PAGE_BYTES:
        if holes_.grow(machine, space.holes, GROWTH_BYTES, limit):
            return True
        if holes_.grow(machine, space.holes, PAGE_BYTES, limit):
            return True
    elif holes_.grow(machine, space.holes, max(need, GROWTH_BYTES), limit):
        return True
    return holes_.grow(machine, space.holes, need, limit)


@kernel
def obtain(machine, space, mutator, log, need):
    """(block, bytes) as for `alloc`, after sweeping and growing as far as needed; (0, 0) if only a
    collection could help. About 3 ns while the free cell or hole at hand has room."""
    block, size = alloc(machine, space, need)
    while not block and space.cursor:
        sweep_on(machine, space, mutator, log)
        block, size = alloc(machine, space, need)
    if not block and grow(machine, space, need):
        block, size = alloc(machine, space, need)
    return block, size


@kernel
def begin_sweep(machine, space, live_bytes):
    """All that is not marked is dead from now on, and swept later; `live_bytes` are marked."""
    holes_.forget(machine, space.holes)
    cells_.forget(machine, space.cells)
    space.pending = space.occupied - live_bytes
    space.cursor, space.until = first_block(space.holes), end(space)
    if space.cursor == space.until:
        space.cursor = 0


@kernel
def finish_sweep(machine, space, mutator, log):
    """Sweep what is left."""
    while space.cursor:
        sweep_on(machine, space, mutator, log)


@kernel
def sweep_on(machine, space, mutator, log):
    """Sweep to the end of the next free run, or past the next page that has free cells."""
    until = space.until
    block, run = space.cursor, 0
    dead_objects = dead_bytes = 0
    stays = found = False
    while block < until and not found:
        header, state = load(machine, block), load(machine, block + 8)
        size = (state & GRANULES_MASK) << 4
        if header == PAGE:
            stays = sweep_page(machine, space, mutator, log, block)
            found = stays
        elif header < 0:
            stays = False
        elif state < 0:
            store(machine, block + 8, state & ~MARK)
            stays = True
        else:
            dead_objects += 1
            dead_bytes += size
            reclaimed(mutator, header & SLOT_MASK, block + HEADER_BYTES)
            stays = False
        if stays and run:
            give(machine, space.holes, run, block - run)
            run, found = 0, True
        if not stays and not run:
            run = block
        block += size
    if run:
        give(machine, space.holes, run, block - run)
    space.cursor = block if block < until else 0
    _count_dead(space, log, dead_objects, dead_bytes)


@kernel
def _count_dead(space, log, objects, bytes_):
    """So many dead objects were swept."""
    space.occupied -= bytes_
    space.pending -= bytes_
    log.totals[SWEPT_OBJECTS] += objects
    log.totals[SWEPT_BYTES] += bytes_


@kernel
def sweep_page(machine, space, mutator, log, page):
    """Free the dead cells of a page, the lowest first in the list; False if nothing lives in it and
    it is free as a whole."""
    cells = space.cells
    size = load(machine, page + 16)
    number = class_of(cells.classes, size)
    listed = cells.first[unsigned(number)]
    dead_objects = live = 0
    cell = cells_.filled(machine, cells, page) - size
    lowest = first_cell(page, size)
    while cell >= lowest:
        header, state = load(machine, cell), load(machine, cell + 8)
        if header >= 0 and state < 0:
            store(machine, cell + 8, state & ~MARK)
            live += 1
        else:
            if header >= 0:
                dead_objects += 1
                reclaimed(mutator, header & SLOT_MASK, cell + HEADER_BYTES)
            cells_.free(machine, cells, number, cell)
        cell -= size
    _count_dead(space, log, dead_objects, dead_objects * size)
    if live:
        cells_.reopen(machine, cells, page)
        return True
    cells.first[unsigned(number)] = listed
    cells.pages[0] -= 1
    return False


@kernel
def vacant(machine, space, blocks):
    """Free memory as rows of `blocks` (start, bytes), as far as they fit; how many there are."""
    rows = cells_.list_free(machine, space.cells, space.holes, blocks)
    rest = blocks[min(rows, len(blocks)) :]
    return rows + holes_.list_holes(machine, space.holes, rest)


@kernel
def metadata(machine, space, blocks):
    """The heads of pages, likewise."""
    return cells_.list_heads(machine, space.cells, space.holes, blocks)


@kernel(inline=True)
def end(space):
    """Where the heap ends."""
    return space.holes.end


@kernel
def first(machine, space):
    """(block, page) of the lowest block that is not a page, and the page it is a cell of, 0: none.
    The walk is over when the block is at `end`; it meets holes too."""
    return _entered(machine, space, first_block(space.holes))


@kernel
def following(machine, space, block, page):
    """The (block, page) after this one."""
    if page:
        block += load(machine, page + 16)
        if block < cells_.filled(machine, space.cells, page):
            return block, page
        block = page
    return _entered(machine, space, next_block(machine, space.holes, block))


@kernel
def _entered(machine, space, block):
    """`block` itself, or the first cell of the page that it is."""
    while block < end(space) and load(machine, block) == PAGE:
        cell = first_cell(block, load(machine, block + 16))
        if cell < cells_.filled(machine, space.cells, block):
            return cell, block
        block = next_block(machine, space.holes, block)
    return block, 0


@kernel
def check(machine, space):
    """Number of the broken invariant, 0 if none."""
    broken = holes_.check(machine, space.holes)
    if broken:
        return broken
    broken = cells_.check(machine, space.cells, space.holes)
    if broken:
        return 10 + broken
    occupied = pending = 0
    block, page = first(machine, space)
    while block < end(space):
        if load(machine, block) >= 0:
            state = load(machine, block + 8)
            size = (state & GRANULES_MASK) << 4
            occupied += size
            swept = (page or block) < space.cursor or block >= space.until
            if not space.cursor or swept:
                if state < 0:
                    return 22
            elif state >= 0:
                pending += size
        block, page = following(machine, space, block, page)
    if occupied != space.occupied or pending != space.pending:
        return 21
    return 0
