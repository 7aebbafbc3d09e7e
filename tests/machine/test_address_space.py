"""Placement, accounting and refusals of the machine, which need no Linux beside it."""

import numpy as np
import pytest

from heapwright.machine import (
    ADVISE_DONTNEED,
    ADVISE_FREE,
    ADVISE_HUGEPAGE,
    PAGE_BYTES,
    brk,
    load,
    machine,
    madvise,
    mmap,
    mprotect,
    mremap,
    munmap,
    read,
    store,
    touch,
)
from heapwright.machine import address_space as space
from heapwright.machine.address_space import BREAK_BASE, MAPPED_TOP, check

MIB = 1 << 20


@pytest.fixture
def fresh():
    made = machine()
    yield made
    assert check(made) == 0


def test_areas_are_placed_downwards_and_holes_are_used_highest_first(fresh):
    a, b, c = (mmap(fresh, 0, MIB) for _ in range(3))
    assert [a, b, c] == [MAPPED_TOP - MIB, MAPPED_TOP - 2 * MIB, MAPPED_TOP - 3 * MIB]
    munmap(fresh, b, MIB)
    assert mmap(fresh, 0, MIB // 2) == b + MIB // 2
    assert mmap(fresh, 0, MIB) == c - MIB
    assert mmap(fresh, 0, 1) == b + MIB // 2 - PAGE_BYTES, "a byte takes a page"


def test_a_hint_is_followed_where_it_is_free(fresh):
    wanted = MAPPED_TOP - 40 * MIB
    assert mmap(fresh, wanted, MIB) == wanted
    elsewhere = mmap(fresh, wanted + PAGE_BYTES, MIB)
    assert elsewhere == MAPPED_TOP - MIB
    assert mmap(fresh, wanted - MIB, MIB) == wanted - MIB


def test_absurd_requests_are_refused(fresh):
    assert mmap(fresh, 0, 1 << 47) == 0
    assert mmap(fresh, 0, 0) == 0
    assert brk(fresh, 1 << 47) == BREAK_BASE
    assert brk(fresh, BREAK_BASE - 1) == BREAK_BASE
    area = mmap(fresh, 0, MIB)
    assert mremap(fresh, area, MIB, 1 << 47) == 0
    assert fresh.meters[space.MAPPED_BYTES] == MIB
    fresh.gaps.start[0] = area - PAGE_BYTES
    assert mmap(fresh, 0, 2 * PAGE_BYTES) == 0, "a page is left"
    assert mmap(fresh, 0, PAGE_BYTES) == area - PAGE_BYTES


def test_the_break_is_any_byte(fresh):
    assert brk(fresh, BREAK_BASE + 1) == BREAK_BASE + 1
    assert fresh.meters[space.MAPPED_BYTES] == PAGE_BYTES
    assert brk(fresh, BREAK_BASE + PAGE_BYTES) == BREAK_BASE + PAGE_BYTES
    assert fresh.meters[space.MAPPED_BYTES] == PAGE_BYTES
    fresh.meters[space.CEILING] = ceiling = BREAK_BASE + PAGE_BYTES + 1
    assert brk(fresh, ceiling) == brk(fresh, ceiling + 1) == ceiling


def test_a_byte_of_a_page_is_the_page(fresh):
    mapped = fresh.meters[space.MAPPED_BYTES :][:1]
    area = mmap(fresh, MAPPED_TOP - 9 * PAGE_BYTES, PAGE_BYTES + 1)
    assert mapped == 2 * PAGE_BYTES
    assert mremap(fresh, area, PAGE_BYTES + 1, 2 * PAGE_BYTES + 1) == area
    assert mapped == 3 * PAGE_BYTES
    assert mremap(fresh, area, 2 * PAGE_BYTES + 1, 2 * PAGE_BYTES + 2) == area
    assert mapped == 3 * PAGE_BYTES
    munmap(fresh, area, 2 * PAGE_BYTES + 1)
    assert mapped == 0


def test_peaks_and_system_calls_are_counted(fresh):
    area = mmap(fresh, 0, 4 * MIB)
    touch(fresh, area + 10, 3 * PAGE_BYTES)
    touch(fresh, area, 0)
    assert fresh.meters[space.FAULTS] == fresh.meters[space.RESIDENT_PAGES] == 4
    madvise(fresh, area, MIB, ADVISE_DONTNEED)
    mprotect(fresh, area, MIB)
    munmap(fresh, area, 4 * MIB)
    assert fresh.meters[space.PEAK_RESIDENT_PAGES] == 4
    assert fresh.meters[space.PEAK_MAPPED_BYTES] == 4 * MIB
    assert fresh.meters[space.RESIDENT_PAGES] == fresh.meters[space.MAPPED_BYTES] == 0
    assert fresh.meters[space.SYSCALLS] == 4


def test_a_touch_of_unmapped_memory_is_a_stray(fresh):
    area = mmap(fresh, 0, PAGE_BYTES)
    touch(fresh, area - 1, 2)
    assert fresh.meters[space.STRAY_TOUCHES] == 1
    assert fresh.meters[space.RESIDENT_PAGES] == 1


@pytest.mark.parametrize(
    ("verb", "flag", "calls"),
    [(read, space.ZERO, [1, 0, 0]), (touch, space.RESIDENT, [1, 1, 512])],
)
def test_a_huge_page_is_faulted_in_whole_whichever_byte_is_asked(verb, flag, calls):
    made = machine(space.HUGE_ALWAYS)
    area = mmap(made, 0, 3 * space.HUGE_PAGE_BYTES)
    verb(made, area + 1023 * PAGE_BYTES, 1)
    flags = made.pages[area >> 12 :][: 3 * 512] & flag
    assert np.flatnonzero(flags).tolist() == list(range(512, 1024))
    meters = made.meters[[space.FAULTS, space.HUGE_FAULTS, space.RESIDENT_PAGES]]
    assert meters.tolist() == calls
    verb(made, area + 512 * PAGE_BYTES, 512 * PAGE_BYTES)
    assert made.meters[space.FAULTS] == 1


def test_advice_to_unmapped_memory_changes_nothing(fresh):
    area = mmap(fresh, 0, 2 * PAGE_BYTES)
    munmap(fresh, area, PAGE_BYTES)
    for advice in (ADVISE_HUGEPAGE, ADVISE_FREE, ADVISE_DONTNEED):
        madvise(fresh, area, 2 * PAGE_BYTES, advice)
    assert fresh.pages[area >> 12] == 0


def test_a_moved_area_keeps_pages_and_first_words(fresh):
    area = mmap(fresh, 0, 3 * PAGE_BYTES)
    mmap(fresh, 0, PAGE_BYTES)
    store(fresh, area + 8, 1234)
    touch(fresh, area + PAGE_BYTES, 1)
    moved = mremap(fresh, area, 3 * PAGE_BYTES, MIB)
    assert moved not in (0, area)
    assert load(fresh, moved + 8) == 1234
    flags = fresh.pages[moved >> 12 : (moved + MIB) >> 12] & space.RESIDENT
    assert np.flatnonzero(flags).tolist() == [1]
    assert fresh.meters[space.PEAK_MAPPED_BYTES] == MIB + PAGE_BYTES
    assert fresh.meters[space.SYSCALLS] == 3, "a move is one call"


def test_each_call_is_counted_once(fresh):
    calls = fresh.meters[space.SYSCALLS :][:1]
    area = mmap(fresh, 0, 4 * PAGE_BYTES)
    other = mmap(fresh, area - 8 * PAGE_BYTES, 2 * PAGE_BYTES)
    assert calls == 2
    assert mremap(fresh, area, 4 * PAGE_BYTES, 3 * PAGE_BYTES + 1) == area and calls == 3
    assert mremap(fresh, area, 4 * PAGE_BYTES, 3 * PAGE_BYTES) == area and calls == 4
    assert mremap(fresh, area, 3 * PAGE_BYTES, 4 * PAGE_BYTES) == area and calls == 5
    touch(fresh, area, PAGE_BYTES)
    assert space.move(fresh, area, other, PAGE_BYTES) and calls == 6
    assert mremap(fresh, other, 2 * PAGE_BYTES, 1 << 47) == 0 and calls == 7
    assert brk(fresh, BREAK_BASE + 1) and brk(fresh, BREAK_BASE - 1) and calls == 9
    munmap(fresh, other, 2 * PAGE_BYTES)
    munmap(fresh, area, 4 * PAGE_BYTES)
    assert calls == 11


@pytest.mark.parametrize("moves", [False, True])
def test_an_area_that_grows_keeps_the_advice_of_its_last_page(fresh, moves):
    area = mmap(fresh, MAPPED_TOP - 8 * PAGE_BYTES, 2 * PAGE_BYTES)
    beside = mmap(fresh, area + (2 if moves else 4) * PAGE_BYTES, PAGE_BYTES)
    madvise(fresh, area + PAGE_BYTES, PAGE_BYTES, ADVISE_HUGEPAGE)
    grown = mremap(fresh, area, 2 * PAGE_BYTES, 4 * PAGE_BYTES)
    assert (grown != area) == moves
    flags = fresh.pages[(grown >> 12) - 1 : (grown >> 12) + 5] & space.HUGE_ADVISED
    assert flags.tolist() == [0, 0] + [space.HUGE_ADVISED] * 3 + [0]
    munmap(fresh, grown, 4 * PAGE_BYTES)
    munmap(fresh, beside, PAGE_BYTES)


@pytest.mark.parametrize(
    ("damage", "number"),
    [
        (lambda m: m.meters.__setitem__(space.RESIDENT_PAGES, 5), 1),
        (lambda m: m.meters.__setitem__(space.MAPPED_BYTES, 4096), 2),
        (lambda m: m.meters.__setitem__(space.LAZY_PAGES, 1), 3),
        (lambda m: m.gaps.end.__setitem__(0, 0), 4),
    ],
)
def test_check_sees_damage(damage, number):
    broken = machine()
    mmap(broken, 0, MIB)
    damage(broken)
    assert check(broken) == number
