"""What a manager asks its ground for, when that is the machine itself."""

import pytest

from heapwright.machine import PAGE_BYTES, load, machine, mmap, store
from heapwright.machine import address_space as space
from heapwright.machine.address_space import (
    BREAK_BASE,
    BREAK_LIMIT,
    HUGE_PAGE_BYTES,
    MAPPED_TOP,
    check,
)
from heapwright.machine.ground import (
    HEAD_BYTES,
    area,
    areas,
    give_back,
    give_back_mapped,
    less,
    more,
    obtain,
    obtain_clear,
    obtain_mapped,
    pass_alloc,
    pass_extent,
    pass_free,
    pass_realloc,
    pass_usable,
    until,
)


@pytest.fixture
def fresh():
    made = machine()
    yield made
    assert check(made) == 0
    assert made.meters[space.STRAY_TOUCHES] == 0


def mapped_pages(made):
    return int(made.meters[space.MAPPED_BYTES]) // PAGE_BYTES


def test_the_heap_goes_on_at_its_end_and_stops_at_the_limit(fresh):
    assert more(fresh, BREAK_BASE, 3 * PAGE_BYTES, 16) == BREAK_BASE
    top = BREAK_BASE + 3 * PAGE_BYTES
    assert until(fresh, BREAK_BASE) == top
    assert area(fresh, 0, top) == (BREAK_BASE, 3 * PAGE_BYTES) and areas(fresh) == 1
    calls = int(fresh.meters[space.SYSCALLS])
    for bytes_ in (BREAK_LIMIT - top + 1, BREAK_LIMIT, 1 << 62):
        assert more(fresh, top, bytes_, 16) == 0
    assert fresh.meters[space.SYSCALLS] == calls == 1, "no call asks for what cannot be"
    less(fresh, BREAK_BASE + PAGE_BYTES)
    assert until(fresh, BREAK_BASE) == BREAK_BASE + PAGE_BYTES
    assert mapped_pages(fresh) == 1


@pytest.mark.parametrize("shift", [11, 12])
def test_an_area_of_whole_pages_is_one_call(fresh, shift):
    area = obtain(fresh, 0, 3 * PAGE_BYTES, 1 << shift)
    assert area == MAPPED_TOP - 3 * PAGE_BYTES
    assert (mapped_pages(fresh), fresh.meters[space.SYSCALLS]) == (3, 1)
    give_back(fresh, 0, area, 3 * PAGE_BYTES)
    assert (mapped_pages(fresh), fresh.meters[space.SYSCALLS]) == (0, 2)
    assert obtain_mapped(fresh, 0, 3 * PAGE_BYTES) == area
    give_back_mapped(fresh, area, 3 * PAGE_BYTES)
    assert (mapped_pages(fresh), fresh.meters[space.SYSCALLS]) == (0, 4)


@pytest.mark.parametrize(
    ("below", "calls"),  # pages mapped first; a margin below, one above, or one of each goes back
    [(0, 3), (1, 2), (2, 2), (3, 3)],
)
def test_the_margins_of_an_aligned_area_go_back(fresh, below, calls):
    if below:
        mmap(fresh, 0, below * PAGE_BYTES)
    before = int(fresh.meters[space.SYSCALLS])
    area = obtain(fresh, 0, 3 * PAGE_BYTES, 4 * PAGE_BYTES)
    assert area % (4 * PAGE_BYTES) == 0
    # the highest six pages that are free hold three at such a multiple
    lowest = MAPPED_TOP - (below + 6) * PAGE_BYTES
    assert lowest <= area <= lowest + 3 * PAGE_BYTES
    assert mapped_pages(fresh) == below + 3
    flags = fresh.pages[area >> space.PAGE_SHIFT :][:3] & space.MAPPED
    assert flags.all()
    assert fresh.meters[space.SYSCALLS] - before == calls
    give_back(fresh, 0, area, 3 * PAGE_BYTES)
    assert mapped_pages(fresh) == below


@pytest.mark.parametrize(
    ("ask", "pages"),
    [
        (lambda made: obtain(made, 0, HUGE_PAGE_BYTES, 16), 512),
        (lambda made: obtain(made, 0, HUGE_PAGE_BYTES + PAGE_BYTES, HUGE_PAGE_BYTES), 1024),
        (lambda made: obtain_clear(made, 0, HUGE_PAGE_BYTES), 512),
        (lambda made: obtain_mapped(made, 0, HUGE_PAGE_BYTES), 512),
        (lambda made: pass_alloc(made, 0, HUGE_PAGE_BYTES - 16, 16) - 16, 512),
    ],
)
def test_whole_huge_pages_lie_at_a_multiple_of_one(fresh, ask, pages):
    mmap(fresh, 0, PAGE_BYTES)  # the zone's end is such a multiple
    assert ask(fresh) == MAPPED_TOP - HUGE_PAGE_BYTES - pages * PAGE_BYTES


def test_a_table_holds_zeros_where_words_lay(fresh):
    area = obtain(fresh, 0, 2 * PAGE_BYTES, 16)
    for word in range(area, area + 2 * PAGE_BYTES, 8):
        store(fresh, word, word)
    give_back(fresh, 0, area, 2 * PAGE_BYTES)
    table = obtain_clear(fresh, 0, PAGE_BYTES)
    assert table == area + PAGE_BYTES
    assert {load(fresh, word) for word in range(table, table + PAGE_BYTES, 8)} == {0}
    assert load(fresh, table - 8) == table - 8


def test_what_there_is_no_room_for_is_refused(fresh):
    for align in (16, 1 << 16):
        assert obtain(fresh, 0, 1 << 40, align) == 0
        assert pass_alloc(fresh, 0, 1 << 40, align) == 0
    assert obtain_clear(fresh, 0, 1 << 40) == 0
    block = pass_alloc(fresh, 0, 100, 0)
    assert pass_realloc(fresh, 0, block, 1 << 40) == 0
    assert pass_extent(fresh, block, 100) == (block - HEAD_BYTES, PAGE_BYTES)
    pass_free(fresh, 0, block)
    assert mapped_pages(fresh) == 0


@pytest.mark.parametrize("align", [0, 16, 64, PAGE_BYTES, 4 * PAGE_BYTES])
@pytest.mark.parametrize("spare", [0, 1, -1])
def test_a_block_that_the_ground_serves(fresh, align, spare):
    mmap(fresh, 0, PAGE_BYTES)
    lead = max(HEAD_BYTES, align)
    size = 2 * PAGE_BYTES - lead % PAGE_BYTES + spare
    block = pass_alloc(fresh, 0, size, align)
    assert align == 0 or block % align == 0
    area, bytes_ = pass_extent(fresh, block, size)
    assert (area, bytes_) == (block - lead, (lead + size + PAGE_BYTES - 1) & -PAGE_BYTES)
    assert pass_usable(fresh, block, size) == bytes_ - lead
    assert mapped_pages(fresh) == 1 + bytes_ // PAGE_BYTES
    # the head is the two words below the block, on one page
    assert (load(fresh, block - 16), load(fresh, block - 8)) == (area, bytes_)
    assert fresh.meters[space.RESIDENT_PAGES] == 1
    assert fresh.pages[block - 1 >> space.PAGE_SHIFT] & space.RESIDENT
    pass_free(fresh, 0, block)
    assert mapped_pages(fresh) == 1


def test_a_block_is_resized_by_whole_pages(fresh):
    block = pass_alloc(fresh, 0, 100, 64)
    calls = int(fresh.meters[space.SYSCALLS])
    assert pass_realloc(fresh, 0, block, PAGE_BYTES - 64) == block
    assert fresh.meters[space.SYSCALLS] == calls, "the page was enough"
    above = mmap(fresh, 0, PAGE_BYTES)  # below the block: it grows only by a move
    moved = pass_realloc(fresh, 0, block, PAGE_BYTES - 63)
    assert moved not in (0, block) and (moved - 64) % PAGE_BYTES == 0
    assert pass_extent(fresh, moved, 0) == (moved - 64, 2 * PAGE_BYTES)
    assert fresh.meters[space.RESIDENT_PAGES] == 1
    assert mapped_pages(fresh) == 3
    assert fresh.pages[above >> space.PAGE_SHIFT] == space.MAPPED
    assert pass_realloc(fresh, 0, moved, 1) == moved
    assert pass_extent(fresh, moved, 0) == (moved - 64, PAGE_BYTES)
    pass_free(fresh, 0, moved)
    assert mapped_pages(fresh) == 1
